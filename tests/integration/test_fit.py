# SPDX-License-Identifier: GPL-3.0-or-later
"""What the formula of the hardware fit says of a model's memory, against what the real engine takes.

The engine is asked something long: before that it has its buffers, and has not written into them.
"""

from __future__ import annotations

import json
import re
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llmdesk.workstation.plugins.module_utils import fit
from ansible_collections.llmdesk.workstation.plugins.module_utils.demo_model import DEMO
from ansible_collections.llmdesk.workstation.plugins.plugin_utils.gguf_header import shape

from lab import models
from llmdesk.fits import fits
from llmdesk.run import Play, ask
from tests.integration.rig import Module, Ollama, reach, serve, until

Say = Callable[[str], None]
SERVER = "llmdesk-test-fit"
ALLOWED = 0.15
LONG = 2000  # words: more than a batch has tokens
MIB = 1024**2
STATUS = (
    "for name in /proc/[0-9]*/comm; do read -r comm < $name && [ $comm = llama-server ] && cat ${name%comm}status; done"
)


def asked(ollama: Ollama, path: str, body: dict[str, Any] | None = None) -> Any:
    data = json.dumps(body).encode() if body else None
    with urllib.request.urlopen(urllib.request.Request(ollama.url + path, data), timeout=900) as response:
        return json.load(response)


def resident(ollama: Ollama) -> int:
    """Return the bytes of the engine's processes that are in memory, those of its files included."""
    status = bytes(ollama.container.exec_run(["sh", "-c", STATUS]).output).decode()  # type: ignore[arg-type]
    return sum(int(size) * 1024 for size in re.findall(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE))


def make(ollama: Ollama, folder: Path, name: str, file: tuple[Path, str]) -> None:
    """Make a model out of a file."""
    module = Module(folder, "127.0.0.1", **{**reach(ollama), "stall_timeout": 120})
    result = module.finish(module.start(name, sources=[{"from_file": str(file[0]), "sha256": file[1]}]), timeout=300)
    assert not result.get("failed"), result


@pytest.fixture(scope="module")
def server(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ollama]:
    """The server of a desk's image. It is given files, so no registry has to be there."""
    with serve(SERVER, image, "127.0.0.1", tmp_path_factory.mktemp("ollama")) as running:
        yield running


@pytest.fixture(scope="module")
def files(say: Say) -> dict[str, tuple[Path, str]]:
    """The files of two models, with their sha256."""
    return {"demo": (models.demo(), str(DEMO["sha256"])), "second": (models.larger(say), models.LARGER_SHA256)}


PLAY = """
- name: Bring what auto stands for
  hosts: all
  gather_facts: false
  roles:
    - role: llmdesk.workstation.ollama_models
"""


def test_auto_is_recorded_once_and_costs_a_second_run_nothing(
    server: Ollama, files: dict[str, tuple[Path, str]], tmp_path: Path
) -> None:
    (tmp_path / "play.yml").write_text(PLAY)
    host = {"ansible_connection": "local", "ansible_become": False, "ansible_python_interpreter": sys.executable}
    (tmp_path / "room.yml").write_text(json.dumps({"desks": {"hosts": {"desk1": host}}}))
    folders = {f"desk_{name}_dir": str(tmp_path / name) for name in ("state", "config", "cache")}
    variables = {**folders, "desk_ollama_port": int(server.url.rpartition(":")[2]), "ollama_models": ["auto"]}

    def run(playbook: str) -> dict[str, Any]:
        given = (json.dumps(variables),)
        return ask(Play(playbook, inventory=(str(tmp_path / "room.yml"),), extra_vars=given))

    found, failures = fits(run("llmdesk.workstation.fit"))
    assert failures == {}
    # No hub is asked: the model that this machine's hardware leads to is there, made of other weights.
    name = found["desk1"]["auto"]["name"]
    make(server, tmp_path, name, files["demo"])
    first = run(str(tmp_path / "play.yml"))
    assert first["stats"]["desk1"]["changed"] == 1
    assert f"{name} is what auto stands for" in json.dumps(first)
    record = tmp_path / "state" / "models.json"
    assert json.loads(record.read_text())[name]["auto"] == found["desk1"]["auto"]["reason"]
    second = run(str(tmp_path / "play.yml"))
    assert second["stats"]["desk1"]["changed"] == 0
    worked = [task["task"]["name"] for play in second["plays"] for task in play["tasks"] if works(task["hosts"])]
    assert [task.rpartition(" : ")[2] for task in worked] == ["Ask the desk"]


def works(hosts: dict[str, Any]) -> bool:
    """Tell whether a task was a module's: one that includes others, says something or is skipped is none."""
    return any("invocation" in result or "desk" in result for result in hosts.values())


@pytest.mark.parametrize("context", [2048, 4096, 8192])
@pytest.mark.parametrize("which", ["demo", "second"])
def test_the_formula_is_within_15_percent_of_what_the_engine_takes(
    server: Ollama, files: dict[str, tuple[Path, str]], tmp_path: Path, say: Say, which: str, context: int
) -> None:
    file, _sha256 = files[which]
    name = f"{which}:1"
    make(server, tmp_path, name, files[which])
    # A word is a token of both.
    words = min(context - 100, LONG)
    body = {"model": name, "prompt": " one" * words, "raw": True, "stream": False}
    answer = asked(server, "/api/generate", {**body, "options": {"num_ctx": context, "num_predict": 2}})
    assert answer["prompt_eval_count"] >= words
    (loaded,) = asked(server, "/api/ps")["models"]
    took, described = resident(server), fit.described(shape(file))
    predicted = fit.resident(described, context)
    say(
        f"{file.name[:8]} at {context}: predicted {predicted / MIB:.0f} MiB, resident {took / MIB:.0f} MiB "
        f"({predicted / took - 1:+.1%}), Ollama itself says {loaded['size'] / MIB:.0f} MiB"
    )
    assert loaded["context_length"] == context
    assert abs(predicted / took - 1) <= ALLOWED
    # Ollama counts buffers and no overhead; of a model with windows it forgets one of its two caches.
    forgotten = fit.cache(described._replace(window_layers=0), context, 1) if described.window_layers else 0
    assert abs((predicted - fit.overhead(described) - forgotten) / loaded["size"] - 1) <= ALLOWED
    asked(server, "/api/generate", {"model": name, "keep_alive": 0})
    until(lambda: asked(server, "/api/ps")["models"] == [], "it is out of memory")
