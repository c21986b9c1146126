# SPDX-License-Identifier: GPL-3.0-or-later
"""Every kind of drift, on the facts of a real desk: each test changes what a person, or a fault, would change."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llmdesk.workstation.plugins.filter.drift import drift as filtered
from ansible_collections.llmdesk.workstation.plugins.lookup.desk_record import last
from ansible_collections.llmdesk.workstation.plugins.module_utils.drift import SPACE_KEPT, drift, merged, page_drift

from llmdesk.events import TaskEnded
from llmdesk.story import Story
from tests.unit import rooms

CARD = {"vendor": "nvidia", "name": "NVIDIA RTX A2000", "uuid": "GPU-1", "vram": 6 * rooms.GIB, "driver": "570.195.03"}


def found(
    change: Callable[[dict[str, Any]], Any], wanted: dict[str, Any] | None = None, **record: Any
) -> list[dict[str, Any]]:
    now = copy.deepcopy(rooms.REAL["facts"])
    change(now)
    return drift(rooms.desk("desk1", **record), now, wanted)


def nothing(_facts: dict[str, Any]) -> None:
    pass


def with_card(facts: dict[str, Any], **changed: Any) -> dict[str, Any]:
    facts["gpus"], facts["gpu"]["state"] = [{**CARD, **changed}], "ok"
    facts["container"]["gpu"] = "cdi"
    return facts


def publish(facts: dict[str, Any], port: int, **changed: Any) -> None:
    (entry,) = (entry for entry in facts["container"]["published"] if entry["port"] == port)
    entry.update(changed)


def test_a_desk_as_it_was_left_has_not_drifted() -> None:
    assert found(nothing) == []


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], Any], str, str]] = {
    "docker stopped": (lambda f: f["docker"].update(state="stopped"), "docker", "Docker is stopped"),
    "container removed": (lambda f: f.update(container=None), "container", "There is no container any more."),
    "container stopped": (lambda f: f["container"].update(state="exited"), "container", "The container is exited."),
    "container by hand": (lambda f: f["container"].update(managed=False), "container", "was made by hand"),
    "container otherwise": (lambda f: f["container"].update(config_hash="0"), "container", "another configuration"),
    "page silent": (lambda f: f["page"].update(state="silent"), "page", "the page in it does not answer."),
    "password lost": (lambda f: f["account"].update(state="unmanaged"), "account", "The administrator is unmanaged"),
    "page for all": (
        lambda f: publish(f, 8080, host_ip="0.0.0.0"),
        "exposure",
        "The page is published on 0.0.0.0:3000, for everybody who reaches this machine.",
    ),
    "page for all, unsaid": (lambda f: publish(f, 8080, host_ip=""), "exposure", "on 0.0.0.0:3000"),
    "page for a network": (lambda f: publish(f, 8080, host_ip="10.0.0.7"), "exposure", "for all who reach 10.0.0.7."),
    "Ollama for all": (lambda f: publish(f, 11434, host_ip="::"), "exposure", "and it has no password."),
    "port": (lambda f: publish(f, 8080, host_port=8081), "port", "The page is on port 8081, and 3000 is wanted."),
    "image": (lambda f: f["container"].update(image_id="sha256:" + "0" * 64), "image", "another image (000000000000)"),
    "Ollama silent": (lambda f: f["ollama"].update(state="silent"), "ollama", "Ollama does not answer."),
    "model gone": (lambda f: f["ollama"]["models"].clear(), "model", "The model smollm2:135m is gone."),
    "model replaced": (
        lambda f: f["ollama"]["models"][0].update(digest="0" * 64),
        "model",
        "is another (000000000000)",
    ),
    "model added": (
        lambda f: f["ollama"]["models"].append({"name": "stray:1", "digest": "1", "size": 1, "loaded": False}),
        "model",
        "The model stray:1 was pulled by somebody else.",
    ),
    "disk": (
        lambda f: f["disk"][0].update(available=SPACE_KEPT - 1),
        "disk",
        "/var/lib/docker has 2.0 GiB free, and a desk needs 2 to go on.",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_by_hand_is_one_finding_with_a_remedy(name: str) -> None:
    change, what, words = CHANGES[name]
    (finding,) = found(change)
    assert finding["what"] == what
    assert words in finding["sentence"]
    assert finding["remedy"]


def test_a_gpu_that_is_lost_gone_or_reached_otherwise() -> None:
    before = with_card(copy.deepcopy(rooms.REAL["facts"]))

    def said(change: Callable[[dict[str, Any]], Any]) -> list[tuple[str, str]]:
        return [(one["what"], one["sentence"]) for one in found(lambda f: change(with_card(f)), facts=before)]

    assert said(nothing) == []
    assert said(lambda f: f["container"].update(gpu_lost="Failed to initialize NVML")) == [
        ("gpu", "The container has lost its GPU (Failed to initialize NVML).")
    ]
    assert said(lambda f: f["container"].update(gpu="cpu")) == [
        ("gpu", "The container reaches the GPU by cpu, and it was cdi.")
    ]
    assert said(lambda f: f["gpus"].clear()) == [("gpu", "The GPU NVIDIA RTX A2000 is gone.")]
    assert said(lambda f: f["gpus"][0].update(driver="580.105.08")) == [
        ("driver", "The graphics driver is 580.105.08, and it was 570.195.03.")
    ]


def test_a_card_that_does_not_answer_just_now_is_not_gone() -> None:
    before = with_card(copy.deepcopy(rooms.REAL["facts"]))

    def silent(facts: dict[str, Any]) -> None:
        with_card(facts)["gpu"]["state"] = "unknown"
        facts["gpus"] = []

    assert found(silent, facts=before) == []


def test_what_the_inventory_says_now_counts_more_than_the_last_run() -> None:
    (finding,) = found(nothing, {"ports": {"page": 8080, "ollama": None}})
    assert finding["sentence"] == "The page is on port 3000, and 8080 is wanted."
    assert found(lambda f: publish(f, 8080, host_ip="0.0.0.0"), {"listen": "0.0.0.0"}) == []
    (missing,) = found(nothing, {"models": [{"name": "qwen3:4b", "state": "present"}]})
    assert missing["sentence"] == "The model qwen3:4b is wanted and was never brought."
    assert found(nothing, {"models": [{"name": "auto", "state": "present"}, {"name": "x:1", "state": "absent"}]}) == []


def test_a_stray_model_stays_one_after_the_next_run() -> None:
    stray = {"name": "llama3.2:3b", "digest": "1", "size": 1, "loaded": False}
    before = copy.deepcopy(rooms.REAL["facts"])
    before["ollama"]["models"].append(stray)
    (finding,) = found(lambda f: f["ollama"]["models"].append(stray), facts=before)
    assert finding["sentence"] == "The model llama3.2:3b was pulled by somebody else."
    made_of_it = {"name": "tutor:1", "state": "absent", "from": "llama3.2:3b"}
    assert found(lambda f: f["ollama"]["models"].append(stray), {"models": [made_of_it]}) == []


def test_what_was_said_to_the_last_run_alone_is_still_wanted() -> None:
    recorded = {"ports": {"page": 8080, "ollama": 11434}, "listen": "127.0.0.1"}
    assert merged(recorded, {"ports": {"page": None, "ollama": 11435}, "listen": None}) == {
        "ports": {"page": 8080, "ollama": 11435},
        "listen": "127.0.0.1",
    }


def test_without_a_record_only_what_is_wanted_is_compared() -> None:
    now = copy.deepcopy(rooms.REAL["facts"])
    assert drift(None, now) == []
    now["ollama"]["models"].append({"name": "stray:1", "digest": "1", "size": 1, "loaded": False})
    assert drift(None, now) == [], "nobody knows what was there before"
    publish(now, 11434, host_ip="0.0.0.0")
    assert [one["what"] for one in drift(None, now)] == ["exposure"]


# --- In the page ----------------------------------------------------------------------------------------------------

# The results of the modules in check mode on a desk where a person switched sign-up on and took an account's group.
SETTINGS = {
    "changes": ["ui.enable_signup"],
    "diff": {
        "before": {"config": {"ui.enable_signup": True}, "models": {}},
        "after": {"config": {"ui.enable_signup": False}, "models": {}},
    },
}
PEOPLE = {"made": ["ada@school.example"], "updated": [], "disabled": ["bob@school.example"], "groups": ["class 8b"]}


def test_what_was_set_by_hand_in_the_page() -> None:
    said = [one["sentence"] for one in page_drift(SETTINGS, PEOPLE, {"changes": ["qwen3:14b"]})]
    assert said == [
        "The page's setting ui.enable_signup is on, and off is wanted.",
        "The account ada@school.example is gone.",
        "The account bob@school.example is not in the list any more, and may sign in.",
        "The group class 8b is gone.",
        "Who sees the model qwen3:14b was changed in the page.",
    ]
    assert page_drift({}, {}, {}) == []


def test_a_page_that_lets_nobody_in_is_a_finding() -> None:
    (finding,) = page_drift({"msg": "The settings of the page could not be kept: 401."}, {}, {})
    assert (finding["what"], "could not be kept: 401." in finding["sentence"]) == ("account", True)


def test_the_filter_takes_results_of_tasks_that_were_skipped() -> None:
    skipped = {"skipped": True, "skip_reason": "Conditional result was False", "msg": "skipped"}
    drifted = filtered(rooms.REAL["facts"], rooms.REAL, {"models": ["smollm2:135m"]}, skipped, skipped, skipped)
    assert drifted == {"against": rooms.REAL["ended"], "found": []}
    assert filtered(rooms.REAL["facts"], {})["against"] is None


# --- Which record, and what comes of it -----------------------------------------------------------------------------


def test_a_desk_is_compared_to_the_last_run_that_brought_it(tmp_path: Path) -> None:
    def kept(number: int, playbook: str, **changed: Any) -> rooms.Record:
        return rooms.desk("desk1", **{"run": f"2026112{number}-070000-{playbook}-1", "ended": str(number), **changed})

    others = [
        kept(5, "status"),
        kept(4, "site", outcome="failed"),
        kept(3, "site", check=True),
        kept(2, "site", facts=None),
    ]
    rooms.write(tmp_path, {"desk1": [*others, kept(1, "site"), kept(0, "site")]})
    assert last(tmp_path, "desk1")["ended"] == "1"
    assert last(tmp_path, "desk2") == {}


@pytest.mark.parametrize(("rc", "findings", "code"), [(0, [], 0), (0, [{"what": "model"}], 2), (4, [{"what": "x"}], 4)])
def test_drift_has_an_exit_code_of_its_own(rc: int, findings: list[dict[str, str]], code: int) -> None:
    story = Story()
    report = {"drift": {"against": None, "found": findings}}
    story.add(TaskEnded(0.0, phase="verify", task="Report", host="desk1", outcome="ok", report=report))
    assert story.exit_code(rc) == code
