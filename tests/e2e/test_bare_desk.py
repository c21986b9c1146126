"""A bare machine with systemd, a clean clone, two commands, and a person who reads the answer in a browser."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from docker.models.containers import Container

from llmdesk.commands.options import TAGS
from tests.e2e.person import Person, Typed

PASSWORD = "/etc/llmdesk/admin_password"
WATCH = "while :; do cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ >> /watched 2>/dev/null; sleep 0.1; done"


@pytest.fixture(scope="module")
def person(make_desk: Callable[..., Container], lab_registry: str, say: Callable[[str], None]) -> Person:
    somebody = Person(make_desk("llmdesk-e2e-bare", "debian-13", cached=False), "root", say)
    somebody.clones()
    return somebody


@pytest.fixture(scope="module")
def first_up(person: Person, lab_registry: str) -> Typed:
    """The first ``up``, while somebody writes down every process's arguments and environment."""
    with person.begins(f"exec -a watcher bash -c {WATCH!r}"):
        try:
            return person.types(f"./llmdesk up --image {lab_registry} --json")
        finally:
            person.types("pkill -f ^watcher")


def test_without_root_and_sudo_it_says_what_to_type(person: Person, say: Callable[[str], None]) -> None:
    guest = Person(person.machine, "guest", say)
    guest.clones()
    typed = guest.types("./llmdesk up")
    assert typed.rc == 1
    assert "Install it and come back:  sudo apt-get install -y python3 python3-venv" in typed.text


def test_a_full_disk_is_told_before_anything_starts(person: Person, lab_registry: str) -> None:
    person.types("mount -t tmpfs -o size=2g tmpfs /var/lib/docker")
    try:
        typed = person.types(f"./llmdesk up --image {lab_registry}")
    finally:
        person.types("umount /var/lib/docker")
    assert typed.rc == 2
    assert "/var/lib/docker has 2.0 GiB free, and image and model need 15 GiB under /var/lib/docker" in typed.text
    assert "Resolve the image" not in typed.text


def test_check_mode_on_a_bare_machine_says_what_would_be_done(person: Person, lab_registry: str) -> None:
    typed = person.types(f"./llmdesk up --image {lab_registry} --check --diff")
    assert typed.rc == 0, typed.text
    assert "Would install Docker" in typed.text
    assert "Would bring llama3.2:3b" in typed.text
    assert person.types("command -v dockerd").rc != 0


def test_up_ends_with_an_answer(first_up: Typed) -> None:
    assert first_up.rc == 0, first_up.text
    report = first_up.result["hosts"]["localhost"]["report"]
    assert "Paris" in report["proof"]["answer"]
    assert report["proof"]["fresh"]
    assert report["image"]["digest"].startswith("ghcr.lab.test/open-webui/open-webui@sha256:")
    assert report["account"]["state"] == "managed"
    assert any("llama3.2:3b was not to be had" in warning for warning in report["warnings"])


def test_a_second_time_changes_nothing_and_runs_one_module(first_up: Typed, person: Person, lab_registry: str) -> None:
    again = person.types(f"./llmdesk up --image {lab_registry}")
    assert again.rc == 0, again.text
    assert "changed=0" in again.text
    assert "The capital of France is Paris." in again.text
    assert "asked at 20" in again.text, "the last proof is shown with its time"
    sources = f'{{"open_webui_image_sources": [{{"registry": "{lab_registry}"}}]}}'
    verbose = person.types(f".venv/bin/ansible-playbook site.yml -vvv -e '{sources}'")
    assert re.search(r"changed=0 .*failed=0", verbose.text), verbose.text
    assert len(re.findall(r"EXEC .*python3", verbose.text)) == 1


def test_check_mode_on_a_finished_desk_changes_nothing(first_up: Typed, person: Person, lab_registry: str) -> None:
    typed = person.types(f"./llmdesk up --image {lab_registry} --check --diff")
    assert typed.rc == 0, typed.text
    assert "changed=0" in typed.text


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("verify", "asked just now"),
        ("status", "The capital of France is Paris."),
        ("status --drift", "none since"),
        ("fit", "auto would be"),
        ("models list", "smollm2:135m"),
        ("logs", "GET"),
        ("report --json", '"verdict": "(fine|warned)"'),
        ("report --prometheus", "llmdesk_desk_verdict"),
        ("support-bundle --output /var/tmp/bundle.tar.gz", "bundle.tar.gz"),
    ],
)
def test_what_is_typed_every_day(first_up: Typed, person: Person, command: str, says: str) -> None:
    typed = person.types(f"./llmdesk {command}")
    assert typed.rc == 0, typed.text
    assert re.search(says, typed.text), typed.text


@pytest.mark.parametrize("tag", [tag for tag in TAGS if tag != "wsl"])
def test_a_part_alone_ends_well_and_changes_nothing(
    first_up: Typed, person: Person, lab_registry: str, tag: str
) -> None:
    # That it is asked again keeps the desk from leaving the play before anything else is looked at.
    typed = person.types(f"./llmdesk up --image {lab_registry} --tags {tag} -e verify_ask=always")
    assert typed.rc == 0, typed.text
    assert re.search(r"^changed=0, ", typed.text, re.MULTILINE), typed.text
    assert ("asked just now" in typed.text) is (tag == "verify"), typed.text


def test_only_loopback_is_listened_on(first_up: Typed, person: Person) -> None:
    listening = person.types("ss -Hltn '( sport = :3000 or sport = :11434 )'").text
    assert sorted(line.split()[3] for line in listening.splitlines()) == ["127.0.0.1:11434", "127.0.0.1:3000"]


# What an administrator does with one click in the page.
SIGN_UP_ON = """
import json, urllib.request
def ask(path, body=None, token=None):
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    address, data = f"http://127.0.0.1:3000/api/v1/auths/{path}", body and json.dumps(body).encode()
    return json.load(urllib.request.urlopen(urllib.request.Request(address, data, headers)))
password = open("/etc/llmdesk/admin_password").read().strip()
token = ask("signin", {"email": "admin@localhost", "password": password})["token"]
assert ask("admin/config", {**ask("admin/config", token=token), "ENABLE_SIGNUP": True}, token)["ENABLE_SIGNUP"]
"""


def test_what_somebody_changed_by_hand_is_found_and_taken_back(
    first_up: Typed, person: Person, lab_registry: str
) -> None:
    clean = person.types("./llmdesk status --drift")
    assert (clean.rc, "drift    none since 20" in clean.text) == (0, True), clean.text
    by_hand = f"docker exec open-webui ollama cp smollm2:135m stray:1 && python3 - <<'END'\n{SIGN_UP_ON}END"
    assert person.types(by_hand).rc == 0
    drifted = person.types("./llmdesk status --drift")
    assert drifted.rc == 2
    assert "The model stray:1 was pulled by somebody else." in drifted.text
    assert "The page's setting ui.enable_signup is on, and off is wanted." in drifted.text
    person.types("docker exec open-webui ollama rm stray:1")
    assert person.types(f"./llmdesk up --image {lab_registry} -e open_webui_settings_always=true").rc == 0
    assert person.types("./llmdesk status --drift").rc == 0


def holders(person: Person) -> list[str]:
    """Return every file that has the password in it: records, logs, temporary folders, volumes, what was watched."""
    person.types("journalctl > /journal 2>/dev/null")
    person.types(f"cat {PASSWORD} | tr -d '\\n' > /dev/shm/secret")
    places = "/root /tmp /var /run /home /opt /srv /etc /watched /journal"
    return sorted(person.types(f"grep -rslaF -f /dev/shm/secret {places}").text.split())


def test_the_password_is_in_its_file_and_nowhere_else(first_up: Typed, person: Person) -> None:
    secret = person.types(f"cat {PASSWORD}").text.strip()
    assert len(secret) >= 20
    assert person.types(f"stat -c '%a %U' {PASSWORD} /etc/llmdesk").text.split() == ["600", "root", "700", "root"]
    assert person.types("./llmdesk password").text.strip() == secret
    assert secret not in first_up.text
    inside = person.types("docker inspect open-webui; docker logs open-webui 2>&1; docker exec open-webui env").text
    assert secret not in inside
    assert holders(person) == [PASSWORD]
    assert person.types("grep -c ansible-playbook /watched").text.strip() != "0", "the watcher saw nothing"


# So small a model may talk nonsense: as an administrator can in the page, let it answer alike every time.
ANSWER_ALIKE = """async (model) => {
  const headers = {Authorization: `Bearer ${localStorage.token}`, "Content-Type": "application/json"};
  const record = await (await fetch(`/api/v1/models/model?id=${model}`, {headers})).json();
  record.params = {...record.params, temperature: 0, seed: 1};
  const saved = await fetch("/api/v1/models/model/update", {method: "POST", headers, body: JSON.stringify(record)});
  await fetch("/api/models", {headers});
  return saved.ok;
}"""


def test_a_person_signs_in_and_reads_the_answer(
    first_up: Typed, person: Person, chromium: None, tmp_path: Path
) -> None:
    secret = person.types(f"cat {PASSWORD}").text.strip()
    with person.browser(tmp_path) as browser:
        page = browser.new_page(viewport={"width": 1100, "height": 520})
        try:
            page.goto("http://127.0.0.1:3000/")
            page.get_by_placeholder("Enter Your Email").fill("admin@localhost")
            page.get_by_placeholder("Enter Your Password").fill(secret)
            page.get_by_role("button", name="Sign in").click()
            page.locator("#chat-input").wait_for()
            news = page.get_by_role("button", name="Okay, Let's Go!")
            page.locator("#chat-input").or_(news).first.wait_for()
            if news.is_visible():
                news.click()
            assert page.evaluate(ANSWER_ALIKE, "smollm2:135m")
            page.reload()
            page.get_by_role("button", name=re.compile("Selected model|Select a model")).first.click()
            page.get_by_role("option", name=re.compile(r"smollm2:135m")).first.click()
            page.locator("#chat-input").click()
            page.keyboard.type("What is the capital of France?")
            page.keyboard.press("Enter")
            page.get_by_text("The capital of France is Paris.").last.wait_for(timeout=60_000)
            page.get_by_role("button", name="Copy").last.wait_for(timeout=60_000)
        finally:
            page.screenshot(path=tmp_path / "page.png")
            if os.environ.get("LLMDESK_PICTURE"):
                shutil.copy(tmp_path / "page.png", os.environ["LLMDESK_PICTURE"])


@pytest.mark.parametrize(
    ("port", "holder", "way"), [(3000, "python3", "--port 3080"), (11434, "ollama", "-e desk_ollama_port=11435")]
)
def test_a_taken_port_is_named_with_its_holder(
    first_up: Typed, person: Person, lab_registry: str, port: int, holder: str, way: str
) -> None:
    assert person.types("./llmdesk down").rc == 0
    person.types(f"cp $(readlink -f /usr/bin/python3) /tmp/{holder}")
    with person.begins(f"exec /tmp/{holder} -m http.server --bind 127.0.0.1 {port}"):
        try:
            person.types(f"timeout 20 sh -c 'until curl -s 127.0.0.1:{port} >/dev/null; do :; done'")
            typed = person.types(f"./llmdesk up --image {lab_registry}")
        finally:
            person.types("pkill -f '[h]ttp.server'")
    assert typed.rc == 2
    assert re.search(rf"Port {port} is taken by {holder} \(pid \d+\)", typed.text)
    assert way in typed.text


def test_a_broken_daemon_json_is_named_and_left_alone(first_up: Typed, person: Person, lab_registry: str) -> None:
    person.types("mkdir -p /etc/docker; echo '{\"debug\": tru' > /etc/docker/daemon.json")
    typed = person.types(f"./llmdesk up --image {lab_registry}")
    assert typed.rc == 2
    assert "/etc/docker/daemon.json is not valid JSON" in typed.text
    assert person.types("cat /etc/docker/daemon.json; rm /etc/docker/daemon.json").text == '{"debug": tru\n'


def test_an_archive_that_is_none_leaves_the_desk_as_it_is(first_up: Typed, person: Person) -> None:
    typed = person.types("echo no image > /srv/not.tar; ./llmdesk up --image /srv/not.tar")
    assert typed.rc == 2
    assert "/srv/not.tar is no image made by 'docker save'" in typed.text


def test_a_container_started_by_hand_is_taken_over_with_its_session(
    first_up: Typed, person: Person, lab_registry: str
) -> None:
    secret = person.types(f"cat {PASSWORD}").text.strip()
    by_hand = (
        "docker run -d -p 3000:8080 -v ollama:/root/.ollama -v open-webui:/app/backend/data --name open-webui "
        f"--restart always {lab_registry}"
    )
    ready = "timeout 120 sh -c 'until curl -sf 127.0.0.1:3000/ready; do sleep 0.5; done'"
    assert person.types(f"{by_hand} && {ready}").rc == 0
    sign_in = (
        "curl -s -H 'Content-Type: application/json' 127.0.0.1:3000/api/v1/auths/signin "
        f'-d \'{{"email": "admin@localhost", "password": "{secret}"}}\''
    )
    token = re.search(r'"token":\s*"([^"]+)"', person.types(sign_in).text)
    assert token
    exposed = "The page is published on 0.0.0.0:3000, for everybody who reaches this machine."
    assert exposed in person.types("./llmdesk status --drift").text
    typed = person.types(f"./llmdesk up --image {lab_registry}")
    assert typed.rc == 0, typed.text
    who = person.types(f"curl -s -H 'Authorization: Bearer {token[1]}' 127.0.0.1:3000/api/v1/auths/")
    assert "admin@localhost" in who.text, "the session outlives the container"
    containers = person.types("docker ps -a --format '{{.Names}} {{.Ports}}'").text.replace(",", "").split()
    assert sorted(containers) == ["127.0.0.1:11434->11434/tcp", "127.0.0.1:3000->8080/tcp", "open-webui"]


def test_an_account_of_somebody_else_is_left_to_them(first_up: Typed, person: Person, lab_registry: str) -> None:
    secret = person.types(f"cat {PASSWORD}").text.strip()
    person.types(f"rm {PASSWORD}")
    typed = person.types(f"./llmdesk up --image {lab_registry}")
    assert typed.rc == 0, typed.text
    assert "The page has accounts that llmdesk did not make" in typed.text
    person.types(f"(umask 077; echo 'open_webui_admin_password: {secret}' > /root/secret.yml)")
    typed = person.types(f"./llmdesk up --image {lab_registry} -e @/root/secret.yml")
    assert typed.rc == 0, typed.text
    assert "password in /etc/llmdesk/admin_password" in typed.text
    assert secret not in typed.text
    assert holders(person) == [PASSWORD, "/root/secret.yml"]


def test_volumes_go_only_by_their_typed_names(first_up: Typed, person: Person) -> None:
    typed = person.types("echo 'open-webui, ollama' | ./llmdesk down --delete-data")
    assert typed.rc == 0, typed.text
    assert person.types("docker volume ls -q").text == ""
    assert person.types(f"ls {PASSWORD}").rc != 0
