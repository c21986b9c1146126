"""The lab's command line."""

from __future__ import annotations

import click
import docker

from lab import desk, engine, faults, models, registry, room, roots
from lab import image as built
from lab.windows import sshd
from llmdesk.commands.lab import lab as rooms


def say(text: str) -> None:
    """Print a line about what takes long."""
    click.echo(f"lab: {text}", err=True)


@click.group(help=__doc__, epilog="Example: python -m lab desk create d1 --system debian-13")
def lab() -> None:
    """Group of commands."""
    if not engine.answers():
        raise click.ClickException("Docker does not answer here. './llmdesk up' brings it.")


@lab.group("desk")
def desks() -> None:
    """Machines to try things on."""


@desks.command()
@click.argument("name")
@click.option("--system", type=click.Choice(list(roots.SUITES)), default="debian-12", show_default=True)
@click.option("--systemd/--no-systemd", default=True, show_default=True, help="Whether a service manager runs.")
@click.option("--with-docker", is_flag=True, help="Whether the distribution's Docker Engine is there already.")
@click.option("--cached/--not-cached", default=True, show_default=True, help="Whether the desk shares the lab's cache.")
def create(name: str, system: str, systemd: bool, with_docker: bool, cached: bool) -> None:
    """Make a bare desk and start it; enter it with 'docker exec -it NAME bash'."""
    desk.create(name, system, systemd=systemd, with_docker=with_docker, cached=cached, say=say)


@desks.command()
@click.argument("name")
def destroy(name: str) -> None:
    """Remove a desk with everything in it."""
    desk.destroy(name)


@lab.group("registry")
def registries() -> None:
    """The stand-in for ghcr.io, under the name ghcr.lab.test."""


@registries.command()
@click.option("--image", metavar="IMAGE", help="The image to put into it; built on the spot when not given.")
def up(image: str | None) -> None:
    """Start it with the image of a desk; desks made afterwards know its name."""
    registry.up(say)
    click.echo(registry.push(image or built.image(say), say))


@registries.command()
def down() -> None:
    """Remove it with everything in it."""
    registry.down()


@lab.command()
def prune() -> None:
    """Remove every room, desk, PC and registry; roots and downloads stay in the cache."""
    for prefix in room.everywhere():
        room.down(prefix, say)
    for container in docker.from_env().containers.list(all=True, filters={"label": f"{desk.LABEL}=desk"}):
        desk.destroy(str(container.name))
    for container in docker.from_env().containers.list(all=True, filters={"label": f"{desk.LABEL}=pc"}):
        sshd.down(str(container.name))
    registry.down()
    faults.down()
    models.down()


lab.add_command(rooms, "room")

if __name__ == "__main__":
    lab(prog_name="python -m lab")
