# SPDX-License-Identifier: GPL-3.0-or-later
"""A bundle is made where there is a network; then a bare machine without any comes to an answer by it alone."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.models.containers import Container

from lab import desk, models, registry
from tests.e2e.person import Person, Typed
from tests.integration.rig import THERE, TINY, publish, serve, until
from tests.machine import Machine

Say = Callable[[str], None]
MakeDesk = Callable[..., Container]

# As many disks are called, with a blank.
PLACE = "/media/USB DISK"
WANTED = f"""{{"ollama_models": [{{"name": "{THERE}", "sources": [{{"name": "{THERE}"}}]}}]}}"""


@pytest.fixture(scope="module")
def usb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The disk, as this machine sees it."""
    return tmp_path_factory.mktemp("usb")


@pytest.fixture(scope="module")
def maker(
    image: str, lab_registry: str, usb: Path, make_desk: MakeDesk, tmp_path_factory: pytest.TempPathFactory, say: Say
) -> Iterator[Person]:
    """Somebody at a machine that reaches registries and package repositories."""
    with ExitStack() as stack:
        stack.enter_context(pytest.MonkeyPatch.context()).setattr(models, "NAME", "llmdesk-test-bundle-models")
        models.down()  # a killed run may have left one
        stack.callback(models.down)
        models.up(say)
        with serve(
            "llmdesk-test-bundle-push", image, str(models.address()), tmp_path_factory.mktemp("push")
        ) as pushing:
            publish(pushing, models.demo(), THERE)
        machine = make_desk("llmdesk-e2e-maker", "debian-13", cached=False, folders={str(usb): PLACE})
        desk.run(machine, f"echo '{models.address()} {models.HOST}' >> /etc/hosts")
        somebody = Person(machine, "root", say)
        somebody.clones()
        yield somebody


@dataclass(frozen=True)
class Made:
    """A bundle that was broken off once, by Ctrl-C, and typed again.

    :param first: how that ended.
    :param second: how this did.
    :param left: bytes of the model's weights that were there in between.
    """

    first: int
    second: Typed
    left: int


@pytest.fixture(scope="module")
def made(maker: Person, lab_registry: str, usb: Path) -> Made:
    command = f"./llmdesk bundle '{PLACE}' --image {lab_registry} -e '{WANTED}'"
    models.forget()
    models.limit("4m")

    def left() -> int:
        return sum(path.stat().st_size for path in usb.glob("models/blobs/*.part"))

    # The shell becomes the launcher, and that the command: all have the same number.
    with maker.begins(f"echo $$ > /run/typed; exec {command} > /run/said 2>&1") as first:
        until(lambda: first.poll() is not None or left() > 5_000_000, "the model is coming", timeout=600)
        assert first.poll() is None, maker.types("cat /run/said").text
        maker.types("kill -INT $(cat /run/typed)")
    models.limit(None)
    came = left()
    return Made(first.returncode, maker.types(command), came)


def test_a_bundle_that_was_broken_off_is_carried_on_to_its_end(made: Made, usb: Path, maker: Person) -> None:
    assert made.first == 130, maker.types("cat /run/said").text
    assert made.second.rc == 0, made.second.text
    assert f"{PLACE} is whole: the image ghcr.lab.test/open-webui/open-webui:ollama, {THERE}" in made.second.text
    assert maker.types(f"cd '{PLACE}' && sha256sum --check --quiet SHA256SUMS").rc == 0
    assert list(usb.rglob("*.part")) == []


def test_nothing_was_fetched_twice(made: Made, maker: Person) -> None:
    fetched = [each for each in models.asked() if each.method == "GET" and "/blobs/" in each.path]
    # Desks of other tests ask that registry as well, some of them earlier and from the same address.
    maker.machine.reload()
    address = re.escape(maker.machine.attrs["NetworkSettings"]["IPAddress"])
    began = datetime.fromisoformat(maker.machine.attrs["Created"][:19])
    log = docker.from_env().containers.get(registry.NAME).logs(since=began).decode()
    layers = re.findall(rf'^{address} .*"GET (\S+/blobs/\S+) HTTP[^"]*" 20', log, re.MULTILINE)
    assert layers, log[-2000:]
    asked = Counter([each.path for each in fetched] + layers)
    ((weights, times),) = [(path, times) for path, times in asked.items() if times > 1]
    assert times == 2
    rest = [int(each.range[len("bytes=") : -1]) for each in fetched if each.path == weights and each.range]
    assert len(rest) == 1
    # The module needs a moment to notice that nobody waits for it any more.
    assert made.left <= rest[0] < max(models.layers(f"library/{TINY}").values())


def test_only_what_the_inventory_needs_is_in_it(made: Made, usb: Path) -> None:
    assert {path.name for path in usb.iterdir()} == {
        *("images", "models", "packages", "wheels", "llmdesk.tar.gz", ".lock"),
        *("README.txt", "SHA256SUMS", "bundle.json"),
    }
    assert [path.name for path in (usb / "packages").iterdir()] == ["debian-13-amd64"]
    assert [str(path.relative_to(usb / "models/manifests")) for path in usb.glob("models/manifests/*/*/*/*")] == [
        THERE.replace(":", "/")
    ]
    assert {path.name[len("sha256-") :] for path in usb.glob("models/blobs/*")} == set(models.layers("library/" + TINY))
    assert [file for file in ("pytest", "mypy", "numpy") if list(usb.glob(f"wheels/{file}-*"))] == []


@pytest.fixture(scope="module")
def person(made: Made, usb: Path, make_desk: MakeDesk, say: Say) -> Person:
    """Somebody at a bare machine without a network, with the disk and nothing else."""
    machine = make_desk("llmdesk-e2e-bundle", "debian-13", cached=False, network="none", folders={str(usb): PLACE})
    somebody = Person(machine, "root", say)
    desk.run(machine, f"mkdir ~/llmdesk && tar -xzf '{PLACE}/llmdesk.tar.gz' -C ~/llmdesk")
    return somebody


def up(person: Person, more: str = "") -> Typed:
    image = "ghcr.lab.test/open-webui/open-webui:ollama"
    return person.types(f"./llmdesk up --bundle '{PLACE}' --image {image} -e '{WANTED}' {more}")


@pytest.fixture(scope="module")
def first_up(person: Person, usb: Path) -> Typed:
    """The first ``up``, after one with a wheel in the bundle that had a flipped byte."""
    wheel = next((usb / "wheels").glob("ansible-*.whl"))
    content = wheel.read_bytes()
    wheel.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    refused = up(person)
    wheel.write_bytes(content)
    assert refused.rc == 1, refused.text
    assert f"{PLACE}/wheels/{wheel.name} is damaged or missing. Type './llmdesk bundle {PLACE}' on" in refused.text
    return up(person, "--json")


def test_a_bare_machine_without_a_network_comes_to_an_answer(first_up: Typed, person: Person) -> None:
    assert person.types("ip route show default").text == "", "it has a network"
    assert first_up.rc == 0, first_up.text
    report = first_up.result["hosts"]["localhost"]["report"]
    assert "Paris" in report["proof"]["answer"]
    assert report["proof"]["model"] == THERE
    assert person.types("ls /var/cache/llmdesk").text.strip() in ("", "models"), "a second copy was left"


@pytest.mark.parametrize("more", ["", "without"])
def test_a_second_time_is_one_module_with_the_bundle_or_without_it(first_up: Typed, person: Person, more: str) -> None:
    command = (
        up(person, "-vvv")
        if not more
        else person.types(f"./llmdesk up --image ghcr.lab.test/open-webui/open-webui:ollama -e '{WANTED}' -vvv")
    )
    assert command.rc == 0, command.text
    assert "changed=0" in command.text
    assert len(re.findall(r"EXEC .*python3", command.text)) == 1


def test_a_flipped_byte_in_the_model_is_named_and_the_mended_file_ends_it(
    first_up: Typed, person: Person, usb: Path, tmp_path: Path
) -> None:
    """From this machine, as to any other desk: the files are brought over the connection."""
    blob = max((usb / "models" / "blobs").iterdir(), key=lambda path: path.stat().st_size)
    person.types(f"docker exec open-webui ollama rm {THERE}")
    wanted: dict[str, Any] = {
        "open_webui_image_sources": [{"registry": "ghcr.lab.test/open-webui/open-webui:ollama"}],
        "ollama_models": [{"name": THERE, "sources": [{"name": THERE}]}],
        "desk_bundle": str(usb),
    }
    shutil.copy(blob, tmp_path / "good")
    with blob.open("r+b") as file:
        file.seek(5_000_000)
        file.write(b"flipped")
    machine = Machine(person.machine, tmp_path)
    refused = machine.runs("site.yml", **wanted)
    assert refused.rc == 2
    assert f"{blob} is damaged: its sha256 is not that of the bundle. Type './llmdesk bundle {usb}' on" in refused.text
    shutil.copy(tmp_path / "good", blob)
    again = machine.runs("site.yml", **wanted)
    assert again.rc == 0, again.text[-4000:]
    assert "Paris" in again.text
    assert person.types("ls /var/cache/llmdesk").text.strip() in ("", "models"), "a second copy was left"


def test_a_bundle_without_what_is_wanted_is_refused_before_anything_is_touched(first_up: Typed, person: Person) -> None:
    refused = up(person, """-e '{"ollama_models": ["qwen3:4b"]}'""")
    assert refused.rc == 2
    assert "The bundle is for other desks: it has no model qwen3:4b." in refused.text
    assert "Bring the files" not in refused.text
