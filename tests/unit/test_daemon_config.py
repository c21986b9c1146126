# SPDX-License-Identifier: GPL-3.0-or-later
"""Docker's daemon.json: read, merged, shown, and what of it a reload brings into force."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.llmdesk.workstation.plugins.module_utils import daemon_config
from ansible_collections.llmdesk.workstation.plugins.module_utils.daemon_config import (
    NotJson,
    changed_keys,
    complaint,
    flag,
    flags,
    holds,
    merge,
    needs,
    parse,
    redacted,
    render,
)
from hypothesis import given
from hypothesis import strategies as st

NVIDIA = {"runtimes": {"nvidia": {"path": "nvidia-container-runtime", "runtimeArgs": []}}}
PROXY = "http://anna:p%40ss@proxy.lab.test:3128"


# --- Reading and writing --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", " \n", "{}", "\ufeff{}"])
def test_an_empty_file_has_no_settings(text: str) -> None:
    assert parse(text) == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{\n  // note\n  "debug": true\n}', "line 2, column 3: a comment, and JSON has none"),
        ('{\n  "debug": true // note\n}', "line 2, column 17: a comment, and JSON has none"),
        ("# note\n{}", "line 1, column 1: a comment, and JSON has none"),
        ('{\n  "debug": true,\n}', "line 2, column 16: a comma with nothing behind it"),
        ('{"labels": ["a=1", ]}', "line 1, column 18: a comma with nothing behind it"),
        ("{'debug': true}", "line 1, column 2: a single quote, and JSON knows only double ones"),
        ('{"debug": tru', "line 1, column 11: Expecting value"),
        ('{"debug": ', "line 1, column 11: it ends in the middle"),
        ("[]", "line 1, column 1: it is no object, which begins with {"),
    ],
)
def test_what_is_no_json_is_named_with_its_place(text: str, words: str) -> None:
    with pytest.raises(NotJson) as raised:
        parse(text)
    assert str(raised.value) == words


@pytest.mark.parametrize(
    ("like", "text"),
    [
        (None, '{\n    "debug": true\n}\n'),
        ('{\n  "a": 1\n}', '{\n  "debug": true\n}\n'),
        ('{\n\t"a": 1\n}', '{\n\t"debug": true\n}\n'),
        ('{"a": 1}', '{\n    "debug": true\n}\n'),
    ],
)
def test_the_indentation_is_kept(like: str | None, text: str) -> None:
    assert render({"debug": True}, like) == text


# --- Merging --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("present", "wanted", "merged"),
    [
        ({}, {"debug": True}, {"debug": True}),
        (NVIDIA, {"debug": True}, {**NVIDIA, "debug": True}),
        (
            NVIDIA,
            {"runtimes": {"other": {"path": "/o"}}},
            {"runtimes": {**NVIDIA["runtimes"], "other": {"path": "/o"}}},
        ),
        ({"unknown": {"deep": [1]}}, {"unknown": {"more": 2}}, {"unknown": {"deep": [1], "more": 2}}),
        ({"labels": ["a=1", "b=2"]}, {"labels": ["b=2", "c=3"]}, {"labels": ["a=1", "b=2", "c=3"]}),
        ({"debug": True, "ipv6": True}, {"debug": None}, {"ipv6": True}),
        ({}, {"debug": None}, {}),
        ({}, {"runtimes": {"nvidia": None, "o": {"path": "/o"}}}, {"runtimes": {"o": {"path": "/o"}}}),
        ({"log-opts": "wrong"}, {"log-opts": {"max-size": "1m"}}, {"log-opts": {"max-size": "1m"}}),
        ({"mtu": 1500}, {"mtu": 1400}, {"mtu": 1400}),
    ],
)
def test_settings_are_merged(present: dict[str, Any], wanted: dict[str, Any], merged: dict[str, Any]) -> None:
    before = json.dumps([present, wanted])
    assert merge(present, wanted) == merged
    assert json.dumps([present, wanted]) == before, "neither is touched"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=8,
)
SETTINGS = st.dictionaries(st.text(max_size=2), VALUES, max_size=4)


@given(SETTINGS, SETTINGS)
def test_merging_a_second_time_changes_nothing(present: dict[str, Any], wanted: dict[str, Any]) -> None:
    once = merge(present, wanted)
    assert merge(once, wanted) == once


@given(SETTINGS, SETTINGS)
def test_what_is_not_named_stays(present: dict[str, Any], wanted: dict[str, Any]) -> None:
    merged = merge(present, wanted)
    assert all(merged[key] == value for key, value in present.items() if key not in wanted)


# --- Secrets --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "shown"),
    [
        (
            {"proxies": {"http-proxy": PROXY, "no-proxy": "localhost"}},
            {"proxies": {"http-proxy": "http://***@proxy.lab.test:3128", "no-proxy": "localhost"}},
        ),
        ({"proxies": {"http-proxy": 'http://a:b"c@p'}}, {"proxies": {"http-proxy": "http://***@p"}}),
        ({"registry-mirrors": ["https://m.lab.test"]}, {"registry-mirrors": ["https://m.lab.test"]}),
        ({"log-opts": {"splunk-token": "s3"}}, {"log-opts": {"splunk-token": "***"}}),
        ({"labels": ["owner=a@b.lab.test"]}, {"labels": ["owner=a@b.lab.test"]}),
    ],
)
def test_settings_are_shown_without_secrets(settings: dict[str, Any], shown: dict[str, Any]) -> None:
    assert redacted(settings) == shown
    assert redacted(shown) == shown


def test_a_secret_is_known_wherever_it_may_be_printed() -> None:
    found = daemon_config.secrets({"proxies": {"http-proxy": PROXY}, "log-opts": {"splunk-token": "s3"}, "debug": True})
    assert found == {"anna:p%40ss", "p%40ss", "s3"}


@pytest.mark.parametrize(
    ("shown", "wanted", "held"),
    [
        ({}, {}, True),
        ({}, {"debug": True}, False),
        ({"debug": True, "mtu": 1400}, {"debug": True}, True),
        ({"debug": True}, {"debug": None}, False),
        ({}, {"debug": None}, True),
        ({"labels": ["a=1", "b=2"]}, {"labels": ["b=2"]}, True),
        ({"proxies": {"http-proxy": "http://***@p:1"}}, {"proxies": {"http-proxy": "http://a:b@p:1"}}, True),
        ({"proxies": {"http-proxy": "http://***@p:1"}}, {"proxies": {"http-proxy": "http://a:b@p:2"}}, False),
    ],
)
def test_whether_what_is_wanted_is_there(shown: dict[str, Any], wanted: dict[str, Any], held: bool) -> None:
    assert holds(shown, wanted) is held


# --- Reload or restart ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "reload", "restart"),
    [
        ({}, {}, [], []),
        ({}, {"debug": True, "live-restore": True}, ["debug", "live-restore"], []),
        ({}, NVIDIA, ["runtimes"], []),
        ({}, {"registry-mirrors": ["https://m"], "log-opts": {"a": "b"}}, ["registry-mirrors"], ["log-opts"]),
        ({}, {"proxies": {"http-proxy": "http://p"}}, [], ["proxies"]),
        # A value that is gone keeps its force until the daemon starts anew, but for a few.
        ({"debug": True, "max-concurrent-downloads": 2}, {}, ["max-concurrent-downloads"], ["debug"]),
        (NVIDIA, {}, [], ["runtimes"]),
        ({"features": {"buildkit": False}}, {"features": {"buildkit": True}}, ["features"], []),
        ({}, {"features": {"cdi": True, "buildkit": True}}, [], ["features"]),
        ({"features": {"buildkit": True}}, {}, ["features"], []),
        ({"data-root": "/a"}, {"data-root": "/b"}, [], ["data-root"]),
    ],
)
def test_what_a_reload_brings_into_force(
    before: dict[str, Any], after: dict[str, Any], reload: list[str], restart: list[str]
) -> None:
    assert needs(before, after) == {"reload": reload, "restart": restart}
    assert changed_keys(before, after) == sorted(reload + restart)


# --- The daemon -----------------------------------------------------------------------------------------------------

COMMAND = ["/usr/sbin/dockerd", "-H", "fd://", "--data-root=/d", "--config-file", "/c.json", "--debug", "-g", "/e"]


def test_the_flags_of_a_daemon() -> None:
    assert flag(COMMAND, ("--config-file",)) == "/c.json"
    assert flag(COMMAND, ("--data-root", "-g")) == "/d"
    assert flag(COMMAND, ("--exec-root",)) is None
    assert flag(["dockerd", "--config-file"], ("--config-file",)) is None
    assert flags(COMMAND, ("--config-file", "--data-root", "-g")) == ["-H", "fd://", "--debug"]
    assert flags([], ("--config-file",)) == []


REFUSED = r"""time="2026-11-26T01:18:34.29Z" level=warning msg="Your kernel does not support cgroup blkio weight"
failed to start daemon: Error initializing network controller: invalid CIDR address: nonsense
docker.service: Main process exited, code=exited, status=1/FAILURE
docker.service: Failed with result 'exit-code'."""
NOT_RELOADED = r"""time="2026-11-26T01:18:45Z" level=debug msg="Reset Max Download Attempts: 5"
time="2026-11-26T01:18:45Z" level=error msg="Error reconfiguring the daemon: invalid mirror: unsupported scheme \"ftp\""
Reloaded docker.service - Docker Application Container Engine."""


@pytest.mark.parametrize(
    ("log", "words"),
    [
        (REFUSED, "failed to start daemon: Error initializing network controller: invalid CIDR address: nonsense"),
        (NOT_RELOADED, 'Error reconfiguring the daemon: invalid mirror: unsupported scheme "ftp"'),
        ("failed to start daemon: proxy http://a:b@p refuses", "failed to start daemon: proxy http://***@p refuses"),
        ('time="x" level=info msg="Starting up"', ""),
        ("", ""),
    ],
)
def test_the_log_says_why(log: str, words: str) -> None:
    assert complaint(log) == words
