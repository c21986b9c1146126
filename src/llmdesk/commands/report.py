# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a report of the records."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

PAGE = "llmdesk-report.html"


@click.command(
    epilog="""\b
Examples:
  ./llmdesk report
  ./llmdesk report -i inventory/room.yml -l 'desk1*' --output room.html
  ./llmdesk report --json | jq -r '.desks[] | select(.verdict != "fine") | .host'
  ./llmdesk report --prometheus --output /var/lib/node_exporter/textfile_collector/llmdesk.prom --mode 644

\b
Exit code: 0, whatever the verdicts; 1 when there is nothing to report on, or the file cannot be written."""
)
@click.option("-i", "--inventory", multiple=True, metavar="PATH", help="Also tell of its desks that were never seen.")
@click.option("-l", "--limit", metavar="PATTERN", help="Only these desks.")
@click.option("-o", "--output", metavar="FILE", help=f"Where to; - is the screen.  [default: {PAGE}; - for the others]")
@click.option("--mode", metavar="OCTAL", default="600", show_default=True, help="Who may read the file.")
@click.option("--json", "form", flag_value="json", help="One JSON document instead of a page.")
@click.option("--prometheus", "form", flag_value="prometheus", help="Metrics for the textfile collector instead.")
def report(inventory: tuple[str, ...], limit: str | None, output: str | None, mode: str, form: str | None) -> None:
    """Put what is recorded of every desk side by side, as one HTML file. Asks no desk, and changes nothing."""
    from llmdesk import records
    from llmdesk.report import report as made

    problems: list[str] = []
    kept: dict[str, list[records.Record]] = {}
    for record in records.history(broken=problems):
        kept.setdefault(record["host"], []).append(record)
    hosts = _hosts(inventory, limit, sorted(kept)) if inventory or limit else None
    for problem in problems if form is None else []:
        click.echo(f"llmdesk: {problem}", err=True)
    if not (kept if hosts is None else hosts):
        raise click.ClickException(
            f"There is nothing to report on: no desk is meant by {limit!r}."
            if hosts is not None
            else f"There is nothing to report on: no run has left a record in {records.folder()}. './llmdesk up' does."
        )
    document = made(kept, hosts, f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", problems)
    _write(_text(document, form), output or (PAGE if form is None else "-"), mode)


def _text(document: dict[str, Any], form: str | None) -> str:
    if form == "json":
        return json.dumps(document, ensure_ascii=False) + "\n"
    if form == "prometheus":
        from llmdesk import prometheus

        return prometheus.text(document)
    from llmdesk import page

    return page.html(document)


def _hosts(inventory: tuple[str, ...], limit: str | None, recorded: list[str]) -> list[str]:
    """Return the desks that Ansible understands by an inventory and a pattern; without one, of those recorded."""
    from llmdesk.commands.plays import from_here
    from llmdesk.run import REPOSITORY

    with tempfile.TemporaryDirectory() as temporary:
        sources = [from_here(source) for source in inventory]
        if not sources:
            own = Path(temporary, "recorded.json")
            own.write_text(json.dumps({"desks": {"hosts": dict.fromkeys(recorded)}}))
            sources = [str(own)]
        command = [str(Path(sys.executable).with_name("ansible")), "desks:windows", "--list-hosts"]
        command += [part for source in sources for part in ("-i", source)] + (["--limit", limit] if limit else [])
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if "leaves us with no hosts" in done.stderr:
        return []
    if done.returncode != 0:
        raise click.ClickException(f"The inventory cannot be read: {done.stderr.strip()}")
    return [line.strip() for line in done.stdout.splitlines() if line.startswith("    ")]


def _write(text: str, output: str, mode: str) -> None:
    if output == "-":
        sys.stdout.write(text)
        return
    path = Path(output)
    try:
        # Beside it, so that whoever reads the file at this moment reads all of the old one, or all of the new one.
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                os.fchmod(file.fileno(), int(mode, 8))
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink()
            raise
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written: {error.strerror}.") from None
    except ValueError:
        raise click.ClickException(f"--mode {mode} is no mode: give it in octal, such as 644.") from None
    click.echo(f"{path.absolute()}", err=True)
