# SPDX-License-Identifier: GPL-3.0-or-later
"""Desks whose only way out is a company's proxy: open, with a password, or re-signing TLS; and mirrors that lie.

The proxy is a real squid, the desks are whole machines with a Docker of their own, and nothing else leads out of their
network.
"""

from __future__ import annotations

import io
import json
import platform
import re
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from ansible_collections.llmdesk.workstation.plugins.module_utils.image_build import Build, cpu_flags, desk_cpu_flags
from cryptography.hazmat.primitives.serialization import Encoding
from docker.models.containers import Container

from lab import authority, desk, models, proxy, registry
from lab.image import RECIPE
from tests.integration.rig import THERE, TINY
from tests.machine import Machine, Ran, through

LAB = authority.authority()[0].public_bytes(Encoding.PEM).decode()
PASSWORD = "Sesame@home/1:" + "x" * 8
OTHER = "Mellon%2&" + "y" * 8
WATCH = "while :; do cat /proc/[0-9]*/cmdline >> /watched 2>/dev/null; sleep 0.1; done"
# What may have the password: root alone reads them.
HOLDERS = [
    "/etc/apt/auth.conf.d/llmdesk-proxy.conf",
    "/etc/llmdesk/container/proxy.sh",
    "/etc/llmdesk/docker.env",
    "/etc/llmdesk/network.json",
]

CONFIG = "/etc/docker/registry/config.yml"
THE_TINY = f"{registry.HOST}/open-webui/tiny:1"

Say = Callable[[str], None]
MakeDesk = Callable[..., Container]


def changed(machine: Machine) -> str:
    """Return what a run that changes nothing must leave alike."""
    return machine.types("find /etc /usr/local/share/ca-certificates -type f -newer /begun | sort")


def tiny_image(name: str, content: str) -> str:
    """Make an image of one file, push it to both registries as they are told, and return its digest."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo("content")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content.encode()))
    pushed = f"{registry.push_address(name)}/open-webui/tiny:1"
    imported = subprocess.run(
        ["docker", "import", "-", pushed], input=buffer.getvalue(), capture_output=True, check=True
    )
    try:
        done = subprocess.run(["docker", "push", pushed], capture_output=True, text=True, check=True)
    finally:
        subprocess.run(["docker", "rmi", "--force", imported.stdout.decode().strip()], capture_output=True, check=True)
    found = re.search(r"digest: (sha256:\w{64})", done.stdout)
    assert found
    return found.group(1)


@pytest.fixture(scope="module")
def digests(docker_engine: None, say: Say) -> Iterator[dict[str, str]]:
    """One name in two registries, with something else in each; a registry of models; the proxy that leads to them."""
    with ExitStack() as stack:
        # Two runs on one machine take turns, or each would take the other's desks away.
        stack.enter_context(proxy.turn())
        # Registries of its own, for which nobody has to wait.
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        names = {models: "llmdesk-test-egress-models", registry: "llmdesk-test-egress-registry"}
        for module, name in names.items():
            patch.setattr(module, "NAME", name)
        for name in (*names.values(), registry.MIRROR):
            stack.callback(registry.down, name)
            registry.down(name)  # a killed run may have left one
        registry.serve(registry.NAME, registry.HOST, registry.START, {CONFIG: registry.CONFIG}, say)
        registry.mirror(say)
        models.up(say)
        models.push(f"library/{TINY}", models.demo())
        stack.callback(proxy.down)
        proxy.up(PASSWORD, say)
        yield {
            "right": tiny_image(registry.NAME, "what was meant"),
            "other": tiny_image(registry.MIRROR, "something else"),
        }


@pytest.fixture(scope="module")
def make_machine(
    digests: dict[str, str], make_desk: MakeDesk, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, str], Machine]:
    def make(name: str, system: str) -> Machine:
        container = make_desk(name, system, with_docker=True, network=proxy.NETWORK)
        desk.run(container, "touch /begun")
        return Machine(container, tmp_path_factory.mktemp(name))

    return make


@pytest.fixture(scope="module")
def old(make_machine: Callable[[str, str], Machine]) -> Machine:
    """Docker 20.10, which has no key for a proxy."""
    return make_machine("llmdesk-test-egress-12", "debian-12")


@pytest.fixture(scope="module")
def new(make_machine: Callable[[str, str], Machine]) -> Machine:
    """Docker 26.1, which has one."""
    return make_machine("llmdesk-test-egress-13", "debian-13")


@pytest.fixture(scope="module")
def guarded(old: Machine, image: str) -> Ran:
    """The desk behind a proxy with a password, while somebody watches every process."""
    old.container.exec_run(["bash", "-c", f"exec -a watcher bash -c {WATCH!r}"], detach=True)
    try:
        return old.plays(container(), verbosity=3, **behind_a_password(image))
    finally:
        old.types("pkill -f ^watcher")


def container(*, model: bool = True) -> list[dict[str, Any]]:
    """Return the tasks that bring Docker, the container and a model: nobody needs an account or a page here."""
    wanted = [("docker", "main"), ("open_webui", "image"), ("open_webui", "container"), ("desk", "ask")]
    wanted += [("ollama_models", "main")] * model
    package = {"ansible.builtin.apt": {"name": "python3-requests", "update_cache": True, "cache_valid_time": 3600}}
    included = [
        {"ansible.builtin.include_role": {"name": f"llmdesk.workstation.{role}", "tasks_from": tasks}}
        for role, tasks in wanted
    ]
    return [included[0], package, *included[1:]]


def behind_a_password(image: str, password: str = PASSWORD) -> dict[str, Any]:
    archive = f"/var/cache/llmdesk/images/{Build(str(RECIPE), '/', cpu(), lambda *_told: None).hash}.tar"
    assert image
    return {
        "desk_proxy": through(proxy.GUARDED, password),
        # What the registries here are signed by. The desk trusts it already; the container trusts nothing of the kind.
        "desk_ca_certificates": [LAB],
        "open_webui_image_sources": [{"archive": archive}],
        "ollama_models": [{"name": THERE, "sources": [{"name": THERE}]}],
    }


def cpu() -> list[str]:
    return cpu_flags(desk_cpu_flags(Path("/proc/cpuinfo").read_text()), platform.machine())


# --- Before anything is changed -------------------------------------------------------------------------------------


def test_without_a_proxy_it_is_said_what_to_set(old: Machine) -> None:
    # A name server may be silent for longer than any time-out; Docker's own is, where nothing leads out.
    old.types("cp --preserve /etc/resolv.conf /quick; echo nameserver 127.0.0.11 > /etc/resolv.conf")
    try:
        ran = old.runs_roles("open_webui", open_webui_image_sources=[{"registry": THE_TINY}])
    finally:
        old.types("cat /quick > /etc/resolv.conf; touch --reference=/quick /etc/resolv.conf")
    assert ran.rc != 0
    assert re.search(rf"No source has the image\. {THE_TINY}: {registry.HOST} (cannot be|did not)", ran.text)
    assert "set desk_proxy where a proxy is the way out" in ran.text


@pytest.mark.parametrize(
    ("password", "words"),
    [("", "wants a user and a password (HTTP 407): write them into desk_proxy, as http://USER:PASSWORD@"),
     ("wrong-" + PASSWORD, "does not take the user and the password of desk_proxy (HTTP 407)")],
)  # fmt: skip
def test_a_proxy_that_answers_407_is_one_sentence(old: Machine, password: str, words: str) -> None:
    ran = old.runs_roles("network", verbosity=3, desk_proxy=through(proxy.GUARDED, password))
    assert ran.rc != 0
    assert f"The proxy {proxy.address()}:{proxy.GUARDED} {words}" in ran.text
    assert not password or quote(password, safe="") not in ran.text
    assert changed(old) == ""


def test_a_file_that_is_no_certificate_is_refused_before_anything_is_changed(old: Machine, tmp_path: Path) -> None:
    (tmp_path / "portal.pem").write_text("<!doctype html><p>Sign in</p>")
    wanted = {"desk_proxy": through(proxy.OPEN), "desk_ca_certificates": [str(tmp_path / "portal.pem")]}
    for roles in (("preflight", "network"), ("network",)):
        ran = old.runs_roles(*roles, **wanted)
        assert ran.rc != 0
        assert f"desk_ca_certificates: {tmp_path}/portal.pem is no certificate" in ran.text
        assert changed(old) == ""


def test_check_mode_changes_nothing(old: Machine) -> None:
    ran = old.runs_roles("docker", check=True, desk_proxy=through(proxy.GUARDED, PASSWORD))
    assert ran.rc == 0, ran.text
    assert "changed=1" in ran.text, ran.text
    assert changed(old) == ""


# --- A proxy with a password, Docker without a key of its own -------------------------------------------------------


def test_image_packages_and_model_come_through_the_proxy(guarded: Ran, old: Machine) -> None:
    assert guarded.rc == 0, guarded.text[-4000:]
    assert "Fetched" in old.types("apt-get update 2>&1")
    assert "Status: Downloaded" in old.types(f"docker pull {THE_TINY} 2>&1")
    said = " ".join(proxy.asked())
    assert f"CONNECT {registry.HOST}:443 TCP_TUNNEL/200" in said
    assert f"CONNECT {models.HOST}:443 TCP_TUNNEL/200" in said
    assert THERE in old.types("docker exec open-webui ollama list")
    assert old.types("test -e /etc/docker/daemon.json; echo $?").strip() == "1"


def test_a_second_run_is_one_module_and_leaves_the_container_alone(guarded: Ran, old: Machine, image: str) -> None:
    ran = old.runs_roles("docker", verbosity=3, **behind_a_password(image))
    assert (ran.rc, ran.executions) == (0, 1), ran.text[-4000:]
    ran = old.plays(container(), **behind_a_password(image))
    assert ran.rc == 0, ran.text[-4000:]
    assert "changed=0" in ran.text, ran.text[-4000:]


def test_the_password_stands_where_it_must_and_nowhere_else(guarded: Ran, old: Machine) -> None:
    spelled = (PASSWORD, quote(PASSWORD, safe=""))
    old.types("journalctl > /journal 2>/dev/null")
    old.types("docker inspect open-webui > /inspected; docker logs open-webui >> /inspected 2>&1")
    old.types("(docker info; systemctl show docker) >> /inspected 2>&1")
    old.types("docker image inspect $(docker image ls -q) >> /inspected")
    places = (
        "/root /tmp /var/lib/llmdesk /var/log /var/cache/apt /run /home /etc /usr/local /watched /journal /inspected"
    )
    found = set()
    for word in spelled:
        assert word not in guarded.text
        desk.put(old.container, "/secret", word.encode(), 0o600)
        found |= set(old.types(f"grep -rslaF -f /secret {places} 2>/dev/null").split())
    assert sorted(found) == HOLDERS
    modes = old.types(f"stat -c '%a %U' {' '.join(HOLDERS)}").split("\n")
    assert set(filter(None, modes)) == {"600 root"}
    assert "dockerd" in old.types("grep -ao dockerd /watched | head -1"), "the watcher saw nothing"


def test_a_new_password_reaches_docker_and_the_container(guarded: Ran, old: Machine, image: str) -> None:
    before = old.types("docker inspect --format '{{index .Config.Labels \"llmdesk.config_hash\"}}' open-webui")
    proxy.change(OTHER)
    try:
        old.types(f"docker exec open-webui ollama rm {THERE}")
        ran = old.plays(container(), verbosity=3, **behind_a_password(image, OTHER))
    finally:
        proxy.change(PASSWORD)
    assert ran.rc == 0, ran.text[-4000:]
    assert THERE in old.types("docker exec open-webui ollama list")
    after = old.types("docker inspect --format '{{index .Config.Labels \"llmdesk.config_hash\"}}' open-webui")
    assert len(after.strip()) == 64
    assert after != before
    assert old.types(f"grep -rlF '{quote(PASSWORD, safe='')}' /etc") == ""


# --- A proxy that re-signs TLS --------------------------------------------------------------------------------------


def test_what_is_signed_anew_is_not_trusted_unless_it_is_told(guarded: Ran, old: Machine, image: str) -> None:
    old.types(f"docker exec open-webui ollama rm {THERE}; docker rmi {THE_TINY}")
    wanted = {**behind_a_password(image), "desk_proxy": through(proxy.RESIGNING)}
    without = old.plays(container(), **wanted)
    assert without.rc != 0
    assert "its certificate is not one that this machine trusts" in without.text
    ran = old.plays(container(), **{**wanted, "desk_ca_certificates": [LAB, proxy.certificate()]})
    assert ran.rc == 0, ran.text[-4000:]
    assert THERE in old.types("docker exec open-webui ollama list")
    assert "Status: Downloaded" in old.types(f"docker pull {THE_TINY} 2>&1")
    ask = f"import urllib.request as u; print(u.urlopen('https://{registry.HOST}/v2/', timeout=10).status)"
    assert old.types(f'docker exec open-webui python3 -c "{ask}" 2>&1').strip() == "200"
    assert "HTTPS_PROXY=http://" in old.types("docker exec open-webui env")


def test_what_is_unset_again_is_taken_away(guarded: Ran, old: Machine, image: str) -> None:
    sources = behind_a_password(image)["open_webui_image_sources"]
    ran = old.plays(container(model=False), open_webui_image_sources=sources)
    assert ran.rc == 0, ran.text[-4000:]
    places = "/etc /usr/local/share/ca-certificates"
    assert old.types(f"find {places} ! -type d '(' -name '*llmdesk*' -o -path '/etc/llmdesk/*' ')'") == ""
    assert "Proxy" not in old.types("docker info 2>/dev/null")
    assert "PROXY" not in old.types("docker exec open-webui env").upper()
    assert proxy.certificate().strip() not in old.types("cat /etc/ssl/certs/ca-certificates.crt")


# --- Docker's own key, and mirrors ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def behind(new: Machine) -> Machine:
    """A desk that has a daemon.json of its own, behind a proxy that lets everybody in."""
    desk.put(new.container, "/etc/docker/daemon.json", b'{"log-opts": {"max-size": "7m"}}')
    ran = new.runs_roles("docker", desk_proxy=through(proxy.OPEN))
    assert ran.rc == 0, ran.text[-4000:]
    return new


def test_docker_has_the_proxy_in_its_own_key_beside_what_is_there(behind: Machine) -> None:
    wanted = through(proxy.OPEN)
    settings = json.loads(behind.types("cat /etc/docker/daemon.json"))
    assert settings["proxies"]["https-proxy"] == wanted["http"]
    assert settings["log-opts"] == {"max-size": "7m"}
    assert "Status: Downloaded" in behind.types(f"docker pull {THE_TINY} 2>&1")
    again = behind.runs_roles("docker", verbosity=3, desk_proxy=wanted)
    assert (again.rc, again.executions) == (0, 1), again.text[-4000:]


def brought(machine: Machine, sources: list[dict[str, Any]]) -> Ran:
    task = {
        "name": "Bring the image",
        "llmdesk.workstation.open_webui_image": {"sources": sources, "proxy": {"https": through(proxy.OPEN)["http"]}},
        "register": "found",
    }
    say = {"name": "Say it", "ansible.builtin.debug": {"msg": "{{ found.image.source }} TRIED {{ found.tried }}"}}
    return machine.plays([task, say])


def test_a_mirror_that_serves_another_digest_is_refused_and_the_next_is_tried(
    behind: Machine, digests: dict[str, str]
) -> None:
    name = "open-webui/tiny:1"
    sources = [
        {"registry": f"{host}/{name}", "digest": digests["right"]} for host in (registry.MIRROR_HOST, registry.HOST)
    ]
    ran = brought(behind, sources)
    assert ran.rc == 0, ran.text[-4000:]
    assert f"it serves the digest {digests['other']} under that name, and {digests['right']} is pinned" in ran.text
    assert f"{registry.HOST}/{name} TRIED" in ran.text
    assert registry.MIRROR_HOST not in behind.types("docker image ls --all --digests")


def test_a_mirror_that_is_not_there_costs_seconds(behind: Machine) -> None:
    ran = brought(behind, [{"registry": "gone.lab.test/open-webui/tiny:1"}, {"registry": THE_TINY}])
    assert ran.rc == 0, ran.text[-4000:]
    assert "gone.lab.test" in ran.text.split("TRIED", 1)[1]
    assert "through the proxy" in ran.text
