#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: open_webui_chat
short_description: Proves that an Open WebUI desk answers
description:
  - Goes link by link through what a person needs to get an answer, the page, the account, Ollama, the model and the
    chat, and stops at the first that is broken, with a sentence that says what to do.
  - Asks the way the page itself asks. A bare API call leaves out the tools that the page sends, so it succeeds where
    people see an error.
  - Takes the chat away again, so the page looks as before.
version_added: 0.1.0
author:
  - llmdesk maintainers (@llmdesk)
options:
  url:
    description: Address of the page.
    type: str
    default: http://127.0.0.1:3000
  ollama_url:
    description: Address of Ollama's API.
    type: str
    default: http://127.0.0.1:11434
  container:
    description: Name of the container, for the remedies.
    type: str
    default: open-webui
  email:
    description: The administrator's address.
    type: str
    default: admin@localhost
  password_file:
    description: File on the desk that holds the administrator's password.
    type: path
    default: /etc/llmdesk/admin_password
  model:
    description: The model to ask, with its tag.
    type: str
    required: true
  question:
    description: What to ask.
    type: str
    default: What is the capital of France?
  gpu_path:
    description:
      - The way on which the container was given a GPU, as C(plan('gpu')) decides it. Anything but V(cpu) is a promise,
        and an answer from the CPU alone breaks it.
    type: str
    choices: [cpu, cdi, gpus, rocm, vulkan]
    default: cpu
  gpus:
    description: The GPUs of the desk facts, for the reason of a broken promise.
    type: list
    elements: dict
    default: []
  timeout:
    description: Seconds that the whole answer may take.
    type: int
    default: 300
attributes:
  check_mode:
    support: full
    description: Asks all the same; asking changes nothing.
  diff_mode:
    support: none
    description: There is nothing to compare.
"""

EXAMPLES = r"""
- name: Ask the page a question
  llmdesk.workstation.open_webui_chat:
    model: llama3.2:3b
"""

RETURN = r"""
links:
  description: Every link that was looked at, in order; the last is the broken one where the proof failed.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: One of C(page), C(account), C(ollama), C(model), C(chat), and C(gpu) where one was promised.
      type: str
    ok:
      description: Whether it works.
      type: bool
    error:
      description: What was seen, empty when it works.
      type: str
    remedy:
      description: What to do, empty when it works.
      type: str
proof:
  description: Who answered what, on what, and how fast.
  returned: success
  type: dict
  contains:
    model:
      description: The model that answered.
      type: str
      sample: llama3.2:3b
    question:
      description: The question.
      type: str
    answer:
      description: The answer.
      type: str
      sample: The capital of France is Paris.
    processor:
      description: C(gpu), C(gpu-partly) or C(cpu), from how much of the model lies in the GPU's memory.
      type: str
      sample: cpu
    size:
      description: Bytes of the model in memory.
      type: int
    size_vram:
      description: How many of them lie in the GPU's memory.
      type: int
    seconds:
      description: Seconds from question to complete answer.
      type: float
    seconds_to_first_token:
      description: Seconds for loading the model and reading the question.
      type: float
    tokens_per_s:
      description: Speed of the answer.
      type: float
    at:
      description: When the answer came, in UTC.
      type: str
      sample: "2026-01-31T12:00:00Z"
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.llmdesk.workstation.plugins.module_utils.docker_exec import run
from ansible_collections.llmdesk.workstation.plugins.module_utils.docker_socket import DockerFailure
from ansible_collections.llmdesk.workstation.plugins.module_utils.gpu_plan import why_cpu
from ansible_collections.llmdesk.workstation.plugins.module_utils.open_webui import OpenWebUI, PageError, speed
from ansible_collections.llmdesk.workstation.plugins.module_utils.remedy import remedy

INSIDE = 10.0  # seconds that nvidia-smi may take in the container


class BrokenLink(Exception):
    """A link that does not hold; the sentence is what was seen."""


class Proof:
    """One walk along the links of a desk."""

    def __init__(self, wanted: dict[str, Any]) -> None:
        self._wanted = wanted
        self._page = OpenWebUI(wanted["url"])
        self._ollama = OpenWebUI(wanted["ollama_url"])
        self.links: list[dict[str, Any]] = []
        self.proof: dict[str, Any] = {}

    def holds(self) -> bool:
        """Walk the links in order and return whether the last one was reached."""
        walks = {
            "page": self._see_page,
            "account": self._sign_in,
            "ollama": self._reach_ollama,
            "model": self._find_model,
            "chat": self._chat,
        }
        if self._wanted["gpu_path"] != "cpu":
            walks["gpu"] = self._see_gpu
        for name, walk in walks.items():
            link = {"name": name, "ok": True, "error": "", "remedy": ""}
            self.links.append(link)
            try:
                walk()
            except (BrokenLink, PageError, OSError) as error:
                link.update(ok=False, error=str(error), remedy=remedy(name, str(error), self._wanted))
                return False
        return True

    def _see_page(self) -> None:
        self._page.request("GET", "/ready")

    def _sign_in(self) -> None:
        with open(self._wanted["password_file"], encoding="utf-8") as file:
            self._page.sign_in(self._wanted["email"], file.read().strip())

    def _reach_ollama(self) -> None:
        self._ollama.request("GET", "/api/version")

    def _find_model(self) -> None:
        offered = self._page.models()
        if self._wanted["model"] not in offered:
            raise BrokenLink(f"the page offers {', '.join(offered) or 'no model'}, not {self._wanted['model']}")

    def _chat(self) -> None:
        started = time.monotonic()
        answer = self._page.ask(self._wanted["model"], self._wanted["question"], self._wanted["timeout"])
        if not answer["content"].strip():
            raise BrokenLink("the answer is empty")
        self.proof = {
            "model": self._wanted["model"],
            "question": self._wanted["question"],
            "answer": answer["content"].strip(),
            **self._where(),
            "seconds": round(time.monotonic() - started, 2),
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            **speed(answer["usage"]),
        }

    def _where(self) -> dict[str, Any]:
        loaded = self._ollama.request("GET", "/api/ps")["models"]
        sizes: dict[str, Any] = next((entry for entry in loaded if entry["name"] == self._wanted["model"]), {})
        where = {name: sizes.get(name) or 0 for name in ("size", "size_vram")}
        return {"processor": processor(loaded, self._wanted["model"]), **where}

    def _see_gpu(self) -> None:
        """Hold the desk to the GPU that it was promised: Ollama falls back to the CPU without a word."""
        if self.proof["processor"] != "cpu":
            return
        path, inside = self._wanted["gpu_path"], None
        if path in ("cdi", "gpus"):
            try:
                code, said = run(self._wanted["container"], ["nvidia-smi", "-L"], INSIDE)
                inside = {"code": code, "said": said}
            except DockerFailure as error:
                inside = {"code": 1, "said": str(error)}
        largest: dict[str, Any] = max(self._wanted["gpus"], key=lambda gpu: gpu.get("vram") or 0, default={})
        size = self.proof["size"]
        why = why_cpu({"inside": inside, "size": size, "vram": largest.get("vram"), "free": largest.get("free")})
        raise BrokenLink(
            f"the desk was promised a GPU ({path}) and answers from the CPU (size_vram 0 of {size} bytes): {why}"
        )


def processor(loaded: list[dict[str, Any]], model: str) -> str:
    """Return where a model runs: ``gpu``, ``gpu-partly`` or ``cpu``.

    :param loaded: ``models`` of Ollama's ``/api/ps``; ``size_vram`` against ``size`` tells how much is where.
    """
    for entry in loaded:
        if entry["name"] == model and entry.get("size_vram"):
            return "gpu" if entry["size_vram"] >= entry["size"] else "gpu-partly"
    return "cpu"


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "default": "http://127.0.0.1:3000"},
            "ollama_url": {"type": "str", "default": "http://127.0.0.1:11434"},
            "container": {"type": "str", "default": "open-webui"},
            "email": {"type": "str", "default": "admin@localhost"},
            "password_file": {"type": "path", "default": "/etc/llmdesk/admin_password", "no_log": False},
            "model": {"type": "str", "required": True},
            "question": {"type": "str", "default": "What is the capital of France?"},
            "gpu_path": {"type": "str", "choices": ["cpu", "cdi", "gpus", "rocm", "vulkan"], "default": "cpu"},
            "gpus": {"type": "list", "elements": "dict", "default": []},
            "timeout": {"type": "int", "default": 300},
        },
        supports_check_mode=True,
    )
    walk = Proof(module.params)
    if not walk.holds():
        broken = walk.links[-1]
        module.fail_json(
            msg=f"The desk does not answer: {broken['name']}: {broken['error']}. {broken['remedy']}",
            links=walk.links,
        )
    module.exit_json(changed=False, links=walk.links, proof=walk.proof)


if __name__ == "__main__":
    main()
