# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``wsl.exe`` prints.

It is UTF-16LE unless ``WSL_UTF8`` is 1 and somebody passes that on, it is in the language of Windows, and warnings may
stand before it. So nothing is read from it but error codes, which are the same everywhere.
"""

from __future__ import annotations

import re

FIRMWARE = (
    "Switch virtualisation on in the PC's firmware (Intel VT-x or VT-d, AMD SVM; in a virtual machine: nested "
    "virtualisation), and run again."
)
RESTART = "Restart Windows and run again."
NO_HUB = (
    "Give the distro as a file: wsl_root_file, a path of the PC, of a share or of this machine, or the URL of a mirror."
)

CODES = (
    ("0x80370102", "virtualisation is off in the firmware, or no hypervisor runs", FIRMWARE),
    ("HCS_E_HYPERV_NOT_INSTALLED", "virtualisation is off in the firmware, or no hypervisor runs", FIRMWARE),
    ("HCS_E_SERVICE_NOT_AVAILABLE", "Windows has not been restarted since VirtualMachinePlatform came", RESTART),
    ("WSL_E_VIRTUAL_MACHINE_PLATFORM_REQUIRED", "the feature VirtualMachinePlatform is not in effect", RESTART),
    (
        "WSL_E_WSL_OPTIONAL_COMPONENT_REQUIRED",
        "a distro of version 1 needs the feature Microsoft-Windows-Subsystem-Linux",
        "Add it to wsl_features, or convert the distro with -e wsl_convert=true.",
    ),
    (
        "WSL_E_LOCAL_SYSTEM_NOT_SUPPORTED",
        "WSL does not run for the account SYSTEM",
        "Connect as the person whose desk it is (ansible_user).",
    ),
    (
        "0x8004032e",
        "WSL does not run for the account SYSTEM",
        "Connect as the person whose desk it is (ansible_user).",
    ),
    (
        "0x8007023f",
        "Windows has no session of this user in which a virtual machine could start",
        "Log on once at the PC as that user and run again.",
    ),
    (
        "0x80070780",
        "WSL is the Store's, which does not run in a session without a desktop",
        "Let the run install the package: leave wsl_package as it is, or name a file of the .msi.",
    ),
    (
        "E_ACCESSDENIED",
        "WSL is the Store's, which does not run in a session without a desktop, or the file may not be read",
        "Let the run install the package (wsl_package); a share has to be readable for the user of the connection.",
    ),
    (
        "WSL_E_DISTRO_NOT_FOUND",
        "WSL knows no distro of that name",
        "'wsl --list --online' shows the names; or give a file as wsl_root_file.",
    ),
    ("WININET_E_", "WSL could not reach the internet for the distro", NO_HUB),
    (
        "WSL_E_USER_NOT_FOUND",
        "the distro has no such user",
        "Run again, which makes it, or set wsl_default_user.",
    ),
    (
        "ERROR_FILE_EXISTS",
        "the distro's folder holds a disk already",
        "Move or delete the folder that the message names, and run again.",
    ),
    (
        "0x80070050",
        "the distro's folder holds a disk already",
        "Move or delete the folder that the message names, and run again.",
    ),
    (
        "ERROR_ALREADY_EXISTS",
        "a distro of that name is there already",
        "Choose another name as wsl_distribution, or run again.",
    ),
    ("0x80070070", "the drive is full", "Free some space and run again."),
    ("ERROR_FILE_NOT_FOUND", "a file is not there", "See that wsl_root_file names a file that this user can read."),
    ("ERROR_PATH_NOT_FOUND", "a folder is not there", "See that wsl_root_file names a file that this user can read."),
    ("0x800702e4", "this takes an administrator", "Connect as a user who is an administrator of the PC."),
)
"""Parts of error codes, what they say, and what to do; the first that fits counts."""

_CODE = re.compile(r"Wsl(?:/\w+)+|\b0x[0-9A-Fa-f]{8}\b|\b(?:WSL|HCS|WININET|ERROR|E)_[A-Z0-9_]+")
# By CreateProcess; the same number that WSL writes as 0x80070780.
_CANNOT_ACCESS = re.compile(r"\b(?:Win32ErrorCode )?1920\b")


def text(said: bytes | str) -> str:
    """Return what a program of Windows printed, whatever it was encoded in.

    :param said: the bytes, or a text that somebody has decoded wrongly: UTF-16 read as UTF-8 has a NUL after every
        letter of ASCII.
    """
    if isinstance(said, bytes):
        if said.startswith(b"\xff\xfe") or said.count(0) * 4 >= len(said) > 0:
            said = said[: len(said) - len(said) % 2].decode("utf-16-le", "replace")
        else:
            said = said.decode("utf-8", "replace")
    if "\x00" in said:
        said = said.replace("\x00", "").lstrip("\ufffd")
    return said.replace("\ufeff", "").replace("\r\n", "\n").strip()


def codes(said: bytes | str) -> list[str]:
    """Return the error codes in what was printed, in their order, each once."""
    plain = text(said)
    found = _CODE.findall(plain)
    if _CANNOT_ACCESS.search(plain):
        found.append("0x80070780")
    return list(dict.fromkeys(found))


def failure(what: str, said: bytes | str) -> str:
    """Return one message for a call of ``wsl.exe`` that failed.

    :param what: what it should have done, in the infinitive: ``install the distro Ubuntu-24.04``.
    :param said: all that it printed.
    """
    found = codes(said)
    for part, sentence, remedy in CODES:
        code = next((code for code in found if part.lower() in code.lower()), None)
        if code:
            return f"WSL could not {what}: {sentence} ({code}). {remedy}"
    last = " ".join(text(said).split())[-300:]
    if found:
        return f"WSL could not {what} ({', '.join(found)}): {last}"
    return f"WSL could not {what}, and gave no error code. It printed: {last or 'nothing'}"
