# SPDX-License-Identifier: GPL-3.0-or-later
"""Which desks leave the site playbook after their report, decided by plays over captured facts.

The roles behind are imported as the site playbook does, for their conditions, and not one task of theirs runs.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.llmdesk.workstation.plugins.module_utils.plan import settings_plan, verify_plan

from lab.engine import REPOSITORY
from llmdesk.run import Play, ask

FACTS = REPOSITORY / "tests/unit/fixtures/desk/finished.json"
SITE = REPOSITORY / "collections/ansible_collections/llmdesk/workstation/playbooks/site.yml"
IMPORT = "ansible.builtin.import_role"
ASKED = "Once | Ask the desk, or take the answer that it gave"
FAILED = {"driver": "the package nvidia-driver was not to be had"}
GOOD: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "as_it_should_be": ({}, {}),
    "somebody_elses_page": ({"account.state": "unmanaged"}, {}),
    "a_fallback_that_is_wanted": ({}, {"ollama_models": ["llama3.2:3b"]}),
    "a_bundle_that_is_unplugged": ({}, {"desk_bundle": "/media/gone"}),
    "with_a_mirror": ({}, {"desk_mirror": "192.168.1.5"}),
}
"""Desks that leave: what is changed in the facts, by path, and in the variables."""
BAD: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "bare": ({"docker.state": "absent", "container": None, "image": None, "record.image": None}, {}),
    "without_an_image": ({"image": None, "record.image": None}, {}),
    "unhealthy": ({"container.health": "unhealthy"}, {}),
    "another_configuration": ({"container.config_hash": "0"}, {}),
    "dead_ollama": ({"ollama.state": "silent"}, {}),
    "proxy_to_take_away": ({"network.state": "differs"}, {}),
    "a_toolkit_that_failed_before": ({"record.gpu": {"tried": FAILED}}, {}),
    "a_card_that_is_asked_for": ({}, {"desk_gpu": "nvidia"}),
    "settings_never_held": ({"record.settings": None}, {}),
    "never_proved": ({"record.proof": None}, {}),
    "a_copy_of_a_bundle": ({"leftovers": ["/var/cache/llmdesk/bundle"]}, {}),
    "a_port_of_another": ({"container": None, "ports.3000": {"owner": "nginx (pid 7)", "ours": False}}, {}),
    "a_model_that_does_not_fit": ({"memory.available": 2**29, "memory.total": 2**30}, {}),
    "another_user_in_the_group": ({}, {"docker_users": ["ann"]}),
    "another_model": ({}, {"ollama_models": ["llama3.2:3b", "gemma3:4b"]}),
    "sources_asked_anew": ({}, {"ollama_models_retry_sources": True}),
    "image_asked_anew": ({}, {"open_webui_image_upgrade": True}),
    "people": ({}, {"open_webui_people_users": [{"name": "Ann", "email": "ann@example.com"}]}),
    "a_proof_now": ({}, {"verify_ask": "always"}),
    "another_port": ({}, {"desk_port": 8080}),
    "a_word_that_is_none": ({}, {"ollama_models_fit": "sometimes"}),
    "a_number_that_is_none": ({}, {"verify_timeout": "soon"}),
    "an_environment_out_of_nothing": ({}, {"open_webui_environment": "{{ a_variable_that_nobody_set }}"}),
    "no_certificate": ({}, {"desk_ca_certificates": ["/nowhere.pem"]}),
}


def changed(facts: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return the facts with something else at some paths."""
    facts = copy.deepcopy(facts)
    for path, value in changes.items():
        *way, last = path.split(".")
        place = facts
        for key in way:
            place = place[key]
        place[last] = value
    return facts


def run(folder: Path, hosts: dict[str, dict[str, Any]], last: Any) -> dict[str, dict[str, Any]]:
    """Run the role over hosts of these variables, and return by task what it said of which host.

    :param last: what the task behind it says.
    """
    site = yaml.safe_load(SITE.read_text())[-1]["tasks"]
    names = [task.get(IMPORT, {}).get("name") for task in site]
    place = names.index("llmdesk.workstation.finished")
    assert names[place - 1] == "llmdesk.workstation.desk"
    # The question comes along: it takes the answer that a desk has given, and would find this machine otherwise.
    asked, first, *behind = site[place - 1 :]
    said = {"name": "Stay", "ansible.builtin.debug": {"msg": last}}
    tasks = [asked, first, said, *({**task, "tags": "never"} for task in behind)]
    play = {"name": "Leave or stay", "hosts": "all", "gather_facts": False, "tasks": tasks}
    (folder / "play.yml").write_text(yaml.safe_dump([play]))
    (folder / "room.yml").write_text(json.dumps({"all": {"hosts": hosts, "vars": {"ansible_connection": "local"}}}))
    document = ask(Play(str(folder / "play.yml"), inventory=(str(folder / "room.yml"),)))
    ran = [task for each in document["plays"] for task in each["tasks"]]
    return {task["task"]["name"].rpartition(" : ")[2]: task["hosts"] for task in ran}


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Captured facts, with the hashes as the roles make them today."""
    facts: dict[str, Any] = json.loads(FACTS.read_text())
    wanted = {"hash": "{{ __open_webui_config_hash }}", "settings": "{{ __open_webui_settings_config }}"}
    stale = {"desk_state": {"desk": changed(facts, {"container.config_hash": "0"})}}
    told = run(tmp_path_factory.mktemp("hashes"), {"desk1": stale}, wanted)["Stay"]["desk1"]["msg"]
    facts["container"]["config_hash"] = told["hash"]
    facts["record"]["settings"] = {"identity": settings_plan(facts, {"config": told["settings"]})["identity"]}
    facts["record"]["proof"]["identity"] = verify_plan(facts, {"ask": "changed"})["identity"]
    return facts


def test_only_a_desk_that_needs_nothing_leaves_after_its_report(healthy: dict[str, Any], tmp_path: Path) -> None:
    hosts = {
        name: {"desk_state": {"desk": changed(healthy, facts)}, **variables}
        for name, (facts, variables) in {**GOOD, **BAD}.items()
    }
    told = run(tmp_path, hosts, "it stays")
    failed = {host: result for results in told.values() for host, result in results.items() if result.get("failed")}
    assert not failed
    reports = {host for host, result in told[ASKED].items() if "desk_report" in result}
    assert reports == set(GOOD)
    assert set(told["Stay"]) == set(BAD)


def test_a_play_whose_desks_are_known_has_the_roles_variables_all_the_same(tmp_path: Path) -> None:
    said = {"name": "Say", "ansible.builtin.debug": {"msg": "{{ desk_port }}{{ __desk_network.errors }}"}}
    play = {"hosts": "all", "gather_facts": False, "roles": ["llmdesk.workstation.asked"], "tasks": [said]}
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    known = {"ansible_connection": "local", "desk_state": {"desk": {}}}
    (tmp_path / "room.yml").write_text(json.dumps({"all": {"hosts": {"desk1": known}}}))
    document = ask(Play(str(tmp_path / "play.yml"), inventory=(str(tmp_path / "room.yml"),)))
    results = [task["hosts"]["desk1"] for each in document["plays"] for task in each["tasks"] if task["hosts"]]
    assert results[-1]["msg"] == "3000[]"
