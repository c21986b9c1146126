# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings the files of a bundle to a desk over whatever connection it has, and shows how far that is."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from typing import Any

from ansible import constants
from ansible.plugins.action import ActionBase
from ansible_collections.llmdesk.workstation.plugins.plugin_utils.progress import Teller

PARCEL = 64 * 1024 * 1024
"""Bytes that go at once: each parcel costs a file transfer and a module, and is lost when the line is cut off."""
BLOCK = 1024 * 1024


class ActionModule(ActionBase):  # type: ignore[misc]
    """Runs the module of the same name, once to ask what is missing and once a parcel."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the module's last result, with all that was brought."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        files: dict[str, dict[str, Any]] = arguments["files"]
        answer = self._execute_module(module_args=arguments, task_vars=task_vars)
        if answer.get("failed") or self._task.check_mode or not answer.get("bytes"):
            result.update(answer)
            return result
        teller = Teller((task_vars or {}).get("inventory_hostname", "?"), self._task.get_name())
        total, brought = answer["bytes"], 0
        for pieces in parcels({name: file["size"] for name, file in files.items()}, answer["missing"]):
            told = {"item": "the bundle", "completed": brought, "total": total, "unit": "bytes", "detail": ""}
            teller.tell({**told, "lan": True})
            answer = self._bring(arguments, pieces, task_vars)
            if answer.get("failed"):
                break
            brought += sum(length for _name, _offset, length in pieces)
        result.update(answer, changed=True, bytes=brought)
        return result

    def _bring(
        self, arguments: dict[str, Any], pieces: list[tuple[str, int, int]], task_vars: dict[str, Any] | None
    ) -> dict[str, Any]:
        folder = self._make_tmp_path()
        remote = self._connection._shell.join_path(folder, "parcel")
        try:
            # Every desk that is worked on has one, and /tmp may be memory.
            with tempfile.NamedTemporaryFile(dir=constants.DEFAULT_LOCAL_TMP) as parcel:
                for name, offset, length in pieces:
                    with open(os.path.join(arguments["source"], name), "rb") as file:
                        file.seek(offset)
                        for start in range(0, length, BLOCK):
                            parcel.write(file.read(min(BLOCK, length - start)))
                parcel.flush()
                self._transfer_file(parcel.name, remote)
            more = {"parcel": remote, "pieces": [list(piece) for piece in pieces]}
            answer: dict[str, Any] = self._execute_module(module_args=dict(arguments, **more), task_vars=task_vars)
            return answer
        finally:
            self._remove_tmp_path(folder, force=True)


def parcels(
    sizes: dict[str, int], missing: dict[str, int], largest: int = PARCEL
) -> Iterator[list[tuple[str, int, int]]]:
    """Yield what goes at once: pieces of files, each a name, an offset and a length.

    :param sizes: of the whole files.
    :param missing: how many bytes of each are there already.
    """
    parcel: list[tuple[str, int, int]] = []
    room = largest
    for name, offset in missing.items():
        while True:
            length = min(room, sizes[name] - offset)
            parcel.append((name, offset, length))
            offset, room = offset + length, room - length
            if not room:
                yield parcel
                parcel, room = [], largest
            if offset == sizes[name]:
                break
    if parcel:
        yield parcel
