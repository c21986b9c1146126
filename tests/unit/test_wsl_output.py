# SPDX-License-Identifier: GPL-3.0-or-later
"""What wsl.exe prints, in every encoding and language: only its codes count."""

from __future__ import annotations

import pytest
from ansible_collections.llmdesk.workstation.plugins.module_utils.wsl_output import CODES, codes, failure, text

SAID = {
    "en": "A distribution with the supplied name was not found.\r\nError code: Wsl/Service/WSL_E_DISTRO_NOT_FOUND\r\n",
    "zh": "没有具有所提供名称的分发。\r\n错误代码: Wsl/Service/WSL_E_DISTRO_NOT_FOUND\r\n",
    "de": "Es gibt keine Verteilung mit dem angegebenen Namen.\r\nFehlercode: Wsl/Service/WSL_E_DISTRO_NOT_FOUND\r\n",
    "ja": "その名前のディストロはありません。\r\nエラー コード: Wsl/Service/WSL_E_DISTRO_NOT_FOUND\r\n",
}
UTF16 = "utf-16-le"


@pytest.mark.parametrize("said", SAID.values(), ids=SAID)
def test_it_is_read_in_whatever_it_was_encoded(said: str) -> None:
    plain = said.replace("\r\n", "\n").strip()
    assert text(said.encode(UTF16)) == plain
    assert text(b"\xff\xfe" + said.encode(UTF16)) == plain
    assert text(said.encode()) == plain
    assert text(said) == plain


@pytest.mark.parametrize("said", SAID.values(), ids=SAID)
@pytest.mark.parametrize("mark", [b"", b"\xff\xfe"], ids=["no mark", "mark"])
@pytest.mark.parametrize("wrong", ["utf-8", "cp437", "cp936", "latin-1"])
def test_its_code_survives_a_wrong_decoding(said: str, mark: bytes, wrong: str) -> None:
    decoded = (mark + said.encode(UTF16)).decode(wrong, "replace")
    assert codes(decoded) == ["Wsl/Service/WSL_E_DISTRO_NOT_FOUND"]
    assert "wsl --list --online" in failure("install the distro x", decoded)


def test_a_warning_before_it_is_no_error() -> None:
    warning = "wsl: 检测到 localhost 代理配置。NAT 模式下的 WSL 不支持 localhost 代理。\n"
    assert codes(warning) == []
    assert "(Wsl/Service/WSL_E_DISTRO_NOT_FOUND)" in failure("start", warning + SAID["zh"])


@pytest.mark.parametrize(
    ("said", "sentence", "remedy"),
    [
        ("Error code: Wsl/Service/CreateInstance/CreateVm/HCS/0x80370102", "off in the firmware", "Intel VT-x"),
        ("Wsl/Service/CreateVm/HCS/HCS_E_SERVICE_NOT_AVAILABLE", "not been restarted", "Restart Windows"),
        ("错误代码: Wsl/InstallDistro/WININET_E_NAME_NOT_RESOLVED", "could not reach the internet", "wsl_root_file"),
        ("Wsl/WININET_E_TIMEOUT", "could not reach the internet", "wsl_root_file"),
        ("Wsl/Service/CreateVm/0x8007023f", "no session", "Log on once"),
        ("Wsl/Service/CreateVm/0x8007023F", "no session", "Log on once"),
        ("Wsl/WSL_E_LOCAL_SYSTEM_NOT_SUPPORTED", "account SYSTEM", "ansible_user"),
        ("(Der Zugriff ist nicht möglich, Win32ErrorCode 1920 - 0x00000780)", "the Store's", "wsl_package"),
        ("Wsl/E_ACCESSDENIED", "the Store's", "wsl_package"),
        ("Wsl/Service/RegisterDistro/ERROR_FILE_EXISTS", "holds a disk already", "Move or delete"),
        ("Wsl/Service/RegisterDistro/0x80070070", "drive is full", "Free some space"),
    ],
)
def test_a_code_has_a_sentence_and_a_remedy(said: str, sentence: str, remedy: str) -> None:
    message = failure("install the distro x", said)
    assert message.startswith("WSL could not install the distro x: ")
    assert sentence in message
    assert remedy in message


def test_a_code_that_nobody_knows_is_passed_on_with_what_was_printed() -> None:
    message = failure("install the distro x", "Etwas ging schief.\nFehlercode: Wsl/Service/0x80041234")
    assert message == (
        "WSL could not install the distro x (Wsl/Service/0x80041234): Etwas ging schief. Fehlercode: "
        "Wsl/Service/0x80041234"
    )
    assert failure("start", "") == "WSL could not start, and gave no error code. It printed: nothing"


def test_every_code_says_what_to_do() -> None:
    for part, sentence, remedy in CODES:
        assert part == part.strip()
        assert not sentence.endswith(".")
        assert remedy.endswith(".")
