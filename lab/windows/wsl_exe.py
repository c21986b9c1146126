"""The command that the OpenSSH server of the lab's PC runs, whatever it was asked for: ``cmd.exe`` with ``wsl.exe``.

OpenSSH for Windows hands a command line as it came to its default shell, which is cmd.exe (Microsoft). What it is asked
for here is always wsl.exe, so that is all that this cmd.exe can do. Two things of cmd.exe break command lines in
practice, and break them here: a line has 8191 characters at the most, and an operator counts unless the number of
quotation marks before it is odd, which the ones escaped for another program count towards.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from lab.windows import machine, wsl

LONGEST = 8191
OPERATORS = "&|<>"


def complaint(line: str) -> str:
    """Return what cmd.exe has against a line, nothing where it hands it on as it is."""
    if len(line) > LONGEST:
        return "The command line is too long."
    quoted = False
    for character in line:
        if character == '"':
            quoted = not quoted
        elif character in OPERATORS and not quoted:
            return f"cmd.exe takes the {character} in this line for its own: {line}"
    return ""


def main() -> int:
    """Run the command line of ``SSH_ORIGINAL_COMMAND`` on the PC whose file ``LAB_PC`` names."""
    line = os.environ.get("SSH_ORIGINAL_COMMAND", "")
    refused = complaint(line)
    if refused:
        print(refused, file=sys.stderr)
        return 1
    with machine.opened(Path(os.environ["LAB_PC"])) as pc:
        if wsl.program(pc, wsl.word(line)[0]) is None:
            name = wsl.word(line)[0]
            print(f"'{name}' is not recognized as an internal or external command,", file=sys.stderr)
            return 1
        answer = wsl.ask(pc, line, {})
    if isinstance(answer, wsl.Launch):
        answer = answer.run(None, None, None)
    sys.stdout.buffer.write(answer.stdout)
    sys.stderr.buffer.write(answer.stderr)
    # A process here ends with 8 bits, one of Windows with 32.
    return answer.rc & 0xFF


if __name__ == "__main__":
    sys.exit(main())
