# SPDX-License-Identifier: GPL-3.0-or-later
"""The script that makes a mirror's certificate and its password, by the real openssl; only owners are left alone."""

from __future__ import annotations

import fcntl
import os
import signal
import ssl
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.engine import REPOSITORY

SCRIPT = (
    REPOSITORY / "collections/ansible_collections/llmdesk/workstation/roles/model_mirror/files" / "make-certificate"
)


@dataclass(frozen=True)
class Mirror:
    """The folders that the script writes to, and programs that come before the machine's."""

    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "config"

    @property
    def people(self) -> Path:
        return self.folder / "state" / "people"

    def program(self, name: str, text: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def starts(self, *names: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["sh", str(SCRIPT), str(self.config), str(self.people), *names],
            env={
                **os.environ,
                "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
                "TMPDIR": str(self.folder),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # What starts the tests by nohup lets them ignore it, and a shell cannot trap what was ignored before.
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
        )

    def makes(self, *names: str) -> tuple[int, str, str]:
        run = self.starts(*names)
        said, wrong = run.communicate(timeout=30)
        return run.returncode, said, wrong

    def openssl(self, *words: str) -> str:
        ran = subprocess.run(["openssl", *words], cwd=self.config, capture_output=True, text=True, check=True)
        return ran.stdout

    def fits(self) -> bool:
        """Return whether certificate and key fit together, and the authority has signed it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self.config / "tls.crt", self.config / "tls.key")
            return "OK" in self.openssl("verify", "-CAfile", "ca.crt", "tls.crt")
        except (ssl.SSLError, subprocess.CalledProcessError):
            return False

    def opens(self) -> bool:
        """Return whether the password is the one whose hash nginx reads."""
        salt = self.people.read_text().split("$")[2]
        password = (self.config / "push_password").read_text().strip()
        return self.people.read_text() == "llmdesk:" + self.openssl("passwd", "-apr1", "-salt", salt, password)


@pytest.fixture
def mirror(tmp_path: Path) -> Mirror:
    for name in ("config", "state", "bin"):
        (tmp_path / name).mkdir()
    made = Mirror(tmp_path)
    made.program("chown", "exit 0")
    made.program("stat", "echo llmdesk-mirror")
    return made


def test_a_certificate_is_made_once_and_is_for_all_names_that_were_ever_asked_for(mirror: Mirror) -> None:
    rc, said, wrong = mirror.makes("192.0.2.7", "fd00::7")
    assert (rc, wrong) == (0, "")
    assert "made a certificate for 192.0.2.7 fd00::7" in said
    assert mirror.makes("192.0.2.7") == (0, "", "")
    assert "made" in mirror.makes("mirror.example")[1]
    names = mirror.openssl("x509", "-noout", "-ext", "subjectAltName", "-in", "tls.crt")
    assert "IP Address:192.0.2.7, IP Address:FD00:0:0:0:0:0:0:7, DNS:mirror.example" in names
    assert mirror.fits()
    assert mirror.opens()
    assert (mirror.config / "push_password").stat().st_mode & 0o777 == 0o600
    assert mirror.people.stat().st_mode & 0o777 == 0o640
    kept = {"ca.crt", "lock", "names", "push_password", "tls.crt", "tls.key"}
    assert {path.name for path in mirror.config.iterdir()} == kept, "the authority's key is thrown away"


def test_a_name_may_be_longer_than_a_common_name(mirror: Mirror) -> None:
    name = ".".join(["mirror-of-the-room"] * 5)
    assert mirror.makes(name)[::2] == (0, "")
    assert name in mirror.openssl("x509", "-noout", "-ext", "subjectAltName", "-in", "tls.crt")


def test_what_openssl_refuses_is_said(mirror: Mirror) -> None:
    rc, _said, wrong = mirror.makes("999.999.999.999")
    assert rc != 0
    assert "999.999.999.999" in wrong
    assert not (mirror.config / "tls.crt").exists()


def test_a_key_that_is_another_certificate_s_is_made_anew(mirror: Mirror) -> None:
    mirror.makes("mirror")
    mirror.openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-out", "tls.key")
    assert not mirror.fits()
    assert "made" in mirror.makes("mirror")[1]
    assert mirror.fits()


@pytest.mark.parametrize("lost", ["push_password", "people"])
def test_password_and_its_hash_fit_together(mirror: Mirror, lost: str) -> None:
    mirror.makes("mirror")
    if lost == "people":
        mirror.people.write_text("")
    else:
        (mirror.config / "push_password").unlink()
    assert mirror.makes("mirror") == (0, "", "")
    assert mirror.opens()


def test_a_people_file_is_never_there_before_nginx_may_read_it(mirror: Mirror) -> None:
    mirror.program("chown", "exit 1")
    assert mirror.makes("mirror")[0] != 0
    assert not mirror.people.exists()
    mirror.program("chown", "exit 0")
    assert mirror.makes("mirror")[0] == 0
    assert mirror.opens()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_a_line_that_breaks_leaves_no_key_of_the_authority(mirror: Mirror, number: signal.Signals) -> None:
    mirror.makes("mirror")  # the password
    signing = mirror.folder / "signing"
    mirror.program("openssl", f'case "$*" in *-CAkey*) : > {signing}; sleep 1 ;; esac\nexec /usr/bin/openssl "$@"')
    run = mirror.starts("other")
    while not signing.exists() and run.poll() is None:
        time.sleep(0.02)
    os.killpg(run.pid, number)
    run.communicate(timeout=30)
    assert run.returncode != 0
    assert not list(mirror.folder.rglob("ca.key"))


def test_two_runs_at_once_wait_for_each_other(mirror: Mirror) -> None:
    with (mirror.config / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        run = mirror.starts("mirror")
        with pytest.raises(subprocess.TimeoutExpired):
            run.wait(0.5)
        assert not (mirror.config / "push_password").exists()
        fcntl.flock(lock, fcntl.LOCK_UN)
        run.communicate(timeout=30)
    assert run.returncode == 0
    assert mirror.fits()
