# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory that a reader copies, on the lab's PCs: by every way in Windows comes to its distro, and stays so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.windows import collections, machine, scenarios

ROOT = Path(__file__).parents[2]
INVENTORY = ROOT / "inventory" / "examples" / "windows.yml"
HOSTS: dict[str, dict[str, Any]] = yaml.safe_load(INVENTORY.read_text())["windows"]["hosts"]


@pytest.fixture
def pcs(tmp_path: Path) -> Path:
    """Return a folder with a PC as it comes out of the shop for every host of the inventory."""
    for name in HOSTS:
        machine.create(tmp_path / f"{name}.json", scenarios.fresh_pc())
    return tmp_path


def up(pcs: Path) -> subprocess.CompletedProcess[str]:
    """Run the site playbook on the Windows hosts; their distros are out of reach, and not asked."""
    where = {"windows_machine": f"{pcs}/{{{{ inventory_hostname }}}}.json", "vault_windows_password": "a word"}
    given = {
        "wsl_reboot": True,
        "wsl_package": {"url": scenarios.MSI_URL, "version": scenarios.NEWEST},
        # A file of this machine in the inventory, which nobody has here.
        "wsl_root_file": "",
    }
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "site.yml", "-i", str(INVENTORY)]
    stand_ins = collections.write(pcs / "collections")
    return subprocess.run(
        [*command, "--limit", "windows", "-e", json.dumps({**where, **given})],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": f"{stand_ins}:collections", "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def test_every_way_in_leads_from_a_fresh_pc_to_its_distro_and_the_second_run_changes_nothing(pcs: Path) -> None:
    first = up(pcs)
    assert first.returncode == 0, first.stdout + first.stderr
    states = {name: machine.state(pcs / f"{name}.json") for name in HOSTS}
    for name, state in states.items():
        distro = HOSTS[name].get("wsl_distribution", scenarios.UBUNTU)
        (distros,) = state["wsl"]["distributions"].values()
        assert [(one["name"], one["version"]) for one in distros] == [(distro, 2)]
        assert state["tasks"][f"\\llmdesk\\keep-alive-{distro}"]["running"]
    assert "memory=24GB" in states["pc4"]["files"]["C:\\Users\\ann\\.wslconfig"]
    assert states["pc4"]["network"]["portproxy"] == {"0.0.0.0/8080": "127.0.0.1/3000"}
    assert states["pc1"]["network"]["portproxy"] == {}

    second = up(pcs)
    assert second.returncode == 0, second.stdout + second.stderr
    for name, before in states.items():
        assert machine.state(pcs / f"{name}.json")["operations"] == before["operations"]
