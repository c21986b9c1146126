# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person reads about a desk, and what to do about a broken link."""

from __future__ import annotations

import platform
from typing import Any

import pytest
from ansible_collections.llmdesk.workstation.plugins.filter.desk_report import FilterModule
from ansible_collections.llmdesk.workstation.plugins.module_utils.remedy import remedy
from ansible_collections.llmdesk.workstation.plugins.module_utils.report import desk_report, links, warnings

PROOF = {"model": "smollm2:135m", "processor": "cpu", "tokens_per_s": 74.0, "at": "2026-05-30T09:45:00Z"}
IMAGE: dict[str, Any] = {"reference": "r", "source": "built on the spot", "digest": None, "id": "sha256:1", "tried": []}
STANDS_IN = {"llama3.2:3b": {"model": "smollm2:135m", "fell_back": True}}


def desk(**changed: Any) -> dict[str, Any]:
    facts = {
        "page": {"state": "ready", "url": "http://127.0.0.1:3000"},
        "account": {"state": "managed", "password_file": "/etc/llmdesk/admin_password"},
        "ollama": {"state": "answers", "models": [{"name": "smollm2:135m"}]},
        "container": {"state": "running"},
        "record": {"image": IMAGE, "models": {"smollm2:135m": {"model": "smollm2:135m"}}, "proof": PROOF},
        "unknown": [],
    }
    return {**facts, **changed}


def record(**changed: Any) -> dict[str, Any]:
    return {**desk()["record"], **changed}


def test_a_desk_that_is_right() -> None:
    gpu = {"path": "cpu", "reason": "no GPU was found", "container": {}}
    assert desk_report(desk(), {}, "admin@localhost", gpu) == {
        "address": "http://127.0.0.1:3000",
        "windows_host": None,
        "windows": None,
        "account": {
            "email": "admin@localhost",
            "state": "managed",
            "password_file": "/etc/llmdesk/admin_password",
        },
        "image": {"reference": "r", "source": "built on the spot", "digest": None},
        "gpu": {"path": "cpu", "reason": "no GPU was found"},
        "model": {"name": "smollm2:135m", "wanted": "smollm2:135m", "fell_back": False, "on": "cpu"},
        "proof": dict(PROOF, fresh=False),
        "links": [
            {"name": name, "ok": True, "error": "", "remedy": ""} for name in ("page", "account", "ollama", "model")
        ],
        "warnings": [],
        "wanted": {},
    }


def test_what_was_asked_in_this_run_counts_more_than_the_record() -> None:
    walked = [{"name": "page", "ok": True, "error": "", "remedy": ""}]
    report = desk_report(desk(), {"proof": dict(PROOF, processor="gpu"), "links": walked}, "a@b")
    assert (report["proof"]["processor"], report["proof"]["fresh"], report["model"]["on"]) == ("gpu", True, "gpu")
    assert report["links"] == walked


def test_a_desk_that_has_nothing_yet() -> None:
    empty = desk(
        record={"image": None, "models": None, "proof": None},
        container=None,
        page={"state": "silent", "url": "u"},
        account={"state": "none", "password_file": "/p"},
        ollama={"state": "silent", "models": []},
    )
    report = desk_report(empty, {}, "a@b")
    assert report["proof"] is None
    assert report["image"] == {"reference": None, "source": None, "digest": None}
    assert report["model"] == {"name": None, "wanted": None, "fell_back": False, "on": None}
    assert [(link["error"], link["remedy"]) for link in report["links"]] == [
        (state, "Type './llmdesk up'.") for state in ("silent", "none", "silent", "no model")
    ]


def test_a_broken_link_of_a_desk_that_is_there_is_looked_into_by_verify() -> None:
    broken = [link for link in links(desk(page={"state": "starting", "url": "u"})) if not link["ok"]]
    assert broken == [
        {"name": "page", "ok": False, "error": "starting", "remedy": "'./llmdesk verify' says why."},
    ]


def test_what_stands_in_is_said_in_every_report() -> None:
    assert desk_report(desk(record=record(models=STANDS_IN)), {}, "a")["model"] == {
        "name": "smollm2:135m",
        "wanted": "llama3.2:3b",
        "fell_back": True,
        "on": "cpu",
    }
    said = warnings(desk(record=record(models=STANDS_IN)))
    assert len(said) == 1
    assert "llama3.2:3b was not to be had; smollm2:135m stands in for it" in said[0]
    assert "--retry-sources" in said[0]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"unknown": ["nvidia-smi did not answer within 2 s"]}, "nvidia-smi did not answer within 2 s"),
        ({"account": {"state": "unmanaged", "password_file": "/p"}}, "accounts that llmdesk did not make"),
        (
            {"record": record(image=dict(IMAGE, tried=[{"source": "ghcr.io/x", "error": "no route"}]))},
            "The image ghcr.io/x was not to be had (no route)",
        ),
    ],
)
def test_what_works_but_not_as_wanted(changed: dict[str, Any], words: str) -> None:
    said = warnings(desk(**changed))
    assert len(said) == 1
    assert words in said[0]


CARD = {"vendor": "nvidia", "name": "NVIDIA RTX A6000"}
TO_THE_CPU = {"path": "cpu", "reason": "NVIDIA RTX A6000, but the toolkit is not installed"}


@pytest.mark.parametrize(
    ("changed", "proof", "gpu", "words"),
    [
        ({"gpus": [CARD]}, {}, TO_THE_CPU, "The desk has a GPU and answers from the CPU: NVIDIA RTX A6000, but the"),
        ({"gpus": [CARD]}, {}, {"path": "cpu", "reason": "the CPU was chosen (desk_gpu: none)"}, None),
        ({"gpus": [CARD]}, {}, {"path": "cdi", "reason": "offered by CDI"}, None),
        ({"gpus": [CARD], "container": None}, {}, TO_THE_CPU, None),
        ({"gpus": [dict(CARD, integrated=True)]}, {}, TO_THE_CPU, None),  # every laptop has one
        ({"container": {"gpu_lost": "NVML: Unknown Error"}}, {}, {}, "has lost its GPU (NVML: Unknown Error)"),
        ({}, {"processor": "gpu-partly", "size": 200, "size_vram": 50}, {}, "Only 25 % of smollm2:135m fit"),
    ],
)
def test_a_gpu_that_is_not_used_as_it_could_be(
    changed: dict[str, Any], proof: dict[str, Any], gpu: dict[str, Any], words: str | None
) -> None:
    said = desk_report(desk(record=record(proof={**PROOF, **proof}), **changed), {}, "a@b", gpu)["warnings"]
    assert len(said) == (0 if words is None else 1)
    assert words is None or words in said[0]


def test_the_model_of_the_proof_is_the_one_that_is_shown() -> None:
    two = {"a:1": {"model": "a:1"}, "b:1": {"model": "b:1"}}
    shown = desk_report(desk(record=record(models=two, proof=dict(PROOF, model="b:1"))), {}, "a")["model"]
    assert (shown["name"], shown["wanted"]) == ("b:1", "b:1")
    foreign = desk_report(desk(record=record(models=two, proof=dict(PROOF, model="c:1"))), {}, "a")["model"]
    assert (foreign["name"], foreign["fell_back"]) == ("c:1", False)


def test_tasks_need_no_chat_and_no_address() -> None:
    assert FilterModule().filters()["desk_report"](desk()) == desk_report(desk(), {}, "admin@localhost")


WANTED = {
    "container": "open-webui",
    "model": "m:1",
    "url": "u",
    "ollama_url": "o",
    "password_file": "/etc/llmdesk/admin_password",
}


@pytest.mark.parametrize(
    ("link", "error", "words"),
    [
        ("page", "Connection refused", "docker logs open-webui"),
        ("account", "[Errno 2] No such file or directory: '/etc/llmdesk/admin_password'", "open_webui_admin_password"),
        ("account", "Rate limit exceeded", "wait three minutes"),
        ("account", "HTTP 429", "wait three minutes"),
        ("account", "The email or password provided is incorrect.", "/etc/llmdesk/admin_password"),
        ("ollama", "Connection refused", "docker restart open-webui"),
        ("model", "the page offers no model, not m:1", "--model m:1"),
        ("chat", "registry.ollama.ai/library/m:1 does not support tools", "switches them off"),
        ("chat", "model requires more system memory (9 GiB) than is available", "choose a smaller one"),
        ("chat", "no answer within 300 s", "docker logs open-webui"),
        ("gpu", "the container has lost its GPU", "desk_gpu: none"),
    ],
)
def test_every_broken_link_has_a_remedy(link: str, error: str, words: str) -> None:
    assert words in remedy(link, error, WANTED)


def test_a_proxy_that_only_the_shell_has_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://desk:Sesame@proxy.example.com:3128")
    shown = FilterModule().filters()["desk_report"]
    (warning,) = shown(desk(system={"hostname": platform.node()}))["warnings"]
    assert warning.startswith("Your shell has HTTPS_PROXY, and desk_proxy is not set")
    assert "Sesame" not in warning
    assert shown(desk(system={"hostname": "another machine"}))["warnings"] == []


def test_a_desk_in_wsl_says_what_windows_lacks_unless_a_run_reaches_windows() -> None:
    wsl = {"version": 2, "distribution": "Debian", "profile": None, "wslconfig": None, "kept_awake": False}
    alone = desk_report(desk(wsl={**wsl, "linux_driver": []}, gpus=[]), {}, "admin@localhost")
    assert "keep-alive-Debian" in alone["windows"]["block"]
    assert len(alone["windows"]["missing"]) == 2
    half = desk_report(
        desk(wsl={**wsl, "linux_driver": []}, gpus=[]), {}, "admin@localhost", None, {"host": "pc1", "gpus": []}
    )
    assert half["windows"] is None


def test_what_was_wanted_is_kept_without_what_may_be_secret() -> None:
    tutor = {"name": "tutor:1", "create": {"from": "llama3.2:3b", "system": "The exam's answers are …"}}
    wanted = {
        "models": ["llama3.2:3b", tutor, {"name": "old:1", "state": "absent"}],
        "image": {"sources": [{"registry": "https://ann:pa55@registry.example.com/x"}]},
        "listen": "127.0.0.1",
    }
    assert desk_report(desk(), {}, "a@b", wanted=wanted)["wanted"] == {
        "models": [
            {"name": "llama3.2:3b", "state": "present"},
            {"name": "tutor:1", "state": "present", "from": "llama3.2:3b"},
            {"name": "old:1", "state": "absent"},
        ],
        "image": {"sources": [{"registry": "https://…@registry.example.com/x"}]},
        "listen": "127.0.0.1",
    }
