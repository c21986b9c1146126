# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the launcher refuses to run, and whether what it says instead works."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from ansible_collections.llmdesk.workstation.plugins.module_utils.bundle import SYSTEMS

LAUNCHER = Path(__file__).parents[2] / "llmdesk"


class Checkout:
    """A checkout with nothing but the launcher and a file, a home, and a ``df`` that stands in for a mount of WSL's."""

    def __init__(self, folder: Path, name: str) -> None:
        self.at, self.home, self._bin = folder / "mnt" / name, folder / "home", folder / "bin"
        self.at.mkdir(parents=True)
        self.home.mkdir()
        self._bin.mkdir()
        (self.at / "llmdesk").write_text(LAUNCHER.read_text())
        (self.at / "ansible.cfg").write_text("")

    def mounted(self, device: str) -> None:
        lines = f"Filesystem 1024-blocks Used Available Capacity Mounted on\n{device} 9 1 8 12% /mnt/c\n"
        df = self._bin / "df"
        df.write_text(f"#!/bin/sh\ncat <<'EOF'\n{lines}EOF\n")
        df.chmod(0o755)

    def everybody_writes(self) -> None:
        for path in (self.at, *self.at.iterdir()):
            path.chmod(0o777)

    def sh(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", *arguments],
            env={"HOME": str(self.home), "PATH": f"{self._bin}{os.pathsep}{os.environ['PATH']}"},
            cwd=self.home,
            capture_output=True,
            text=True,
            check=False,
        )

    def launch(self) -> subprocess.CompletedProcess[str]:
        return self.sh(str(self.at / "llmdesk"), "up")


@pytest.mark.parametrize("device", ["C:\\", "C:", "d:\\", "drvfs"])
@pytest.mark.parametrize("name", ["llmdesk", "Ann's 桌面"])
def test_a_drive_of_windows_is_refused_with_the_command_that_leaves_it(tmp_path: Path, device: str, name: str) -> None:
    checkout = Checkout(tmp_path, name)
    checkout.mounted(device)
    checkout.everybody_writes()
    done = checkout.launch()
    assert done.returncode == 1
    assert "is on a drive of Windows" in done.stderr
    command = done.stderr[done.stderr.index("\n    cp") :]
    assert command.rstrip().endswith("&& ./llmdesk up")
    moved = checkout.sh("-euc", command.replace("./llmdesk up", "pwd"))
    assert moved.stdout.strip() == str(checkout.home / "llmdesk"), moved.stderr
    copy = checkout.home / "llmdesk"
    assert (copy / "llmdesk").stat().st_mode & 0o777 == 0o755
    assert not copy.stat().st_mode & 0o002, "Ansible takes the configuration of such a folder"
    again = checkout.launch()
    assert again.stderr.rstrip().endswith("carry on there:\n\n    cd ~/llmdesk && ./llmdesk up")


def test_a_folder_that_everybody_can_write_to_is_refused(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path, "llmdesk")
    checkout.everybody_writes()
    done = checkout.launch()
    assert (done.returncode, "everybody can write to" in done.stderr) == (1, True)
    assert f"chmod o-w '{checkout.at}'" in done.stderr


def test_a_disk_of_linux_is_not_taken_for_a_drive_of_windows(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path, "llmdesk")
    checkout.mounted("/dev/sdc")
    (checkout.at / ".venv").mkdir()  # of somebody else's making, which is where the launcher stops next
    assert "is not of my making" in checkout.launch().stderr


def test_a_bundle_with_a_damaged_wheel_installs_nothing(tmp_path: Path) -> None:
    checkout, disk = Checkout(tmp_path, "llmdesk"), tmp_path / "USB DISK"
    (disk / "wheels").mkdir(parents=True)
    (disk / "wheels" / "x.whl").write_text("flipped")
    (disk / "SHA256SUMS").write_text(f"{'0' * 64}  wheels/x.whl\n{'0' * 64}  models/blobs/sha256-not-there\n")
    for name in ("pyproject.toml", "constraints.txt"):
        (checkout.at / name).write_text("")
    for given in (["--bundle", str(disk)], [f"--bundle={disk}"]):
        done = checkout.sh(str(checkout.at / "llmdesk"), "up", *given)
        assert done.returncode == 1
        assert f"{disk}/wheels/x.whl is damaged or missing. Type './llmdesk bundle {disk}' on" in done.stderr
    (disk / "SHA256SUMS").unlink()
    assert f"{disk} has no whole bundle in it" in checkout.sh(str(checkout.at / "llmdesk"), "up", *given).stderr


class Bare:
    """A machine without a Python that is new enough, with an apt that has nothing but ``python3.11``."""

    def __init__(self, folder: Path, system: str) -> None:
        self.checkout, self.disk, self.installed = Checkout(folder, "llmdesk"), folder / "usb", folder / "installed"
        self.release = folder / "os-release"
        self.release.write_text(system)
        launcher = self.checkout.at / "llmdesk"
        launcher.write_text(launcher.read_text().replace("/etc/os-release", str(self.release)))
        for name in ("pyproject.toml", "constraints.txt"):
            (self.checkout.at / name).write_text("")
        for name in ("python3", "python3.12", "python3.13"):
            self.has(name, "exit 1")
        self.has("python3.11", f"[ -e '{self.installed}' ] && [ \"$1\" = -c ]")
        self.has("id", "echo 0")
        self.has("dpkg", "echo amd64")
        self.has("apt-get", f"case $* in *python3.11*) : >'{self.installed}' ;; update) ;; *) exit 100 ;; esac")

    def has(self, name: str, does: str) -> None:
        path = self.checkout.at.parents[1] / "bin" / name
        path.write_text(f"#!/bin/sh\n{does}\n")
        path.chmod(0o755)

    def up(self) -> str:
        return self.checkout.sh(str(self.checkout.at / "llmdesk"), "up", "--bundle", str(self.disk)).stderr


def with_packages(bare: Bare, system: str) -> None:
    folder = bare.disk / "packages" / system
    folder.mkdir(parents=True)
    (folder / "Packages").write_text("")
    (bare.disk / "SHA256SUMS").write_text(
        f"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  packages/{system}/Packages\n"
    )


@pytest.mark.parametrize(
    ("system", "name"),
    [
        ("ID=ubuntu\nVERSION_ID=22.04\nVERSION_CODENAME=jammy\nUBUNTU_CODENAME=jammy\n", "ubuntu-22.04-amd64"),
        ("ID=linuxmint\nVERSION_ID=21.3\nVERSION_CODENAME=virginia\nUBUNTU_CODENAME=jammy\n", "ubuntu-22.04-amd64"),
        ("ID=debian\nVERSION_ID=12\nVERSION_CODENAME=bookworm\n", "debian-12-amd64"),
    ],
)
def test_a_machine_without_python_takes_what_its_system_has_in_a_bundle(tmp_path: Path, system: str, name: str) -> None:
    bare = Bare(tmp_path, system)
    with_packages(bare, name)
    said = bare.up()
    assert "installing it: apt-get install -y python3.11 python3.11-venv" in said
    assert bare.installed.exists()


def test_a_bundle_for_others_is_named_with_the_system_that_has_to_be_in_it(tmp_path: Path) -> None:
    bare = Bare(tmp_path, "ID=linuxmint\nVERSION_ID=22\nUBUNTU_CODENAME=noble\n")
    with_packages(bare, "debian-13-amd64")
    assert "with --system ubuntu-24.04" in bare.up()
    bare.release.write_text("ID=void\n")
    assert "has no packages for void-amd64" in bare.up()


def test_the_launcher_knows_the_systems_that_a_bundle_has() -> None:
    known = dict(re.findall(r"^ +(\w+)\) echo ((?:debian|ubuntu)-[\d.]+) ;;$", LAUNCHER.read_text(), re.MULTILINE))
    assert known == {suite: name for name, (suite, _python) in SYSTEMS.items()}
