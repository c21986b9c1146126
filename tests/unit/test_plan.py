# SPDX-License-Identifier: GPL-3.0-or-later
"""What a desk needs, decided over its facts."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.llmdesk.workstation.plugins.filter.plan import FilterModule
from ansible_collections.llmdesk.workstation.plugins.module_utils.plan import (
    GIB,
    account_plan,
    background_tasks,
    config_hash,
    container_plan,
    docker_plan,
    image_plan,
    preflight,
    settings_plan,
    verify_plan,
)

SOURCES = [{"registry": "ghcr.io/open-webui/open-webui:ollama"}, {"build": True}]
RECORD = {"id": "sha256:1", "reference": "ghcr.io/open-webui/open-webui:ollama", "wanted": SOURCES}
CONTAINER = {
    "state": "running",
    "health": "healthy",
    "managed": True,
    "config_hash": "h",
    "published": [{"port": 8080, "host_ip": "127.0.0.1", "host_port": 3000}],
}
MODEL = {"name": "smollm2:135m", "digest": "33ea", "size": 98363302}


def desk(**changed: Any) -> dict[str, Any]:
    """Return the facts of a desk where everything is right, but for what is changed."""
    facts = {
        "ports": {"3000": None, "11434": None},
        "disk": [{"path": "/var/lib/docker", "mount": "/var", "available": 40 * GIB}],
        "docker": {
            "state": "running",
            "version": "26.1.5",
            "client": True,
            "desktop": False,
            "cdi_enabled": False,
            "cdi": [],
            "cdi_driver": None,
            "runtimes": ["runc"],
            "error": None,
            "daemon_json": {"state": "absent", "error": None, "path": "/etc/docker/daemon.json"},
        },
        "gpu": {"state": "none", "reason": "there is no NVIDIA card"},
        "gpus": [],
        "gpu_nodes": {"kfd": False, "dri": False, "dxg": False, "groups": []},
        "toolkit": {"ctk": None, "runtime": None, "version": None},
        "wsl": None,
        "container": CONTAINER,
        "container_aside": False,
        "image": {"id": "sha256:1"},
        "page": {"state": "ready"},
        "ollama": {"state": "answers", "models": [MODEL]},
        "account": {"state": "managed"},
        "record": {"account": None, "image": RECORD, "models": {}, "settings": None, "proof": None},
    }
    return {**facts, **changed}


def docker(**changed: Any) -> dict[str, Any]:
    return {**desk()["docker"], **changed}


# --- Preflight ------------------------------------------------------------------------------------------------------

PORTS = {"port": 3000, "ollama_port": 11434}
STRANGER = {"owner": "nginx (pid 7)", "ours": False}


def test_nothing_stands_in_the_way_of_a_desk_that_is_right() -> None:
    assert preflight(desk(), PORTS) == []


@pytest.mark.parametrize(
    ("ports", "container", "words"),
    [
        ({"3000": STRANGER}, None, ["Port 3000 is taken by nginx (pid 7)", "--port 3080", "desk_port"]),
        ({"11434": STRANGER}, None, ["Port 11434 is taken by nginx (pid 7)", "-e desk_ollama_port=11435"]),
        ({"3000": STRANGER}, dict(CONTAINER, state="exited"), ["Port 3000 is taken by nginx (pid 7)"]),
        ({"11434": STRANGER}, CONTAINER, ["Port 11434 is taken by nginx (pid 7)"]),
        ({"3000": dict(STRANGER, ours=True)}, CONTAINER, []),
        # docker-proxy of a container that is about to be replaced
        ({"3000": dict(STRANGER, owner="docker-proxy (pid 9)")}, CONTAINER, []),
    ],
)
def test_a_taken_port(ports: dict[str, Any], container: Any, words: list[str]) -> None:
    errors = preflight(desk(ports=ports, container=container), PORTS)
    assert len(errors) == bool(words)
    assert all(word in errors[0] for word in words)


@pytest.mark.parametrize(
    ("free", "image", "models", "needed"),
    [
        (14, None, [], 15),
        (15, None, [], None),
        (11, None, [MODEL], 12),
        (2, {"id": "sha256:1"}, [], 3),
        (0, {"id": "sha256:1"}, [MODEL], None),
    ],
)
def test_a_full_disk(free: int, image: Any, models: list[Any], needed: int | None) -> None:
    disk = [{"path": "/var/lib/docker", "mount": "/var", "available": free * GIB}]
    errors = preflight(desk(disk=disk, image=image, ollama={"state": "answers", "models": models}), PORTS)
    assert len(errors) == (needed is not None)
    if needed:
        assert f"/var has {free}.0 GiB free" in errors[0]
        assert f"need {needed} GiB under /var/lib/docker" in errors[0]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (
            {"daemon_json": {"state": "invalid", "error": "line 3", "path": "/etc/docker/daemon.json"}},
            "/etc/docker/daemon.json is not valid JSON: line 3",
        ),
        ({"state": "denied", "error": "permission denied"}, "group docker"),
        ({"state": "unknown", "error": "timed out"}, "does not answer: timed out"),
    ],
)
def test_docker_stands_in_the_way(changed: dict[str, Any], words: str) -> None:
    errors = preflight(desk(docker=docker(**changed)), PORTS)
    assert len(errors) == 1
    assert words in errors[0]


def test_everything_that_stands_in_the_way_is_said_at_once() -> None:
    broken = desk(
        ports={"3000": STRANGER, "11434": STRANGER},
        container=None,
        image=None,
        disk=[{"path": "/var/lib/docker", "mount": "/", "available": 0}],
        docker=docker(state="denied", daemon_json={"state": "invalid", "error": "x", "path": "/p"}),
    )
    assert len(preflight(broken, PORTS)) == 5


# --- Docker and the GPU ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "act", "do", "reason"),
    [
        ({}, False, "nothing", "Docker 26.1.5 answers"),
        ({"state": "stopped"}, True, "start", "does not run"),
        ({"state": "absent", "client": False}, True, "install", "there is no Docker Engine"),
        ({"state": "absent"}, True, "install", "a client alone is no engine"),
        ({"state": "denied", "error": "permission denied"}, True, "start", "permission denied"),
        ({"state": "unknown", "error": "timed out"}, True, "start", "timed out"),
    ],
)
def test_docker(changed: dict[str, Any], act: bool, do: str, reason: str) -> None:
    plan = docker_plan(desk(docker=docker(**changed)), {})
    assert (plan["act"], plan["do"]) == (act, do)
    assert reason in plan["reason"]


@pytest.mark.parametrize(
    ("changed", "wanted", "do", "reason"),
    [
        ({"version": "28.5.1"}, {"version": "28.5"}, "nothing", "answers"),
        ({"version": "28.5.1"}, {"version": "28.5.10"}, "install", "Docker 28.5.1 answers, and 28.5.10 is wanted"),
        ({"version": "28.5.10"}, {"version": "28.5.1"}, "install", "wanted"),
        ({"version": "28.5.1"}, {"version": "27", "edition": "present"}, "nothing", "answers"),
        ({"edition": "distribution"}, {"edition": "ce"}, "install", "not the edition ce"),
        ({"edition": "ce"}, {"edition": "distribution"}, "install", "not the edition distribution"),
        ({"edition": "ce"}, {"edition": "auto"}, "nothing", "answers"),
        ({"edition": "desktop"}, {"edition": "ce"}, "nothing", "answers"),
        ({"edition": "podman"}, {"remove_conflicting": True}, "install", "Podman's"),
        ({"podman_client": True}, {"remove_conflicting": True}, "install", "Podman's"),
    ],
)
def test_what_answers_is_left_alone_unless_something_else_was_asked_for(
    changed: dict[str, Any], wanted: dict[str, Any], do: str, reason: str
) -> None:
    plan = docker_plan(desk(docker=docker(**changed)), wanted)
    assert (plan["do"], plan["act"], plan["refused"]) == (do, do != "nothing", "")
    assert reason in plan["reason"]


@pytest.mark.parametrize(
    ("there", "wanted", "do"),
    [
        ({}, {}, "nothing"),
        ({"runtimes": {"nvidia": {}}}, {}, "nothing"),
        ({}, {"live_restore": True}, "configure"),
        ({"live-restore": True, "debug": True}, {"live_restore": True}, "nothing"),
        ({"live-restore": True}, {"daemon_config": {"live-restore": None}}, "configure"),
        ({}, {"daemon_config": {"live-restore": None}}, "nothing"),
    ],
)
def test_dockers_settings_are_touched_only_where_they_differ(
    there: dict[str, Any], wanted: dict[str, Any], do: str
) -> None:
    settings = {"state": "valid", "error": None, "path": "/etc/docker/daemon.json", "config": there}
    plan = docker_plan(desk(docker=docker(daemon_json=settings)), wanted)
    assert (plan["do"], plan["act"], plan["configure"]) == (do, do == "configure", do == "configure")
    if plan["act"]:
        assert "live-restore in daemon.json is not as wanted" in plan["reason"]


def test_settings_of_a_run_that_was_cut_off_are_taken_up_again() -> None:
    settings = dict(docker()["daemon_json"], state="valid", cut_off=True)
    plan = docker_plan(desk(docker=docker(daemon_json=settings)), {})
    assert (plan["do"], plan["act"], plan["configure"]) == ("configure", True, True)
    assert "a run that set it was cut off" in plan["reason"]


def test_a_docker_that_is_installed_is_set_as_well() -> None:
    plan = docker_plan(desk(docker=docker(state="absent", version=None)), {"live_restore": True, "users": ["anna"]})
    assert (plan["do"], plan["configure"], plan["users"]) == ("install", True, ["anna"])


def test_users_that_are_in_the_group_are_not_asked_for_again() -> None:
    plan = docker_plan(desk(docker=docker(group=["anna"])), {"users": ["anna", "berta"]})
    assert (plan["act"], plan["users"]) == (True, ["berta"])
    assert docker_plan(desk(docker=docker(group=["anna"])), {"users": ["anna"]})["act"] is False


@pytest.mark.parametrize(
    ("root", "holds", "moves"),
    [
        ("/srv/docker", {"containers": 0, "images": 0, "volumes": 1}, True),
        ("/srv/docker", {"containers": 0, "images": 0, "volumes": 0}, False),
        ("/var/lib/docker/", {"containers": 1, "images": 1, "volumes": 1}, False),
    ],
)
def test_data_that_a_new_folder_would_leave_behind(root: str, holds: dict[str, int], moves: bool) -> None:
    facts = desk(docker=docker(root="/var/lib/docker", holds=holds))
    assert docker_plan(facts, {"data_root": root})["moves"] is moves


DESKTOP = {"desktop_client": True}


@pytest.mark.parametrize(
    ("changed", "wanted", "words"),
    [
        ({**DESKTOP, "engine": True}, {}, "both a Docker Engine (dockerd) and Docker Desktop's integration"),
        ({**DESKTOP, "state": "absent"}, {}, "leads to Docker Desktop, which does not run. Start Docker Desktop in"),
        ({"podman_client": True}, {}, "podman-docker"),
        ({"edition": "podman"}, {}, "-e docker_remove_conflicting=true"),
    ],
)
def test_a_stranger_in_dockers_place(changed: dict[str, Any], wanted: dict[str, Any], words: str) -> None:
    errors = preflight(desk(docker=docker(**changed)), PORTS)
    assert len(errors) == 1
    assert words in errors[0]
    plan = docker_plan(desk(docker=docker(**changed)), wanted)
    assert (plan["act"], plan["refused"]) == (True, errors[0])


def test_docker_desktop_that_runs_alone_is_a_good_docker() -> None:
    facts = desk(docker=docker(edition="desktop", **DESKTOP))
    assert preflight(facts, PORTS) == []
    assert docker_plan(facts, {})["act"] is False
    assert '{"live-restore": true}' in docker_plan(facts, {"live_restore": True})["refused"]
    assert "an Engine beside it would get in its way" in docker_plan(facts, {"version": "27"})["refused"]


def test_podman_may_make_way() -> None:
    assert preflight(desk(docker=docker(podman_client=True)), {**PORTS, "remove_conflicting": True}) == []


def test_nothing_is_installed_where_that_was_not_wanted() -> None:
    plan = docker_plan(desk(docker=docker(state="absent", client=False)), {"edition": "present"})
    assert plan["refused"] == "There is no Docker Engine, and docker_edition=present installs none."
    assert docker_plan(desk(docker=docker(state="stopped")), {"edition": "present"})["refused"] == ""


def test_a_docker_desktop_that_does_not_serve_this_distribution_is_named() -> None:
    facts = desk(docker=docker(state="absent", client=False), wsl={"version": 2, "docker_desktop": True})
    assert "does not serve this distro" in docker_plan(facts, {"edition": "present"})["refused"]
    assert docker_plan(facts, {})["refused"] == "", "it may serve another one"


CARD = {"state": "ok", "reason": "RTX A6000, driver 570"}


def test_a_container_that_lost_its_gpu_is_made_anew() -> None:
    lost = {**CONTAINER, "gpu_lost": "Failed to initialize NVML: Unknown Error"}
    plan = container_plan(desk(container=lost), {"config_hash": "h"})
    assert (plan["act"], plan["do"]) == (True, "replace")
    assert "lost its GPU (Failed to initialize NVML" in plan["reason"]
    assert not container_plan(desk(container=dict(lost, gpu_lost=None)), {"config_hash": "h"})["act"]


@pytest.mark.parametrize(
    ("wanted", "gpu", "on"),
    [
        ("auto", True, True),
        ("auto", False, False),
        (True, False, True),
        ("True", False, True),
        ("yes", False, True),
        (False, True, False),
        ("false", True, False),
        ("no", True, False),
    ],
)
def test_background_tasks_wait_for_a_gpu_unless_told(wanted: str | bool, gpu: bool, on: bool) -> None:
    facts = desk(gpu=CARD, docker=docker(runtimes=["nvidia"])) if gpu else desk()
    assert background_tasks(facts, wanted) is on


# --- Image, account, container --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("record", "present", "upgrade", "act", "reason"),
    [
        (None, None, False, True, "no image was found yet"),
        (RECORD, {"id": "sha256:1"}, False, False, "ghcr.io/open-webui/open-webui:ollama is here"),
        (RECORD, None, False, True, "is gone"),
        (RECORD, {"id": "sha256:1"}, True, True, "anew"),
        (dict(RECORD, wanted=SOURCES[1:]), {"id": "sha256:1"}, False, True, "sources has changed"),
    ],
)
def test_image(record: Any, present: Any, upgrade: bool, act: bool, reason: str) -> None:
    plan = image_plan({"record": {"image": record}, "image": present}, {"sources": SOURCES, "upgrade": upgrade})
    assert plan["act"] is act
    assert reason in plan["reason"]


@pytest.mark.parametrize(
    ("state", "container", "given", "act"),
    [
        ("none", None, False, True),
        ("managed", {"managed": True}, True, False),
        ("unmanaged", {"managed": True}, False, False),
        ("unmanaged", {"managed": True}, True, True),
        ("unknown", None, False, True),
        ("unknown", {"managed": False}, False, True),
        ("unknown", {"managed": True}, False, False),
    ],
)
def test_account(state: str, container: Any, given: bool, act: bool) -> None:
    changed = desk(account={"state": state, "password_file_exists": False}, container=container)
    assert account_plan(changed, {"password_given": given})["act"] is act


@pytest.mark.parametrize(
    ("state", "file", "act"), [("unknown", True, False), ("unknown", False, True), ("none", True, True)]
)
def test_an_account_that_was_made_is_not_asked_for_again(state: str, file: bool, act: bool) -> None:
    changed = desk(
        account={"state": state, "password_file_exists": file},
        container=None,
        record=recorded("account", {"email": "admin@localhost"}),
    )
    assert account_plan(changed, {"password_given": False})["act"] is act


@pytest.mark.parametrize(
    ("changed", "do"),
    [
        ({}, "nothing"),
        ({"container_aside": True}, "adopt"),
        ({"container_aside": True, "container": None}, "adopt"),
        ({"container": None}, "create"),
        ({"container": dict(CONTAINER, managed=False)}, "adopt"),
        ({"container": dict(CONTAINER, config_hash="other")}, "replace"),
        ({"container": dict(CONTAINER, config_hash="other", state="exited")}, "replace"),
        ({"container": dict(CONTAINER, state="exited")}, "start"),
        ({"container": dict(CONTAINER, state="created")}, "start"),
        ({"container": dict(CONTAINER, health="unhealthy")}, "restart"),
        ({"container": dict(CONTAINER, health="starting")}, "nothing"),
        ({"page": {"state": "silent"}}, "wait"),
        ({"ollama": {"state": "silent", "models": []}}, "restart"),
        ({"ollama": {"state": "silent", "models": []}, "page": {"state": "starting"}}, "wait"),
    ],
)
def test_container(changed: dict[str, Any], do: str) -> None:
    plan = container_plan(desk(**changed), {"config_hash": "h"})
    assert plan["do"] == do
    assert plan["act"] is (do != "nothing")
    assert plan["reason"]


def test_a_configuration_has_one_hash_in_any_order() -> None:
    one = config_hash({"environment": {"A": "1", "B": "2"}, "ports": ["a", "b"]})
    assert one == config_hash({"ports": ["a", "b"], "environment": {"B": "2", "A": "1"}})
    assert one != config_hash({"ports": ["b", "a"], "environment": {"B": "2", "A": "1"}})
    assert len(one) == 64


# --- Settings and proof ---------------------------------------------------------------------------------------------


def recorded(part: str, value: Any) -> dict[str, Any]:
    return {**desk()["record"], part: value}


def test_settings_are_held_once() -> None:
    wanted = {"config": {"ui.enable_signup": False}}
    first = settings_plan(desk(), wanted)
    assert first["act"] is True
    held = desk(record=recorded("settings", {"identity": first["identity"]}))
    assert settings_plan(held, wanted)["act"] is False


@pytest.mark.parametrize(
    ("changed", "config"),
    [
        ({"container": dict(CONTAINER, config_hash="other")}, {}),
        ({"ollama": {"state": "answers", "models": [dict(MODEL, digest="other")]}}, {}),
        ({"ollama": {"state": "answers", "models": []}}, {}),
        ({"container": None}, {}),
        ({}, {"ui.enable_signup": True}),
    ],
)
def test_settings_are_held_again_after_a_change(changed: dict[str, Any], config: dict[str, Any]) -> None:
    identity = settings_plan(desk(), {"config": {}})["identity"]
    now = desk(record=recorded("settings", {"identity": identity}), **changed)
    assert settings_plan(now, {"config": config})["act"] is True


@pytest.mark.parametrize("state", ["none", "unknown", "unmanaged"])
def test_settings_of_a_foreign_page_are_left_alone(state: str) -> None:
    assert settings_plan(desk(account={"state": state}), {"config": {}})["act"] is False


@pytest.mark.parametrize(
    ("ask", "account", "proved", "act"),
    [
        ("changed", "managed", False, True),
        ("changed", "managed", True, False),
        ("changed", "unmanaged", False, False),
        ("always", "managed", True, True),
        ("always", "unmanaged", True, True),
        ("never", "managed", False, False),
    ],
)
def test_when_the_page_is_asked(ask: str, account: str, proved: bool, act: bool) -> None:
    identity = verify_plan(desk(), {"ask": "always"})["identity"]
    record = recorded("proof", {"identity": identity} if proved else None)
    assert verify_plan(desk(account={"state": account}, record=record), {"ask": ask})["act"] is act


@pytest.mark.parametrize(
    "changed",
    [
        {"container": dict(CONTAINER, config_hash="other")},
        {"ollama": {"state": "answers", "models": [dict(MODEL, digest="other")]}},
    ],
)
def test_a_proof_ends_with_what_it_is_about(changed: dict[str, Any]) -> None:
    identity = verify_plan(desk(), {"ask": "always"})["identity"]
    now = desk(record=recorded("proof", {"identity": identity}), **changed)
    assert verify_plan(now, {"ask": "changed"})["act"] is True


def test_a_proof_ends_when_the_settings_were_held_anew() -> None:
    identity = verify_plan(desk(), {"ask": "always"})["identity"]
    record = {**recorded("proof", {"identity": identity}), "settings": {"identity": "other"}}
    assert verify_plan(desk(record=record), {"ask": "changed"})["act"] is True


@pytest.mark.parametrize(
    ("wanted", "models", "present", "model"),
    [
        ("qwen3:4b", {}, [MODEL], "qwen3:4b"),
        ("", {"llama3.2:3b": {"model": "llama3.2:3b"}}, [MODEL], "smollm2:135m"),
        ("", {"llama3.2:3b": {"model": "smollm2:135m"}}, [dict(MODEL, name="a:1"), MODEL], "smollm2:135m"),
        ("", None, [dict(MODEL, name="a:1"), MODEL], "a:1"),
        ("", {}, [], ""),
    ],
)
def test_which_model_is_asked(wanted: str, models: Any, present: list[Any], model: str) -> None:
    facts = desk(record=recorded("models", models), ollama={"state": "answers", "models": present})
    assert verify_plan(facts, {"ask": "always", "model": wanted})["model"] == model


# --- As tasks ask it ------------------------------------------------------------------------------------------------


def test_tasks_ask_for_a_part_by_its_name() -> None:
    filters = FilterModule().filters()
    assert filters["plan"](desk(), "docker") == docker_plan(desk(), {})
    assert filters["plan"](desk(), "container", {"config_hash": "h"})["do"] == "nothing"
    with pytest.raises(AnsibleFilterError, match="no part 'dokcer'"):
        filters["plan"](desk(), "dokcer")


@pytest.mark.parametrize(
    ("changed", "errors", "warnings"),
    [
        ({}, [], []),
        ({"port": 80, "network": ["desk_proxy: no address"]}, ["Port 80 is taken", "desk_proxy: no address"], []),
        ({"models": ["llama3.3:70b"]}, [], ["llama3.3:70b does not fit"]),
        ({"models": ["llama3.3:70b"], "fit": "enforce"}, ["llama3.3:70b does not fit"], []),
        ({"models": ["llama3.3:70b"], "fit": "ignore"}, [], []),
        ({"names": ["desk_prot"]}, ["No role reads the variable desk_prot. Did you mean desk_port?"], []),
        ({"names": ["desk_color_of_the_chair"]}, [], ["No role reads the variable desk_color_of_the_chair;"]),
    ],
)
def test_everything_that_stands_in_the_way_is_named_at_once(
    changed: dict[str, Any], errors: list[str], warnings: list[str]
) -> None:
    wanted = {**PORTS, "models": [], "fit": "warn", "network": [], "names": ["desk_port"], **changed}
    facts = desk(ports={"80": STRANGER}, memory={"total": 16 * GIB, "available": 8 * GIB}, cpu={"cores": 8})
    said = FilterModule().filters()["preflight"](facts, wanted)
    for given, expected in ((said["errors"], errors), (said["warnings"], warnings)):
        assert [line[: len(start)] for line, start in zip(given, expected, strict=True)] == expected
