# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the image on the spot, from package registries alone.

A Debian root, then three stages side by side in containers of it: Open WebUI in a virtual environment, Ollama by Go's
module proxy, and the llama.cpp it pins. A short Dockerfile puts them together. Everything is kept in the cache folder
under the recipe's hash, is believed only when it is complete, and carries on where a killed run broke off.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

# What the desk's own programs go by, handed on to the stages: package registries have mirrors, networks have proxies.
HANDED_ON = re.compile(
    r"(PIP_(INDEX_URL|EXTRA_INDEX_URL|TRUSTED_HOST)|GO(PROXY|SUMDB|NOSUMDB|PRIVATE)|(https?|no)_proxy)$", re.I
)
SYSTEM_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
PIP_CONF = "/etc/pip.conf"
ROOT_PACKAGES = "ca-certificates,curl,jq,python3,python3-venv,libgomp1,procps"
ENGINES = ("ollama", "llama-server", "llama-quantize")
ENGINE_FILES = ("build-llama.sh", "build-ollama.sh", "build-tools.sh", "tune.cmake")
VULKAN_ENGINE_FILES = ("build-tools.sh", "tune.cmake")
# Where the tools of an image with Vulkan lie in their stage.
VULKAN_FLAGS = (
    "-DGGML_VULKAN=ON",
    "-DVulkan_INCLUDE_DIR=/opt/vulkan/usr/include",
    "-DVulkan_GLSLC_EXECUTABLE=/opt/vulkan/bin/glslc",
    "-DSPIRV-Headers_DIR=/opt/vulkan/usr/share/cmake/SPIRV-Headers",
    "-DCMAKE_PROJECT_INCLUDE_BEFORE=/recipe-vulkan/tune.cmake",
)
STEP = re.compile(r"\[(\d+)/(\d+)\]")  # ninja's own count


class BuildFailed(Exception):
    """A stage failed; the sentence names it, its last words and its log."""


def handed_on(environment: dict[str, str]) -> str:
    """Return what the stages are handed of an environment, as a shell's script.

    They read it from their standard input: a proxy or an index may have a password, which would stand in the command
    line and, since a stage is committed, in the image.
    """
    settings = {name: value for name, value in environment.items() if HANDED_ON.match(name)}
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in sorted(settings.items())) + ":\n"


def cpu_flags(flags: list[str], machine: str) -> list[str]:
    """Return how llama.cpp is compiled for a desk: with AVX2 where it has it, for any CPU otherwise.

    :param flags: the CPU's flags as in /proc/cpuinfo.
    :param machine: the architecture as ``uname -m`` says it.
    """
    chosen = ["-DGGML_NATIVE=OFF"]
    if machine == "x86_64" and {"avx2", "fma", "f16c"} <= set(flags):
        return [*chosen, "-DGGML_AVX2=ON", "-DGGML_FMA=ON", "-DGGML_F16C=ON"]
    if machine == "x86_64":
        return [*chosen, "-DGGML_AVX=OFF", "-DGGML_AVX2=OFF", "-DGGML_FMA=OFF", "-DGGML_F16C=OFF", "-DGGML_BMI2=OFF"]
    return chosen


def vulkan_folder(folder: str) -> str:
    """Return the folder beside a recipe that has what an image with Vulkan is made by in another way, or besides."""
    return folder + "-vulkan"


def recipe_hash(folder: str, chosen: list[str], engine: str = "cpu") -> str:
    """Return the sha256 of everything that an image is made by: the recipe's files and the compiler's flags."""
    known = _hash_of_files(folder, sorted(os.listdir(folder)), [*chosen, ROOT_PACKAGES])
    return known if engine == "cpu" else _with_vulkan(folder, os.listdir(vulkan_folder(folder)), known)


def _with_vulkan(folder: str, names: Iterable[str], known: str) -> str:
    return _hash_of_files(vulkan_folder(folder), sorted(names), [known, *VULKAN_FLAGS])


def engines_hash(folder: str, chosen: list[str], engine: str = "cpu") -> str:
    """Return the sha256 of everything that the two engines are made by: a newer page needs no new ones."""
    pins = [f"{name}={value}" for name, value in sorted(versions(folder).items()) if not name.startswith("OPEN_WEBUI")]
    known = _hash_of_files(folder, ENGINE_FILES, [*chosen, *pins])
    return known if engine == "cpu" else _with_vulkan(folder, VULKAN_ENGINE_FILES, known)


def _hash_of_files(folder: str, names: Iterable[str], more: list[str]) -> str:
    digest = hashlib.sha256(" ".join(more).encode())
    for name in names:
        with open(os.path.join(folder, name), "rb") as file:
            digest.update(name.encode() + b"\0" + file.read() + b"\0")
    return digest.hexdigest()


def versions(folder: str) -> dict[str, str]:
    """Return the pins of a recipe."""
    with open(os.path.join(folder, "versions.env"), encoding="utf-8") as file:
        return dict(re.findall(r"^([A-Z_0-9]+)=(.*)$", file.read(), re.MULTILINE))


def mirror(index_targets: str) -> str | None:
    """Return the Debian mirror a desk uses, out of ``apt-get indextargets --format '$(REPO_URI)'``."""
    uris = [line.strip() for line in index_targets.splitlines()]
    return next((uri for uri in uris if uri.rstrip("/").endswith("/debian")), None)


class Build:
    """One build of one recipe.

    :param recipe: folder of the recipe's files.
    :param cache: folder that keeps everything.
    :param chosen: the compiler's flags, of :func:`cpu_flags`.
    :param tell: called with ``completed``, ``total`` and ``detail`` while a stage works.
    :param engine: what it computes on: ``cpu``, or ``vulkan`` for a GPU of any make, and the CPU beside it.
    """

    def __init__(
        self,
        recipe: str,
        cache: str,
        chosen: list[str],
        tell: Callable[[int | None, int | None, str], None],
        engine: str = "cpu",
    ) -> None:
        self._recipe = recipe
        self._engine = engine
        self._chosen = chosen if engine == "cpu" else [*chosen, *VULKAN_FLAGS]
        self._tell = tell
        self.hash = recipe_hash(recipe, chosen, engine)
        self._versions = versions(recipe)
        self._cache = cache
        self._build = os.path.join(cache, "build", self.hash[:12])
        self._engines = os.path.join(cache, "engines", engines_hash(recipe, chosen, engine)[:12])
        self.archive = os.path.join(cache, "images", self.hash + ".tar")
        kind = "" if engine == "cpu" else f"-{engine}"
        self.tag = (
            f"llmdesk/open-webui:{self._versions['OPEN_WEBUI']}-ollama{self._versions['OLLAMA']}{kind}-{self.hash[:12]}"
        )
        self._root = f"llmdesk/build-root:{hashlib.sha256(ROOT_PACKAGES.encode()).hexdigest()[:12]}"
        self._tools = f"llmdesk/build-tools:{self.hash[:12]}"
        self._page = f"llmdesk/build-page:{self.hash[:12]}"

    def image(self) -> str:
        """Make the image, or find it, and return its tag.

        :raises BuildFailed: a stage failed.
        """
        with self._alone():
            if self._has(self.tag):
                return self.tag
            if os.path.exists(self.archive):
                self._work("load", ["docker", "load", "--input", self.archive], "loading the image made before")
                if self._has(self.tag):
                    return self.tag
            folders = [os.path.join(self._cache, name) for name in ("go", "pip", "images")]
            for folder in (*folders, self._engines, os.path.join(self._build, "context")):
                os.makedirs(folder, exist_ok=True)
            self._make_root()
            self._stages()
            self._assemble()
            self._keep()
            return self.tag

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the cache's lock: a cancelled run may still be tidying up, or a second one be at work."""
        os.makedirs(self._cache, exist_ok=True)
        with open(os.path.join(self._cache, "build.lock"), "w", encoding="utf-8") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    self._tell(None, None, "waiting for another build on this machine to end")
                    time.sleep(0.5)
            yield

    def _make_root(self) -> None:
        if self._has(self._root):
            return
        if shutil.which("mmdebstrap") is None:
            self._work(
                "mmdebstrap",
                ["apt-get", "install", "--yes", "--no-install-recommends", "mmdebstrap", "debian-archive-keyring"],
                "installing mmdebstrap",
                {"DEBIAN_FRONTEND": "noninteractive"},
            )
        root = os.path.join(self._build, "root.tar")
        command = ["mmdebstrap", "--variant=minbase", "--include=" + ROOT_PACKAGES]
        command += ["--aptopt=Acquire::https::CAInfo " + f'"{SYSTEM_BUNDLE}"', self._versions["DEBIAN"], root]
        targets = subprocess.run(
            ["apt-get", "indextargets", "--format", "$(REPO_URI)"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        own = mirror(targets.stdout)
        self._work("root", [*command, own] if own else command, f"making a Debian {self._versions['DEBIAN']} root")
        self._work("import", ["docker", "import", root, self._root], "importing the root")
        os.unlink(root)

    def _stages(self) -> None:
        """Run what can run side by side; the compilers' stage first, for two of them."""
        running = {}
        if not self._has(self._page):
            running["page"] = self._start("page", self._root, [])
        if not self._compiled() and not self._has(self._tools):
            running["tools"] = self._start("tools", self._root, [])
        self._await(running, until="tools")
        if "tools" in running:
            self._commit("tools", self._tools)
        if not self._compiled():
            level = ["--env", "LEVEL=-O0", "--env", "CPU_FLAGS=" + " ".join(self._chosen)]
            running["llama"] = self._start("llama", self._tools, level)
            running["ollama"] = self._start("ollama", self._tools, [])
        self._await(running)
        if "page" in running:
            self._commit("page", self._page)

    def _compiled(self) -> bool:
        return all(os.path.exists(os.path.join(self._engines, name)) for name in ENGINES)

    def _start(self, stage: str, image: str, more: list[str]) -> subprocess.Popen[bytes]:
        name = self._container(stage)
        self._quiet(["docker", "rm", "--force", name])
        command = ["docker", "run", "--name", name, "--volume", f"{self._build}:/build"]
        command += ["--volume", f"{self._engines}:/build/out"]
        command += ["--volume", f"{self._cache}/go:/cache/go", "--volume", f"{self._cache}/pip:/root/.cache/pip"]
        command += ["--volume", f"{self._recipe}:/recipe:ro"]
        script = f"/recipe/build-{stage}.sh"
        if self._engine != "cpu":
            more_of_it = vulkan_folder(self._recipe)
            command += ["--volume", f"{more_of_it}:/recipe-vulkan:ro"]
            if os.path.exists(os.path.join(more_of_it, f"build-{stage}.sh")):
                script = f"/recipe-vulkan/build-{stage}.sh"
        for path in (SYSTEM_BUNDLE, PIP_CONF):
            if os.path.exists(path):
                command += ["--volume", f"{path}:{path}:ro"]
        settings = {"PIP_CERT": SYSTEM_BUNDLE, "SSL_CERT_FILE": SYSTEM_BUNDLE, "DEBIAN_FRONTEND": "noninteractive"}
        for key, value in sorted(settings.items()):
            command += ["--env", f"{key}={value}"]
        script = f". /dev/stdin && exec sh {script} < /dev/null"
        with open(self._log(stage), "wb") as log:
            process = subprocess.Popen(
                [*command, *more, "--interactive", image, "sh", "-c", script],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError), process.stdin as standard_input:
            standard_input.write(handed_on(dict(os.environ)).encode())
        return process

    def _await(self, running: dict[str, subprocess.Popen[bytes]], until: str | None = None) -> None:
        """Wait for every stage, or for one of them, and tell meanwhile what they do."""
        try:
            while any(process.poll() is None for stage, process in running.items() if until in (None, stage)):
                self._say(running)
                for stage, process in running.items():
                    if process.poll() not in (None, 0):
                        raise BuildFailed(self._last_words(stage))
                time.sleep(0.3)
        except BaseException:
            for stage in running:
                self._quiet(["docker", "kill", self._container(stage)])
            raise
        for stage, process in running.items():
            if process.poll() not in (None, 0):
                raise BuildFailed(self._last_words(stage))

    def _say(self, running: dict[str, subprocess.Popen[bytes]]) -> None:
        completed = total = None
        doing = []
        for stage, process in running.items():
            if process.poll() is not None:
                continue
            last = self._last_line(stage)
            step = STEP.match(last)
            if step:
                completed, total = int(step.group(1)), int(step.group(2))
                last = "compiling llama.cpp"
            elif stage == "ollama":
                last = f"Ollama: {last or 'starting'}"
            doing.append(last or f"starting the stage {stage}")
        self._tell(completed, total, "; ".join(doing))

    def _commit(self, stage: str, image: str) -> None:
        self._work("commit", ["docker", "commit", self._container(stage), image], f"keeping the stage {stage}")
        self._quiet(["docker", "rm", "--force", self._container(stage)])

    def _assemble(self) -> None:
        context = os.path.join(self._build, "context")
        for name in ENGINES:
            shutil.copy2(os.path.join(self._engines, name), context)
        for name in ("start.sh", "Dockerfile"):
            shutil.copy2(os.path.join(self._recipe, name), context)
        shutil.copy2(SYSTEM_BUNDLE, os.path.join(context, "ca-certificates.crt"))
        command = ["docker", "build", "--build-arg", "PAGE=" + self._page, "--tag", self.tag]
        command += ["--label", "llmdesk.recipe=" + self.hash, "--label", "llmdesk.engine=" + self._engine]
        for name in ("DEBIAN", "OPEN_WEBUI", "OLLAMA", "LLAMA_CPP"):
            command += ["--label", f"llmdesk.{name.lower()}={self._versions[name]}"]
        self._work("assemble", [*command, context], "putting the image together", {"DOCKER_BUILDKIT": "0"})

    def _keep(self) -> None:
        """Keep the image for another Docker; it counts only when it is complete."""
        part = self.archive + ".part"
        self._work("save", ["docker", "save", "--output", part, self.tag], "keeping a copy for the next time")
        os.replace(part, self.archive)
        for stage in ("llama", "ollama"):
            self._quiet(["docker", "rm", "--force", self._container(stage)])
        self._quiet(["docker", "rmi", self._tools, self._page])
        shutil.rmtree(self._build, ignore_errors=True)

    def _work(self, step: str, command: list[str], detail: str, more: dict[str, str] | None = None) -> None:
        """Run one program to its end, telling what it does."""
        os.makedirs(self._build, exist_ok=True)
        with open(self._log(step), "wb") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(os.environ, **more or {}),
            )
            try:
                while process.poll() is None:
                    self._tell(None, None, detail)
                    time.sleep(0.2)
            except BaseException:
                process.terminate()
                process.wait()
                raise
        if process.returncode != 0:
            raise BuildFailed(self._last_words(step))

    def _has(self, image: str) -> bool:
        return self._quiet(["docker", "image", "inspect", image]) == 0

    @staticmethod
    def _quiet(command: list[str]) -> int:
        return subprocess.run(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL
        ).returncode

    def _container(self, stage: str) -> str:
        return f"llmdesk-build-{stage}"

    def _log(self, step: str) -> str:
        return os.path.join(self._build, step + ".log")

    def _lines(self, step: str) -> list[str]:
        with open(self._log(step), "rb") as file:
            file.seek(max(0, os.path.getsize(self._log(step)) - 4096))
            text = file.read().decode(errors="replace")
        return [line.strip() for line in re.split(r"[\r\n]+", text) if line.strip()]

    def _last_line(self, step: str) -> str:
        lines = self._lines(step)
        return lines[-1][:120] if lines else ""

    def _last_words(self, step: str) -> str:
        return f"{step} failed: {' / '.join(self._lines(step)[-4:])} (log {self._log(step)})"


def desk_cpu_flags(cpuinfo: str) -> list[str]:
    """Return the flags of a CPU out of ``/proc/cpuinfo``."""
    found = re.search(r"^flags\s*: (.+)$", cpuinfo, re.MULTILINE)
    return found.group(1).split() if found else []
