# SPDX-License-Identifier: GPL-3.0-or-later
"""What the variables of the role docker become in daemon.json."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from ansible_collections.llmdesk.workstation.plugins.module_utils.docker_settings import refusal, settings

from tests.unit.test_packaging import COLLECTION, ROOT

DEFAULTS = {
    name.removeprefix("docker_"): value
    for name, value in yaml.safe_load((COLLECTION / "roles/docker/defaults/main.yml").read_text()).items()
}
POOLS = [{"base": "10.200.0.0/16", "size": 24}]


def test_nothing_is_set_that_nobody_asked_for() -> None:
    assert settings(DEFAULTS, "28.5.1") == {}
    assert settings({}, None) == {}


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"data_root": "/srv/docker"}, {"data-root": "/srv/docker"}),
        ({"live_restore": False}, {"live-restore": False}),
        ({"live_restore": True}, {"live-restore": True}),
        ({"log_driver": "local"}, {"log-driver": "local"}),
        ({"log_max_size": "10m", "log_max_file": 3}, {"log-opts": {"max-size": "10m", "max-file": "3"}}),
        ({"address_pools": POOLS}, {"default-address-pools": POOLS}),
        ({"registry_mirrors": ["https://m"]}, {"registry-mirrors": ["https://m"]}),
        ({"ipv6": True}, {"ipv6": True}),
        ({"ipv6": False}, {"ipv6": False}),
        # The last word, at any depth.
        (
            {"log_max_size": "10m", "daemon_config": {"log-opts": {"max-size": "1m", "labels": "a"}, "debug": True}},
            {"log-opts": {"max-size": "1m", "labels": "a"}, "debug": True},
        ),
        ({"live_restore": True, "daemon_config": {"live-restore": None}}, {"live-restore": None}),
        ({"daemon_config": {"runtimes": {"old": None}}}, {"runtimes": {"old": None}}),
    ],
)
def test_a_variable_is_a_setting(wanted: dict[str, Any], found: dict[str, Any]) -> None:
    assert settings({**DEFAULTS, **wanted}, "28.5.1") == found


def test_ipv6_before_docker_27_needs_a_network_and_a_translation() -> None:
    wanted = {"ipv6": True, "ipv6_subnet": "fd00:1::/64"}
    translated = {"ipv6": True, "fixed-cidr-v6": "fd00:1::/64", "experimental": True, "ip6tables": True}
    assert settings(wanted, "26.1.5+dfsg1") == translated
    assert settings(wanted, "28.5.1") == {"ipv6": True, "fixed-cidr-v6": "fd00:1::/64"}
    assert refusal(wanted, "26.1.5") == ""
    assert "docker_ipv6_subnet, such as fd00:" in refusal({"ipv6": True}, "20.10.24+dfsg1")
    assert refusal({"ipv6": True}, "28.5.1") == refusal({"ipv6": True}, None) == refusal({}, "20.10.24") == ""


def test_the_example_of_the_page_about_installing_is_one_that_the_role_takes() -> None:
    (example,) = re.findall(
        r"^```yaml\n(.*?)^```", (ROOT / "docs" / "install.md").read_text(), re.MULTILINE | re.DOTALL
    )
    given = {name.removeprefix("docker_"): value for name, value in yaml.safe_load(example).items()}
    assert set(given) <= set(DEFAULTS)
    found = settings({**DEFAULTS, **given}, "28.5.1")
    assert found["log-opts"] == {"max-size": "10m", "max-file": "3"}
    assert found["debug"] is None
