# SPDX-License-Identifier: GPL-3.0-or-later
"""A bundle is made where there is a network; then a bare machine without any comes to an answer by it alone."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from docker.models.containers import Container

from lab import desk, models
from tests.e2e.person import Person, Typed
from tests.integration.rig import THERE, publish, serve
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
def maker(image: str, lab_registry: str, usb: Path, make_desk: MakeDesk, say: Say) -> Iterator[Person]:
    """Somebody at a machine that reaches registries and package repositories."""
    with ExitStack() as stack:
        stack.enter_context(pytest.MonkeyPatch.context()).setattr(models, "NAME", "llmdesk-test-bundle-models")
        models.down()  # a killed run may have left one
        stack.callback(models.down)
        models.up(say)
        with serve("llmdesk-test-bundle-push", image, str(models.address()), usb) as pushing:
            publish(pushing, models.demo(), THERE)
        machine = make_desk("llmdesk-e2e-maker", "debian-13", cached=False, folders={str(usb): PLACE})
        desk.run(machine, f"echo '{models.address()} {models.HOST}' >> /etc/hosts")
        somebody = Person(machine, "root", say)
        somebody.clones()
        yield somebody


@pytest.fixture(scope="module")
def made(maker: Person, lab_registry: str) -> Typed:
    """The bundle, by a command that was broken off once and typed again."""
    command = f"./llmdesk bundle '{PLACE}' --image {lab_registry} -e '{WANTED}'"
    with maker.begins(f"exec timeout --signal=INT 100 {command}") as first:
        assert first.stdout is not None
        said = []
        for line in first.stdout:
            said.append(line)
            if re.search(r"images and models|packages for", line):
                maker.types("pkill -INT -f '[.]venv/bin/llmdesk bundle'")
    assert first.returncode == 130, "".join(said)
    return maker.types(command)


def test_a_bundle_that_was_broken_off_is_carried_on_to_its_end(made: Typed, usb: Path, maker: Person) -> None:
    assert made.rc == 0, made.text
    assert f"{PLACE} is whole: the image ghcr.lab.test/open-webui/open-webui:ollama, {THERE}" in made.text
    assert "packages for debian-13-amd64" in made.text
    assert maker.types(f"cd '{PLACE}' && sha256sum --check --quiet SHA256SUMS").rc == 0
    assert [path.name for path in (usb / "packages").iterdir()] == ["debian-13-amd64"], "only what the inventory needs"
    assert list(usb.rglob("*.part")) == []


@pytest.fixture(scope="module")
def person(made: Typed, usb: Path, make_desk: MakeDesk, say: Say) -> Person:
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
    assert f"{PLACE} is not whole. Type './llmdesk bundle' on a machine with a network" in refused.text
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
