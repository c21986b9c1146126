# SPDX-License-Identifier: GPL-3.0-or-later
"""What a mirror fetches before anybody asks, and what it says where that is not to be had."""

from __future__ import annotations

import hashlib
import http.client
import json
from email.message import Message
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from ansible_collections.llmdesk.workstation.plugins.module_utils import mirror_store
from ansible_collections.llmdesk.workstation.plugins.modules import mirror_blobs

CONFIGURATION = "0" * 64
BLOBS = {hashlib.sha256(content).hexdigest(): content for content in (b"weights" * 9, b"template", b"config")}
LARGEST = next(iter(BLOBS))


def says(status: int, kind: str = "application/json", body: bytes = b"") -> tuple[int, Message, bytes]:
    headers = Message()
    headers["Content-Type"] = kind
    return status, headers, body


class Mirror:
    """A mirror whose cache says what a test wants, and a clock that does not wait."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.config, self.state = folder / "config", folder / "state"
        self.config.mkdir()
        (self.state / "store" / "blobs").mkdir(parents=True)
        for name, text in (("configuration", CONFIGURATION), ("names", "mirror"), ("push_password", "word\n")):
            (self.config / name).write_text(text)
        self.asked: list[tuple[str, str]] = []
        self.slept: list[float] = []
        self.answers: list[Any] = []
        self.cached: set[str] = set()
        patch.setattr(mirror_blobs.Blobs, "_get", lambda _self, *arguments: self._get(*arguments))
        patch.setattr("time.sleep", self.slept.append)
        patch.setattr(mirror_store, "keep", lambda *_arguments: self._keep())

    def _get(self, path: str, _host: str, headers: dict[str, str], _timeout: float) -> tuple[int, Any, bytes]:
        if path == "/metrics-of-nobody":
            return says(404)
        if "/manifests/" in path:
            layers = [{"digest": f"sha256:{digest}", "size": len(content)} for digest, content in BLOBS.items()]
            return says(200, body=json.dumps({"layers": layers}).encode())
        digest = path.rpartition(":")[2]
        self.asked.append((digest, headers["Range"]))
        answer = self.answers.pop(0) if len(self.answers) > 1 else next(iter(self.answers), None)
        if isinstance(answer, Exception):
            raise answer
        if answer:
            return cast("tuple[int, Any, bytes]", answer)
        first, last = map(int, headers["Range"][6:].split("-"))
        self.cached.add(digest)
        return says(206, body=BLOBS[digest][first : last + 1])

    def _keep(self) -> mirror_store.Kept:
        for digest in self.cached:
            Path(mirror_store.path(str(self.state), digest)).touch()
        return mirror_store.Kept(sorted(self.cached), [], [])

    def runs(self, check_mode: bool = False, **more: Any) -> dict[str, Any]:
        at = {"upstream": "registry.example", "repository": "library/tiny", "tag": "1"}
        given = {
            "configuration": CONFIGURATION,
            "names": ["mirror"],
            "models": [{"name": name, **at} for name in ("tiny:1", "other:1")],
            "images": [],
            "proxy_credentials": {},
            "cache_bytes": 0,
            "config_dir": str(self.config),
            "state_dir": str(self.state),
            "run_dir": str(self.state),
            "retries": 3,
            "progress_file": None,
            **more,
        }
        return mirror_blobs.Blobs(cast(Any, SimpleNamespace(params=given, check_mode=check_mode))).ensure()


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mirror:
    return Mirror(tmp_path, monkeypatch)


def test_everything_comes_once(mirror: Mirror) -> None:
    result = mirror.runs()
    assert (result["changed"], result["missing"], result["said"]) == (True, [], [])
    assert len(mirror.asked) == len(BLOBS)
    assert result["password_sha256"] == hashlib.sha256(b"word").hexdigest()
    assert mirror.runs()["changed"] is False


@pytest.mark.parametrize("status", [429, 503, 504])
def test_an_upstream_that_is_away_is_waited_for_once_and_is_one_sentence(mirror: Mirror, status: int) -> None:
    mirror.answers = [says(status)]
    result = mirror.runs()
    assert len(mirror.asked) == 1
    assert mirror.slept == []
    assert len(result["said"]) == 1
    assert result["said"][0].startswith("other:1: registry.example ")
    assert len(result["missing"]) == len(BLOBS)


def test_what_one_blob_is_refused_does_not_keep_the_others_away(mirror: Mirror) -> None:
    mirror.answers = [says(502), None]
    result = mirror.runs()
    assert len(result["said"]) == 1
    assert "HTTP 502 for sha256:" in result["said"][0]
    assert len(result["missing"]) == 1


def test_a_way_out_that_restarts_is_asked_again(mirror: Mirror) -> None:
    mirror.answers = [says(502, "text/html"), None]
    assert mirror.runs()["missing"] == []
    assert len(mirror.asked) == len(BLOBS) + 1


def test_nobody_waits_after_the_last_try(mirror: Mirror) -> None:
    mirror.answers = [says(502, "text/html")]
    mirror.runs(retries=2)
    assert len(mirror.asked) == 3 * len(BLOBS)
    assert mirror.slept == [1, 2] * len(BLOBS)


def test_a_piece_that_breaks_off_goes_on_where_it_broke(mirror: Mirror) -> None:
    mirror.answers = [http.client.IncompleteRead(b"con", 3), None]
    assert mirror.runs()["missing"] == []
    assert [asked[1] for asked in mirror.asked[:2]] == ["bytes=0-5", "bytes=3-5"]


def test_what_the_cache_has_already_needs_no_room(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    total = sum(map(len, BLOBS.values()))
    free = SimpleNamespace(f_bavail=total, f_frsize=1)
    monkeypatch.setattr("os.statvfs", lambda _path: free)
    assert "nothing was fetched" in mirror.runs()["said"][0]
    slices = {digest: [mirror_store.Slice("", 0, 0, len(content), 0)] for digest, content in BLOBS.items()}
    monkeypatch.setattr(mirror_store, "slices", lambda _state: slices)
    assert mirror.runs()["missing"] == []


def test_what_came_and_is_not_kept_is_said(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror_store, "keep", lambda *_arguments: mirror_store.Kept([], [], []))
    result = mirror.runs()
    assert len(result["said"]) == len(BLOBS)
    assert all("model_mirror_cache" in sentence for sentence in result["said"])


def test_what_the_cache_cannot_hold_is_said_and_not_fetched(mirror: Mirror) -> None:
    result = mirror.runs(cache_bytes=len(BLOBS[LARGEST]) - 1)
    assert result["missing"] == [LARGEST]
    assert LARGEST not in {digest for digest, _range in mirror.asked}
    assert "set model_mirror_cache to more" in result["said"][0]


@pytest.mark.parametrize("lost", ["configuration", "names", "push_password"])
def test_a_mirror_that_has_lost_something_does_not_stand(mirror: Mirror, lost: str) -> None:
    assert mirror.runs(check_mode=True)["standing"] is True
    (mirror.config / lost).unlink()
    assert mirror.runs(check_mode=True)["standing"] is False


@pytest.mark.parametrize(
    ("note", "given", "stands"),
    [
        ({}, {"https": "ann:word"}, False),
        ({"https": "ann:word"}, {"https": "ann:word"}, True),
        ({"https": "ann:word"}, {"https": "ann:another"}, False),
        ({"https": "ann:word"}, {}, False),
        (None, {}, True),
        (None, {"https": "ann:word"}, False),
    ],
)
def test_a_mirror_whose_proxy_wants_another_password_does_not_stand(
    mirror: Mirror, note: Any, given: dict[str, str], stands: bool
) -> None:
    if note is not None:
        (mirror.config.parent / "network.json").write_text(json.dumps({"wanted": {"credentials": note}}))
    result = mirror.runs(check_mode=True, proxy_credentials=given)
    assert result["standing"] is stands
    assert "ann:" not in json.dumps(result)
