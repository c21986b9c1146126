# SPDX-License-Identifier: GPL-3.0-or-later
"""Every linter finds nothing, and looks at what it should; the collection builds whole and builds nothing else."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import ansible_test
import pytest

ROOT = Path(__file__).parents[2]
COLLECTION = ROOT / "collections" / "ansible_collections" / "llmdesk" / "workstation"
SCRIPTS = [
    ROOT / "llmdesk",
    ROOT / ".ci" / "run",
    COLLECTION / "roles" / "model_mirror" / "files" / "make-certificate",
    *sorted((COLLECTION / "roles" / "open_webui" / "files").glob("image*/*.sh")),
]


def tool(*command: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a tool of this Python's environment."""
    own = str(Path(sys.executable).parent)
    return subprocess.run(
        [str(Path(own, command[0])), *command[1:]],
        cwd=folder,
        env={**os.environ, "PATH": f"{own}{os.pathsep}{os.environ['PATH']}", "NO_COLOR": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(("ruff", "check", "."), id="ruff check"),
        pytest.param(("ruff", "format", "--check", "--diff", "."), id="ruff format"),
        pytest.param(
            ("mypy", "src", "lab", "tests", "bench", str(COLLECTION.relative_to(ROOT) / "plugins")),
            id="mypy",
        ),
        pytest.param(("yamllint", "--strict", "."), id="yamllint"),
    ],
)
def test_nothing_is_found_by(command: tuple[str, ...]) -> None:
    done = tool(*command)
    assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_is_found_by_ansible_lint_in_roles_and_playbooks() -> None:
    # The playbooks lead to every role but those that are only depended on, and cost a syntax check each; the whole
    # checkout takes twice the time.
    named = ("playbooks/*.yml", "plugins/modules/*.py", "galaxy.yml", "meta/runtime.yml")
    only_depended_on = [str(COLLECTION.relative_to(ROOT) / "roles" / role) for role in ("asked", "network")]
    files = [str(path.relative_to(ROOT)) for pattern in named for path in sorted(COLLECTION.glob(pattern))]
    done = tool("ansible-lint", "--offline", "-vv", *files, *only_depended_on)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "Profile 'production' was required, and it passed" in said
    looked_at = set(re.findall(r"Examining (\S+) of type \w+", said))
    kinds = ("tasks", "defaults", "vars", "meta")
    wanted = {str(path.relative_to(ROOT)) for kind in kinds for path in COLLECTION.glob(f"roles/*/{kind}/*.yml")} | set(
        files
    )
    assert wanted - looked_at == set(), "a linter that looks at nothing finds nothing"


def test_nothing_is_found_by_ansibles_own_check_of_modules() -> None:
    # What 'ansible-test sanity --test validate-modules' runs; that itself wants to download pip.
    check = Path(ansible_test.__file__).with_name("_util") / "controller/sanity/validate-modules/validate.py"
    collection = ["--collection", "ansible_collections/llmdesk/workstation", "--collection-version", "0.1.0"]
    done = subprocess.run(
        [sys.executable, str(check), *collection, "--arg-spec", "plugins/modules"],
        cwd=COLLECTION,
        env={**os.environ, **dict.fromkeys(("PYTHONPATH", "ANSIBLE_COLLECTIONS_PATH"), str(COLLECTION.parents[2]))},
        capture_output=True,
        text=True,
        check=False,
    )
    # They have to end a program that hangs, or leave one behind that goes on, which run_command cannot.
    allowed = r"plugins/modules/(desk_facts|swarm_blobs)\.py:\d+:\d+: \S*use-run-command-not-popen .*"
    found = [line for line in (done.stdout + done.stderr).splitlines() if not re.fullmatch(allowed, line)]
    assert found == []


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_a_script_is_read_by_its_shell(script: Path) -> None:
    shell = script.read_text().partition("\n")[0].removeprefix("#!")
    assert shell in ("/bin/sh", "/bin/bash")
    done = subprocess.run([shell, "-n", str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_collection_builds_whole(tmp_path: Path) -> None:
    done = tool("ansible-galaxy", "collection", "build", "--output-path", str(tmp_path), folder=COLLECTION)
    assert done.returncode == 0, done.stdout + done.stderr
    (archive,) = tmp_path.glob("llmdesk-workstation-*.tar.gz")
    with tarfile.open(archive) as built:
        files = {member.name: member for member in built.getmembers() if not member.isdir()}
        changelog = built.extractfile("CHANGELOG.md")
        assert changelog is not None
        assert changelog.read() == (ROOT / "CHANGELOG.md").read_bytes()
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "."],
        cwd=COLLECTION,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    there = {name for name in tracked if (COLLECTION / name).exists()}
    assert there - {"galaxy.yml"} - set(files) == set(), "left out"
    assert set(files) - there - {"MANIFEST.json", "FILES.json"} == set(), "does not belong there"
    assert [name for name in files if name.endswith(".pyc") or name.startswith("tests/")] == []
    assert [name for name, member in files.items() if member.issym()] == [], "nothing points out of the archive"
