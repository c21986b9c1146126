# SPDX-License-Identifier: GPL-3.0-or-later
"""A desk that was promised a GPU and answers from the CPU is broken, and says why."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.llmdesk.workstation.plugins.module_utils.docker_socket import DockerUnreachable
from ansible_collections.llmdesk.workstation.plugins.modules import open_webui_chat
from ansible_collections.llmdesk.workstation.plugins.modules.open_webui_chat import Proof

GIB = 1024**3
CARDS = [{"vram": 4 * GIB, "free": 3 * GIB}, {"vram": None}, {"vram": 24 * GIB, "free": 20 * GIB}]


def walk(monkeypatch: pytest.MonkeyPatch, path: str, processor: str, size: int, inside: Any) -> Proof:
    """Walk the last link of a desk where everything before it holds."""
    proof = Proof(
        {
            "url": "http://127.0.0.1:1",
            "ollama_url": "http://127.0.0.1:1",
            "container": "open-webui",
            "model": "m:1",
            "gpu_path": path,
            "gpus": CARDS,
        }
    )
    for step in ("_see_page", "_sign_in", "_reach_ollama", "_find_model", "_chat"):
        monkeypatch.setattr(proof, step, lambda: None)
    proof.proof = {"processor": processor, "size": size, "size_vram": 0 if processor == "cpu" else size}

    def run(container: str, command: list[str], _timeout: float) -> Any:
        assert (container, command) == ("open-webui", ["nvidia-smi", "-L"])
        if isinstance(inside, Exception):
            raise inside
        return inside

    monkeypatch.setattr(open_webui_chat, "run", run)
    return proof


def test_without_a_promise_the_cpu_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    proof = walk(monkeypatch, "cpu", "cpu", GIB, AssertionError("not asked"))
    assert proof.holds()
    assert [link["name"] for link in proof.links] == ["page", "account", "ollama", "model", "chat"]


@pytest.mark.parametrize("processor", ["gpu", "gpu-partly"])
def test_a_promise_that_is_kept(monkeypatch: pytest.MonkeyPatch, processor: str) -> None:
    proof = walk(monkeypatch, "cdi", processor, GIB, AssertionError("not asked"))
    assert proof.holds()
    assert proof.links[-1] == {"name": "gpu", "ok": True, "error": "", "remedy": ""}


@pytest.mark.parametrize(
    ("path", "size", "inside", "words"),
    [
        ("gpus", GIB, (255, "Failed to initialize NVML: Unknown Error\n"), "has lost its GPU"),
        ("cdi", GIB, (126, 'exec: "nvidia-smi": executable file not found in $PATH'), "was not given the GPU"),
        ("cdi", GIB, DockerUnreachable("/var/run/docker.sock: nobody listens"), "nobody listens"),
        ("cdi", 30 * GIB, (0, "GPU 0"), "takes 30720 MiB and the largest GPU has 24576 MiB: choose a smaller model"),
        ("cdi", 22 * GIB, (0, "GPU 0"), "only 20480 MiB of the GPU's memory are free"),
        ("cdi", GIB, (0, "GPU 0"), "Ollama did not take the GPU"),
        ("rocm", GIB, AssertionError("not asked"), "Ollama did not take the GPU"),
        ("vulkan", GIB, AssertionError("not asked"), "Ollama did not take the GPU"),
    ],
)
def test_a_silent_fall_back_to_the_cpu_is_an_error(
    monkeypatch: pytest.MonkeyPatch, path: str, size: int, inside: Any, words: str
) -> None:
    proof = walk(monkeypatch, path, "cpu", size, inside)
    assert not proof.holds()
    broken = proof.links[-1]
    assert broken["name"] == "gpu"
    assert f"promised a GPU ({path}) and answers from the CPU" in broken["error"]
    assert words in broken["error"]
    assert "desk_gpu: none" in broken["remedy"]
