# SPDX-License-Identifier: GPL-3.0-or-later
"""Inventories as a person writes them: what is wrong with one in a sentence, and which hosts it names.

Ansible says the same in a page for each of its plugins, or runs over nobody without a word.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

DESKS = ("desks", "windows")
"""The groups that a run works on."""

KEYS = ("hosts", "vars", "children")
"""What a group of an inventory may have (ansible-doc -t inventory yaml)."""


class BadInventory(Exception):
    """What is wrong with an inventory: where, what, and what to do, in one sentence or two."""


class _Loader(yaml.SafeLoader):
    """Knows Ansible's tags, and refuses a key that stands twice, of which YAML would keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping whose keys are all different.

        :raises yaml.constructor.ConstructorError: one stands twice.
        """
        seen: set[str] = set()
        for key, _value in node.value:
            if key.tag != "tag:yaml.org,2002:merge" and str(key.value) in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key.value} stands there twice; remove one of them", key.start_mark
                )
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


_Loader.add_multi_constructor("!", lambda _loader, _tag, node: node.value)


def check(sources: Iterable[str]) -> None:
    """Look at inventories before Ansible does: files of YAML are read, everything else is left to Ansible.

    :param sources: what ``-i`` was given: paths, or lists of hosts such as ``desk1,``.
    :raises BadInventory: one is not there, is no inventory, or all together have no desk.
    """
    groups: set[str] | None = set()
    named = []
    for source in sources:
        if "," in source:
            groups = None  # Ansible's own business, as are plugins, scripts, folders and INI files.
            continue
        path = Path(source)
        if not path.exists():
            raise BadInventory(f"There is no inventory {source}.{_like(path)}")
        content = read(path) if path.is_file() and path.suffix in (".yml", ".yaml") else None
        if content is None or "plugin" in content:
            groups = None
            continue
        named.append(source)
        found = {group for group, host in _hosts(content) if host}
        groups = None if groups is None else groups | found
    if named and groups is not None and not groups.intersection(DESKS):
        raise BadInventory(
            f"{' and '.join(named)} {'have' if len(named) > 1 else 'has'} no desks: list them under 'desks:', 'hosts:',"
            " as inventory/examples/room.yml shows it."
        )


def read(path: Path) -> dict[str, Any]:
    """Return an inventory's content, an empty one for an empty file.

    :raises BadInventory: the file cannot be read, is no YAML, or no inventory.
    """
    try:
        content = yaml.load(path.read_text(), Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        what = (
            error.problem
            if isinstance(error, yaml.constructor.ConstructorError)
            else f"this is not YAML ({error.problem}{f', {error.context}' if error.context else ''})"
        )
        raise BadInventory(f"{path}{line}: {what}.") from None
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInventory(f"{path} cannot be read: {getattr(error, 'strerror', None) or 'it is no text'}.") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise BadInventory(
            f"{path} is no inventory: it has to begin with a group, such as 'desks:' (inventory/examples/room.yml)."
        )
    if "plugin" not in content:
        for name, group in content.items():
            _check_group(path, str(name), group)
    return content


def hosts(content: dict[str, Any]) -> list[str]:
    """Return the names of all hosts of an inventory, those of patterns such as ``desk[01:30]`` one by one."""
    found: dict[str, None] = {}
    for _group, pattern in _hosts(content):
        found.update(dict.fromkeys(expanded(pattern)))
    return list(found)


def expanded(pattern: str) -> list[str]:
    """Return the names that a pattern of Ansible's stands for, such as ``desk[01:30]``.

    :raises ValueError: it is none; the text is a sentence.
    """
    if "[" not in pattern:
        return [pattern]
    from ansible.errors import AnsibleError
    from ansible.plugins.inventory import expand_hostname_range

    try:
        found: list[str] = [name for one in expand_hostname_range(pattern) for name in expanded(one)]
    except (AnsibleError, ValueError, IndexError) as error:
        raise ValueError(f"{pattern} is no range of names ({error})") from None
    return found


def _hosts(groups: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Yield every host once for each group that it is in."""
    for name, group in groups.items():
        inside = (*above, str(name))
        for host in (group or {}).get("hosts") or {}:
            for each in inside:
                yield each, str(host)
        yield from _hosts((group or {}).get("children") or {}, inside)


def _check_group(path: Path, name: str, group: Any) -> None:
    if group is None:
        return
    if not isinstance(group, dict):
        raise BadInventory(f"{path}: the group {name} has to have 'hosts:', 'vars:' or 'children:' under it.")
    for key, value in group.items():
        if key not in KEYS:
            raise BadInventory(f"{path}: {key} under the group {name} is none of {', '.join(KEYS)}.{_meant(key, KEYS)}")
        if value is not None and not isinstance(value, dict):
            shape = "a line 'NAME:' each, with a colon and without a dash" if key != "vars" else "'NAME: VALUE' lines"
            raise BadInventory(f"{path}: {key} of the group {name} have to be {shape}.")
    for child, below in (group.get("children") or {}).items():
        _check_group(path, str(child), below)


def _meant(word: Any, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(str(word), list(known), 1)
    return f" Did you mean {near[0]}?" if near else ""


def _like(path: Path) -> str:
    try:
        beside = [other.name for other in path.parent.iterdir() if other.is_file()]
    except OSError:
        return ""
    near = difflib.get_close_matches(path.name, beside, 1)
    return f" Did you mean {path.with_name(near[0])}?" if near else " './llmdesk init' makes one."
