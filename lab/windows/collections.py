"""Stand-ins for the collections ansible.windows and community.windows, with the options of the real modules.

They are written into a folder that comes first on ``ANSIBLE_COLLECTIONS_PATH``, and hide the real ones there. What an
option is called, takes and may be is read from the documentation of the modules that the package ``ansible`` brings,
so that an option that is wrong here is wrong on a PC as well.
"""

from __future__ import annotations

import json
import os
import pprint
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

from lab.engine import REPOSITORY

MODULES = {
    "ansible.windows": (
        "slurp",
        "win_command",
        "win_copy",
        "win_environment",
        "win_file",
        "win_get_url",
        "win_optional_feature",
        "win_package",
        "win_ping",
        "win_powershell",
        "win_reboot",
        "win_stat",
        "win_wait_for",
    ),
    "community.windows": ("win_firewall_rule", "win_scheduled_task"),
}
OWN_ACTION = {"win_copy": "WinCopy", "win_powershell": "WinPowershell", "win_reboot": "WinReboot"}
KEPT = ("choices", "default", "elements", "required", "aliases")
PLUGIN = '''"""Stand-in for {name}: see lab/windows."""

import sys

sys.path.append({repository!r})

from lab.windows import action


class ActionModule(action.{action}):
    MODULE = {module!r}
    CHECK_MODE = {check_mode!r}
    SPEC = {spec}
'''
MANIFEST = {"format": 1, "file_manifest_file": {"name": "FILES.json", "ftype": "file", "format": 1}}


def write(folder: Path) -> Path:
    """Write both collections into a folder and return it, for the front of ``ANSIBLE_COLLECTIONS_PATH``.

    :param folder: made where it is missing.
    """
    documents = documented()
    for collection, names in MODULES.items():
        base = folder / "ansible_collections" / collection.replace(".", "/")
        actions = base / "plugins" / "action"
        actions.mkdir(parents=True, exist_ok=True)
        namespace, _, name = collection.partition(".")
        info = {"namespace": namespace, "name": name, "version": documents[collection]["version"]}
        (base / "MANIFEST.json").write_text(json.dumps({**MANIFEST, "collection_info": info}))
        for module in names:
            found = documents[f"{collection}.{module}"]
            text = PLUGIN.format(
                name=f"{collection}.{module}",
                repository=str(REPOSITORY),
                action=OWN_ACTION.get(module, "StandIn"),
                module=module,
                check_mode=found["check_mode"],
                spec=pprint.pformat(found["spec"]),
            )
            (actions / f"{module}.py").write_text(text)
    return folder


@cache
def documented() -> dict[str, Any]:
    """Return what the real modules' documentation says: options and check mode by full name, version by collection."""
    names = [f"{collection}.{module}" for collection, modules in MODULES.items() for module in modules]
    # Apart from whatever stand-ins are on the path of this process.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_COLLECTIONS")}
    finished = subprocess.run(
        [str(Path(sys.executable).with_name("ansible-doc")), "--json", "--type", "module", *names],
        cwd="/",
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    found: dict[str, Any] = {}
    for name, each in json.loads(finished.stdout).items():
        doc = each["doc"]
        collection = doc["collection"]
        base = Path(doc["filename"]).parents[2]
        found[name] = {
            "spec": {option: argument(value) for option, value in doc.get("options", {}).items()},
            "check_mode": _check_mode(base / "plugins/modules" / f"{name.rpartition('.')[2]}.ps1"),
        }
        manifest = json.loads((base / "MANIFEST.json").read_text())
        found[collection] = {"version": manifest["collection_info"]["version"]}
    return found


def argument(option: dict[str, Any]) -> dict[str, Any]:
    """Return the argument spec of an option, from its documentation."""
    kept: dict[str, Any] = {key: option[key] for key in KEPT if key in option}
    # A path is one of the PC: nothing of this machine is to be put into it.
    kind = option.get("type", "str")
    kept["type"] = "str" if kind == "path" else kind
    if kept.get("elements") == "path":
        kept["elements"] = "str"
    if option.get("suboptions"):
        kept["options"] = {name: argument(value) for name, value in option["suboptions"].items()}
        if "type" not in option:
            kept["type"] = "dict"
    return kept


def _check_mode(script: Path) -> bool:
    """Say whether a module's .ps1 supports check mode; a module without one is an action plugin that does."""
    if not script.exists():
        return True
    found = re.search(r"supports_check_mode\s*=?\s*\$(true|false)", script.read_text(encoding="utf-8"))
    return found is not None and found[1] == "true"
