# SPDX-License-Identifier: GPL-3.0-or-later
"""A mirror on the LAN: a whole machine with the real nginx, real Ollamas that pull through it, and all that goes wrong.

Bytes are counted where the WAN would be: at the registry.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llmdesk.workstation.plugins.plugin_utils.mirrors import authority, password, password_file
from docker.models.containers import Container

from lab import authority as lab_authority
from lab import desk, faults, models, ollamas
from lab import registry as images
from tests.integration.rig import LARGER, THERE, Ollama, serve, size, until, weights
from tests.machine import Machine, Ran

NAME = "llmdesk-test-mirror"
STATE = "/var/lib/llmdesk-mirror"
UPSTREAMS = {models.HOST: 5443, images.HOST: 5444}
TWO_PERCENT = 1.02
CUT = 120.0
"""Seconds that the line is cut for."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Mirror:
    """The machine, and how desks reach it."""

    machine: Machine
    address: str

    def makes(self, **more: Any) -> Ran:
        """Run the role."""
        return self.machine.runs_roles(
            "model_mirror", **{"desk_mirror": self.address, "model_mirror_upstreams": UPSTREAMS, **more}
        )

    def runs(self, command: str) -> str:
        """Run a command there."""
        return desk.run(self.machine.container, command)

    def spelled(self, name: str) -> str:
        """Return a model's name on it."""
        return name.replace(models.HOST, f"{self.address}:5443")

    def stored(self) -> set[str]:
        """Return what is in its store."""
        return set(re.findall(r"sha256-(\w{64})\n", self.runs(f"ls {STATE}/store/blobs")))

    def cached(self) -> int:
        """Return how many slices it has."""
        return int(self.runs(f"find {STATE}/cache/blobs -type f | wc -l"))

    def keeps(self) -> None:
        """Verify what came, as its timer does."""
        self.runs("systemctl start llmdesk-mirror-keep")

    def forgets(self) -> None:
        """Lose everything."""
        self.runs(f"find {STATE}/cache {STATE}/store -type f -delete")


@pytest.fixture(scope="module")
def mirror(
    registry: Container,
    make_desk: Callable[..., Container],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Mirror]:
    """A bare machine that the role has made a mirror."""
    container = make_desk(NAME, "debian-12")
    container.reload()
    known = f"{models.address()} {models.HOST} {models.ELSEWHERE}"
    desk.run(container, f"echo {known} >> /etc/hosts")
    folder = tmp_path_factory.mktemp("mirror")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        address = str(container.attrs["NetworkSettings"]["Networks"]["bridge"]["IPAddress"])
        made = Mirror(Machine(container, folder), address)
        first = made.makes()
        assert first.rc == 0, first.text
        yield made


@pytest.fixture(scope="module")
def desks(mirror: Mirror, image: str, tmp_path_factory: pytest.TempPathFactory, say: Say) -> Iterator[list[Ollama]]:
    """Three servers that can reach the mirror alone; the last is a year old."""
    with ExitStack() as stack:
        made = []
        for number, program in enumerate((None, None, ollamas.program(ollamas.OLD, say))):
            folder = tmp_path_factory.mktemp("desk")
            trusts = authority(mirror.address)
            name = f"{NAME}-ollama{number}"
            made.append(stack.enter_context(serve(name, image, "127.0.0.1", folder, program, trusts=trusts)))
        yield made


@pytest.fixture
def room(mirror: Mirror, desks: list[Ollama]) -> Iterator[list[Ollama]]:
    """The same, without models, and a mirror that has nothing."""
    for server in desks:
        if not server.answers():
            server.start()
        server.forget()
    mirror.forgets()
    models.forget()
    try:
        yield desks
    finally:
        models.limit(None)
        models.answer("")


def blobs_sent() -> int:
    """Return the bytes of blobs that the registry has sent."""
    return sum(asked.sent for asked in models.asked() if "/blobs/" in asked.path and asked.method == "GET")


def pulled(server: Ollama, mirror: Mirror, name: str = THERE, seconds: float = 240) -> None:
    """Pull through the mirror as a person does, and require the right bytes."""
    plain = server.plain(mirror.spelled(name), seconds)
    assert plain.rc == 0, plain.said
    digest = server.models()[mirror.spelled(name)]
    assert not server.exact or digest == models.digest(name.partition("/")[2])


@contextmanager
def slowly(server: Ollama, mirror: Mirror, name: str = THERE) -> Iterator[None]:
    """Pull through the mirror, and when a part of it is there, let something happen."""
    models.limit("16m")
    with ThreadPoolExecutor(1) as pool:
        pull = pool.submit(pulled, server, mirror, name)
        until(lambda: blobs_sent() > 20e6 or pull.done(), "a part of the model has come")
        yield
        models.limit(None)
        pull.result()


def test_a_second_run_is_one_module_and_changes_nothing(mirror: Mirror) -> None:
    again = mirror.makes(verbosity=3)
    assert again.rc == 0, again.text
    assert "changed=0" in again.text
    assert again.executions == 1


@pytest.mark.parametrize("lost", ["controller", "mirror"])
def test_a_password_that_is_lost_is_handed_over_again(mirror: Mirror, lost: str) -> None:
    kept = password(mirror.address)
    if lost == "controller":
        password_file(mirror.address).unlink()
    else:
        mirror.runs("rm /etc/llmdesk/mirror/push_password")
    ran = mirror.makes()
    assert ran.rc == 0, ran.text
    assert (password(mirror.address) == kept) is (lost == "controller")
    asks = f"curl -s --cacert /etc/llmdesk/mirror/ca.crt -u llmdesk:{password(mirror.address)}"
    assert mirror.runs(f"{asks} -o /dev/null -w '%{{http_code}}' https://{mirror.address}:5445/v2/") == "200"


def test_a_run_that_is_cut_off_after_the_certificate_is_taken_up(mirror: Mirror) -> None:
    fails = "/usr/local/sbin/nginx"
    mirror.runs(f"printf '#!/bin/sh\nexit 1\n' > {fails} && chmod +x {fails}")
    late = {"model_mirror_names": ["late.example"]}
    assert mirror.makes(**late).rc != 0
    mirror.runs(f"rm {fails}")
    ran = mirror.makes(**late)
    assert ran.rc == 0, ran.text
    ways = f"--cacert /etc/llmdesk/mirror/ca.crt --resolve late.example:5443:{mirror.address}"
    mirror.runs(f"curl -sf {ways} https://late.example:5443/metrics")


def test_authorities_that_change_reach_a_mirror_that_stands(mirror: Mirror) -> None:
    def process() -> str:
        return mirror.runs("systemctl show -P MainPID llmdesk-mirror-upstream")

    before = process()
    trusts = {"desk_ca_certificates": [lab_authority.certificate("another.example")[0].decode()]}
    ran = mirror.makes(**trusts)
    assert ran.rc == 0, ran.text
    assert process() != before
    again = mirror.makes(verbosity=3, **trusts)
    assert again.executions == 1
    assert "changed=0" in again.text
    ran = mirror.makes()
    assert ran.rc == 0, ran.text


def test_what_a_run_that_was_cut_off_has_installed_does_not_serve(mirror: Mirror) -> None:
    lacking = "/etc/llmdesk/mirror/lacking"
    mirror.runs(f"echo nginx > {lacking}; rm /etc/llmdesk/mirror/configuration; systemctl enable --now nginx")
    ran = mirror.makes()
    assert ran.rc == 0, ran.text
    assert "inactive" in mirror.machine.types("systemctl is-active nginx")
    assert "disabled" in mirror.machine.types("systemctl is-enabled nginx")
    assert "No such file" in mirror.machine.types(f"ls {lacking}")


def test_nobody_else_of_the_machine_runs_as_the_mirror(mirror: Mirror) -> None:
    assert mirror.runs("ps -o comm= -u www-data || true").strip() == ""
    assert {"nginx", "docker-registry", "python3"} <= set(mirror.runs("ps -o comm= -u llmdesk-mirror").split())
    assert mirror.runs(f"stat -c %U:%G {STATE} {STATE}/people").split() == ["root:root", "root:llmdesk-mirror"]


def test_what_the_machine_serves_itself_is_left_alone(mirror: Mirror) -> None:
    assert "inactive" in mirror.machine.types("systemctl is-active nginx docker-registry")
    assert "enabled" not in mirror.machine.types("systemctl is-enabled nginx docker-registry").replace("disabled", "")
    listening = mirror.runs("ss -Hltn | awk '{print $4}' | sed 's/.*://' | sort -u").split()
    assert {"5443", "5444", "5445"} <= set(listening)
    assert not {"80", "5000"} & set(listening)


def test_several_desks_that_miss_at_once_cross_the_wan_once(room: list[Ollama], mirror: Mirror) -> None:
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda server: pulled(server, mirror, LARGER), room))
    assert size(LARGER) <= blobs_sent() <= TWO_PERCENT * size(LARGER)
    mirror.keeps()
    assert mirror.stored() == set(models.layers("library/gemma3:270m"))
    models.forget()
    room[0].forget()
    pulled(room[0], mirror, LARGER)
    assert blobs_sent() == 0
    counted = mirror.runs("curl -s --cacert /etc/llmdesk/mirror/ca.crt https://$(hostname -i):5443/metrics")
    assert f"llmdesk_mirror_store_bytes {size(LARGER)}" in counted


def test_a_registry_that_is_busy_is_asked_again(room: list[Ollama], mirror: Mirror) -> None:
    for code in (429, 503):
        mirror.forgets()
        room[0].forget()
        models.forget()
        models.answer(faults.status(code, faults.BLOB, Retry_After="1"))
        with ThreadPoolExecutor(1) as pool:
            pull = pool.submit(pulled, room[0], mirror)
            until(lambda: any(asked.status in (429, 503) for asked in models.asked()), "it is busy")
            models.answer("")
            pull.result()


def test_a_registry_that_sends_elsewhere_for_blobs_is_followed(room: list[Ollama], mirror: Mirror) -> None:
    models.answer(faults.elsewhere())
    pulled(room[0], mirror)
    assert any(asked.host == models.ELSEWHERE and asked.status == 206 for asked in models.asked())


def test_wrong_bytes_never_reach_the_store_and_leave_the_cache(room: list[Ollama], mirror: Mirror) -> None:
    with models.spoilt(weights()):
        plain = room[0].plain(mirror.spelled(THERE), 60)
        assert plain.rc != 0
        assert "digest mismatch" in plain.said
        mirror.keeps()
        assert weights() not in mirror.stored()
    said = mirror.runs("journalctl -u llmdesk-mirror-keep -o cat | tail -n 5")
    assert f"sha256:{weights()} came with other bytes" in said
    pulled(room[0], mirror)
    mirror.keeps()
    assert weights() in mirror.stored()


def test_a_mirror_that_restarts_in_the_middle_goes_on(room: list[Ollama], mirror: Mirror) -> None:
    with slowly(room[0], mirror):
        mirror.runs("systemctl kill -s KILL llmdesk-mirror llmdesk-mirror-upstream")
    assert blobs_sent() <= 1.5 * size()


def test_a_wan_that_is_cut_is_waited_for(room: list[Ollama], mirror: Mirror) -> None:
    with slowly(room[0], mirror):
        models.cut()
        time.sleep(CUT)
        models.mend()
    # Without it, what was verified is there, and so is the manifest.
    mirror.keeps()
    models.cut()
    try:
        room[1].forget()
        pulled_offline = room[1].plain(mirror.spelled(THERE), 60)
        assert pulled_offline.rc == 0, pulled_offline.said
    finally:
        models.mend()


def test_a_tag_that_changes_in_the_middle_gives_one_or_the_other(room: list[Ollama], mirror: Mirror) -> None:
    name = models.push("library/tiny:moving", models.demo())
    before = models.digest("library/tiny:moving")
    models.limit("16m")
    with ThreadPoolExecutor(1) as pool:
        pull = pool.submit(room[0].plain, mirror.spelled(name), 60)
        until(lambda: blobs_sent() > 20e6, "a part of the model has come")
        models.push("library/tiny:moving", models.demo(), lie=-1)
        models.limit(None)
        assert pull.result().rc == 0
    after = models.digest("library/tiny:moving")
    assert room[0].models()[mirror.spelled(name)] == before != after

    def moved() -> bool:
        room[1].lines(mirror.spelled(name))
        return room[1].models().get(mirror.spelled(name)) == after

    until(moved, "the mirror has seen it")


def test_a_disk_that_is_full_is_said_and_the_next_run_ends_it(room: list[Ollama], mirror: Mirror) -> None:
    mirror.runs(f"mount -t tmpfs -o size=60m,mode=755,uid=$(id -u llmdesk-mirror) tmpfs {STATE}/store/blobs")
    try:
        wanted = {
            "ollama_models": [LARGER],
            "open_webui_image_sources": [{"build": True}],
            "model_mirror_desks": [NAME],
        }
        ran = mirror.makes(**wanted)
        assert ran.rc == 0, ran.text
        assert "stays in the cache: the disk has no room" in ran.text
        pulled(room[0], mirror, LARGER)  # from the cache
    finally:
        mirror.runs(f"umount {STATE}/store/blobs")
    models.forget()
    ran = mirror.makes(**wanted)
    assert ran.rc == 0, ran.text
    assert mirror.stored() == set(models.layers("library/gemma3:270m"))
    # What is small was stored on the disk that is gone, and has made room in the cache.
    assert blobs_sent() < 0.02 * size(LARGER)


def test_two_rooms_use_it_at_once(room: list[Ollama], mirror: Mirror, tmp_path: Path) -> None:
    """Each by its own name for it: the certificate is good for both, and neither run undoes what the other has set."""
    other = Mirror(Machine(mirror.machine.container, tmp_path), "mirror.example")
    rooms = [(mirror, THERE), (other, LARGER)]

    def run(one: tuple[Mirror, str]) -> Ran:
        wanted = {"ollama_models": [one[1]], "open_webui_image_sources": [{"build": True}]}
        return one[0].makes(verbosity=3, model_mirror_desks=[NAME], **wanted)

    first = run(rooms[1])
    assert first.rc == 0, first.text
    mirror.forgets()
    models.forget()
    with ThreadPoolExecutor(2) as pool:
        for ran in pool.map(run, rooms):
            assert ran.rc == 0, ran.text
    assert mirror.stored() == {blob for name in (THERE, LARGER) for blob in models.layers(name.partition("/")[2])}
    assert blobs_sent() <= TWO_PERCENT * (size() + size(LARGER))
    for ran in map(run, rooms):
        assert ran.executions == 1
        assert "changed=0" in ran.text
    for name in (mirror.address, other.address):
        ways = f"--cacert /etc/llmdesk/mirror/ca.crt --resolve mirror.example:5443:{mirror.address}"
        mirror.runs(f"curl -sf {ways} https://{name}:5443/metrics")


def test_others_than_the_lan_are_refused(mirror: Mirror) -> None:
    elsewhere = "203.0.113.7"
    mirror.runs(f"ip address add {elsewhere}/32 dev lo")

    def code(client: str, request: str = ":5443/metrics") -> str:
        asked = f"curl -s -o /dev/null -w '%{{http_code}}' --cacert /etc/llmdesk/mirror/ca.crt --interface {client}"
        return mirror.runs(f"{asked} https://{mirror.address}{request}")

    assert code(mirror.address) == "200"
    assert code(elsewhere) == "403"
    assert code(mirror.address, ":5443/v2/x/blobs/uploads/ -X POST") == "403"
    assert code(mirror.address, ":5445/v2/") == "401"
    assert code(mirror.address, ":5445/v2/ -u llmdesk:$(cat /etc/llmdesk/mirror/push_password)") == "200"
    # Another LAN is another configuration.
    ran = mirror.makes(model_mirror_networks=[f"{elsewhere}/32"])
    assert ran.rc == 0, ran.text
    assert code(mirror.address) == "403"
    assert code(elsewhere) == "200"
