# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a room of desks out of containers on this machine, to try things on."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import click

from llmdesk.run import INTERRUPTED, REPOSITORY

PREFIX = click.option(
    "--prefix",
    default="llmdesk-room",
    show_default=True,
    metavar="NAME",
    help="What its parts' names begin with.",
)


@click.group(
    epilog="""\b
Examples:
  ./llmdesk lab up --desks 3 --wan 20mbit
  ./llmdesk lab wan
  ./llmdesk lab down"""
)
def lab() -> None:
    """A room of desks on this machine, to try llmdesk on: containers with systemd, ssh and a slow way out."""


@lab.command(
    epilog="""\b
Examples:
  ./llmdesk lab up --desks 3 --wan 20mbit
  ./llmdesk lab up --desks 10 --wan 1gbit --with-docker

A second time it changes nothing; with more desks it adds them, with another rate it changes the line. Needs root and
Debian or Ubuntu, and brings Docker where there is none. The first room takes minutes: an image is built for it."""
)
@click.option("--desks", type=int, default=3, show_default=True, metavar="N", help="How many desks it has.")
@click.option(
    "--wan", default="20mbit", show_default=True, metavar="RATE", help="What its way out carries in either direction."
)
@click.option("--system", default="debian-12", show_default=True, metavar="NAME", help="debian-12 or debian-13.")
@click.option("--with-docker/--bare", help="Whether the desks have Docker Engine already.  [default: bare]")
@click.option("--cached", is_flag=True, help="Let the desks share the lab's cache of images and downloads.")
@click.option(
    "--mirror/--no-mirror",
    default=True,
    show_default=True,
    help="Whether desk1 fetches image and models for all, so that one copy crosses the line.",
)
@PREFIX
def up(desks: int, wan: str, system: str, with_docker: bool, cached: bool, mirror: bool, prefix: str) -> None:
    """Make a room of desks, with registries and a proxy as its only way out."""
    with _told("'./llmdesk lab up' carries on, './llmdesk lab down' removes what there is."):
        from lab import engine, room

        wanted = room.Room(desks, wan, system, with_docker, cached, prefix, mirror)
        room.check(wanted)
        engine.bring(_say)
        room.up(wanted, _say)
    named = f" --prefix {prefix}" * (prefix != room.PREFIX)
    click.echo(f"""
{desks} desk{"s" * (desks > 1)} ({wanted.made_as}) on a line of {wan}.

  ./llmdesk up -i {wanted.inventory}
  ssh -F {wanted.ssh_config} desk1
  ./llmdesk lab wan{named}
  ./llmdesk lab down{named}""")


@lab.command()
@PREFIX
def wan(prefix: str) -> None:
    """Show what the room's way out carries, a line a second, until Ctrl-C."""
    with _told():
        from lab import room

        before = room.carried(prefix)
        while True:
            time.sleep(1)
            now = room.carried(prefix)
            rates = f"{(now.down - before.down) / 1e6:7.2f} MB/s in  {(now.up - before.up) / 1e6:7.2f} MB/s out"
            click.echo(f"{rates}  {now.down / 1e6:9.1f} MB in and {now.up / 1e6:.1f} MB out since it was made")
            before = now


@lab.command()
@PREFIX
def down(prefix: str) -> None:
    """Remove the room with everything in it. Docker, the image and downloads stay."""
    with _told("'./llmdesk lab down' carries on."):
        from lab import engine, room

        if not engine.answers():
            raise click.ClickException("Docker does not answer here, so there is nothing to remove.")
        removed = room.down(prefix, _say)
    click.echo(f"Removed {removed} containers, networks and volumes." if removed else "There was nothing to remove.")


def _say(text: str) -> None:
    click.echo(f"lab: {text}", err=True)


@contextlib.contextmanager
def _told(after: str = "") -> Iterator[None]:
    """Let the lab be found, and say in a sentence what went wrong there.

    :param after: what a person may do after Ctrl-C.
    """
    if os.geteuid() != 0:
        raise click.ClickException("The lab's desks are containers with rights of their own: run it as root.")
    sys.path.append(str(REPOSITORY))  # It is no installed package.
    from docker.errors import DockerException

    try:
        yield
    except KeyboardInterrupt:
        click.echo(f"\nStopped. {after}".rstrip(), err=True)
        sys.exit(INTERRUPTED)
    except (ValueError, RuntimeError, OSError, subprocess.SubprocessError, DockerException) as error:
        raise click.ClickException(str(error)) from error
