# SPDX-License-Identifier: GPL-3.0-or-later
"""Where an image comes from, what its references mean, and by what one made on the spot is known."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.llmdesk.workstation.plugins.module_utils import image_build
from ansible_collections.llmdesk.workstation.plugins.module_utils.docker_socket import DockerSocket
from ansible_collections.llmdesk.workstation.plugins.module_utils.image_build import (
    VULKAN_ENGINE_FILES,
    VULKAN_FLAGS,
    Build,
    BuildFailed,
    cpu_flags,
    desk_cpu_flags,
    engines_hash,
    mirror,
    recipe_hash,
    versions,
    vulkan_folder,
)
from ansible_collections.llmdesk.workstation.plugins.module_utils.image_source import (
    image_engine,
    registry_digest,
    registry_host,
    spelled,
    split_tag,
    with_mirrors,
)
from ansible_collections.llmdesk.workstation.plugins.modules.open_webui_image import Image, SourceFailed

from tests.unit.servers import Answer, Reply, UnixSocket, as_json, docker_socket

FIXTURES = Path(__file__).parent / "fixtures"
RECIPE = Path(__file__).parents[2] / "collections/ansible_collections/llmdesk/workstation/roles/open_webui/files/image"
UPSTREAM = "ghcr.io/open-webui/open-webui:ollama"

# --- References -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reference", "host"),
    [
        (UPSTREAM, "ghcr.io"),
        ("registry.example.com:5000/x/y:z", "registry.example.com:5000"),
        ("localhost/x", "localhost"),
        ("localhost:5000/x", "localhost:5000"),
        ("open-webui/open-webui", "registry-1.docker.io"),
        ("debian:12", "registry-1.docker.io"),
        ("my.image:1", "registry-1.docker.io"),
    ],
)
def test_the_host_of_a_reference(reference: str, host: str) -> None:
    assert registry_host(reference) == host


@pytest.mark.parametrize(
    ("reference", "name", "tag"),
    [
        (UPSTREAM, "ghcr.io/open-webui/open-webui", "ollama"),
        ("debian", "debian", "latest"),
        ("registry.example.com:5000/x/y", "registry.example.com:5000/x/y", "latest"),
        ("registry.example.com:5000/x/y:z", "registry.example.com:5000/x/y", "z"),
        ("ghcr.io/x/y@sha256:ab", "ghcr.io/x/y", "sha256:ab"),
    ],
)
def test_name_and_tag_of_a_reference(reference: str, name: str, tag: str) -> None:
    assert split_tag(reference) == (name, tag)


@pytest.mark.parametrize(
    ("source", "words"),
    [({"registry": UPSTREAM}, UPSTREAM), ({"archive": "/a.tar"}, "/a.tar"), ({"build": True}, "built on the spot")],
)
def test_a_source_in_words(source: dict[str, Any], words: str) -> None:
    assert spelled(source) == words


@pytest.mark.parametrize(
    ("reference", "digest"),
    [
        (UPSTREAM, "ghcr.io/open-webui/open-webui@sha256:" + "1b" * 32),
        (
            "mirror.example.com/open-webui/open-webui:ollama",
            "mirror.example.com/open-webui/open-webui@sha256:" + "0a" * 32,
        ),
        ("ghcr.io/open-webui/open:1", None),
    ],
)
def test_the_digest_by_which_a_registry_knows_an_image(reference: str, digest: str | None) -> None:
    inspected = json.loads((FIXTURES / "docker" / "image.json").read_text())
    assert registry_digest(inspected, reference) == digest
    assert registry_digest({"RepoDigests": None}, reference) is None


MIRROR = "mirror.example.com/ghcr"
MIRRORED = f"{MIRROR}/open-webui/open-webui:ollama"


@pytest.mark.parametrize(
    ("mirrors", "order"),
    [
        ([], [UPSTREAM]),
        ([MIRROR], [UPSTREAM, MIRRORED]),
        ([f"https://{MIRROR}/"], [UPSTREAM, MIRRORED]),
        ([MIRROR, "ghcr.io"], [MIRRORED, UPSTREAM]),
        ([MIRROR, "b.example.com"], [UPSTREAM, MIRRORED, "b.example.com/open-webui/open-webui:ollama"]),
    ],
)
def test_mirrors_take_the_place_of_ghcr(mirrors: list[str], order: list[str]) -> None:
    found = with_mirrors([{"registry": UPSTREAM, "digest": "sha256:1"}, {"build": True}], mirrors)
    assert found == [*({"registry": name, "digest": "sha256:1"} for name in order), {"build": True}]


def test_mirrors_are_of_ghcr_alone_and_named_once() -> None:
    other = [{"registry": "own.example.com/x:1"}, {"archive": "/a.tar"}]
    assert with_mirrors(other, [MIRROR]) == other
    assert with_mirrors([{"registry": UPSTREAM}, {"registry": MIRRORED}], [MIRROR]) == [
        {"registry": UPSTREAM},
        {"registry": MIRRORED},
    ]


# --- What one made on the spot is made of ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "machine", "on"),
    [
        (["avx", "avx2", "fma", "f16c"], "x86_64", True),
        (["avx", "avx2", "fma"], "x86_64", False),
        ([], "x86_64", False),
    ],
)
def test_avx2_is_used_where_the_cpu_has_all_of_it(flags: list[str], machine: str, on: bool) -> None:
    chosen = cpu_flags(flags, machine)
    assert chosen[0] == "-DGGML_NATIVE=OFF", "the image may travel"
    assert ("-DGGML_AVX2=ON" in chosen, "-DGGML_AVX2=OFF" in chosen) == (on, not on)


def test_arm_has_no_flags_of_x86() -> None:
    assert cpu_flags(["asimd"], "aarch64") == ["-DGGML_NATIVE=OFF"]


def test_flags_of_a_desk() -> None:
    assert {"avx2", "fma", "f16c"} <= set(desk_cpu_flags((FIXTURES / "desk" / "wsl" / "cpuinfo").read_text()))
    assert desk_cpu_flags((FIXTURES / "probe" / "cpuinfo-arm64").read_text()) == []


def test_the_hash_of_a_recipe_covers_every_file_its_name_and_the_flags(tmp_path: Path) -> None:
    (tmp_path / "a.sh").write_text("one")
    (tmp_path / "b.sh").write_text("two")
    before = recipe_hash(str(tmp_path), ["-O3"])
    assert recipe_hash(str(tmp_path), ["-O3"]) == before
    assert recipe_hash(str(tmp_path), ["-O2"]) != before
    (tmp_path / "b.sh").rename(tmp_path / "c.sh")
    renamed = recipe_hash(str(tmp_path), ["-O3"])
    (tmp_path / "c.sh").write_text("three")
    assert len({before, renamed, recipe_hash(str(tmp_path), ["-O3"])}) == 3


def test_the_recipe_pins_everything() -> None:
    pins = versions(str(RECIPE))
    assert {"DEBIAN", "OPEN_WEBUI", "OLLAMA", "LLAMA_CPP"} <= set(pins)
    assert all(value and "latest" not in value for value in pins.values())


def test_an_image_is_named_after_what_it_is_made_of(tmp_path: Path) -> None:
    pins = versions(str(RECIPE))
    build = Build(str(RECIPE), str(tmp_path), ["-O3"], lambda *_report: None)
    assert build.hash == recipe_hash(str(RECIPE), ["-O3"])
    assert build.tag == f"llmdesk/open-webui:{pins['OPEN_WEBUI']}-ollama{pins['OLLAMA']}-{build.hash[:12]}"
    assert build.archive == f"{tmp_path}/images/{build.hash}.tar"


def test_an_image_for_a_gpu_leaves_that_for_the_cpu_as_it_is(tmp_path: Path) -> None:
    plain = Build(str(RECIPE), str(tmp_path), ["-O3"], lambda *_report: None)
    vulkan = Build(str(RECIPE), str(tmp_path), ["-O3"], lambda *_report: None, "vulkan")
    assert plain.hash == recipe_hash(str(RECIPE), ["-O3"]), "whatever lies in the folder beside the recipe"
    assert vulkan.hash == recipe_hash(str(RECIPE), ["-O3"], "vulkan") != plain.hash
    assert "-vulkan-" in vulkan.tag
    assert engines_hash(str(RECIPE), ["-O3"], "vulkan") != engines_hash(str(RECIPE), ["-O3"])


def test_newer_drivers_for_a_gpu_need_no_new_engines(tmp_path: Path) -> None:
    recipe, more = str(tmp_path / "image"), Path(vulkan_folder(str(tmp_path / "image")))
    shutil.copytree(RECIPE, recipe)
    shutil.copytree(vulkan_folder(str(RECIPE)), more)
    assert {path.name for path in more.iterdir()} == {"build-page.sh", *VULKAN_ENGINE_FILES}
    made, engines = recipe_hash(recipe, [], "vulkan"), engines_hash(recipe, [], "vulkan")
    with (more / "build-page.sh").open("a") as page:
        page.write("# newer\n")
    assert recipe_hash(recipe, [], "vulkan") != made
    assert engines_hash(recipe, [], "vulkan") == engines
    with (more / "tune.cmake").open("a") as tune:
        tune.write("# faster\n")
    assert engines_hash(recipe, [], "vulkan") != engines


def test_every_flag_is_one_that_this_llama_cpp_knows() -> None:
    # Out of its sources: what option() names in CMakeLists.txt and ggml/CMakeLists.txt, the deprecated ones with them,
    # and find_package() in ggml/src/ggml-vulkan/CMakeLists.txt. CMake itself takes any flag, and goes without.
    known = json.loads((FIXTURES / "image" / "llama-cpp.json").read_text())
    assert known["llama_cpp"] == versions(str(RECIPE))["LLAMA_CPP"], "another llama.cpp: capture its names anew"
    given = [(RECIPE / "build-llama.sh").read_text(), *VULKAN_FLAGS]
    given += [*cpu_flags(["avx2", "fma", "f16c"], "x86_64"), *cpu_flags([], "x86_64")]
    flags = set(re.findall(r"-D([\w-]+)=", " ".join(given)))
    assert {"GGML_VULKAN", "GGML_NATIVE", "LLAMA_BUILD_TESTS", "Vulkan_GLSLC_EXECUTABLE"} <= flags
    own = {flag for flag in flags if not flag.startswith("CMAKE_") and flag.partition("_")[0] not in known["packages"]}
    assert own - set(known["options"]) == set()


def test_an_image_for_a_gpu_is_made_by_the_scripts_beside_the_recipe(docker: Docker, tmp_path: Path) -> None:
    docker.answers('case "$*" in "image inspect llmdesk/build-root"*) exit 0 ;; "image inspect"*) exit 1 ;; esac')
    with contextlib.suppress(OSError, BuildFailed):  # no engine comes out of a docker that does nothing
        Build(str(RECIPE), str(tmp_path / "cache"), [], lambda *_report: None, "vulkan").image()
    started = [line for line in docker.asked if line.startswith("docker run")]
    scripts = {line.split("exec sh ")[-1].split()[0]: line for line in started}
    assert set(scripts) == {
        "/recipe-vulkan/build-page.sh",
        "/recipe-vulkan/build-tools.sh",
        "/recipe/build-llama.sh",
        "/recipe/build-ollama.sh",
    }
    assert all(f"{RECIPE}-vulkan:/recipe-vulkan:ro" in line for line in scripts.values())
    assert "-DGGML_VULKAN=ON" in scripts["/recipe/build-llama.sh"]


@pytest.mark.parametrize(
    ("source", "labels", "engine"),
    [
        ({"registry": "ghcr.io/open-webui/open-webui:ollama"}, {}, "cuda"),
        ({"registry": "mirror.example.com/open-webui:ollama-rocm"}, {}, "rocm"),
        ({"registry": "mirror.example.com/rocm/open-webui:ollama"}, {}, "cuda"),
        ({"registry": "mirror.example.com/own:1", "engine": "vulkan"}, {}, "vulkan"),
        ({"reference": "ghcr.io/open-webui/open-webui:ollama", "source": "x"}, {}, "cuda"),
        ({"build": True}, {"llmdesk.recipe": "1"}, "cpu"),  # made before there was a label for it
        ({"archive": "/srv/it.tar"}, {"llmdesk.recipe": "1", "llmdesk.engine": "vulkan"}, "vulkan"),
        ({"archive": "/srv/it.tar", "engine": "cuda"}, {"llmdesk.recipe": "1"}, "cpu"),
    ],
)
def test_what_the_engine_of_an_image_computes_on(source: dict[str, Any], labels: dict[str, str], engine: str) -> None:
    assert image_engine(source, labels) == engine


@pytest.mark.parametrize(
    ("targets", "uri"),
    [
        ("http://deb.example.com/debian\nhttp://deb.example.com/debian-security\n", "http://deb.example.com/debian"),
        (
            "http://security.example.com/debian-security/\nhttp://a.example.com/debian/\n",
            "http://a.example.com/debian/",
        ),
        ("http://archive.example.com/ubuntu/\n", None),
        ("", None),
    ],
)
def test_the_mirror_of_a_debian_desk(targets: str, uri: str | None) -> None:
    assert mirror(targets) == uri


@pytest.mark.parametrize(
    "name", ["PIP_INDEX_URL", "GOPROXY", "https_proxy", "HTTPS_PROXY", "no_proxy", "GOSUMDB", "PIP_TRUSTED_HOST"]
)
def test_settings_that_stages_need(name: str) -> None:
    assert image_build.HANDED_ON.match(name)


@pytest.mark.parametrize("name", ["PATH", "PIP_CACHE_DIR", "GOPATH", "AWS_SECRET_ACCESS_KEY", "MY_https_proxy"])
def test_settings_that_stages_do_not_see(name: str) -> None:
    assert not image_build.HANDED_ON.match(name)


class Docker:
    """A ``docker`` and its friends on PATH that write down what they are asked, and fail where told."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        folder.mkdir()
        self.log = folder / "log"
        self.log.touch()
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
        for name in ("docker", "mmdebstrap", "apt-get"):
            script = folder / name
            script.write_text(f'#!/bin/sh\necho "{name} $*" >> {self.log}\n. {folder}/answers\n')
            script.chmod(0o755)
        self.answers("exit 0")

    def answers(self, script: str) -> None:
        (self._folder / "answers").write_text(script + "\n")

    @property
    def asked(self) -> list[str]:
        return self.log.read_text().splitlines()


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Docker:
    return Docker(tmp_path / "bin", monkeypatch)


def build(tmp_path: Path) -> Build:
    return Build(str(RECIPE), str(tmp_path / "cache"), [], lambda *_report: None)


def test_an_image_that_is_here_is_not_made(docker: Docker, tmp_path: Path) -> None:
    wanted = build(tmp_path)
    assert wanted.image() == wanted.tag
    assert docker.asked == [f"docker image inspect {wanted.tag}"]


def test_an_image_made_before_is_loaded(docker: Docker, tmp_path: Path) -> None:
    wanted = build(tmp_path)
    Path(wanted.archive).parent.mkdir(parents=True)
    Path(wanted.archive).touch()
    docker.answers(
        f'case "$*" in "image inspect"*) test -e {tmp_path}/loaded ;; load*) touch {tmp_path}/loaded ;; esac'
    )
    assert wanted.image() == wanted.tag
    assert docker.asked[1] == f"docker load --input {wanted.archive}"


def test_a_step_that_fails_is_named_with_its_last_words_and_its_log(docker: Docker, tmp_path: Path) -> None:
    docker.answers('case "$0" in *mmdebstrap) echo "E: no mirror"; exit 25 ;; esac; exit 1')
    with pytest.raises(BuildFailed, match=r"root failed: E: no mirror \(log .*/root\.log\)"):
        build(tmp_path).image()


def test_a_stage_that_fails_ends_the_others(docker: Docker, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "killed")
    docker.answers(
        f"""
case "$*" in
"image inspect llmdesk/build-root"*) exit 0 ;;
"image inspect"*) exit 1 ;;
*build-page.sh*) echo "ERROR: No matching distribution"; exit 1 ;;
*build-tools.sh*) read -r _ < {tmp_path}/killed ;;
"kill llmdesk-build-tools") echo > {tmp_path}/killed ;;
esac"""
    )
    wanted = build(tmp_path)
    with pytest.raises(BuildFailed, match="page failed: ERROR: No matching distribution"):
        wanted.image()
    assert {"docker kill llmdesk-build-page", "docker kill llmdesk-build-tools"} <= set(docker.asked)


# --- The module -----------------------------------------------------------------------------------------------------


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[UnixSocket]:
    inspected = Reply(body=(FIXTURES / "docker" / "image.json").read_text())
    answers: dict[str, Answer] = {
        "GET /info": Reply(body=(FIXTURES / "docker" / "info.json").read_text()),
        "GET /images/json": as_json([]),
        f"GET /images/{UPSTREAM}/json": inspected,
        "GET /images/own:1/json": inspected,
    }
    with docker_socket(tmp_path / "docker.sock", answers) as server:
        monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
        yield server


def image(sources: list[dict[str, Any]], check_mode: bool = False, **more: Any) -> Image:
    wanted = {
        "sources": sources,
        "cache_dir": "/nonexistent",
        "timeout_connect": 5.0,
        "proxy": None,
        "proxy_credentials": None,
        "recipe": None,
        "progress_file": None,
        **more,
    }
    return Image(SimpleNamespace(params=wanted, check_mode=check_mode))


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The module sets proxies in its environment, which here is everybody's."""
    monkeypatch.setattr(os, "environ", os.environ.copy())


@pytest.fixture
def reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "_reach", lambda _self, _host: None)


PULL = "POST /images/create?fromImage=ghcr.io/open-webui/open-webui&tag=ollama"
PULLED = Reply(
    lines=tuple(
        json.dumps(line) + "\r\n"
        for line in (
            {"status": "Pulling from open-webui/open-webui", "id": "ollama"},
            {"status": "Pulling fs layer", "progressDetail": {}, "id": "a1"},
            {"status": "Downloading", "progressDetail": {"current": 500, "total": 1000}, "id": "a1"},
            {"status": "Download complete", "progressDetail": {}, "id": "a1"},
            {"status": "Extracting", "progressDetail": {"current": 1000, "total": 1000}, "id": "a1"},
            {"status": "Pull complete", "progressDetail": {}, "id": "a1"},
            {"status": "Status: Downloaded newer image for ghcr.io/open-webui/open-webui:ollama"},
        )
    )
)


def test_an_image_is_pulled(engine: UnixSocket, reachable: None, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.answers[PULL] = PULLED
    wanted = image([{"registry": UPSTREAM}])
    said: list[Any] = []
    monkeypatch.setattr(wanted._progress, "report", lambda *report, **more: said.append((*report[1:], more["detail"])))
    result = wanted.ensure()
    assert result["changed"] is True
    assert result["image"]["reference"] == result["image"]["source"] == UPSTREAM
    assert result["image"]["digest"].startswith("ghcr.io/open-webui/open-webui@sha256:1b")
    assert said[1:6] == [
        (None, None, ""),
        (500, 1000, ""),
        (1000, 1000, ""),
        (1000, 1000, "unpacking"),
        (1000, 1000, ""),
    ]


def test_an_image_that_was_here_is_no_change(engine: UnixSocket, reachable: None) -> None:
    engine.answers[PULL] = PULLED
    known = json.loads((FIXTURES / "docker" / "image.json").read_text())["Id"]
    engine.answers["GET /images/json"] = as_json([{"Id": known}])
    assert image([{"registry": UPSTREAM}]).ensure()["changed"] is False


def test_an_error_in_a_pull_leads_to_the_next_source(engine: UnixSocket, reachable: None, tmp_path: Path) -> None:
    engine.answers[PULL] = Reply(
        lines=('{"errorDetail":{"message":"unauthorized"},"error":"unauthorized"}\r\n',),
    )
    archive = tmp_path / "image.tar"
    archive.write_bytes(b"tar" * 1000)
    engine.answers["POST /images/load?quiet=1"] = Reply(lines=('{"stream":"Loaded image: own:1\\n"}\r\n',))
    result = image([{"registry": UPSTREAM}, {"archive": str(archive)}]).ensure()
    assert (result["image"]["reference"], result["image"]["source"]) == ("own:1", str(archive))
    assert result["image"]["digest"] is None
    assert result["tried"] == [{"source": UPSTREAM, "error": "unauthorized"}]
    assert dict(engine.asked)["POST /images/load?quiet=1"] == b"tar" * 1000


@pytest.mark.parametrize(
    "reply",
    [
        as_json({"message": "archive/tar: invalid tar header"}, 500),
        Reply(lines=('{"errorDetail":{"message":"no such file"},"error":"no such file"}\r\n',)),
        Reply(lines=()),
    ],
)
def test_a_file_that_is_no_image(engine: UnixSocket, tmp_path: Path, reply: Reply) -> None:
    (tmp_path / "image.tar").write_bytes(b"no")
    engine.answers["POST /images/load?quiet=1"] = reply
    with pytest.raises(SourceFailed, match=r"image\.tar is no image made by 'docker save'"):
        image([{"archive": str(tmp_path / "image.tar")}]).ensure()


PINNED = "sha256:" + "1b" * 32
OTHER = "sha256:" + "0c" * 32
PULL_PINNED = f"POST /images/create?fromImage=ghcr.io/open-webui/open-webui&tag={PINNED}"
NOT_FOUND = Reply(lines=('{"errorDetail":{"message":"manifest unknown"},"error":"manifest unknown"}\r\n',))


def test_a_pinned_image_is_pulled_by_its_digest_and_named(engine: UnixSocket, reachable: None) -> None:
    named = f"POST /images/ghcr.io/open-webui/open-webui@{PINNED}/tag?repo=ghcr.io/open-webui/open-webui&tag=ollama"
    engine.answers.update({PULL_PINNED: PULLED, named: Reply(201)})
    result = image([{"registry": UPSTREAM, "digest": PINNED}]).ensure()
    assert result["image"]["reference"] == UPSTREAM
    assert [key for key, _body in engine.asked if key.startswith("POST")] == [PULL_PINNED, named]


@pytest.mark.parametrize(
    ("served", "words"),
    [
        (OTHER, f"it serves the digest {OTHER} under that name, and {PINNED} is pinned; nothing of it was kept"),
        (PINNED, "manifest unknown"),
        ("", "manifest unknown"),
    ],
)
def test_a_mirror_that_serves_another_digest(
    engine: UnixSocket, monkeypatch: pytest.MonkeyPatch, served: str, words: str
) -> None:
    monkeypatch.setattr(Image, "_reach", lambda _self, _host: object())
    monkeypatch.setattr(Image, "_served", lambda _self, _reach, _reference: served)
    engine.answers.update({PULL_PINNED: NOT_FOUND, PULL: PULLED})
    result = image([{"registry": UPSTREAM, "digest": PINNED}, {"registry": UPSTREAM}]).ensure()
    assert result["tried"] == [{"source": UPSTREAM, "error": words}]


def test_a_refusal_of_dockers_proxy_is_told_without_its_password(engine: UnixSocket, reachable: None) -> None:
    said = "Get https://ghcr.io/v2/: Proxy Authentication Required"
    engine.answers[PULL] = Reply(lines=(json.dumps({"error": said}) + "\r\n",))
    proxy = {"http": "http://proxy:3128", "https": "http://proxy:3128", "no_proxy": []}
    wanted = image([{"registry": UPSTREAM}], proxy=proxy, proxy_credentials={"https": "desk:Sesame"})
    with pytest.raises(SourceFailed, match="the proxy proxy:3128 does not take the user and the password"):
        wanted.ensure()


def test_a_registry_is_asked_through_dockers_proxy(engine: UnixSocket) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        heard: list[bytes] = []

        def serve() -> None:
            client, _address = server.accept()
            with client:
                heard.append(client.recv(4096))
                client.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

        threading.Thread(target=serve, daemon=True).start()
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        engine.answers["GET /info"] = as_json({"HttpsProxy": address.replace("//", "//xxxxx:xxxxx@"), "NoProxy": ""})
        proxy = {"http": address, "https": address, "no_proxy": []}
        wanted = image([], proxy=proxy, proxy_credentials={"https": "desk:Sesame"})
        with pytest.raises(
            SourceFailed, match=r"hub.lab.test cannot be reached through the proxy 127\.0.*403"
        ) as failed:
            wanted._reach("hub.lab.test")
    assert "Sesame" not in str(failed.value)
    assert heard[0].startswith(b"CONNECT hub.lab.test:443")
    assert b"Proxy-Authorization: Basic" in heard[0]


def test_a_host_that_docker_reaches_without_its_proxy_is_asked_without_it(engine: UnixSocket) -> None:
    engine.answers["GET /info"] = as_json({"HttpsProxy": "http://proxy.example.com:3128", "NoProxy": "127.0.0.1"})
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{closed.getsockname()[1]}"
    with pytest.raises(SourceFailed, match=f"{host} cannot be reached: Connection refused"):
        image([])._reach(host)


def test_a_registry_that_says_nothing_costs_its_time_and_no_more(engine: UnixSocket) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(SourceFailed, match=f"{host} did not answer within 0.2 s"):
            image([], timeout_connect=0.2)._reach(host)


def test_without_a_recipe_nothing_is_built(engine: UnixSocket) -> None:
    with pytest.raises(SourceFailed, match="built on the spot: the build needs the recipe"):
        image([{"build": True}]).ensure()


SHARED = "mirror:5445"


@pytest.fixture
def one_build(engine: UnixSocket, reachable: None, monkeypatch: pytest.MonkeyPatch) -> str:
    """A recipe whose image is made by a word, and by which Docker knows it then; returns its tag."""
    tag = "llmdesk/open-webui:1-of-this-recipe"
    made = SimpleNamespace(tag=tag, image=lambda: tag)
    monkeypatch.setattr(
        "ansible_collections.llmdesk.workstation.plugins.modules.open_webui_image.Build", lambda *_: made
    )
    name, version = split_tag(tag)
    engine.answers.update(
        {
            f"GET /images/{tag}/json": Reply(body=(FIXTURES / "docker" / "image.json").read_text()),
            f"POST /images/{tag}/tag?repo={SHARED}/{name}&tag={version}": Reply(201),
            f"POST /images/{SHARED}/{tag}/tag?repo={name}&tag={version}": Reply(201),
            f"DELETE /images/{SHARED}/{tag}": as_json([]),
        }
    )
    return tag


def shared(may_build: bool) -> Image:
    more: dict[str, Any] = {
        "recipe": str(RECIPE),
        "build_engine": "cpu",
        "may_build": may_build,
        "push_password": "sesame",
    }
    return image([{"build": True, "shared": SHARED}], **more)


def test_what_another_desk_has_built_is_taken(engine: UnixSocket, one_build: str) -> None:
    name, version = split_tag(one_build)
    engine.answers[f"POST /images/create?fromImage={SHARED}/{name}&tag={version}"] = PULLED
    assert shared(may_build=False).ensure()["image"]["reference"] == one_build


def test_who_builds_hands_it_on_and_who_may_not_waits(engine: UnixSocket, one_build: str) -> None:
    name, version = split_tag(one_build)
    none = Reply(lines=('{"error":"manifest unknown"}\r\n',))
    engine.answers[f"POST /images/create?fromImage={SHARED}/{name}&tag={version}"] = none
    with pytest.raises(SourceFailed, match=r"no desk has built it yet \(manifest unknown\)"):
        shared(may_build=False).ensure()
    push = f"POST /images/{SHARED}/{name}/push?tag={version}"
    engine.answers[push] = Reply(lines=('{"status":"Pushed"}\r\n',))
    assert shared(may_build=True).ensure()["tried"] == []
    engine.answers[push] = Reply(lines=('{"error":"no basic auth credentials"}\r\n',))
    result = shared(may_build=True).ensure()
    assert result["tried"] == [
        {"source": SHARED, "error": "the built image could not be handed on: no basic auth credentials"}
    ], "and the desk goes on"
    assert not result["handed_on"]


@pytest.mark.parametrize(
    "why", ["dial tcp: connect: connection refused", "unauthorized", "x509: certificate signed by unknown authority"]
)
def test_a_mirror_that_cannot_be_asked_keeps_nobody_from_building(engine: UnixSocket, one_build: str, why: str) -> None:
    name, version = split_tag(one_build)
    engine.answers[f"POST /images/create?fromImage={SHARED}/{name}&tag={version}"] = Reply(
        lines=(json.dumps({"error": why}) + "\r\n",)
    )
    engine.answers[f"POST /images/{SHARED}/{name}/push?tag={version}"] = Reply(lines=('{"error":"dead"}\r\n',))
    result = shared(may_build=False).ensure()
    assert result["image"]["reference"] == one_build
    assert [entry["error"] for entry in result["tried"]] == [why, "the built image could not be handed on: dead"]


def test_check_mode_asks_nobody(engine: UnixSocket) -> None:
    result = image([{"registry": UPSTREAM}], check_mode=True).ensure()
    assert (result["changed"], result["image"]["source"]) == (True, UPSTREAM)
    assert engine.asked == []


def test_a_registry_that_refuses_costs_no_minutes(engine: UnixSocket) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(SourceFailed, match=f"127.0.0.1:{port} cannot be reached: Connection refused"):
        image([{"registry": f"127.0.0.1:{port}/open-webui:ollama"}]).ensure()
    assert "POST" not in "".join(key for key, _body in engine.asked)


@pytest.mark.parametrize(
    ("proxy", "host"), [("http://proxy.example.com:3128", "nowhere.invalid"), ("", "registry-1.docker.io")]
)
def test_what_docker_reaches_by_its_own_ways_is_left_to_it(engine: UnixSocket, proxy: str, host: str) -> None:
    engine.answers["GET /info"] = as_json({"HttpsProxy": proxy})
    image([])._reach(host)


def test_the_socket_is_dockers() -> None:
    assert isinstance(image([])._docker, DockerSocket)
