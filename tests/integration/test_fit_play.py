# SPDX-License-Identifier: GPL-3.0-or-later
"""The hardware fit as plays run it, over the facts of a desk that is not there: where they stand, nobody asks it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llmdesk.workstation.plugins.module_utils.fit import GIB

from llmdesk.run import Play, ask
from tests.unit.test_fit import cards, desk
from tests.unit.test_plan import desk as healthy

LOOK = "Look what stands in the way, and what does not fit"
PLAY = """
- name: Look and bring
  hosts: all
  gather_facts: false
  tasks:
    - name: Look
      ansible.builtin.import_role:
        name: llmdesk.workstation.preflight
        rolespec_validate: false

    - name: Bring
      ansible.builtin.import_role:
        name: llmdesk.workstation.ollama_models
        rolespec_validate: false
"""


def write(folder: Path, hardware: dict[str, Any]) -> str:
    """Write the facts of a bare desk with some hardware, and return the file's path."""
    bare = {**healthy(), **hardware, "ollama": {"state": "silent", "models": []}}
    (folder / "facts.json").write_text(json.dumps({"desk_state": {"desk": bare}}))
    return str(folder / "facts.json")


@pytest.fixture
def facts(tmp_path: Path) -> str:
    """A file with the facts of a desk with a card of 12 GB."""
    return write(tmp_path, desk(cards("one")))


def results(document: dict[str, Any]) -> dict[str, Any]:
    """Return the results of all tasks of the one host by their names."""
    tasks = [task for play in document["plays"] for task in play["tasks"]]
    return {task["task"]["name"].rpartition(" : ")[2]: task["hosts"]["desk1"] for task in tasks if task["hosts"]}


def run(playbook: str, facts: str, **variables: Any) -> dict[str, Any]:
    room = Path(facts).with_name("room.yml")
    room.write_text("desks: {hosts: {desk1: {ansible_connection: local, ansible_become: false}}}\n")
    given = (f"@{facts}", json.dumps(variables))
    return results(ask(Play(playbook, inventory=(str(room),), extra_vars=given, check=True)))


@pytest.fixture
def play(tmp_path: Path) -> str:
    (tmp_path / "play.yml").write_text(PLAY)
    return str(tmp_path / "play.yml")


def test_auto_is_chosen_and_said(facts: str, play: str) -> None:
    told = run(play, facts, ollama_models=["auto", "gemma3:4b"])
    assert told["Say which models a bare machine would get"]["msg"] == "Would bring qwen3:14b, gemma3:4b."
    (said,) = told["Say what auto would stand for"]["msg"]
    assert said.startswith("qwen3:14b is what auto stands for: of 16 models of the catalogue it is the best that fits")


def test_a_model_that_does_not_fit_is_said_once_and_brought(facts: str, play: str) -> None:
    told = run(play, facts, ollama_models=["llama3.3:70b"])
    assert [line.split(":")[0] for line in told[LOOK]["msg"]] == ["llama3.3"]
    assert told["Say which models a bare machine would get"]["msg"] == "Would bring llama3.3:70b."
    assert told["Say what auto would stand for"]["skipped"] is True


def test_the_model_that_everybody_gets_is_looked_at_as_well(tmp_path: Path, play: str) -> None:
    told = run(play, write(tmp_path, desk(memory=3 * GIB)))
    (said,) = told[LOOK]["msg"]
    assert said.startswith("llama3.2:3b does not fit this desk: it needs 2.6 GB, and this desk has 1.1 GB for a model")


def test_it_stops_the_run_where_that_is_wanted(facts: str, play: str) -> None:
    told = run(play, facts, ollama_models=["llama3.3:70b"], ollama_models_fit="enforce")
    assert told[LOOK]["failed"] is True
    assert "llama3.3:70b does not fit this desk: it needs" in told[LOOK]["msg"]
    assert "Bring the models" not in told


def test_another_word_for_it_is_refused(facts: str, play: str) -> None:
    told = run(play, facts, ollama_models_fit="sometimes")
    assert told["Check every variable"]["failed"] is True
    assert "value of ollama_models_fit must be one of: warn, enforce, ignore" in str(told["Check every variable"])


def test_a_misspelled_variable_stops_the_run_and_says_which_was_meant(facts: str, play: str) -> None:
    told = run(play, facts, open_webui_image_source=["ghcr.io/open-webui/open-webui:ollama"])
    assert told[LOOK]["failed"] is True
    assert "Did you mean open_webui_image_sources?" in told[LOOK]["msg"]
    assert "Bring the models" not in told


def test_the_table_of_the_command(facts: str) -> None:
    told = run(
        "llmdesk.workstation.fit", facts, ollama_models_fit_asked=["llama:3b", {"name": "own:1", "weights": 10**9}]
    )
    answer = told["Fit | Say which models fit"]["msg"]["desk_fit"]
    assert [(row["model"], row["verdict"]) for row in answer["models"]] == [("llama3.2:3b", "gpu"), ("own:1", "gpu")]
    assert answer["auto"]["name"] == "qwen3:14b"
