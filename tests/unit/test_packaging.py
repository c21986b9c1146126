# SPDX-License-Identifier: GPL-3.0-or-later
"""What must agree between files: versions, the inputs of roles and modules, and their documentation."""

from __future__ import annotations

import ast
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ansible
import ansible_collections
import pytest
import yaml

import llmdesk

ROOT = Path(__file__).parents[2]
COLLECTION = ROOT / "collections" / "ansible_collections" / "llmdesk" / "workstation"
ROLES = sorted(path.name for path in (COLLECTION / "roles").iterdir())
MODULES = sorted(path.stem for path in (COLLECTION / "plugins" / "modules").glob("*.py"))
FILTERS = sorted(path.stem for path in (COLLECTION / "plugins" / "filter").glob("*.py"))


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


# --- Versions -------------------------------------------------------------------------------------------------------

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_there_is_one_version() -> None:
    assert {PROJECT["version"], read(COLLECTION / "galaxy.yml")["version"], llmdesk.__version__} == {PROJECT["version"]}


def numbers(number: str) -> list[int]:
    return [int(part) for part in number.split(".")]


def test_what_galaxy_would_bring_is_what_the_package_ansible_brings() -> None:
    lowest = read(COLLECTION / "galaxy.yml")["dependencies"]
    wanted = {one["name"]: one["version"] for one in read(ROOT / "requirements.yml")["collections"]}
    assert set(wanted) == set(lowest)
    for name, number in wanted.items():
        folders = [Path(folder, *name.split(".")) for folder in ansible_collections.__path__]
        manifest = next(folder / "MANIFEST.json" for folder in folders if (folder / "MANIFEST.json").exists())
        assert json.loads(manifest.read_text())["collection_info"]["version"] == number, name
        assert numbers(number) >= numbers(lowest[name].removeprefix(">=")), name


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    found = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {name.lower().replace("_", "-"): number for name, number in found}


def test_everything_that_is_installed_has_an_exact_pin() -> None:
    wanted = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["test"]]
    for requirement in wanted:
        name, _equals, number = requirement.partition("==")
        pin = pins()[name.lower().replace("_", "-")]
        assert number in ("", pin), requirement
        assert version(name) == pin, f"{name}: the environment is not the pinned one"


def test_no_file_of_dependencies_names_a_registry() -> None:
    for name in ("constraints.txt", "pyproject.toml", "requirements.yml"):
        text = (ROOT / name).read_text()
        assert not re.search(r"^\s*(-i|--index-url|--extra-index-url|--find-links|source:)", text, re.MULTILINE), name
        assert "://" not in text, name


# --- Roles ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ROLES)
def test_the_inputs_of_a_role_are_its_defaults(role: str) -> None:
    folder = COLLECTION / "roles" / role
    specs = read(folder / "meta" / "argument_specs.yml")["argument_specs"]
    options: dict[str, Any] = {}
    for entry_point, spec in specs.items():
        assert spec["short_description"], entry_point
        assert (folder / "tasks" / f"{entry_point}.yml").exists()
        # What a caller has to give has no default.
        options |= {name: option for name, option in spec["options"].items() if not option.get("required")}
    defaults = read(folder / "defaults" / "main.yml") if (folder / "defaults").exists() else {}
    assert set(options) == set(defaults)
    for name, option in options.items():
        assert name.startswith(role.removesuffix("_runtime")), "an input carries its role's name"
        assert option["description"]
        assert option["default"] == defaults[name], name


@pytest.mark.parametrize("role", ROLES)
def test_a_role_is_described_with_an_example(role: str) -> None:
    text = (COLLECTION / "roles" / role / "README.md").read_text()
    assert text.startswith(f"# llmdesk.workstation.{role}\n")
    examples = [yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)]
    plays = [play for example in examples if isinstance(example, list) for play in example]
    used = [entry["role"] for play in plays for entry in play.get("roles", [])]
    used += [
        entry["name"]
        for play in plays
        for task in play.get("tasks", [])
        for entry in [task.get("ansible.builtin.include_role") or task.get("ansible.builtin.import_role")]
        if entry
    ]
    assert f"llmdesk.workstation.{role}" in used, "a play that can be copied"
    for name in read(COLLECTION / "roles" / role / "meta" / "argument_specs.yml")["argument_specs"]["main"]["options"]:
        assert name in text, f"{name} is not described"


@pytest.mark.parametrize("role", ROLES)
def test_a_role_says_what_it_is_for(role: str) -> None:
    galaxy = read(COLLECTION / "roles" / role / "meta" / "main.yml")["galaxy_info"]
    assert galaxy["description"]
    assert galaxy["license"] == "GPL-3.0-or-later"
    assert f"roles/{role}" in (COLLECTION / "README.md").read_text() or role in (COLLECTION / "README.md").read_text()


# --- Modules and filters --------------------------------------------------------------------------------------------


def documentation(kind: str, name: str) -> dict[str, Any]:
    """Return the three documents of a plugin, which must be plain constants: ansible-doc imports nothing."""
    tree = ast.parse((COLLECTION / "plugins" / kind / f"{name}.py").read_text())
    documents = constants(tree.body)
    about = documents["DOCUMENTATION"]
    for fragment in about.get("extends_documentation_fragment", []):
        file = COLLECTION / "plugins" / "doc_fragments" / f"{fragment.rpartition('.')[2]}.py"
        shared = next(node for node in ast.parse(file.read_text()).body if isinstance(node, ast.ClassDef))
        about["options"] |= constants(shared.body)["DOCUMENTATION"]["options"]
    return {key: documents[key] for key in ("DOCUMENTATION", "EXAMPLES", "RETURN")}


def constants(body: list[ast.stmt]) -> dict[str, Any]:
    """Return the YAML of every constant of a file or of a class."""
    found: dict[str, Any] = {}
    for node in body:
        if (
            isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and isinstance(node.value, ast.Constant)
        ) and node.targets[0].id in ("DOCUMENTATION", "EXAMPLES", "RETURN"):
            found[node.targets[0].id] = node.value.value
    return {key: yaml.safe_load(text) for key, text in found.items() if isinstance(text, str)}


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_documented(name: str) -> None:
    documents = documentation("modules", name)
    about = documents["DOCUMENTATION"]
    assert about["module"] == name
    assert about["short_description"]
    assert about["description"]
    assert about["version_added"]
    for attribute in ("check_mode", "diff_mode"):
        assert about["attributes"][attribute]["support"] in ("full", "partial", "none")
        assert about["attributes"][attribute]["description"]
    assert all(task["name"] for task in documents["EXAMPLES"])
    assert any(f"llmdesk.workstation.{name}" in task for task in documents["EXAMPLES"])
    for value in documents["RETURN"].values():
        assert value["description"]
        assert value["type"]
        assert value["returned"]


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_is_documented(name: str) -> None:
    documents = documentation("filter", name)
    assert documents["DOCUMENTATION"]["name"] == name
    assert f"llmdesk.workstation.{name}" in json.dumps(documents["EXAMPLES"])
    assert documents["RETURN"]["_value"]["description"]


class Told(Exception):
    """What a module said to AnsibleModule."""


def told(name: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return the arguments with which a module asks for its own."""
    module = importlib.import_module(f"ansible_collections.llmdesk.workstation.plugins.modules.{name}")

    def ask(**arguments: Any) -> None:
        raise Told(arguments)

    monkeypatch.setattr(module, "AnsibleModule", ask)
    with pytest.raises(Told) as raised:
        module.main()
    arguments: dict[str, Any] = raised.value.args[0]
    return arguments


def plain(options: dict[str, Any]) -> dict[str, Any]:
    """Return options with what both sides say of them."""
    found = {}
    for name, option in options.items():
        kept = {
            key: option.get(key) for key in ("type", "elements", "choices", "default", "required") if option.get(key)
        }
        below = option.get("options") or option.get("suboptions")
        found[name] = {**kept, "options": plain(below)} if below else kept
    return found


@pytest.mark.parametrize("name", MODULES)
def test_a_module_takes_what_its_documentation_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = told(name, monkeypatch)
    about = documentation("modules", name)["DOCUMENTATION"]
    assert plain(arguments["argument_spec"]) == plain(about["options"])
    assert arguments["supports_check_mode"] is (about["attributes"]["check_mode"]["support"] != "none")


SECRET = re.compile("pass|secret|token", re.IGNORECASE)


@pytest.mark.parametrize("name", MODULES)
def test_no_secret_of_a_module_is_logged(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options = told(name, monkeypatch)["argument_spec"]
    below = [spec["options"] for spec in options.values() if "options" in spec]
    for option, spec in [item for each in (options, *below) for item in each.items()]:
        # Neither where a secret is kept nor a choice is one.
        if SECRET.search(option) and not option.endswith("_file") and "choices" not in spec:
            assert spec.get("no_log") is True, option


# --- Python on desks ------------------------------------------------------------------------------------------------

ON_DESKS = sorted(
    path.relative_to(COLLECTION / "plugins")
    for kind in ("modules", "module_utils")
    for path in (COLLECTION / "plugins" / kind).glob("*.py")
)


@pytest.mark.parametrize("path", ON_DESKS, ids=str)
def test_what_runs_on_a_desk_is_python_3_8(path: Path) -> None:
    text = (COLLECTION / "plugins" / path).read_text()
    tree = ast.parse(text, feature_version=(3, 8))
    assert "from __future__ import annotations" in text
    allowed = {"ansible", "ansible_collections"}
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for imported in names:
            assert imported.split(".")[0] in STANDARD | allowed, f"{imported} is no standard library"
        called = node.func.attr if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) else ""
        assert called not in ("removeprefix", "removesuffix"), f"{called} came with Python 3.9"


# A real one where this machine has it: only that notices what is evaluated when a module is loaded.
# pyenv's shims answer to every name, and run none.
PYTHON_3_8 = next(
    (str(path) for path in Path.home().glob(".pyenv/versions/3.8.*/bin/python")), shutil.which("python3.8")
)


@pytest.mark.skipif(PYTHON_3_8 is None, reason="there is no Python 3.8 here")
@pytest.mark.parametrize("name", MODULES)
def test_python_3_8_loads_the_module(name: str, tmp_path: Path) -> None:
    (tmp_path / "ansible").symlink_to(Path(ansible.__file__).parent)
    done = subprocess.run(
        [str(PYTHON_3_8), str(COLLECTION / "plugins" / "modules" / f"{name}.py")],
        input='{"ANSIBLE_MODULE_ARGS": {"no_such_option": 1}}',
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{COLLECTION.parents[2]}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert re.match("missing required|Unsupported|one of", json.loads(done.stdout or "{}").get("msg", "")), done.stderr


# Of the controller's Python, without what came after 3.8.
STANDARD = sys.stdlib_module_names - {"graphlib", "tomllib", "zoneinfo"}
