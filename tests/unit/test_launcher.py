# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the launcher refuses to run, and whether what it says instead works."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

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
