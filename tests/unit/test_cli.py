# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line: what its options become, and its words where it refuses."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from llmdesk import __version__, fits
from llmdesk import run as runs
from llmdesk.cli import main
from llmdesk.commands import plays as commands
from llmdesk.commands.options import TAGS
from llmdesk.commands.up import image_source
from llmdesk.run import Play
from llmdesk.secret import passwords


@pytest.fixture
def plays(monkeypatch: pytest.MonkeyPatch) -> list[Play]:
    """Plays that would have been run by root."""
    wanted: list[Play] = []
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(commands, "finish", lambda play, *_more, **_options: wanted.append(play))
    return wanted


def typed(*arguments: str, given: str = "") -> Result:
    return CliRunner().invoke(main, list(arguments), input=given)


# --- Options --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "source"),
    [
        ("build", {"build": True}),
        ("ghcr.io/open-webui/open-webui:ollama", {"registry": "ghcr.io/open-webui/open-webui:ollama"}),
        ("localhost:5000/x", {"registry": "localhost:5000/x"}),
        ("/media/usb/open-webui.tar", {"archive": "/media/usb/open-webui.tar"}),
        ("/media/usb/image", {"archive": "/media/usb/image"}),
    ],
)
def test_a_source_of_the_image(image: str, source: dict[str, Any]) -> None:
    assert image_source(image) == source


@pytest.mark.parametrize("image", ["open-webui.tar", "./image", "open-webui.tar.gz", "open-webui.tgz"])
def test_an_archive_is_found_from_where_it_was_typed(
    image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert image_source(image) == {"archive": str(tmp_path / image)}


def test_an_archive_at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert image_source("~/image") == {"archive": f"{tmp_path}/image"}


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [
        ([], None),
        (["--model", "a:1", "--model", "b:1"], {"ollama_models": ["a:1", "b:1"]}),
        (["--port", "8080"], {"desk_port": 8080}),
        (["--bundle", "/media/usb"], {"desk_bundle": "/media/usb"}),
        (
            ["--image", "x/y:z", "--image", "build"],
            {"open_webui_image_sources": [{"registry": "x/y:z"}, {"build": True}]},
        ),
        (
            ["--retry-sources"],
            {
                "ollama_models_retry_sources": True,
                "open_webui_image_upgrade": True,
                "nvidia_runtime_retry": True,
            },
        ),
    ],
)
def test_what_up_asks_for(plays: list[Play], arguments: list[str], variables: Any) -> None:
    assert typed("up", *arguments).exit_code == 0
    (play,) = plays
    assert play.playbook == "site.yml"
    assert [json.loads(given) for given in play.extra_vars] == ([variables] if variables else [])


def test_options_of_ansible_go_through(plays: list[Play], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "room.yml").touch()
    (tmp_path / "more.yml").touch()
    monkeypatch.chdir(tmp_path)
    result = typed(
        "up",
        "-i",
        "room.yml",
        "-i",
        "desk1,",
        "-l",
        "desk1",
        "-e",
        "@more.yml",
        "-e",
        "a=1",
        "--check",
        "--diff",
        "-vv",
    )
    assert result.exit_code == 0
    assert plays[0].arguments() == [
        "site.yml",
        *("-i", str(tmp_path / "room.yml"), "-i", "desk1,"),
        *("--limit", "desk1"),
        *("-e", f"@{tmp_path}/more.yml", "-e", "a=1"),
        *("--check", "--diff", "-vv"),
    ]


def test_a_play_is_a_command_that_can_be_typed() -> None:
    wanted = Play(
        "site.yml",
        tags=("docker", "verify"),
        skip_tags=("models",),
        forks=50,
        private_key="/keys/room",
        user="ann",
        vault_password_file="/keys/vault",
        verbosity=2,
        become_password="secret",
    )
    assert " ".join(wanted.command()) == (
        "ansible-playbook site.yml --tags docker,verify --skip-tags models --forks 50 --private-key /keys/room"
        " --user ann --vault-password-file /keys/vault -vv -K"
    )


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [
        (["--canary", "2"], {"desks_canary": 2}),
        (["--serial", "10"], {"desks_serial": "10"}),
        (["--serial", "20%", "--max-fail-percentage", "0"], {"desks_serial": "20%", "desks_max_fail_percentage": 0}),
    ],
)
def test_a_careful_roll_out_is_variables(plays: list[Play], arguments: list[str], variables: Any) -> None:
    assert typed("up", *arguments).exit_code == 0
    assert json.loads(plays[0].extra_vars[0]) == variables


def test_how_desks_are_reached_goes_through(plays: list[Play], tmp_path: Path) -> None:
    (tmp_path / "key").touch()
    (tmp_path / "word").touch()
    reached = ["-u", "ann", "--private-key", f"{tmp_path}/key", "--vault-password-file", f"{tmp_path}/word"]
    assert typed("up", *reached, "-f", "50", "--tags", "docker,verify", "--skip-tags", "wsl").exit_code == 0
    play = plays[0]
    assert (play.user, play.forks, play.tags, play.skip_tags) == ("ann", 50, ("docker,verify",), ("wsl",))
    assert (play.private_key, play.vault_password_file) == (f"{tmp_path}/key", f"{tmp_path}/word")
    for command in ("status", "verify", "down", "fit"):
        assert {"--user", "--forks", "--private-key"} <= {o for p in main.commands[command].params for o in p.opts}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--tags", "dokcer"], "'dokcer' is no tag. Did you mean docker?"),
        (["--tags", "docker,x"], "'x' is no tag. There are preflight, docker,"),
        (["--serial", "0"], "'0' is neither a number of desks nor a percentage"),
        (["--serial", "120%"], "neither a number of desks nor a percentage"),
        (["--canary", "0"], "--canary"),
        (["--max-fail-percentage", "101"], "--max-fail-percentage"),
        (["-e", "@nowhere.yml"], "There is no file nowhere.yml with variables"),
        (["--private-key", "nowhere"], "'nowhere' does not exist"),
        (["-i", "inventory/locl.yml"], "There is no inventory inventory/locl.yml"),
    ],
)
def test_what_an_option_cannot_take_is_said_before_anything_runs(
    plays: list[Play], arguments: list[str], words: str
) -> None:
    result = typed("up", *arguments)
    assert result.exit_code in (1, 2)
    assert words in result.output.replace("\n", " ")
    assert plays == []


def test_the_tags_are_those_of_the_site_playbook_and_of_the_docs() -> None:
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "site.yml", "--list-tags"]
    said = subprocess.run(command, cwd=runs.REPOSITORY, capture_output=True, text=True, check=True).stdout
    listed = {tag for found in re.findall(r"TAGS: \[(.*)\]", said) for tag in re.split(r",\s*", found) if tag}
    assert listed - {"always"} == set(TAGS)
    page = (runs.REPOSITORY / "docs" / "fleet.md").read_text()
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)[: len(TAGS)] == list(TAGS)


# --- Completion -----------------------------------------------------------------------------------------------------


def completed(words: str) -> list[str]:
    """Return what a shell offers for the last of the words."""
    environment = {"_LLMDESK_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    result = CliRunner().invoke(main, [], env=environment, prog_name="llmdesk")
    return [line.partition(",")[2] for line in result.stdout.splitlines()]


def test_a_shell_offers_what_is_known(tmp_path: Path) -> None:
    room = tmp_path / "room.yml"
    room.write_text("desks: {hosts: {'desk[01:02]': , tower: }}")
    assert "support-bundle" in completed("llmdesk ")
    assert completed("llmdesk up --tags open_webui_p") == ["open_webui_people"]
    assert "llama3.2:3b" in completed("llmdesk up --model llama")
    assert completed("llmdesk bundle /media/usb --system debian-13") == ["debian-13"]
    assert completed("llmdesk models pull aut") == ["auto"]
    assert completed(f"llmdesk up -i {room} --limit desk") == ["desk01", "desk02"]
    assert completed(f"llmdesk up -i {room} --limit desk01,t") == ["desk01,tower"]
    assert completed(f"llmdesk up -i {tmp_path}/gone.yml --limit desk") == [""]  # nothing
    assert completed("llmdesk password loc") == ["localhost"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_names_the_launcher(shell: str) -> None:
    text = typed("completion", shell).output
    assert "_llmdesk_completion" in text
    if shell != "bash":  # which asks the command as it was typed
        assert f"{runs.REPOSITORY}/llmdesk)" in text


@pytest.mark.parametrize("port", ["0", "65536", "http"])
def test_what_is_no_port(plays: list[Play], port: str) -> None:
    result = typed("up", "--port", port)
    assert result.exit_code == 2
    assert "--port" in result.output
    assert plays == []


def test_passwords_are_asked_for_and_are_in_no_argument(plays: list[Play]) -> None:
    result = typed("up", "-K", "--ask-vault-pass", given="sudo's\nvault's\n")
    assert result.exit_code == 0
    (play,) = plays
    assert (play.become_password, play.vault_password) == ("sudo's", "vault's")
    assert play.command() == ["ansible-playbook", "site.yml", "-K", "--ask-vault-pass"]
    assert "sudo's" not in result.output


@pytest.mark.parametrize(
    ("arguments", "name"),
    [(["status"], "status"), (["verify"], "verify"), (["down"], "down"), (["logs"], "logs")],
)
def test_every_command_is_a_playbook(plays: list[Play], arguments: list[str], name: str) -> None:
    assert typed(*arguments).exit_code == 0
    assert (plays[0].playbook, plays[0].name) == (f"llmdesk.workstation.{name}", name)


def test_what_a_bundle_is_asked_for_by_anybody(plays: list[Play], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("subprocess.run", no_sudo)
    options = ["--system", "debian-13", "--model", "qwen3:4b", "--image", "x.example.com/y:z", "--check"]
    assert typed("bundle", "/media/usb", *options).exit_code == 0
    (play,) = plays
    assert (play.playbook, play.check) == ("llmdesk.workstation.bundle", True)
    assert json.loads(play.extra_vars[0]) == {
        "bundle_path": "/media/usb",
        "bundle_project": str(runs.REPOSITORY),
        "bundle_systems": ["debian-13"],
        "ollama_models": ["qwen3:4b"],
        "open_webui_image_sources": [{"registry": "x.example.com/y:z"}],
    }


def test_logs_of_one_desk(plays: list[Play]) -> None:
    assert typed("logs", "desk7", "--tail", "5", "-f").exit_code == 0
    assert plays[0].limit == "desk7"
    assert json.loads(plays[0].extra_vars[0]) == {"open_webui_logs_tail": 5, "open_webui_logs_follow": True}


@pytest.mark.parametrize(
    ("play", "name"),
    [("site.yml", "site"), ("llmdesk.workstation.status", "status"), ("playbooks/verify.yml", "verify")],
)
def test_the_short_name_of_a_play(play: str, name: str) -> None:
    assert Play(play).name == name


# --- Help -----------------------------------------------------------------------------------------------------------


# Nobody types 'worker'.
@pytest.mark.parametrize("command", sorted(set(main.commands) - {"worker"}))
@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_has_an_example_of_the_command(command: str, option: str) -> None:
    result = typed(command, option)
    assert result.exit_code == 0
    examples = result.output.partition("Examples:")[2]
    assert f"./llmdesk {command}" in examples
    assert max(map(len, result.output.splitlines())) <= 110


def parsed(command: click.Command, words: list[str], above: click.Context | None = None) -> None:
    """Read words as a command does, and run nothing: some of them make rooms of machines.

    :raises click.UsageError: they are not understood.
    """
    context = command.make_context(command.name, words, parent=above)
    if isinstance(command, click.Group):
        _name, below, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        assert below is not None
        parsed(below, rest, context)


@pytest.mark.parametrize("command", sorted(main.commands))
def test_examples_in_help_are_understood(command: str) -> None:
    for line in typed(command, "--help").output.partition("Examples:")[2].splitlines():
        words = re.split("[|>]", line)[0].replace("'", "").split()
        if words[:1] == ["./llmdesk"]:
            parsed(main, words[1:])


def test_version() -> None:
    assert typed("--version").output == f"llmdesk, version {__version__}\n"


def test_a_command_that_does_not_exist() -> None:
    result = typed("upp")
    assert result.exit_code == 2
    assert "No such command 'upp'" in result.output


# --- Refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "volumes"),
    [
        ("ollama", ["ollama"]),
        ("ollama, open-webui", ["ollama", "open-webui"]),
        ("open-webui ollama", ["open-webui", "ollama"]),
    ],
)
def test_volumes_go_only_by_their_typed_names(plays: list[Play], names: str, volumes: list[str]) -> None:
    result = typed("down", "--delete-data", given=names + "\n")
    assert "cannot be brought back" in result.output
    assert json.loads(plays[0].extra_vars[0]) == {"open_webui_delete_volumes": volumes}


@pytest.mark.parametrize("names", ["yes", "ollama, postgres", "all"])
def test_a_volume_that_is_no_desks_is_not_removed(plays: list[Play], names: str) -> None:
    result = typed("down", "--delete-data", given=names + "\n")
    assert result.exit_code == 1
    assert "No volume of a desk is named" in result.output
    assert "Nothing was removed" in result.output
    assert plays == []


def test_down_alone_removes_no_volume(plays: list[Play]) -> None:
    assert typed("down").exit_code == 0
    assert plays[0].extra_vars == ()


def no_sudo(*_arguments: Any, **_options: Any) -> Any:
    raise FileNotFoundError(2, "No such file or directory", "sudo")


def sudo(returncode: int) -> Any:
    return lambda *_arguments, **_options: SimpleNamespace(returncode=returncode)


@pytest.mark.parametrize(
    ("asked", "words"),
    [(no_sudo, "has no sudo. Run it as root"), (sudo(1), "Add -K to be asked for sudo's password")],
)
def test_nobody_but_root_makes_this_machine_a_desk(
    plays: list[Play], monkeypatch: pytest.MonkeyPatch, asked: Any, words: str
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr(subprocess, "run", asked)
    result = typed("up")
    assert result.exit_code == 1
    assert words in result.output
    assert plays == []


@pytest.mark.parametrize(
    ("arguments", "given", "asked"),
    [(["up"], "", sudo(0)), (["up", "-K"], "secret\n", no_sudo), (["up", "-i", "desk1,"], "", no_sudo)],
)
def test_who_may_become_root_elsewhere_or_later(
    plays: list[Play], monkeypatch: pytest.MonkeyPatch, arguments: list[str], given: str, asked: Any
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr(subprocess, "run", asked)
    assert typed(*arguments, given=given).exit_code == 0
    assert len(plays) == 1


# --- Passwords ------------------------------------------------------------------------------------------------------


def answered(**hosts: dict[str, Any]) -> dict[str, Any]:
    """Return what the callback ansible.posix.json says of a play with these hosts."""
    asked = {host: {"changed": False, "desk": {"schema": 1}} for host in hosts}
    return {
        "custom_stats": {},
        "global_custom_stats": {},
        "plays": [
            {
                "play": {"name": "Show the password", "id": "1"},
                "tasks": [
                    {"task": {"name": "Ask the desk", "id": "2"}, "hosts": asked},
                    {"task": {"name": "Show the password", "id": "3"}, "hosts": hosts},
                ],
            }
        ],
        "stats": {},
    }


FOUND = {"changed": False, "msg": {"desk_password": "pass word"}}
UNREACHABLE = {"unreachable": True, "changed": False, "msg": "Failed to connect to the host via ssh"}
REFUSED = {"failed": True, "changed": False, "msg": "There is no password on this desk."}


def test_passwords_by_host_and_why_there_is_none() -> None:
    found, failures = passwords(answered(desk1=FOUND, desk2=UNREACHABLE, desk3=REFUSED))
    assert found == {"desk1": "pass word"}
    assert set(failures) == {"desk2", "desk3"}
    assert "Failed to connect" in failures["desk2"]
    assert "no password on this desk" in failures["desk3"]


@pytest.mark.parametrize(
    ("hosts", "arguments", "out", "err", "rc"),
    [
        ({"desk1": FOUND}, [], "pass word\n", "", 0),
        ({"desk1": FOUND, "desk2": FOUND}, [], "desk1: pass word\ndesk2: pass word\n", "", 0),
        ({"desk1": FOUND}, ["--json"], '{"desk1": "pass word"}\n', "", 0),
        ({"desk1": FOUND, "desk2": REFUSED}, [], "pass word\n", "desk2: There is no password on this desk.\n", 1),
        ({}, [], "", "", 1),
    ],
)
def test_the_password_alone_goes_to_standard_output(
    monkeypatch: pytest.MonkeyPatch, hosts: Any, arguments: list[str], out: str, err: str, rc: int
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(runs, "ask", lambda _play: answered(**hosts))
    result = typed("password", *arguments)
    assert (result.stdout, result.stderr, result.exit_code) == (out, err, rc)


# --- Fit ------------------------------------------------------------------------------------------------------------

ROW = {
    "model": "qwen3:8b",
    "verdict": "gpu-partly",
    "reason": "20 of its 37 layers fit",
    "remedy": "a GPU with 8 GB of VRAM",
    "needed": 5900000000,
    "available": 2700000000,
    "where": "vram",
}
NOBODY = dict.fromkeys(ROW) | {"model": "own:1", "verdict": "unknown", "reason": "nobody knows it [N/A]", "remedy": ""}
FIT = {"auto": {"name": "qwen3:4b", "reason": "it is the best that fits"}, "models": [ROW]}
UNFIT = {"auto": {"name": "", "reason": ""}, "models": [ROW, NOBODY]}


def fit_answered(**hosts: dict[str, Any]) -> dict[str, Any]:
    return answered(**{host: {"msg": {"desk_fit": answer}} for host, answer in hosts.items()})


@pytest.fixture
def fit_plays(monkeypatch: pytest.MonkeyPatch) -> list[Play]:
    """Plays that were asked, of two desks that answer."""
    wanted: list[Play] = []
    monkeypatch.setattr("os.geteuid", lambda: 0)

    def ask(play: Play) -> dict[str, Any]:
        wanted.append(play)
        return fit_answered(desk2=FIT, desk1=FIT)

    monkeypatch.setattr(runs, "ask", ask)
    return wanted


def test_fit_asks_for_names_as_they_are_and_for_files_from_where_it_was_typed(
    fit_plays: list[Play], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert typed("fit", "qwen3:8b", "own.gguf", "/srv/x", "--context", "8192").exit_code == 0
    (play,) = fit_plays
    assert play.playbook == "llmdesk.workstation.fit"
    assert json.loads(play.extra_vars[0]) == {
        "ollama_models_fit_asked": ["qwen3:8b", str(tmp_path / "own.gguf"), "/srv/x"],
        "ollama_models_fit_context": 8192,
    }


def test_fit_alone_asks_for_the_well_known(fit_plays: list[Play]) -> None:
    assert typed("fit").exit_code == 0
    assert fit_plays[0].extra_vars == ()


def test_fit_is_a_table_of_desks_and_models(fit_plays: list[Play]) -> None:
    result = typed("fit")
    assert result.stderr == "$ ansible-playbook llmdesk.workstation.fit\n"
    assert result.stdout.splitlines() == [
        "desk   model     verdict     needs   has     why, and what would make it fit",
        "desk1  qwen3:8b  gpu-partly  5.9 GB  2.7 GB  20 of its 37 layers fit. It would take a GPU with 8 GB of VRAM",
        "desk2  qwen3:8b  gpu-partly  5.9 GB  2.7 GB  20 of its 37 layers fit. It would take a GPU with 8 GB of VRAM",
        "",
        "desk1: auto would be qwen3:4b; it is the best that fits",
        "",
        "desk2: auto would be qwen3:4b; it is the best that fits",
    ]


def test_fit_for_programs_is_one_object(fit_plays: list[Play]) -> None:
    result = typed("fit", "--json")
    assert json.loads(result.stdout) == {"desks": {"desk1": FIT, "desk2": FIT}, "failures": {}}


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (fit_answered(desk1=UNFIT), "auto would find no model that fits"),
        (answered(desk1={"msg": {"desk_fit": FIT}}, desk2=UNREACHABLE), "desk2: Failed to connect"),
        (answered(), ""),
    ],
)
def test_fit_ends_with_1_where_something_is_not_known(
    monkeypatch: pytest.MonkeyPatch, document: dict[str, Any], words: str
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(runs, "ask", lambda _play: document)
    result = typed("fit")
    assert result.exit_code == 1
    assert words in result.output


@pytest.mark.parametrize(
    ("environment", "colours"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_fit_has_colours_where_somebody_sees_them(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], colours: bool
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for name, value in {"TERM": "xterm-256color", "COLUMNS": "200", **environment}.items():
        monkeypatch.setenv(name, value)
    if "NO_COLOR" not in environment:
        monkeypatch.delenv("NO_COLOR", raising=False)
    screen = Terminal()
    fits.show({"desk1": UNFIT}, screen)
    assert ("\x1b[" in screen.getvalue()) is colours
    for word in (
        "qwen3:8b",
        "gpu-partly",
        "5.9 GB",
        "It would take a GPU",
        "nobody knows it [N/A]",
        "no model that fits",
    ):
        assert word in screen.getvalue()


def test_a_play_that_did_not_begin_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_play: Play) -> Any:
        raise RuntimeError("the inventory could not be parsed")

    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(runs, "ask", fail)
    for command in ("password", "fit"):
        result = typed(command)
        assert result.exit_code == 1
        assert "the inventory could not be parsed" in result.stderr


def test_every_command_explains_itself() -> None:
    for name, command in main.commands.items():
        assert command.help, name
        for parameter in command.params:
            assert not isinstance(parameter, click.Option) or parameter.help, f"{name} {parameter.name}"


# --- Exit codes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("run", "ansibles", "code"),
    [("windows", 0, 0), ("windows-reboot", 2, 3), ("windows-dead-distro", 4, 4), ("broken", 2, 2)],
)
def test_the_exit_code_is_ansibles_but_for_a_restart_of_windows(
    run: str, ansibles: int, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The events are those of captured runs."""
    captured = Path(__file__).parent / "fixtures" / "runner" / f"{run}.jsonl"

    def replay(_play: Play, on_event: Any, _keep: bool) -> runs.Outcome:
        for line in captured.read_text().splitlines():
            on_event(json.loads(line))
        return runs.Outcome(ansibles, 1.0, Path("/state/runs/1"))

    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(runs, "run", replay)
    for arguments in (["up"], ["status", "--json"]):
        result = typed(*arguments)
        assert result.exit_code == code, result.output
    assert json.loads(result.output.splitlines()[-1])["rc"] == code


def test_up_says_its_exit_codes() -> None:
    told = " ".join(typed("up", "--help").output.split())
    assert f"{runs.REBOOT_NEEDED} when nothing is wrong but that Windows has to restart" in told
    assert f"{runs.HOST_FAILED} when one failed" in told
    assert f"{runs.INTERRUPTED} after Ctrl-C" in told
