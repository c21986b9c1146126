"""A machine without a service manager, a person with sudo, no registry at all, and the plug pulled again and again."""

from __future__ import annotations

import shlex
from collections.abc import Callable

import pytest
from docker.models.containers import Container

from lab import desk
from tests import power_cut
from tests.e2e.person import Person, Typed

# When the plug is pulled: what the run says then, and what has just become true on the desk.
MOMENTS = {
    "while the venv is made": ("making .venv", "test -d llmdesk/.venv/lib/python3*/site-packages/ansible_collections"),
    "while dpkg unpacks": ("docker | Apt | Install Docker Engine", "pgrep -x dpkg"),
    "while the image is loaded": ("image: loading", "pgrep -f '[d]ocker load'"),
    "while the account is made": ("Make the administrator", "docker exec open-webui-account true"),
    "while Docker starts the container": ("open_webui | Run the container", f"test -e {power_cut.HELD}"),
    "while the model is brought": ("Bring or remove the models", "pgrep -f '[A]nsiballZ_ollama_model'"),
}


@pytest.fixture(scope="module")
def person(make_desk: Callable[..., Container], image: str, say: Callable[[str], None]) -> Person:
    machine = make_desk("llmdesk-e2e-cut-off", "debian-12", systemd=False)
    somebody = Person(machine, "ada", say)
    desk.put(machine, "/etc/sudoers.d/ada", b"ada ALL=(ALL) NOPASSWD: ALL\n", 0o440)
    power_cut.await_start(machine, 11434)
    somebody.clones()
    return somebody


def pull_the_plug(person: Person, said: str, true_now: str) -> str:
    """Start ``up`` and kill the whole machine at a moment; it comes back with nothing running.

    :returns: what the run had said by then.
    """
    with person.begins("./llmdesk up") as process:
        assert process.stdout is not None
        seen = ""
        for line in process.stdout:
            seen += line
            if said in line:
                break
        else:
            pytest.fail(f"the run ended before it said {said!r}:\n{seen}")
        condition = shlex.quote(f"cd ~; until sudo {true_now} >/dev/null 2>&1; do :; done")
        assert person.types(f"timeout 120 sh -c {condition}").rc == 0, f"it never came to: {true_now}"
        person.machine.kill()
    person.machine.start()
    return seen


@pytest.fixture(scope="module")
def cut_off(person: Person) -> dict[str, str]:
    """What each of the runs had said when the plug was pulled, by the moment."""
    said_by = {}
    for name, (said, true_now) in MOMENTS.items():
        person.say(f"{person.machine.name}: pulling the plug {name}")
        said_by[name] = pull_the_plug(person, said, true_now)
    return said_by


@pytest.fixture(scope="module")
def last_up(cut_off: dict[str, str], person: Person) -> Typed:
    return person.types("./llmdesk up --json")


def test_the_last_run_ends_with_an_answer(last_up: Typed) -> None:
    assert last_up.rc == 0, last_up.text
    report = last_up.result["hosts"]["localhost"]["report"]
    assert "Paris" in report["proof"]["answer"]
    assert report["account"]["state"] == "managed"
    assert report["image"]["source"] == "built on the spot"


def test_a_port_that_docker_held_for_nobody_was_freed(cut_off: dict[str, str]) -> None:
    assert "Docker held port" in cut_off["while the model is brought"]


def test_nothing_is_left_of_the_runs_that_were_cut_off(last_up: Typed, person: Person) -> None:
    assert person.types("sudo docker ps -a --format '{{.Names}}'").text.split() == ["open-webui"]
    assert person.types("sudo ls /etc/llmdesk").text.split() == ["admin_password"]
    assert person.types("sudo dpkg --audit").text == ""


def test_once_more_changes_nothing(last_up: Typed, person: Person) -> None:
    again = person.types("./llmdesk up")
    assert again.rc == 0, again.text
    assert "changed=0" in again.text


def test_the_daemon_has_a_pid_file_and_a_log(last_up: Typed, person: Person) -> None:
    assert "dockerd" in person.types("sudo cat /proc/$(sudo cat /run/llmdesk-dockerd.pid)/comm").text
    assert person.types("sudo test -s /var/log/dockerd.log").rc == 0
