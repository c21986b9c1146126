# SPDX-License-Identifier: GPL-3.0-or-later
"""The module ollama_model_info on the real Ollama."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llmdesk.workstation.plugins.module_utils.demo_model import DEMO

from lab import models
from lab.engine import REPOSITORY
from tests.integration.rig import Ollama

NAME = str(DEMO["name"])
TUTOR = "tutor:latest"
SYSTEM = 'You are a "patient" tutor.\nAnswer in one sentence.'
PARAMETERS = {
    "num_ctx": 2048,
    "temperature": 0.25,
    "seed": 12345678,
    "use_mmap": True,
    "stop": ['say "stop"', "two  words ", "<|im_end|>\n", "\\", "x\x00y", "é▁"],
}


def ask(ollama: Ollama, path: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(ollama.url + path, json.dumps({**body, "stream": False}).encode())
    with urllib.request.urlopen(request, timeout=120) as response:
        return json.loads(response.read() or b"null")


@pytest.fixture(scope="module")
def stocked(server: Ollama) -> Iterator[Ollama]:
    """A server with the demo model, and one that is made of it."""
    server.forget()
    weights = models.demo()
    with weights.open("rb") as file:
        blob = f"{server.url}/api/blobs/sha256:{DEMO['sha256']}"
        headers = {"Content-Length": str(weights.stat().st_size)}
        urllib.request.urlopen(urllib.request.Request(blob, file, headers), timeout=120).close()
    ask(server, "/api/create", {"model": NAME, "files": {"model.gguf": f"sha256:{DEMO['sha256']}"}})
    license_ = "MIT License\n\nCopyright\n"
    ask(
        server,
        "/api/create",
        {"model": TUTOR, "from": NAME, "system": SYSTEM, "parameters": PARAMETERS, "license": license_},
    )
    yield server
    server.forget()


def info(ollama: Ollama, **arguments: Any) -> dict[str, Any]:
    """Run the module as a process of its own, as Ansible does on a desk."""
    module = "ansible_collections.llmdesk.workstation.plugins.modules.ollama_model_info"
    finished = subprocess.run(
        [sys.executable, "-m", module],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": {"url": ollama.url, **arguments}}),
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "collections")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert finished.stdout.strip(), finished.stderr
    result: dict[str, Any] = json.loads(finished.stdout.strip().splitlines()[-1])
    return result


def test_all_models_are_listed(stocked: Ollama) -> None:
    result = info(stocked)
    assert {model["name"]: model["digest"] for model in result["models"]} == stocked.models()
    assert [model["name"] for model in result["models"]] == [NAME, TUTOR]
    assert (result["changed"], result["version"][:2]) == (False, "0.")
    assert [(model["family"], model["quantization"], model["remote"]) for model in result["models"]] == [
        ("llama", "Q4_1", None)
    ] * 2


def test_what_a_model_was_made_with_is_what_is_read(stocked: Ollama) -> None:
    (tutor,) = info(stocked, name=["Tutor", "nobody:1"])["models"]
    assert (tutor["system"], tutor["license"]) == (SYSTEM, "MIT License")
    assert {name: tutor["parameters"][name] for name in PARAMETERS} == PARAMETERS
    assert (tutor["parameter_count"], tutor["context_length"]) == (134515008, 8192)
    assert "completion" in tutor["capabilities"]


def test_a_model_is_loaded_and_goes(stocked: Ollama) -> None:
    ask(stocked, "/api/generate", {"model": NAME, "keep_alive": -1})
    models_now = {model["name"]: model["loaded"] for model in info(stocked)["models"]}
    assert models_now[TUTOR] is None
    loaded = models_now[NAME]
    assert (loaded["processor"], loaded["size_vram"]) == ("cpu", 0)  # no machine that tests has a GPU
    assert loaded["size"] > DEMO["size"]
    assert loaded["context_length"] > 0
    assert loaded["expires_at"] > "2200", "it stays for ever"
    ask(stocked, "/api/generate", {"model": NAME, "keep_alive": 0})
    assert [model["loaded"] for model in info(stocked, name=[NAME])["models"]] == [None]


def test_a_damaged_model_does_not_hide_the_others(stocked: Ollama) -> None:
    info(stocked, name=["tutor"])  # Ollama remembers what it has shown
    ask(stocked, "/api/copy", {"source": NAME, "destination": "damaged:1"})
    # Not under the name of the file: Ollama has written one of its own.
    weights = max(stocked.blobs.iterdir(), key=lambda path: path.stat().st_size)
    away = weights.rename(weights.with_name("away"))
    try:
        damaged, tutor = info(stocked, name=["damaged:1", "tutor"])["models"]
    finally:
        away.rename(weights)
        request = urllib.request.Request(f"{stocked.url}/api/delete", b'{"model": "damaged:1"}', method="DELETE")
        urllib.request.urlopen(request, timeout=10).close()
    assert damaged["error"] == "model 'damaged:1' not found"
    assert tutor["system"] == SYSTEM


def test_a_server_whose_port_is_not_published_is_asked_through_its_container(stocked: Ollama) -> None:
    nowhere = "http://127.0.0.1:11434"  # there is nobody on this machine, and Ollama in the container
    inside = info(stocked, url=nowhere, transport="container", container=stocked.name, details=True)
    assert [model["name"] for model in inside["models"]] == [NAME, TUTOR]
    assert inside["models"] == info(stocked, details=True)["models"]
    failed = info(stocked, transport="container")
    assert failed["msg"] == "transport is container but all of the following are missing: container"
    failed = info(stocked, transport="container", container="llmdesk-nobody")
    assert failed["msg"].startswith("Ollama at llmdesk-nobody does not answer: ")
    assert failed["reason"] == "server_unreachable"


def test_the_examples_of_its_documentation_work_in_a_play(stocked: Ollama, tmp_path: Path) -> None:
    tasks = [
        {
            "name": "Ask",
            "llmdesk.workstation.ollama_model_info": {"url": stocked.url, "name": [NAME, "tutor"]},
            "register": "ollama",
        },
        {
            "name": "Compare",
            "ansible.builtin.assert": {
                "that": [
                    "ollama is not changed",
                    "ollama.models | map(attribute='name') == ['smollm2:135m', 'tutor:latest']",
                    "ollama.models | map(attribute='size') | sum | human_readable is search('MB')",
                    "ollama.models | selectattr('loaded') | list | length == 0",
                    "ollama.models[1].parameters.temperature == 0.25",
                    "ollama.models[1].system is search('patient')",
                ]
            },
        },
    ]
    playbook = tmp_path / "play.json"
    playbook.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    ended = subprocess.run(
        [str(Path(sys.executable).with_name("ansible-playbook")), str(playbook), "--check"],
        cwd=REPOSITORY,
        env={**os.environ, "HOME": str(tmp_path), "ANSIBLE_REMOTE_TMP": str(tmp_path / "tmp"), "ANSIBLE_NOCOLOR": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout


def test_nobody_answers(stocked: Ollama) -> None:
    failed = info(stocked, url="http://127.0.0.1:1")
    assert (failed["failed"], failed["reason"]) == (True, "server_unreachable")
    assert failed["msg"].endswith("Run './llmdesk up' to start it.")


def test_a_bad_name_is_refused(stocked: Ollama) -> None:
    assert info(stocked, name=["a b"])["reason"] == "bad_name"
