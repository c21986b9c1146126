# SPDX-License-Identifier: GPL-3.0-or-later
"""The execution environment is one that ansible-builder takes, and has what the other ways of installing have."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.test_packaging import PROJECT, ROOT, pins, read

FILE = ROOT / "execution-environment.yml"


def create(file: Path, context: Path) -> subprocess.CompletedProcess[str]:
    """Let ansible-builder check a definition and write down what an image would be built of."""
    program = str(Path(sys.executable).with_name("ansible-builder"))
    into = ["--context", str(context), "--output-filename", "Containerfile"]
    return subprocess.run(
        [program, "create", "--file", str(file), *into],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_ansible_builder_takes_it(tmp_path: Path) -> None:
    done = create(FILE, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    steps = (tmp_path / "Containerfile").read_text()
    assert re.search(r'^ARG EE_BASE_IMAGE="\S+"$', steps, re.MULTILINE), "another base image is one argument away"
    assert steps.index("ENV PIP_CONSTRAINT") < steps.index("-m pip install"), "no pip without the pins"
    made = tmp_path / "_build"
    assert (made / "configs" / "constraints.txt").read_text() == (ROOT / "constraints.txt").read_text()
    assert read(made / "requirements.yml") == read(ROOT / "requirements.yml")


@pytest.mark.parametrize("wrong", ["version: 2", "dependencies: {galaxi: requirements.yml}"])
def test_ansible_builder_says_what_is_wrong(tmp_path: Path, wrong: str) -> None:
    name = wrong.partition(":")[0]
    lines = [*(line for line in FILE.read_text().splitlines() if not line.startswith(f"{name}:")), wrong]
    (tmp_path / "wrong.yml").write_text("\n".join(lines))
    assert create(tmp_path / "wrong.yml", tmp_path).returncode != 0


def test_it_has_the_versions_of_the_project() -> None:
    wanted = read(FILE)["dependencies"]
    listed = [*wanted["python"], wanted["ansible_core"]["package_pip"], wanted["ansible_runner"]["package_pip"]]
    for requirement in listed:
        name, _equals, number = requirement.partition("==")
        assert pins()[name] == number, requirement
    assert set(wanted["python"]) <= {*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["psrp"]}
