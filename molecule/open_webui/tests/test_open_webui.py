"""A desk with Docker got a page that is private, watched, and has an administrator."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from testinfra.host import Host

PASSWORD_FILE = "/etc/llmdesk/admin_password"
PAGE = "http://127.0.0.1:3000"
OLLAMA = "http://127.0.0.1:11434"


def inspect(host: Host) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(host.check_output("docker inspect open-webui"))[0]
    return found


def wait_until(condition: Callable[[], Any], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:g} s for this: {what}"
        time.sleep(0.5)


def ask(host: Host, path: str, person: dict[str, str]) -> tuple[int, dict[str, Any]]:
    """Post something to the page and return its status and answer."""
    asked = host.check_output(
        "curl -s -w '\\n%%{http_code}' -H 'Content-Type: application/json' -d %s %s", json.dumps(person), PAGE + path
    )
    answer, _newline, status = asked.rpartition("\n")
    return int(status), json.loads(answer)


@pytest.fixture(scope="module")
def password(host: Host) -> str:
    return str(host.check_output(f"cat {PASSWORD_FILE}")).strip()


def test_the_page_answers(host: Host) -> None:
    assert host.run(f"curl -fs {PAGE}/ready").rc == 0
    assert "version" in json.loads(host.check_output(f"curl -fs {OLLAMA}/api/version"))


def test_the_container_is_healthy(host: Host) -> None:
    wait_until(lambda: inspect(host)["State"]["Health"]["Status"] == "healthy", 60, "healthy")


def test_it_is_published_on_loopback_alone(host: Host) -> None:
    published = inspect(host)["NetworkSettings"]["Ports"]
    assert published == {
        "8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": "3000"}],
        "11434/tcp": [{"HostIp": "127.0.0.1", "HostPort": "11434"}],
    }
    listening = host.check_output("ss -Hltn '( sport = :3000 or sport = :11434 )'")
    assert sorted(line.split()[3] for line in listening.splitlines()) == ["127.0.0.1:11434", "127.0.0.1:3000"]


def test_it_comes_back_after_a_restart(host: Host) -> None:
    assert inspect(host)["HostConfig"]["RestartPolicy"]["Name"] == "always"


def test_it_carries_the_hash_of_its_configuration(host: Host) -> None:
    assert re.fullmatch(r"[0-9a-f]{64}", inspect(host)["Config"]["Labels"]["llmdesk.config_hash"])


def test_its_data_is_in_the_volumes_that_everybody_knows(host: Host) -> None:
    mounts = {mount["Destination"]: (mount["Type"], mount.get("Name")) for mount in inspect(host)["Mounts"]}
    assert mounts == {"/app/backend/data": ("volume", "open-webui"), "/root/.ollama": ("volume", "ollama")}


def test_the_image_is_recorded_by_its_digest(host: Host) -> None:
    recorded = json.loads(host.file("/var/lib/llmdesk/image.json").content_string)
    assert recorded["digest"].startswith("ghcr.lab.test/open-webui/open-webui@sha256:")
    assert recorded["id"] == inspect(host)["Image"]


def test_nothing_is_left_beside_it(host: Host) -> None:
    assert host.check_output("docker ps --all --format '{{.Names}}'").split() == ["open-webui"]
    assert sorted(host.check_output("docker volume ls --quiet").split()) == ["ollama", "open-webui"]


def test_the_password_is_for_root_alone(host: Host, password: str) -> None:
    file, folder = host.file(PASSWORD_FILE), host.file("/etc/llmdesk")
    assert (file.user, file.group, file.mode) == ("root", "root", 0o600)
    assert (folder.user, folder.group, folder.mode) == ("root", "root", 0o700)
    assert len(password) >= 20


def test_the_password_is_nowhere_else(host: Host, password: str) -> None:
    inside = host.check_output("docker inspect open-webui; docker logs open-webui 2>&1; docker exec open-webui env")
    assert "WEBUI_SECRET_KEY_FILE" in inside
    assert password not in inside
    processes = host.check_output("cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'")
    assert "uvicorn" in processes
    assert password not in processes
    places = "/var/lib /var/log /var/tmp /run /tmp /root /home /etc"
    found = host.run(f"tr -d '\\n' < {PASSWORD_FILE} > /dev/shm/secret; grep -rslaF -f /dev/shm/secret {places}").stdout
    assert found.split() == [PASSWORD_FILE]


def test_the_password_opens_the_administrators_account(host: Host, password: str) -> None:
    status, answer = ask(host, "/api/v1/auths/signin", {"email": "admin@localhost", "password": password})
    assert status == 200, answer
    assert answer["role"] == "admin"
    assert answer["token"]
    status, answer = ask(host, "/api/v1/auths/signin", {"email": "admin@localhost", "password": f"not {password}"})
    assert status == 400, answer


def test_nobody_else_signs_up(host: Host) -> None:
    stranger = {"name": "Stranger", "email": "stranger@localhost", "password": "let me in, please"}
    status, answer = ask(host, "/api/v1/auths/signup", stranger)
    assert status == 403, answer


def test_the_session_key_outlives_the_container(host: Host) -> None:
    volume = host.check_output("docker volume inspect --format '{{.Mountpoint}}' open-webui")
    key = host.file(f"{volume}/.webui_secret_key")
    assert key.size >= 32
    assert key.mode == 0o600
    assert host.run("docker exec open-webui test -e /app/backend/.webui_secret_key").rc == 1


def test_a_dead_ollama_is_noticed_and_mended(host: Host) -> None:
    before = inspect(host)
    test = before["Config"]["Healthcheck"]["Test"]
    assert test[0] == "CMD-SHELL"
    host.check_output("docker exec open-webui sh -c %s", "kill -KILL $(pidof ollama)")
    # Docker's own turn comes every 15 seconds; what it would run is run at once.
    for _turn in range(5):
        host.run("docker exec open-webui sh -c %s", test[1])
    wait_until(lambda: inspect(host)["RestartCount"] > before["RestartCount"], 30, "started anew")
    wait_until(lambda: host.run(f"curl -fs {OLLAMA}/api/version").rc == 0, 30, "Ollama answers again")
    wait_until(lambda: host.run(f"curl -fs {PAGE}/ready").rc == 0, 90, "the page is ready again")
