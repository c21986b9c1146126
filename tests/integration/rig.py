# SPDX-License-Identifier: GPL-3.0-or-later
"""Real Ollama servers, what a person's ``ollama pull`` does there, and the module as a process of its own."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
from ansible_collections.llmdesk.workstation.plugins.module_utils.demo_model import DEMO
from docker.errors import NotFound
from docker.models.containers import Container

from lab import authority, desk, models
from lab.engine import REPOSITORY

TINY = "tiny:1"
THERE = f"{models.HOST}/library/{TINY}"
LARGER = f"{models.HOST}/library/gemma3:270m"
"""A model whose weights Ollama pulls in three parts."""
TOTAL = int(DEMO["size"])
WEIGHTS = str(DEMO["sha256"])
"""Of the demo model's file. Ollama writes it anew when it makes a model of it, so that the registry has another."""
# The last address of Docker's own network: nobody has it, and nobody outside of this machine is asked.
NOBODY = "172.17.255.254"
DEAD = "dead.lab.test"
MODULE = REPOSITORY / "collections/ansible_collections/llmdesk/workstation/plugins/modules/ollama_model.py"
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def until(condition: Callable[[], Any], what: str, timeout: float = 30.0) -> Any:
    """Return the first answer of a condition that is true."""
    deadline = time.monotonic() + timeout
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"after {timeout:g} s still not: {what}"
        time.sleep(0.05)
    return answer


@dataclass(frozen=True)
class Plain:
    """How a person's ``ollama pull`` ended: its exit code, and the error that it said, or its last line."""

    rc: int
    said: str

    @property
    def hung(self) -> bool:
        """Whether it was still at work when its time was over."""
        return self.rc == 124


class Ollama:
    """A server in a container of its own.

    :param store: where this machine sees its models.
    """

    def __init__(self, container: Container, port: int, store: Path) -> None:
        self.container = container
        self.name = str(container.name)
        self.url = f"http://127.0.0.1:{port}"
        self.store = store
        self.blobs = store / "blobs"

    def models(self) -> dict[str, str]:
        """Return its models, name to digest."""
        with urllib.request.urlopen(f"{self.url}/api/tags", timeout=10) as response:
            return {model["name"]: model["digest"] for model in json.load(response)["models"]}

    @property
    def exact(self) -> bool:
        """Whether its digests are those of the registry, as they are since 0.19."""
        with urllib.request.urlopen(f"{self.url}/api/version", timeout=10) as response:
            return tuple(map(int, json.load(response)["version"].split("."))) >= (0, 19)

    def answers(self) -> bool:
        """Say whether it answers."""
        with suppress(OSError):
            return self.models() is not None
        return False

    def pulls_ended(self) -> int:
        """Return how many pulls have ended since it was started."""
        return self.container.logs().decode().count('"/api/pull"')

    def fetched(self) -> int:
        """Return the bytes of a model that are there, of a pull that is under way."""
        # Its file is sparse and has its full length from the beginning.
        return sum(path.stat().st_blocks * 512 for path in self.blobs.glob("*-partial"))

    def forget(self) -> None:
        """Remove every model, and every download that was broken off."""
        for folder in ("blobs", "manifests"):
            shutil.rmtree(self.store / folder, ignore_errors=True)
            (self.store / folder).mkdir(parents=True, exist_ok=True)

    def afresh(self) -> None:
        """Kill it, forget what it had, and start it: a download that waits for its next try would outlive a test."""
        self.kill()
        self.forget()
        self.start()

    def kill(self) -> None:
        """End it as a crash does."""
        self.container.kill("SIGKILL")
        self.container.wait()

    def start(self) -> None:
        """Start it again, under the address that it had."""
        self.container.start()
        until(self.answers, "Ollama answers")

    def plain(self, name: str = THERE, seconds: float = 3, host: str = "") -> Plain:
        """Pull as a person does.

        :param seconds: after which it is interrupted.
        :param host: address of another server than this one, as the container sees it.
        """
        client = f"OLLAMA_HOST={host} " if host else ""
        command = f"{client}timeout --signal=INT {seconds} ollama pull {name}"
        finished = self.container.exec_run(["sh", "-c", command])
        printed = ESCAPES.sub("", bytes(finished.output).decode(errors="replace"))  # type: ignore[arg-type]
        lines = [line.strip() for line in re.split(r"[\r\n]+", printed) if line.strip()]
        error = next((number for number, line in enumerate(lines) if line.startswith("Error:")), -1)
        return Plain(int(finished.exit_code or 0), " ".join(lines[error:]))

    def lines(self, name: str = THERE, seconds: float = 10, url: str = "") -> list[dict[str, Any]]:
        """Return what a pull says, line by line, for so many seconds at the most."""
        request = urllib.request.Request(f"{url or self.url}/api/pull", json.dumps({"model": name}).encode())
        deadline, found = time.monotonic() + seconds, []
        with urllib.request.urlopen(request, timeout=seconds) as response, suppress(TimeoutError):
            for line in response:
                found.append(json.loads(line))
                if time.monotonic() > deadline:
                    break
        return found


@contextmanager
def serve(
    name: str,
    image: str,
    registry: str,
    folder: Path,
    program: Path | None = None,
    store: Path | None = None,
    trusts: str = "",
) -> Iterator[Ollama]:
    """Run a server.

    :param name: of its container and of its volume.
    :param registry: address that the registry of models has there.
    :param folder: for files that it is given.
    :param program: another ``ollama`` than the image's.
    :param store: folder of this machine for its models; they are in its volume otherwise.
    :param trusts: certificates of more authorities, in PEM.
    """
    remove(name)
    trusted = folder / "ca.crt"
    trusted.write_bytes(authority.trusted() + trusts.encode())
    volumes = {str(trusted): {"bind": "/lab-ca.crt"}, name: {"bind": "/root/.ollama"}}
    if program:
        volumes[str(program)] = {"bind": "/usr/local/bin/ollama"}
    if store:
        volumes[str(store)] = {"bind": "/root/.ollama/models"}
    # One that it keeps when it is started again, unlike one that Docker chooses.
    port = free_port()
    container = docker.from_env().containers.run(
        image,
        ["ollama", "serve"],
        name=name,
        detach=True,
        init=True,
        environment={"OLLAMA_HOST": "0.0.0.0", "SSL_CERT_FILE": "/lab-ca.crt"},
        extra_hosts={models.HOST: registry, models.ELSEWHERE: registry, DEAD: NOBODY},
        ports={"11434/tcp": ("127.0.0.1", port)},
        volumes=volumes,
    )
    try:
        store = store or Path(docker.from_env().volumes.get(name).attrs["Mountpoint"], "models")
        server = Ollama(container, port, store)
        until(server.answers, "Ollama answers")
        yield server
    finally:
        remove(name)


def publish(ollama: Ollama, weights: Path, name: str) -> None:
    """Make a model of a GGUF file, and push it, as a person does."""
    subprocess.run(["docker", "cp", "--quiet", str(weights), f"{ollama.name}:/weights.gguf"], check=True)
    made = f"cd / && echo FROM /weights.gguf > Modelfile && ollama create {name} && ollama push {name}"
    finished = ollama.container.exec_run(["sh", "-c", made])
    assert finished.exit_code == 0, bytes(finished.output).decode()  # type: ignore[arg-type]


def remove(name: str) -> None:
    """Remove a server with everything it has."""
    client = docker.from_env()
    with suppress(NotFound):
        client.containers.get(name).remove(force=True)
    with suppress(NotFound):
        client.volumes.get(name).remove()


@contextmanager
def in_memory(folder: Path, size: str) -> Iterator[Callable[[str], None]]:
    """Make a folder a small file system of its own, and yield what makes it larger.

    :param size: such as ``64m``.
    """

    def mount(*options: str) -> None:
        subprocess.run(["mount", *options, str(folder)], check=True)

    mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs")
    try:
        yield lambda larger: mount("-o", f"remount,size={larger}")
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def free_port() -> int:
    """Return a port of the loopback that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def on_a_desk(folder: Path, registry: str) -> list[str]:
    """Return the beginning of a command that is run where the lab's names and its authority are known, as on a desk.

    :param folder: for its files; the machine's own stay as they are, by a mount namespace.
    :param registry: address that the registry of models has there.
    """
    trusted = folder / "ca.crt"
    trusted.write_bytes(authority.trusted())
    file = folder / "hosts"
    own = Path("/etc/hosts").read_text()
    file.write_text(f"{own}\n{registry} {models.HOST}\n{registry} {models.ELSEWHERE}\n{NOBODY} {DEAD}\n")
    inside = 'mount --bind "$0" /etc/hosts && SSL_CERT_FILE=$1 && export SSL_CERT_FILE && shift && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", inside, str(file), str(trusted)]


class Module:
    """Runs ollama_model as a process of its own: a third of the time that a play of one task takes.

    :param folder: its home.
    :param registry: address that the registry of models has for it.
    :param defaults: arguments of every run.
    """

    def __init__(self, folder: Path, registry: str, **defaults: Any) -> None:
        self._folder = folder
        self._inside = on_a_desk(folder, registry)
        self._defaults = defaults

    def start(self, name: str = THERE, *, check: bool = False, **arguments: Any) -> subprocess.Popen[str]:
        """Start it."""
        given = {"name": name, "_ansible_check_mode": check, "_ansible_remote_tmp": str(self._folder)}
        process = subprocess.Popen(
            [*self._inside, sys.executable, str(MODULE)],
            env={
                **os.environ,
                "HOME": str(self._folder),
                "PYTHONPATH": str(REPOSITORY / "collections"),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": {**given, **self._defaults, **arguments}}))
        process.stdin.close()
        process.stdin = None  # which communicate() would close once more
        return process

    @staticmethod
    def finish(process: subprocess.Popen[str], timeout: float = 60) -> dict[str, Any]:
        """Wait for its end and return its result."""
        try:
            printed, errors = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
        assert printed.strip(), f"the module printed nothing:\n{errors}"
        result: dict[str, Any] = json.loads(printed.strip().splitlines()[-1])
        return result

    def __call__(self, name: str = THERE, *, check: bool = False, **arguments: Any) -> dict[str, Any]:
        """Run it and return its result."""
        return self.finish(self.start(name, check=check, **arguments))


def reach(ollama: Ollama) -> dict[str, Any]:
    """Return the module's arguments for a server, with which everything that it waits for takes seconds."""
    return {"url": ollama.url, "container": ollama.name, "stall_timeout": 2, "timeout_connect": 2}


def _layers(name: str) -> dict[str, int]:
    return models.layers(name.partition("/")[2])


def size(name: str = THERE) -> int:
    """Return the bytes that a model of the registry has."""
    return sum(_layers(name).values())


def weights(name: str = THERE) -> str:
    """Return the sha256 of the weights of a model of the registry."""
    layers = _layers(name)
    return max(layers, key=lambda digest: layers[digest])


def whole(ollama: Ollama, name: str = THERE) -> str:
    """Return a model's digest, when it is the registry's and the bytes of the weights are theirs."""
    digest = ollama.models()[name]
    assert not ollama.exact or digest == models.digest(name.partition("/")[2])
    wanted = weights(name)
    with (ollama.blobs / f"sha256-{wanted}").open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == wanted
    return digest


def brought(result: dict[str, Any], ollama: Ollama, name: str = THERE) -> None:
    """Require that a run has brought the model, whole."""
    assert result.get("changed"), result
    assert result["model"]["digest"] == whole(ollama, name)


def one_sentence(result: dict[str, Any], reason: str) -> str:
    """Return a failure's message, when it is one sentence and has this reason."""
    message = str(result.get("msg"))
    assert result.get("failed"), f"it did not fail: {result}"
    assert (result.get("reason"), message) == (reason, message)
    assert message.endswith(".") and not message.endswith("?.")
    for word in ("\n", "<", "Traceback"):  # as in a page of a web server
        assert word not in message
    return message


def sent(registry: Container) -> int:
    """Return the bytes that the registry has sent since it was started."""
    return int(desk.run(registry, "cat /sys/class/net/eth0/statistics/tx_bytes"))
