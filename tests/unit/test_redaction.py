# SPDX-License-Identifier: GPL-3.0-or-later
"""A bundle for people who help: secrets planted wherever they may stand, and none of them in what is packed."""

from __future__ import annotations

import json
import re
import stat
import subprocess
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from llmdesk import redaction, support_bundle
from llmdesk import run as runs
from llmdesk.cli import main

SECRETS = {
    "admin": "kiwi-Adm1n-word",
    "proxy": "kiwi%40proxy",
    "token": "kiwi-token-0123456789abcdef",
    "bearer": "kiwiBearer0123456789abcdef==",
    "basic": "a2l3aTpraXdpLWJhc2lj",
    "session": "kiwi-webui-session-key-77",
    "vault": "6b697769366536326162373839613838",
    "extra": "kiwi extra word",
    "become": "kiwi-become",
    "jwt": "eyJhbGciOiJIUzI1NiJ9.eyJraXdpIjoia2l3aSJ9.c2lnbmF0dXJla2l3aQ",
    "key": "b3BlbnNzaC1rZXkta2l3aQAAAABG5vbmU",
    "cookie": "kiwi-cookie-1",
    "service": "sk-kiwi0123456789abcdefghij",
    "query": "kiwi-query-77",
}

VAULT = f"$ANSIBLE_VAULT;1.1;AES256\n          {SECRETS['vault']}\n          {SECRETS['vault'][::-1]}\n"
PRIVATE = f"-----BEGIN OPENSSH PRIVATE KEY-----\n{SECRETS['key']}\n-----END OPENSSH PRIVATE KEY-----\n"
LINES = [
    f"open_webui_admin_password: {SECRETS['admin']}",
    f"WEBUI_SECRET_KEY={SECRETS['session']}",
    f'"Env": ["WEBUI_SECRET_KEY={SECRETS["session"]}", "PATH=/usr/bin"]',
    f"HTTPS_PROXY=http://ann:{SECRETS['proxy']}@proxy.example.com:3128",
    f"Authorization: Bearer {SECRETS['bearer']}",
    f"  'Proxy-Authorization': 'Basic {SECRETS['basic']}',",
    f"curl -H 'authorization: token {SECRETS['token']}' https://example.com",
    f'{{"api_key": "{SECRETS["token"]}", "tokens_per_s": 12.5}}',
    f'{{\\"password\\": \\"{SECRETS["admin"]}\\"}}',
    f"ansible-playbook site.yml -e my_password='{SECRETS['extra']}' -e x=1",
    f"GET /api/v1/auths?token={SECRETS['query']}&x=1 HTTP/1.1",
    f"Set-Cookie: token={SECRETS['cookie']}; HttpOnly",
    f"it answered with {SECRETS['jwt']} to somebody",
    f"OPENAI uses {SECRETS['service']} today",
    VAULT,
    PRIVATE,
]


@pytest.mark.parametrize("line", LINES)
def test_no_secret_stays_in_a_line(line: str) -> None:
    clean = redaction.redacted(line)
    assert redaction.MARK in clean
    assert [name for name, secret in SECRETS.items() if secret in clean] == []


@pytest.mark.parametrize(
    "line",
    [
        "password_file: /etc/llmdesk/admin_password",
        "tokens_per_s: 12.5",
        '"seconds_to_first_token": 0.4',
        "PLAY [Make every desk answer] ****",
        "http://127.0.0.1:3000/auth",
        "author: somebody",
        "sha256:6b697769366536326162373839613838",
        "password: null",
    ],
)
def test_what_helps_and_is_no_secret_stays(line: str) -> None:
    assert redaction.redacted(line) == line


def test_a_known_secret_goes_wherever_it_stands() -> None:
    given = ["nothing=1", f'{{"room_password": "{SECRETS["extra"]}"}}', f"a_secret={SECRETS['become']} b=2"]
    known = redaction.known(json.dumps({"_meta": {"hostvars": {"desk1": {"my_token": SECRETS["token"]}}}}), given)
    assert known == {SECRETS["extra"], SECRETS["become"], SECRETS["token"]}
    assert redaction.redacted(f"echo {SECRETS['extra']}, said the log", known) == f"echo {redaction.MARK}, said the log"


def test_documents_are_cleaned_by_their_names() -> None:
    clean = redaction.cleaned(
        {
            "desk_proxy": {"https": f"http://ann:{SECRETS['proxy']}@proxy:3128"},
            "open_webui_people_users": [{"email": "ann@example.com", "password": {"__ansible_vault": VAULT}}],
            "docker_registry_password": ["a", SECRETS["admin"]],
            "account": {"password_file": "/etc/llmdesk/admin_password", "managed": True},
            "no_password_is_asked": True,
        }
    )
    assert clean == {
        "desk_proxy": {"https": f"http://{redaction.MARK}@proxy:3128"},
        "open_webui_people_users": [{"email": redaction.MARK, "password": redaction.MARK}],
        "docker_registry_password": [redaction.MARK, redaction.MARK],
        "account": {"password_file": "/etc/llmdesk/admin_password", "managed": True},
        "no_password_is_asked": True,
    }


def test_the_addresses_of_people_stay_by_choice() -> None:
    assert redaction.redacted("ann@example.com asked") == f"{redaction.MARK} asked"
    assert redaction.redacted("ann@example.com asked", emails=True) == "ann@example.com asked"
    assert redaction.redacted("admin@localhost asked") == "admin@localhost asked"


def answered(*, probed: bool = True) -> dict[str, Any]:
    """Return what Ansible says of a desk full of secrets, whose Docker is dead, and of one that is out of reach."""
    logs = {
        "container.log": "\n".join(LINES),
        "docker-info.txt": "Cannot connect to the Docker daemon",
        "empty.log": "",
    }
    facts = {"changed": False, "msg": {"desk_facts": {"hostname": "desk1", "my_password": SECRETS["admin"]}}}
    broken = {"failed": True, "changed": False, "msg": f"The probe fell over password={SECRETS['admin']}"}
    unreachable = {"unreachable": True, "changed": False, "msg": "Connection timed out"}
    tasks = [
        {"task": {"name": "Hand over"}, "hosts": {"desk1": {"msg": {"desk_support": logs}}, "desk2": unreachable}},
        {"task": {"name": "Facts"}, "hosts": {"desk1": facts if probed else broken}},
    ]
    return {"plays": [{"play": {"name": "Collect"}, "tasks": tasks}]}


@pytest.mark.parametrize("probed", [True, False])
def test_a_bundle_has_everything_and_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, probed: bool) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    record = runs.records_dir() / "20260101-000000-site-1"
    record.mkdir(parents=True)
    (record / "desk1.json").write_text(
        json.dumps({"facts": {"session_key": SECRETS["session"]}, "note": "\n".join(LINES)})
    )
    artifacts = runs.state_dir() / "artifacts" / "20260101-000000-site-1"
    (artifacts / "job_events").mkdir(parents=True)
    (artifacts / "stdout").write_text("\n".join(LINES))
    (artifacts / "job_events" / "1.json").write_text("{}")
    hosts = {"desk1": {"room_password": SECRETS["extra"], "vaulted": {"__ansible_vault": VAULT}}}
    inventory = json.dumps({"desks": {"hosts": ["desk1", "desk2"]}, "_meta": {"hostvars": hosts}})
    monkeypatch.setattr(support_bundle, "inventory", lambda _sources: inventory)
    monkeypatch.setattr(runs, "ask", lambda _play: answered(probed=probed))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    archive = tmp_path / "bundle.tar.gz"
    result = CliRunner().invoke(
        main,
        ["support-bundle", "-o", str(archive), "-K", "-e", f"b_password='{SECRETS['extra']}'"],
        input="kiwi-become\n",
    )
    assert result.exit_code == 4, result.output
    assert "desk2: Connection timed out" in result.output
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    with tarfile.open(archive) as opened:
        packed = {
            member.name.removeprefix("llmdesk-support/"): stream.read().decode()
            for member in opened
            if (stream := opened.extractfile(member))
        }
    whole = "\n".join(packed.values())
    assert [name for name, secret in SECRETS.items() if secret in whole or secret in result.output] == []
    manifest = json.loads(packed.pop("manifest.json"))
    assert set(manifest["files"]) == set(packed)
    assert manifest["desks"]["desk2"] == "Connection timed out"
    expected = {
        "controller/versions.txt",
        "controller/inventory.json",
        "controller/records/20260101-000000-site-1/desk1.json",
        "controller/artifacts/20260101-000000-site-1/stdout",
        "desks/desk1/container.log",
        "desks/desk1/docker-info.txt",
        "desks/desk1/empty.log",
    }
    assert set(packed) == expected | ({"desks/desk1/facts.json"} if probed else set())
    assert "Cannot connect to the Docker daemon" in packed["desks/desk1/docker-info.txt"]


def test_a_bundle_that_is_there_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    (tmp_path / "old.tar.gz").write_text("mine")
    result = CliRunner().invoke(main, ["support-bundle", "-o", str(tmp_path / "old.tar.gz")])
    assert result.exit_code == 1
    assert "is there and stays as it is" in result.output
    assert (tmp_path / "old.tar.gz").read_text() == "mine"


def test_ansible_that_does_not_start_is_packed_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(_play: Any) -> Any:
        raise RuntimeError("the inventory is torn")

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(runs, "ask", ask)
    monkeypatch.setattr(support_bundle, "inventory", lambda _sources: "torn")
    monkeypatch.setattr(subprocess, "run", lambda *_a, **_o: SimpleNamespace(stdout="", returncode=0))
    result = CliRunner().invoke(main, ["support-bundle", "-o", str(tmp_path / "b.tar.gz")])
    assert result.exit_code == 4
    with tarfile.open(tmp_path / "b.tar.gz") as opened:
        assert "llmdesk-support/controller/ansible.txt" in opened.getnames()


def test_a_checkout_without_git_has_no_commit_to_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    assert re.fullmatch(r"[0-9a-f]{40}|", support_bundle.commit())
    monkeypatch.setenv("PATH", "/nowhere")
    assert support_bundle.commit() == ""
