"""A desk with a GPU and no registry: its image is built with Vulkan, and a model answers by it. Runs where it is named.

Real: the whole build, Docker, Ollama, llama.cpp and its Vulkan part, the page, ``./llmdesk up`` and its proof. A
stand-in: the card. The desk's render node is a /dev/null, and the Vulkan device is Mesa's lavapipe, which makes one of
the CPU; the image has it on its disk and hides it, and the test shows it. So nothing here says how fast a card is, nor
that its driver comes into the container.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from docker.models.containers import Container

from lab import desk
from lab import image as built
from tests.e2e.person import Person, Typed

NAME = "llmdesk-test-vulkan"
MODEL = "smollm2:135m"
NODE = "mkdir -p /dev/dri && mknod -m 666 /dev/dri/renderD128 c 1 3"
# Where Ollama's volume lies on the desk, and in the container.
VOLUME = "docker volume create ollama > /dev/null && docker volume inspect --format '{{.Mountpoint}}' ollama"
SEEN = "/root/.ollama/lavapipe.json"
LAVAPIPE = {"file_format_version": "1.0.0", "ICD": {"library_path": "libvulkan_lvp.so", "api_version": "1.3.0"}}
ENGINE = "/usr/local/lib/ollama/llama-server"


@pytest.fixture(scope="module")
def image(docker_engine: None, say: Callable[[str], None]) -> str:
    """The image, built on this machine; the desk finds it in the cache that they share."""
    return built.image(say, "vulkan")


@pytest.fixture(scope="module")
def person(image: str, make_desk: Callable[..., Container], say: Callable[[str], None]) -> Person:
    somebody = Person(make_desk(NAME, "debian-13", with_docker=True), "root", say)
    somebody.clones()
    return somebody


def up(person: Person, **variables: Any) -> Typed:
    """Type ``./llmdesk up``, for an image that is built and the demo model."""
    typed = person.types(f"./llmdesk up --image build --model {MODEL} --json -e '{json.dumps(variables)}'")
    assert typed.rc == 0, typed.text
    return typed


@pytest.fixture(scope="module")
def by_vulkan(person: Person) -> Typed:
    """The first ``up``, with a card and a driver for it."""
    desk.run(person.machine, NODE)
    folder = desk.run(person.machine, VOLUME).strip()
    desk.put(person.machine, f"{folder}/lavapipe.json", json.dumps(LAVAPIPE).encode())
    # lavapipe says that it is a CPU, and llama.cpp takes such a device only where its number is named.
    return up(person, desk_gpu="vulkan", desk_gpu_devices=[0], open_webui_environment={"VK_DRIVER_FILES": SEEN})


def inside(person: Person, command: str) -> str:
    return desk.run(person.machine, f"docker exec open-webui {command} 2>&1")


def report(typed: Typed) -> dict[str, Any]:
    found: dict[str, Any] = typed.result["hosts"]["localhost"]["report"]
    return found


def test_it_is_said_before_the_build_that_it_is_for_vulkan_and_why(by_vulkan: Typed, image: str) -> None:
    said = by_vulkan.text.index("it is built for the GPU, by Vulkan: a card, by Vulkan and /dev/dri.")
    assert said < by_vulkan.text.index("Run the container")
    assert report(by_vulkan)["image"]["reference"] == image


def test_the_engine_lists_the_device(by_vulkan: Typed, person: Person) -> None:
    assert re.search(r"Vulkan0: llvmpipe .*MiB", inside(person, f"{ENGINE} --list-devices"))


def test_the_model_lies_on_the_device_and_answers(by_vulkan: Typed, person: Person) -> None:
    proof = report(by_vulkan)["proof"]
    assert "Paris" in proof["answer"]
    assert (proof["processor"], proof["size_vram"]) == ("gpu", proof["size"])
    log = desk.run(person.machine, "docker logs open-webui 2>&1")
    assert re.search(r"inference compute.* library=Vulkan ", log)
    layers = re.search(r"offloaded (\d+)/(\d+) layers to GPU", log)
    assert layers, log[-3000:]
    assert layers[1] == layers[2]


def test_what_nvidias_driver_opens_by_name_is_there(by_vulkan: Typed, person: Person) -> None:
    there = inside(person, "ldconfig -p")
    wanted = (
        "libEGL.so.1",
        "libX11.so.6",
        "libX11-xcb.so.1",
        "libXext.so.6",
        "libxcb-dri3.so.0",
        "libxcb-present.so.0",
    )
    assert [name for name in wanted if name not in there] == []


def test_without_the_device_the_same_image_answers_on_the_cpu(by_vulkan: Typed, person: Person, image: str) -> None:
    desk.run(person.machine, "rm -r /dev/dri")
    without = report(up(person))
    assert without["image"]["reference"] == image
    assert "Paris" in without["proof"]["answer"]
    assert (without["proof"]["processor"], without["proof"]["size_vram"]) == ("cpu", 0)
    # Nor does it take lavapipe for the card that desk_gpu_devices names, though it is there.
    assert "Vulkan0" not in inside(person, f"env GGML_VK_VISIBLE_DEVICES=0 {ENGINE} --list-devices")
    assert "libvulkan_lvp.so" in inside(person, "sh -c 'find / -xdev -name \"libvulkan_lvp*\"'")
