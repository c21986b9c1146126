"""Which image and which account a desk needs."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.llmdesk.workstation.plugins.module_utils.plan import account_plan, image_plan

SOURCES = [{"registry": "ghcr.io/open-webui/open-webui:ollama"}, {"build": True}]
RECORD = {"id": "sha256:1", "reference": "ghcr.io/open-webui/open-webui:ollama", "wanted": SOURCES}


@pytest.mark.parametrize(
    ("record", "present", "upgrade", "act", "reason"),
    [
        (None, None, False, True, "no image was found yet"),
        (RECORD, {"id": "sha256:1"}, False, False, "ghcr.io/open-webui/open-webui:ollama is here"),
        (RECORD, None, False, True, "is gone"),
        (RECORD, {"id": "sha256:1"}, True, True, "anew"),
        (dict(RECORD, wanted=SOURCES[1:]), {"id": "sha256:1"}, False, True, "sources has changed"),
    ],
)
def test_image(record: Any, present: Any, upgrade: bool, act: bool, reason: str) -> None:
    plan = image_plan({"record": {"image": record}, "image": present}, {"sources": SOURCES, "upgrade": upgrade})
    assert plan["act"] is act
    assert reason in plan["reason"]


@pytest.mark.parametrize(
    ("state", "container", "given", "act"),
    [
        ("none", None, False, True),
        ("managed", {"managed": True}, True, False),
        ("unmanaged", {"managed": True}, False, False),
        ("unmanaged", {"managed": True}, True, True),
        ("unknown", None, False, True),
        ("unknown", {"managed": False}, False, True),
        ("unknown", {"managed": True}, False, False),
    ],
)
def test_account(state: str, container: Any, given: bool, act: bool) -> None:
    plan = account_plan({"account": {"state": state}, "container": container}, {"password_given": given})
    assert plan["act"] is act
