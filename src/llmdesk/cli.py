# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line: every command is a playbook and a screen. It decides nothing."""

from __future__ import annotations

import click

from llmdesk import __version__
from llmdesk.commands.bundle import bundle
from llmdesk.commands.completion import completion
from llmdesk.commands.down import down
from llmdesk.commands.fit import fit
from llmdesk.commands.init import init
from llmdesk.commands.lab import lab
from llmdesk.commands.logs import logs
from llmdesk.commands.models import models
from llmdesk.commands.password import password
from llmdesk.commands.report import report
from llmdesk.commands.retry import retry
from llmdesk.commands.status import status
from llmdesk.commands.support_bundle import support_bundle
from llmdesk.commands.up import up
from llmdesk.commands.verify import verify
from llmdesk.commands.worker import worker


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="""\b
./llmdesk test runs the tests.""",
)
@click.version_option(__version__, prog_name="llmdesk")
def main() -> None:
    """A private ChatGPT-like page on your own machine: Open WebUI and Ollama, proved to answer."""


for command in (
    init,
    up,
    status,
    verify,
    fit,
    models,
    report,
    retry,
    logs,
    password,
    down,
    bundle,
    lab,
    worker,
    support_bundle,
    completion,
):
    main.add_command(command)
