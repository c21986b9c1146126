# SPDX-License-Identifier: GPL-3.0-or-later
"""A desk's proxy and authorities: what is wanted, what stands, what each part is told, and that no password shows."""

from __future__ import annotations

import base64
import datetime
import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from ansible_collections.llmdesk.workstation.plugins.filter.network import network as filtered
from ansible_collections.llmdesk.workstation.plugins.module_utils import network
from ansible_collections.llmdesk.workstation.plugins.module_utils.image_build import handed_on
from ansible_collections.llmdesk.workstation.plugins.modules.desk_network import Network, Refused
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from lab import authority
from llmdesk.events import TaskEnded
from llmdesk.words import command, remedy
from tests.unit.servers import Reply, loopback

PLAIN = "http://proxy.example.com:3128"
OPENED = "http://desk:Sesame%40home@proxy.example.com:3128"
SECRETS = ("Sesame@home", "Sesame%40home")
PROXY = {"http": PLAIN, "https": PLAIN, "no_proxy": [".example.com"]}
CREDENTIALS = {"http": "desk:Sesame%40home", "https": "desk:Sesame%40home"}

# --- What is wanted -------------------------------------------------------------------------------------------------


def test_an_address_and_what_opens_it_go_separate_ways() -> None:
    proxy, credentials, errors = network.settings({"https": OPENED, "no_proxy": ".example.com, 10.0.0.0/8"})
    assert proxy == {"http": PLAIN, "https": PLAIN, "no_proxy": [".example.com", "10.0.0.0/8"]}
    assert (credentials, errors) == (CREDENTIALS, [])


@pytest.mark.parametrize("given", [None, {}, ""])
def test_nothing_is_wanted(given: Any) -> None:
    assert network.settings(given) == ({}, {}, [])


@pytest.mark.parametrize(
    ("address", "plain", "opened"),
    [
        ("http://proxy", "http://proxy:80", ""),
        ("HTTP://Proxy.example.com:3128/", PLAIN, ""),
        ("https://proxy:8443", "https://proxy:8443", ""),
        ("http://[2001:db8::1]:3128", "http://[2001:db8::1]:3128", ""),
        ("http://us%20er:p@proxy", "", None),
        ("http://user@proxy", "http://proxy:80", "user:"),
        ("http://user:p@ss:w%2Frd@proxy:1", "http://proxy:1", "user:p%40ss%3Aw%2Frd"),
        ("http://CORP%5Cuser:p%25@proxy:1", "http://proxy:1", "CORP%5Cuser:p%25"),
    ],
)
def test_an_address_is_taken_apart(address: str, plain: str, opened: str | None) -> None:
    if opened is None:
        with pytest.raises(ValueError, match="no blank"):
            network.split(address)
        return
    assert network.split(address) == (plain, opened)
    kinds = {"http": plain}
    assert network.split(network.address(kinds, {"http": opened} if opened else {}, "http")) == (plain, opened)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"http": "proxy.example.com:3128"}, "http: the address has to begin with http://"),
        ({"https": "socks5://u:Sesame@home@proxy"}, "https: socks5 is no kind of proxy"),
        ({"http": "http://desk:Sesame/home@proxy:3128"}, "percent-encoded"),
        ({"http": "http://desk:Sesame#home@proxy:3128"}, "percent-encoded"),
        ({"http": "http://:3128"}, "host or port cannot be read"),
        ({"http": "http://proxy:port"}, "host or port cannot be read"),
        ({"http": PLAIN, "no_proxy": ["a;b"]}, "no_proxy: 'a;b' is no host"),
        ({"all": PLAIN}, "has 'all', and only http, https and no_proxy are known"),
        ({"no_proxy": ["x"]}, "names no proxy"),
        (PLAIN, "is no mapping"),
    ],
)
def test_what_is_no_proxy_is_one_sentence_without_a_password(given: Any, words: str) -> None:
    _proxy, _credentials, errors = network.settings(given)
    assert any(words in error for error in errors)
    assert all(error.startswith("desk_proxy ") and "docs/proxies.md" in error for error in errors)
    assert "Sesame" not in " ".join(errors)


def test_no_address_shows_its_password() -> None:
    text = f"Get https://ghcr.io/v2/: proxyconnect {OPENED} and http://a:b@c/ but mail@example.com"
    assert network.redacted(text) == f"Get https://ghcr.io/v2/: proxyconnect {PLAIN} and http://c/ but mail@example.com"
    assert command(["ansible-playbook", "-e", f'{{"desk_proxy": {{"http": "{OPENED}"}}}}']).count("Sesame") == 0


# --- How each part takes it -----------------------------------------------------------------------------------------


def test_the_environment_has_both_cases_and_leaves_loopback_alone() -> None:
    variables = network.environment(PROXY, CREDENTIALS, ("open-webui",))
    assert variables["https_proxy"] == variables["HTTPS_PROXY"] == variables["HTTP_PROXY"] == OPENED
    assert variables["NO_PROXY"] == variables["no_proxy"] == "localhost,127.0.0.1,::1,0.0.0.0,open-webui,.example.com"
    assert network.environment({}, {}) == network.environment(None) == {}


def test_the_key_of_daemon_json_has_no_password() -> None:
    assert network.daemon_proxies(PROXY) == {
        "http-proxy": PLAIN,
        "https-proxy": PLAIN,
        "no-proxy": "localhost,127.0.0.1,::1,0.0.0.0,.example.com",
    }


@pytest.mark.parametrize("family", ["debian", "redhat", "suse", "arch", "unknown"])
def test_only_private_files_have_the_password(family: str) -> None:
    files = network.files(family, PROXY, CREDENTIALS, "/etc/llmdesk")
    assert {"/etc/llmdesk/docker.env", "/etc/llmdesk/container/proxy.sh"} <= {file.path for file in files}
    for file in files:
        assert file.private == any(secret in file.text for secret in SECRETS), file.path
    without = network.files(family, PROXY, {}, "/etc/llmdesk")
    assert [file.path for file in without if file.private] == ["/etc/llmdesk/docker.env"]
    assert network.files(family, {}, {}, "/etc/llmdesk") == []


def test_apt_is_told_in_a_file_of_ours_and_of_the_password_in_another() -> None:
    proxy = {**PROXY, "no_proxy": ["mirror.example.com", ".example.com", "10.0.0.0/8"]}
    texts = {file.path: file.text for file in network.files("debian", proxy, CREDENTIALS, "/etc/llmdesk")}
    lines = texts["/etc/apt/apt.conf.d/95llmdesk-proxy"].splitlines()
    assert f'Acquire::https::Proxy "{PLAIN}";' in lines
    assert 'Acquire::http::Proxy::mirror.example.com "DIRECT";' in lines
    assert len([line for line in lines if "DIRECT" in line]) == 2, "apt knows no domains and no networks here"
    assert texts["/etc/apt/auth.conf.d/llmdesk-proxy.conf"] == f"machine {PLAIN} login desk password Sesame@home\n"


def test_dnf_and_zypper_get_a_block_of_ours() -> None:
    (dnf,) = [file for file in network.files("redhat", PROXY, CREDENTIALS, "/e") if file.block is not None]
    assert (dnf.path, dnf.block) == ("/etc/dnf/dnf.conf", "[main]")
    assert dnf.text.splitlines() == [f"proxy={PLAIN}", "proxy_username=desk", "proxy_password=Sesame@home"]
    (zypper,) = [file for file in network.files("suse", PROXY, {}, "/e") if file.block is not None]
    assert zypper.path == "/etc/sysconfig/proxy"
    assert f"HTTPS_PROXY='{PLAIN}'\n" in zypper.text


@pytest.mark.parametrize(
    ("text", "after", "line"),
    [
        ("[main]\ngpgcheck=1\n\n[other]\nx=1\n", "[main]", 1),
        ("[main]\ngpgcheck=1", "[main]", 1),
        ("", "[main]", 1),
        ("A=1", "", 1),
        ("", "", 0),
    ],
)
def test_a_block_is_put_in_once_and_taken_out_whole(text: str, after: str, line: int) -> None:
    once = network.with_block(text, "proxy=x\n", after)
    assert once.splitlines()[line : line + 3] == [network.BEGIN, "proxy=x", network.END]
    assert network.with_block(once, "proxy=x\n", after) == once
    other = network.with_block(once, "proxy=y\n", after)
    assert ("proxy=x" in other, "proxy=y" in other) == (False, True)
    gone = network.with_block(once, "", after)
    assert gone.strip() in (text.strip(), after)


@pytest.mark.parametrize("reader", [["sh"], ["bash"]])
def test_a_shell_reads_what_systemd_and_the_container_read(reader: list[str], tmp_path: Path) -> None:
    variables = network.environment(PROXY, dict.fromkeys(network.KINDS, "d$e`sk:S\\e%27%22same"))
    (tmp_path / "env").write_text(network.shell(variables))
    (tmp_path / "sh").write_text(network.shell(variables, export=True))
    for script in (f"set -a; . {tmp_path}/env; set +a", f". {tmp_path}/sh"):
        done = subprocess.run([*reader, "-c", f"{script}; env"], capture_output=True, text=True, check=True)
        assert f"HTTPS_PROXY={variables['https_proxy']}\n" in done.stdout


def test_ollama_writes_no_password_into_the_log_of_its_container(tmp_path: Path) -> None:
    (file,) = [file for file in network.files("arch", PROXY, CREDENTIALS, "/e") if file.path == "/e/container/proxy.sh"]
    (tmp_path / "proxy.sh").write_text(file.text)
    server = tmp_path / "ollama"
    server.write_text('#!/bin/sh\necho "$1 HTTPS_PROXY:$HTTPS_PROXY \\"http://a:b@c/\\"" >&2; exec sleep 30\n')
    server.chmod(0o755)
    (tmp_path / "start.sh").write_text("ollama serve &\nread -r _; kill -KILL 0\n")
    started = subprocess.Popen(
        ["bash", "start.sh"],
        cwd=tmp_path,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "BASH_ENV": str(tmp_path / "proxy.sh")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert started.stdin and started.stdout
    try:
        assert started.stdout.readline() == f'serve HTTPS_PROXY:{PLAIN} "http://c/"\n', "at once, and without"
    finally:
        started.communicate("\n")


def test_what_a_stage_of_the_build_is_handed_it_reads_from_its_standard_input() -> None:
    own = {"https_proxy": OPENED, "PIP_INDEX_URL": "https://u:p'w@index.example.com/", "AWS_SECRET": "x"}
    script = handed_on(own)
    done = subprocess.run(
        ["sh", "-c", ". /dev/stdin && exec env < /dev/null"], input=script, capture_output=True, text=True, check=True
    )
    assert f"https_proxy={OPENED}\n" in done.stdout
    assert "PIP_INDEX_URL=https://u:p'w@index.example.com/\n" in done.stdout
    assert "AWS_SECRET" not in script
    assert subprocess.run(["sh", "-c", ". /dev/stdin"], input=handed_on({}), text=True).returncode == 0


# --- What stands ----------------------------------------------------------------------------------------------------

WANTED = {"proxy": PROXY, "credentials": CREDENTIALS, "certificates": ["ab"]}
FILES = {"/f": "text"}


def note(**changed: Any) -> str:
    whole = {
        "revision": "r1",
        "wanted": WANTED,
        "files": {"/f": {"sha256": network.mark("text", None), "block": None}},
        "complete": True,
    }
    return json.dumps({**whole, **changed})


@pytest.mark.parametrize(
    ("kept", "wanted", "state", "reason"),
    [
        (None, {}, "none", "not set"),
        (None, {"proxy": {"http": None, "https": None, "no_proxy": None}}, "none", "not set"),
        (None, {"certificates": ["ab"]}, "differs", "never set"),
        (note(), WANTED, "right", "as wanted"),
        (note(), {}, "differs", "desk_proxy has changed"),
        (note(), {**WANTED, "certificates": []}, "differs", "desk_ca_certificates has changed"),
        (note(), {**WANTED, "credentials": {"http": "desk:other"}}, "differs", "user or password"),
        (note(complete=False), WANTED, "differs", "cut off"),
        (note(files={"/f": {"sha256": "0", "block": None}}), WANTED, "differs", "/f is not as it was written"),
        (note(files={"/gone": {"sha256": "0", "block": None}}), WANTED, "differs", "/gone is not as it was written"),
        ("{", WANTED, "differs", "cannot be read"),
        ("[]", WANTED, "differs", "cannot be read"),
    ],
)
def test_what_stands_is_compared_on_the_desk(kept: str | None, wanted: Any, state: str, reason: str) -> None:
    found = network.standing(kept, wanted, FILES.get)
    assert found["state"] == state
    assert reason in found["reason"]
    assert not any(secret in json.dumps(found) for secret in SECRETS)
    assert network.network_plan({"network": found}, {})["act"] == (state == "differs")


# --- Decisions ------------------------------------------------------------------------------------------------------

SET = {"revision": "r1", "proxy": PROXY, "credentials": False, "certificates": []}
UNSET: dict[str, Any] = {"revision": None, "proxy": None, "credentials": False, "certificates": []}


def desk(network: dict[str, Any], version: str = "26.1.5", told: Any = None, **more: Any) -> dict[str, Any]:
    return {
        "network": network,
        "docker": {"state": "running", "version": version, "proxy": {"http": PLAIN, "https": PLAIN}},
        "service_manager": "systemd",
        "record": {"network": told},
        **more,
    }


@pytest.mark.parametrize(
    ("facts", "way"),
    [
        (desk(UNSET), "none"),
        (desk(SET), "daemon_json"),
        (desk(SET, "23.0.0"), "daemon_json"),
        (desk(SET, "20.10.24+dfsg1"), "drop_in"),
        (desk({**SET, "credentials": True}), "drop_in"),
        (desk(SET, "20.10.24", service_manager="none"), "environment"),
        (desk({**SET, "credentials": True}, service_manager="sysvinit"), "environment"),
        (desk({**UNSET, "revision": "r1", "certificates": ["ab"]}), "none"),
    ],
)
def test_the_way_in_which_docker_is_told(facts: dict[str, Any], way: str) -> None:
    plan = network.docker_proxy_plan(facts, {})
    assert plan["way"] == network.docker_way(facts) == way
    assert bool(plan["proxies"]) == (way == "daemon_json")


TOLD = {"revision": "r1", "way": "daemon_json"}


@pytest.mark.parametrize(
    ("facts", "act"),
    [
        (desk(UNSET), False),
        (desk(UNSET, told={}), False),
        (desk(SET), True),
        (desk(SET, told=TOLD), False),
        (desk({**SET, "revision": "r2"}, told=TOLD), True),
        (desk(UNSET, told=TOLD), True),
        # Docker was upgraded, and has a key of its own now.
        (desk(SET, told={"revision": "r1", "way": "drop_in"}), True),
        # Somebody has taken it away.
        (desk(SET, told=TOLD, docker={"state": "running", "version": "26.1", "proxy": {"https": ""}}), True),
        # Docker Desktop has settings of its own; one that only serves other distributions is of no concern here.
        (desk(SET, docker={"state": "running", "version": "28", "edition": "desktop", "proxy": {"https": ""}}), False),
        (desk(SET, wsl={"docker_desktop": True}), True),
        (desk(SET, docker={"state": "absent", "version": None, "proxy": {"https": ""}}), False),
    ],
)
def test_docker_is_told_once(facts: dict[str, Any], act: bool) -> None:
    assert network.docker_proxy_plan(facts, {})["act"] is act


def test_a_container_gets_the_proxy_in_its_environment_and_a_password_in_a_file() -> None:
    open_to_all = network.container_network(SET, "/etc/llmdesk", "/bundle", ["desk1"])
    assert open_to_all["environment"]["https_proxy"] == PLAIN
    assert open_to_all["environment"]["NO_PROXY"].startswith("localhost,127.0.0.1,::1,0.0.0.0,desk1")
    assert (open_to_all["volumes"], open_to_all["revision"]) == ([], "r1")
    guarded = network.container_network({**SET, "credentials": True}, "/etc/llmdesk", "/bundle", [])
    assert guarded["environment"] == {"BASH_ENV": "/etc/llmdesk/container/proxy.sh"}
    assert guarded["volumes"] == ["/etc/llmdesk/container:/etc/llmdesk/container:ro"]
    assert network.container_network(UNSET, "/etc/llmdesk", "/bundle", []) == {}


def test_a_container_trusts_what_its_desk_trusts() -> None:
    trusting = {**UNSET, "revision": "r1", "certificates": ["ab"]}
    found = network.container_network(trusting, "/etc/llmdesk", "/etc/pki/tls/certs/ca-bundle.crt", [])
    assert found["volumes"] == ["/etc/pki/tls/certs/ca-bundle.crt:/etc/ssl/certs/ca-certificates.crt:ro"]
    assert found["environment"]["SSL_CERT_FILE"] == found["environment"]["REQUESTS_CA_BUNDLE"] == network.IN_CONTAINER


def test_a_proxy_of_the_shell_alone_is_told() -> None:
    here = {"system": {"hostname": "desk1"}, "network": UNSET}
    assert "Your shell has HTTPS_PROXY" in network.shell_proxy(here, {"HTTPS_PROXY": OPENED}, "desk1")
    assert "Sesame" not in network.shell_proxy(here, {"HTTPS_PROXY": OPENED}, "desk1")
    assert network.shell_proxy(here, {"HTTPS_PROXY": PLAIN}, "elsewhere") == ""
    assert network.shell_proxy({**here, "network": SET}, {"HTTPS_PROXY": PLAIN}, "desk1") == ""
    assert network.shell_proxy(here, {}, "desk1") == ""


@pytest.mark.parametrize(
    ("message", "hint"),
    [
        ("ghcr.io cannot be reached: Network is unreachable", True),
        ("Failed to update apt cache: unknown reason", True),
        ("The proxy x cannot be reached: refused. See that desk_proxy.http is right.", False),
        ("x cannot be reached: its certificate is … Name its authority's in desk_ca_certificates", False),
        ("Something else broke", False),
    ],
)
def test_a_failure_of_the_network_leads_to_the_proxy(message: str, hint: bool) -> None:
    event = cast(TaskEnded, SimpleNamespace(message=message, host="desk1", outcome="failed"))
    assert ("desk_proxy" in remedy(event)) is hint


# --- A proxy that does not want us ----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["Tunnel connection failed: 407 Proxy Authentication Required", "HTTP 407", "407"])
def test_a_refusal_names_the_proxy_and_what_to_do(text: str) -> None:
    assert network.refused(text, PLAIN, False) == (
        "the proxy proxy.example.com:3128 wants a user and a password (HTTP 407): write them into desk_proxy, as "
        "http://USER:PASSWORD@proxy.example.com:3128 (docs/proxies.md)"
    )
    assert "does not take the user and the password" in network.refused(text, PLAIN, True)
    assert network.refused("HTTP 403", PLAIN, True) == network.refused(text, "", False) == ""
    assert network.refused("sha256:4407123", PLAIN, False) == ""


@contextmanager
def proxy(answer: bytes | None) -> Iterator[tuple[int, list[bytes]]]:
    """A proxy with one answer, or none, to whatever it is asked."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        asked: list[bytes] = []
        held: list[socket.socket] = []

        def serve() -> None:
            while True:
                try:
                    client, _address = server.accept()
                except OSError:
                    return
                asked.append(client.recv(4096))
                held.append(client)
                if answer is not None:
                    client.sendall(answer)
                    client.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1], asked
        finally:
            server.shutdown(socket.SHUT_RDWR)
            for client in held:
                client.close()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", ""),
        (
            b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
            "407 Proxy Authentication Required",
        ),
        (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", "503 Service Unavailable"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "it does not answer as a proxy does (BadStatusLine)"),
        (None, network.SLOW),
    ],
)
def test_a_proxy_is_asked_for_a_way(answer: bytes | None, said: str) -> None:
    with proxy(answer) as (port, asked):
        assert network.tunnel(f"http://desk:Sesame%40home@127.0.0.1:{port}", "hub.lab.test", 443, 0.3) == said
    assert asked[0].startswith(b"CONNECT hub.lab.test:443 ")
    assert b"Basic " + base64.b64encode(b"desk:Sesame@home") in asked[0]


# --- The module -----------------------------------------------------------------------------------------------------


class Trust:
    """A trust store in a folder, and the program that takes it in."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder / "anchors"
        self.folder.mkdir()
        self.ran: list[list[str]] = []
        monkeypatch.setattr(network, "TRUST_STORES", ((str(self.folder), ".crt", "update-anchors"),))
        monkeypatch.setattr("shutil.which", lambda name: name if name == "update-anchors" else None)

    def run(self, command: list[str], **_more: Any) -> tuple[int, str, str]:
        self.ran.append(command)
        return 0, "", ""

    @property
    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())


@pytest.fixture
def trust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trust:
    return Trust(tmp_path, monkeypatch)


def certificate(name: str = "lab", days: int = 30) -> tuple[str, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    begin = now - datetime.timedelta(days=60)
    builder = builder.serial_number(1).not_valid_before(begin).not_valid_after(now + datetime.timedelta(days=days))
    pem = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
    return pem, key


def apply(tmp_path: Path, trust: Trust, port: int = 0, check_mode: bool = False, **wanted: Any) -> dict[str, Any]:
    address = f"http://127.0.0.1:{port}"
    given = {"http": address, "https": address, "no_proxy": []} if port else None
    params = {
        "proxy": given,
        "proxy_credentials": None,
        "certificates": [],
        "family": "arch",
        "names": [],
        "config_dir": str(tmp_path / "etc"),
        "timeout": 1.0,
        **wanted,
    }
    module = SimpleNamespace(params=params, check_mode=check_mode, run_command=trust.run)
    return Network(module).ensure()


def test_what_is_set_is_taken_away_again(tmp_path: Path, trust: Trust) -> None:
    pem, _key = certificate()
    with proxy(b"HTTP/1.1 200 OK\r\n\r\n") as (port, _asked):
        wanted: dict[str, Any] = {"certificates": [pem], "proxy_credentials": CREDENTIALS}
        would = apply(tmp_path, trust, port, check_mode=True, **wanted)
        assert (would["changed"], (tmp_path / "etc").exists()) == (True, False)
        first = apply(tmp_path, trust, port, **wanted)
        again = apply(tmp_path, trust, port, **wanted)
        other = apply(tmp_path, trust, port, **{**wanted, "proxy_credentials": {"http": "desk:other"}})
    assert (first["changed"], again["changed"], again["revision"]) == (True, False, first["revision"])
    assert (other["changed"], other["revision"] == first["revision"]) == (True, False), "a new password is a change"
    files = [path for path in (tmp_path / "etc").rglob("*") if path.is_file()]
    assert sorted(path.name for path in files) == ["docker.env", "network.json", "proxy.sh"]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert (len(trust.names), trust.ran[-1]) == (1, ["update-anchors"])
    for result in (would, first, again, other):
        assert not any(secret in json.dumps(result) for secret in SECRETS)
    gone = apply(tmp_path, trust)
    left = [path for path in (tmp_path / "etc").rglob("*") if path.is_file()]
    assert (gone["changed"], gone["revision"], trust.names, left) == (True, None, [], [])
    assert apply(tmp_path, trust)["changed"] is False


def test_a_block_in_somebody_elses_file_goes_again(tmp_path: Path, trust: Trust, monkeypatch: Any) -> None:
    theirs = tmp_path / "dnf.conf"
    theirs.write_text("[main]\ngpgcheck=1\n")
    block = network.File(str(theirs), "proxy=x\n", private=True, block="[main]")
    monkeypatch.setattr(network, "files", lambda _family, proxy, *_more: [block] if proxy else [])
    with proxy(b"HTTP/1.1 200 OK\r\n\r\n") as (port, _asked):
        apply(tmp_path, trust, port)
        assert "proxy=x" in theirs.read_text()
        assert theirs.stat().st_mode & 0o777 == 0o600
        assert apply(tmp_path, trust, port)["changed"] is False
    apply(tmp_path, trust)
    assert (theirs.read_text(), theirs.stat().st_mode & 0o777) == ("[main]\ngpgcheck=1\n", 0o644)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n", "wants a user and a password"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "is no proxy: it does not answer as a proxy does"),
    ],
)
def test_a_proxy_that_refuses_is_told_before_anything_is_changed(
    tmp_path: Path, trust: Trust, answer: bytes, words: str
) -> None:
    with proxy(answer) as (port, _asked), pytest.raises(Refused, match=words):
        apply(tmp_path, trust, port)
    assert not (tmp_path / "etc").exists()


def test_a_proxy_that_is_not_there_is_told(tmp_path: Path, trust: Trust) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(Refused, match=f"127.0.0.1:{port} cannot be reached: Connection refused"):
        apply(tmp_path, trust, port)
    assert not (tmp_path / "etc").exists()


def test_a_proxy_that_has_to_look_for_a_host_is_one(tmp_path: Path, trust: Trust) -> None:
    with proxy(None) as (port, _asked):
        assert apply(tmp_path, trust, port, timeout=0.3)["changed"] is True


def test_a_run_that_was_cut_off_is_made_good(tmp_path: Path, trust: Trust, monkeypatch: Any) -> None:
    pem, _key = certificate()
    monkeypatch.setattr(trust, "run", lambda *_command, **_more: (1, "", "rehash: killed"))
    with pytest.raises(Refused, match="'update-anchors' failed: rehash: killed"):
        apply(tmp_path, trust, certificates=[pem])
    monkeypatch.undo()
    trust_again = SimpleNamespace(run=lambda *_command, **_more: (0, "", ""))
    monkeypatch.setattr(network, "TRUST_STORES", ((str(trust.folder), ".crt", "sh"),))
    assert apply(tmp_path, trust_again, certificates=[pem])["changed"] is True  # type: ignore[arg-type]


# --- Certificates ---------------------------------------------------------------------------------------------------


def test_certificates_come_from_files_and_texts(tmp_path: Path) -> None:
    one, _key = certificate("one")
    two, _key = certificate("two")
    (tmp_path / "bundle.pem").write_text(f"# a comment\n{one}\n{two}")
    der = x509.load_pem_x509_certificate(two.encode()).public_bytes(serialization.Encoding.DER)
    (tmp_path / "two.cer").write_bytes(der)
    found = filtered({}, [str(tmp_path / "bundle.pem"), str(tmp_path / "two.cer"), one])
    assert (found["errors"], found["certificates"]) == ([], [one, two])
    assert found["fingerprints"] == sorted(network.fingerprint(pem) for pem in (one, two))


def test_what_is_no_certificate_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "page.pem").write_text("<!doctype html><p>Sign in</p>")
    (tmp_path / "broken.pem").write_text("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
    pem, key = certificate()
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "both.pem").write_text(pem + secret.decode())
    (tmp_path / "old.pem").write_text(certificate("past", -1)[0])
    given = [str(tmp_path / name) for name in ("page.pem", "broken.pem", "both.pem", "old.pem", "none.pem")]
    found = filtered({}, given)
    words = ("is no certificate", "is no certificate", "holds a private key", "CN=past, which ended on", "No such file")
    for path, error, word in zip(given, found["errors"], words, strict=True):
        assert error.startswith(f"desk_ca_certificates: {path} ")
        assert word in error
        assert error.count("\n") == 0
    assert found["certificates"] == []


def test_certificates_are_held_to_what_other_programs_hold_them_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The lab's have no Authority Key Identifier, as those of many proxies that re-sign TLS.
    monkeypatch.setenv("LLMDESK_CACHE", str(tmp_path))
    certificate, key = authority.certificate("localhost")
    for name, content in (("both.pem", certificate + key), ("trusted.pem", authority.trusted())):
        (tmp_path / name).write_bytes(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "trusted.pem"))
    monkeypatch.setenv("no_proxy", "localhost")

    def as_from_3_13(made: Any = ssl.create_default_context) -> ssl.SSLContext:
        context: ssl.SSLContext = made()
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(ssl, "create_default_context", as_from_3_13)
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(tmp_path / "both.pem")
    with loopback({"GET /": Reply(body="here")}) as server:
        server.socket = served.wrap_socket(server.socket, server_side=True)
        with network.opener().open(f"https://localhost:{server.server_port}/", timeout=5) as answer:
            assert answer.read() == b"here"
