"""Measures what the README claims, and prints tables: of a desk, of models, of a room and its LAN, and of settings.

In a desk of the lab, on localhost, both sides are typed as a person types them. Turns alternate, so that a machine that
grows slow or fast does so for both sides; the middle one counts.
"""

from __future__ import annotations

import io
import json
import os
import re
import statistics
import subprocess
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import click
from ansible_collections.llmdesk.workstation.plugins.module_utils.demo_model import DEMO
from docker.models.containers import Container

from bench.events import table as events_table
from bench.fanout import HEAD as FANOUT_HEAD
from bench.fanout import table as fanout_table
from bench.models import table as models_table
from bench.race import Race
from bench.room import table as room_table
from bench.settings import HEAD as SETTINGS_HEAD
from bench.settings import table as settings_table
from lab import desk, engine, models
from lab import image as built
from lab.engine import REPOSITORY

NAME = "llmdesk-bench"
CHECKOUT = "/root/llmdesk"
README = Path(__file__).with_name("README.md")
HEAD = "| what | llmdesk | against | | ratio | goal |\n|---|---|---|---|---|---|"

# Everything cached and nothing there: no container, volume, record or password; image, model file and .venv stay.
FORGET = """
docker rm --force open-webui >/dev/null 2>&1
docker volume rm --force open-webui ollama >/dev/null 2>&1
rm -rf /etc/llmdesk /var/lib/llmdesk
"""


class Desk:
    """A desk that has everything but a page."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self.image = built.image(say)
        models.demo()
        desk.destroy(NAME)
        self.machine: Container = desk.create(NAME, "debian-12", with_docker=True, say=say)
        self._clone()
        say("giving the desk its image")
        save = subprocess.Popen(["docker", "save", self.image], stdout=subprocess.PIPE)
        subprocess.run(["docker", "exec", "-i", NAME, "docker", "load", "--quiet"], stdin=save.stdout, check=True)
        say("the first ./llmdesk up, which nobody measures")
        desk.run(self.machine, f"cd {CHECKOUT} && ./llmdesk up")
        self._keep_environment()

    def _clone(self) -> None:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, check=True, capture_output=True, text=True)
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for name in filter(None, listed.stdout.split("\0")):
                archive.add(REPOSITORY / name, f"llmdesk/{name}", recursive=False)
        self.machine.put_archive("/root", buffer.getvalue())

    def _keep_environment(self) -> None:
        """Write down what the role gave to the container beside what the image has, for the one started by hand."""
        inspect = "docker inspect --format '{{json .Config.Env}}' "
        given, own = (json.loads(desk.run(self.machine, inspect + name)) for name in ("open-webui", self.image))
        lines = "".join(f"{variable}\n" for variable in given if variable not in own)
        desk.put(self.machine, "/root/environment", lines.encode())
        desk.put(self.machine, "/root/by-hand.sh", Path(__file__).with_name("by-hand.sh").read_bytes())

    def takes(self, command: str) -> float:
        """Run a command and return the seconds that it took."""
        began = time.monotonic()
        desk.run(self.machine, command)
        return time.monotonic() - began

    def up(self) -> tuple[float, dict[str, float]]:
        """Bring a page with ``./llmdesk up``; return the seconds it took, whole and by phase."""
        desk.run(self.machine, FORGET)
        began = time.monotonic()
        said = desk.run(self.machine, f"cd {CHECKOUT} && ./llmdesk up --json")
        seconds = time.monotonic() - began
        phases: dict[str, float] = json.loads(said.strip().splitlines()[-1])["phases"]
        return seconds, phases

    def by_hand(self) -> float:
        """Bring a page by hand; return the seconds it took."""
        desk.run(self.machine, FORGET)
        file = f"/var/cache/llmdesk/models/{DEMO['sha256']}.gguf"
        return self.takes(f"sh /root/by-hand.sh {self.image} /root/environment {DEMO['name']} {file} {DEMO['sha256']}")


def first_run(on: Desk, turns: int) -> tuple[Race, dict[str, float]]:
    """Measure the way from nothing to an answer; return the phases of ours as well."""
    ours, theirs, phases = [], [], []
    for turn in range(turns):
        on.say(f"up, turn {turn + 1} of {turns}")
        theirs.append(on.by_hand())
        seconds, parts = on.up()
        ours.append(seconds)
        phases.append(parts)
    middle = {name: statistics.median(part[name] for part in phases) for name in phases[0]}
    return Race("`./llmdesk up`, everything cached", "the same typed by hand", ours, theirs, 1.15), middle


def second_run(on: Desk, turns: int) -> Race:
    """Measure a run over a finished desk against Ansible's own gathering of facts."""
    ours, theirs = [], []
    for turn in range(turns):
        on.say(f"second run, turn {turn + 1} of {turns}")
        theirs.append(on.takes(f"cd {CHECKOUT} && .venv/bin/ansible localhost -b -m ansible.builtin.setup > /dev/null"))
        ours.append(on.takes(f"cd {CHECKOUT} && .venv/bin/ansible-playbook site.yml > /dev/null"))
    return Race("`ansible-playbook site.yml` over a finished desk", "`ansible -m setup`", ours, theirs, 1.0)


def machine() -> str:
    """Return this machine in words."""
    model = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores ({model[1] if model else 'unknown'}), {memory:.0f} GiB of memory"


def desk_table(turns: int, say: Callable[[str], None], keep: bool) -> str:
    """Measure a desk and return the rows, and where the time goes."""
    try:
        on = Desk(say)
        up, phases = first_run(on, turns)
        again = second_run(on, turns)
    finally:
        if not keep:
            desk.destroy(NAME)
    where = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in phases.items())
    return f"{up.row()}\n{again.row()}\n\nWhere the first of them spends its time: {where}."


@click.command(help=__doc__)
@click.argument("parts", nargs=-1, type=click.Choice(["desk", "events", "fanout", "models", "room", "settings"]))
@click.option("--turns", default=5, show_default=True, help="How often each side runs.")
@click.option("--write", is_flag=True, help="Put the tables into bench/README.md.")
@click.option("--keep", is_flag=True, help="Leave desk and room standing.")
@click.option("--desks", default=20, show_default=True, help="How many real desks the room has, 700 MB each.")
@click.option(
    "-i",
    "--inventory",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A room that is there and finished, instead of one of the lab.",
)
def main(parts: tuple[str, ...], turns: int, write: bool, keep: bool, desks: int, inventory: Path | None) -> None:
    """Measure and report."""

    def say(text: str) -> None:
        click.echo(f"bench: {text}", err=True)

    measured = {
        "desk": lambda: desk_table(turns, say, keep),
        "events": lambda: events_table(turns, say),
        "fanout": lambda: fanout_table(turns, say),
        "models": lambda: models_table(turns, say),
        "room": lambda: room_table(turns, say, keep, desks, inventory),
        "settings": lambda: settings_table(turns, say, keep, inventory),
    }
    heads = {"fanout": FANOUT_HEAD, "settings": SETTINGS_HEAD}
    with engine.running(say):
        for part in parts or measured:
            table = f"\nMeasured on {machine()}; of {turns} turns the middle one, fastest and slowest in brackets.\n"
            table += f"\n{heads.get(part, HEAD)}\n{measured[part]()}\n\n"
            click.echo(table)
            if write:
                keep_in_readme(part, table)


def keep_in_readme(part: str, table: str) -> None:
    """Put a table where the README has its place."""
    place = re.compile(rf"(?<=<!-- {part} -->\n).*(?=<!-- /{part} -->)", re.DOTALL)
    README.write_text(place.sub(lambda _old: table, README.read_text()))


if __name__ == "__main__":
    main(prog_name="python -m bench")
