# SPDX-License-Identifier: GPL-3.0-or-later
"""A program that is run in a container through Docker's socket."""

from __future__ import annotations

import io
import struct
from typing import Any

import pytest
from ansible_collections.llmdesk.workstation.plugins.module_utils.docker_exec import run
from ansible_collections.llmdesk.workstation.plugins.module_utils.docker_socket import DockerFailure

STREAM = struct.pack(">BxxxL", 1, 4) + b"said"


class Docker:
    """Says what a Docker says whose program has closed its streams."""

    def __init__(self, *states: dict[str, Any]) -> None:
        self._states = [*states]

    def post(self, _path: str, _body: Any) -> dict[str, str]:
        return {"Id": "1"}

    def hijack(self, _path: str, _body: Any, _timeout: float) -> tuple[io.BytesIO, io.BytesIO]:
        return io.BytesIO(STREAM), io.BytesIO()

    def get(self, _path: str) -> dict[str, Any]:
        return self._states.pop(0) if len(self._states) > 1 else self._states[0]


RUNS = {"Running": True, "ExitCode": None}


def test_its_end_is_awaited() -> None:
    docker: Any = Docker(RUNS, RUNS, {"Running": False, "ExitCode": 9})
    assert run("desk", ["nvidia-smi"], 5, docker) == (9, "said")


def test_one_that_does_not_end_has_not_succeeded() -> None:
    docker: Any = Docker(RUNS)
    with pytest.raises(DockerFailure, match=r"nvidia-smi in the container desk did not end within 0\.05 s"):
        run("desk", ["nvidia-smi"], 0.05, docker)
