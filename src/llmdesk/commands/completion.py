# SPDX-License-Identifier: GPL-3.0-or-later
"""Print what lets a shell complete commands."""

from __future__ import annotations

import shlex

import click
from click.shell_completion import get_completion_class

from llmdesk.run import REPOSITORY


@click.command(
    epilog="""\b
Examples:
  ./llmdesk completion bash >> ~/.bashrc
  ./llmdesk completion zsh >> ~/.zshrc
  ./llmdesk completion fish > ~/.config/fish/completions/llmdesk.fish

\b
For this shell alone:
  eval "$(./llmdesk completion bash)\""""
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a SHELL's completion: commands, options, tags, models of the catalogue, hosts of the inventory."""
    from llmdesk.cli import main

    found = get_completion_class(shell)
    assert found is not None
    text = found(main, {}, "llmdesk", "_LLMDESK_COMPLETE").source()
    # The launcher is typed with its path and is not on PATH, where these two would look for it.
    launcher = shlex.quote(str(REPOSITORY / "llmdesk"))
    if shell == "zsh":
        text = text.replace("zsh_complete llmdesk", f"zsh_complete {launcher}")
        text = text.replace("(( ! $+commands[llmdesk] )) && return 1", "")
    if shell == "fish":
        text = text.replace("(commandline -t) llmdesk)", f"(commandline -t) {launcher})")
    click.echo(text)
