# SPDX-License-Identifier: GPL-3.0-or-later
"""What the variables of the role docker mean in Docker's daemon.json. Nothing is set that nobody asked for."""

from __future__ import annotations

from typing import Any

from ansible_collections.llmdesk.workstation.plugins.module_utils import daemon_config

# The first version that finds IPv6 addresses and translates them by itself.
IPV6_BY_ITSELF = 27


def settings(wanted: dict[str, Any], version: str | None) -> dict[str, Any]:
    """Return the part of daemon.json that is wanted.

    :param wanted: ``data_root``, ``live_restore``, ``log_driver``, ``log_max_size``, ``log_max_file``,
        ``address_pools``, ``ipv6``, ``ipv6_subnet``, ``registry_mirrors`` and ``daemon_config``, which has the last
        word; empty or None is not wanted.
    :param version: of Docker, None where it is not there yet.
    """
    found: dict[str, Any] = {}
    for name, key in (
        ("data_root", "data-root"),
        ("live_restore", "live-restore"),
        ("log_driver", "log-driver"),
        ("address_pools", "default-address-pools"),
        ("registry_mirrors", "registry-mirrors"),
        ("ipv6", "ipv6"),
        ("ipv6_subnet", "fixed-cidr-v6"),
    ):
        if wanted.get(name) not in (None, "", []):
            found[key] = wanted[name]
    # Docker takes no numbers here.
    options = {"max-size": wanted.get("log_max_size"), "max-file": wanted.get("log_max_file")}
    options = {key: str(value) for key, value in options.items() if value}
    if options:
        found["log-opts"] = options
    if wanted.get("ipv6") and version and _major(version) < IPV6_BY_ITSELF:
        # Before, containers had addresses that nobody outside could answer.
        found.update({"experimental": True, "ip6tables": True})
    given = wanted.get("daemon_config") or {}
    # A key that is taken away is said to the file, not to what is merged here.
    merged: dict[str, Any] = _with_none(daemon_config.merge(found, given), given)
    return merged


def refusal(wanted: dict[str, Any], version: str | None) -> str:
    """Return why the settings cannot be, one sentence; empty where they can."""
    if wanted.get("ipv6") and not wanted.get("ipv6_subnet") and version and _major(version) < IPV6_BY_ITSELF:
        return (
            f"Docker {version} finds no IPv6 addresses by itself, as {IPV6_BY_ITSELF} and newer do. Name a network for "
            "its bridge in docker_ipv6_subnet, such as fd00:dead:beef::/64."
        )
    return ""


def _with_none(merged: Any, given: Any) -> Any:
    """Return what is merged with every key that was given as None, at any depth."""
    if isinstance(merged, dict) and isinstance(given, dict):
        return {
            **{key: _with_none(value, given.get(key)) for key, value in merged.items()},
            **{key: None for key, value in given.items() if value is None},
        }
    return merged


def _major(version: str) -> int:
    return int(version.split(".")[0])
