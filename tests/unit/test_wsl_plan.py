# SPDX-License-Identifier: GPL-3.0-or-later
"""What a Windows machine needs, decided over the facts of the lab's PCs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.llmdesk.workstation.plugins.module_utils import wsl_plan
from ansible_collections.llmdesk.workstation.plugins.module_utils.wsl_plan import GIB, plan

from lab.windows import scenarios
from lab.windows.machine import Machine

State = dict[str, Any]
Facts = dict[str, Any]

WANTED: dict[str, Any] = {
    "distribution": "Ubuntu-24.04",
    "root_file": "",
    "package": {"url": scenarios.MSI_URL, "version": "2.6.3", "checksum": ""},
    "user": "desk",
    "config": {"wsl2": {"vmIdleTimeout": -1}, "general": {"instanceIdleTimeout": -1}},
    "keep_alive": True,
    "lan": False,
    "lan_ports": [{"listen": 8080, "connect": 3000}],
    "port": 3000,
    "features": ["VirtualMachinePlatform"],
    "convert": False,
    "disk_needed": 20 * GIB,
    "ssh_port": 22,
    "windows": "pc1",
    "limit": "",
    "connection": "ssh",
    "own_connection": False,
    "host_name": "pc1-wsl",
    "host_groups": ["desks"],
    "host_variables": {},
}
MIRRORED = {"config": {"wsl2": {"networkingMode": "mirrored"}}}
CONFIG = "[wsl2]\nvmIdleTimeout=-1\n[general]\ninstanceIdleTimeout=-1\n"
TASK = {
    "user": "ann",
    "command": "C:\\Program Files\\WSL\\wsl.exe",
    "arguments": "--distribution Ubuntu-24.04 --exec sleep infinity",
    "running": True,
}


def facts(begin: Callable[[], State], **changed: Any) -> Facts:
    """A PC of the lab, on which wsl.exe speaks UTF-8."""
    found = Machine(begin()).facts("Ubuntu-24.04")
    return {**found, "user": {**found["user"], "wsl_utf8": "1"}, **changed}


def healthy(**changed: Any) -> Facts:
    """A PC that is right."""
    return {**facts(scenarios.with_distribution, wslconfig=CONFIG, keep_alive=TASK), **changed}


def wanted(**changed: Any) -> dict[str, Any]:
    return {**WANTED, **changed}


def steps(found: dict[str, Any]) -> list[str]:
    return [step["do"] for step in found["steps"]]


# --- Steps ------------------------------------------------------------------------------------------------------------


def test_a_pc_that_is_right_is_left_alone() -> None:
    found = plan(healthy(), wanted())
    assert (found["act"], found["steps"], found["reboot"], found["refusals"]) == (False, [], [], [])
    assert found["warnings"] == []


@pytest.mark.parametrize(
    ("begin", "change", "do"),
    [
        (scenarios.fresh_pc, {}, ["features", "package", "wslconfig", "distribution", "keep_alive"]),
        (scenarios.ready_pc, {}, ["wslconfig", "distribution", "keep_alive"]),
        (scenarios.with_distribution, {}, ["wslconfig", "keep_alive"]),
        (scenarios.with_distribution, {"keep_alive": False, "config": {}}, []),
        (scenarios.reboot_pending, {}, ["package", "wslconfig", "distribution", "keep_alive"]),
        (scenarios.store_session_0, {}, ["package", "wslconfig", "distribution", "keep_alive"]),
        (scenarios.old_msi, {}, ["package", "wslconfig", "distribution", "keep_alive"]),
        (scenarios.old_msi, {"package": {}}, ["wslconfig", "distribution", "keep_alive"]),
        (scenarios.half_distro, {}, ["wslconfig", "unregister", "distribution", "keep_alive"]),
        (
            scenarios.wsl1_only,
            {"convert": True},
            ["features", "wslconfig", "default_version", "convert", "keep_alive"],
        ),
    ],
)
def test_what_is_missing_is_done_in_order(begin: Callable[[], State], change: dict[str, Any], do: list[str]) -> None:
    found = plan(facts(begin), wanted(**change))
    assert steps(found) == do
    assert found["refusals"] == []
    assert all(step["reason"] for step in found["steps"])


@pytest.mark.parametrize(
    ("there", "wished", "older"),
    [("2.6.3.0", "2.6.3", False), ("2.6.1.0", "2.6.3", True), ("2.10.0.0", "2.6.3", False), ("2.6.3", "2.6.3.1", True)],
)
def test_versions_are_compared_as_numbers(there: str, wished: str, older: bool) -> None:
    given = healthy()
    given["wsl"]["msi"]["version"] = there
    assert ("package" in steps(plan(given, wanted(package={"version": wished, "url": "x"})))) is older


def test_settings_that_wsl_has_not_read_are_applied() -> None:
    given = healthy()
    given["wsl"]["vm_older_than_config"] = True
    assert steps(plan(given, wanted())) == ["shutdown", "keep_alive"], "which ends the task as well"
    given["keep_alive"] = None
    assert steps(plan(given, wanted(keep_alive=False))) == ["shutdown"]


def test_warnings_in_utf16_would_end_every_task_of_the_connection() -> None:
    for value, do in ((None, ["environment"]), ("0", ["environment"]), ("1", [])):
        given = healthy()
        given["user"]["wsl_utf8"] = value
        assert steps(plan(given, wanted())) == do
        assert steps(plan(given, wanted(own_connection=True))) == []


def test_an_import_that_was_cut_off_is_known_by_its_mark() -> None:
    given = healthy()
    given["wsl"]["unfinished"] = ["ubuntu-24.04", "other"]
    assert steps(plan(given, wanted())) == ["finish"]
    given["wsl"]["distributions"] = []
    found = plan(given, wanted(root_file="D:\\x.wsl"))
    assert (steps(found), found["unfinished"]) == (["distribution"], True)
    assert not plan(given, wanted(root_file="D:\\x.wsl", distribution="Desk"))["unfinished"]


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        (None, "nothing keeps"),
        ({**TASK, "user": "PC1\\bob"}, "another one"),
        ({**TASK, "command": "C:\\Windows\\System32\\wsl.exe"}, "another one"),
        ({**TASK, "arguments": "--distribution Debian --exec sleep infinity"}, "another one"),
        ({**TASK, "running": False}, "does not run"),
    ],
)
def test_the_task_is_mended(task: dict[str, Any] | None, reason: str) -> None:
    given = facts(scenarios.with_distribution, wslconfig=CONFIG, keep_alive=task)
    (step,) = plan(given, wanted())["steps"]
    assert step["do"] == "keep_alive"
    assert reason in step["reason"]


def test_windows_may_write_the_task_in_another_way() -> None:
    task = {**TASK, "user": "PC1\\ANN", "command": '"C:\\Program Files\\WSL\\wsl.exe"'}
    assert not plan(facts(scenarios.with_distribution, wslconfig=CONFIG, keep_alive=task), wanted())["act"]
    assert steps(plan(healthy(), wanted(keep_alive=False))) == ["keep_alive"]


@pytest.mark.parametrize(
    ("begin", "reasons"),
    [
        (scenarios.fresh_pc, 0),  # its feature is switched on first
        (scenarios.reboot_pending, 1),
        (scenarios.other_reboot_pending, 0),
        (scenarios.ready_pc, 0),
    ],
)
def test_a_reboot_is_asked_for_where_a_feature_waits_for_it(begin: Callable[[], State], reasons: int) -> None:
    found = plan(facts(begin), wanted())
    assert len(found["reboot"]) == reasons
    assert all("restarted" in reason for reason in found["reboot"])


def test_a_change_of_components_without_a_hypervisor_is_waited_for_too() -> None:
    given = facts(scenarios.ready_pc, reboot_pending=["component servicing"])
    assert plan(given, wanted())["reboot"] == []
    given["virtualisation"] = {"hypervisor_present": False, "firmware_enabled": True}
    found = plan(given, wanted())
    assert (len(found["reboot"]), found["refusals"]) == (1, [])


# --- Refusals; tests/integration/test_windows_scenarios.py has those of whole PCs -------------------------------------


def refusal(given: Facts, **changed: Any) -> dict[str, str]:
    (found,) = plan(given, wanted(**changed))["refusals"]
    found_refusal: dict[str, str] = found
    return found_refusal


def test_every_refusal_says_what_where_and_what_to_do() -> None:
    seen = 0
    for begin in scenarios.SCENARIOS.values():
        for change in ({}, {"lan": True}, {"connection": "psrp", "ssh_port": 2200}, {"distribution": "no such"}):
            for one in plan(facts(begin), wanted(**change))["refusals"]:
                seen += 1
                assert set(one) == {"what", "where", "remedy"}
                assert one["what"].endswith(".")
                assert one["where"]
                assert one["remedy"][0].isupper()
                assert one["remedy"].endswith((".", "3000", "8080"))
    assert seen > 30


def test_a_windows_that_answers_next_to_nothing_is_no_crash() -> None:
    unknown = dict.fromkeys(("system", "virtualisation", "console_user", "drive", "wslconfig", "keep_alive"))
    features = dict.fromkeys(scenarios.fresh_pc()["features"])
    given = facts(scenarios.fresh_pc, **unknown, features=features, unknown=["system: denied"])
    found = plan(given, wanted())
    assert [one["what"] for one in found["refusals"]] == ["Windows does not say what it is."]
    assert "system: denied" in found["warnings"][0]
    task = {"user": None, "command": None, "arguments": None}
    assert steps(plan(healthy(keep_alive=task), wanted())) == ["keep_alive"]


def test_a_hypervisor_that_does_not_run_although_all_is_on() -> None:
    given = healthy(virtualisation={"hypervisor_present": False, "firmware_enabled": True})
    assert "bcdedit" in refusal(given)["remedy"]
    assert plan(healthy(virtualisation=None), wanted())["refusals"] == [], "what is not known stops nobody"


def test_a_file_of_another_encoding_is_not_overwritten() -> None:
    found = refusal(healthy(wslconfig="# \ufffd\ufffd\n[wsl2]\n"))
    assert found["where"] == "C:\\Users\\ann\\.wslconfig"
    assert "UTF-8" in found["remedy"]


def test_no_package_is_named() -> None:
    assert "wsl --update" in refusal(facts(scenarios.fresh_pc), package={})["remedy"]


def test_only_a_pc_where_something_has_to_be_done_needs_an_administrator() -> None:
    user = {**healthy()["user"], "elevated": False}
    assert plan(healthy(user=user), wanted())["refusals"] == []


def test_the_drive_only_matters_to_a_new_distro() -> None:
    drive = {"name": "C:", "free": GIB, "size": 100 * GIB}
    assert plan(healthy(drive=drive), wanted())["refusals"] == []
    assert "1.0 GiB free" in refusal(facts(scenarios.ready_pc, drive=drive))["what"]
    assert plan(facts(scenarios.ready_pc, drive=None), wanted())["refusals"] == []


def test_a_root_file_may_have_any_name_and_a_foreign_distro_another() -> None:
    assert plan(facts(scenarios.ready_pc), wanted(distribution="Desk-1.0", root_file="D:\\x.wsl"))["refusals"] == []
    assert "letters" in refusal(facts(scenarios.ready_pc), distribution="my desk", root_file="x")["what"]
    assert plan(facts(scenarios.other_user), wanted(distribution="Debian"))["refusals"] == []


@pytest.mark.parametrize(
    ("owner", "begin", "taken"),
    [
        ("node", scenarios.with_distribution, True),
        ("wslrelay", scenarios.with_distribution, False),
        ("com.docker.backend", scenarios.with_distribution, False),
        ("", scenarios.with_distribution, False),
        ("", scenarios.ready_pc, True),
    ],
)
def test_a_port_is_ours_or_taken(owner: str, begin: Callable[[], State], taken: bool) -> None:
    given = facts(begin)
    given["network"].update(listening=[22, 3000], owners={"22": "sshd", "3000": owner})
    assert bool(plan(given, wanted())["refusals"]) is taken


def test_the_network_is_public_where_no_other_is_there() -> None:
    given = healthy()
    given["network"]["profiles"] = [{"name": "a", "category": "Public"}, {"name": "b", "category": "Private"}]
    assert plan(given, wanted(lan=True))["refusals"] == []
    given["network"]["profiles"] = []
    assert plan(given, wanted(lan=True))["refusals"] == []


def test_a_forwarded_port_of_somebody_else_and_one_that_calls_itself() -> None:
    given = healthy()
    given["network"]["portproxy"] = {"0.0.0.0/8080": "192.168.1.9/80"}
    assert "netsh" in refusal(given, lan=True)["remedy"]
    assert plan(given, wanted(lan=False))["steps"] == [], "and it is left alone"
    assert "itself" in refusal(healthy(), lan=True, lan_ports=[{"listen": 3000, "connect": 3000}])["what"]


@pytest.mark.parametrize("shell", ["C:\\Windows\\System32\\cmd.exe", "", None])
def test_cmd_is_the_shell_that_the_connection_needs(shell: str | None) -> None:
    assert plan(healthy(ssh={"default_shell": shell}), wanted())["refusals"] == []
    other = healthy(ssh={"default_shell": "C:\\Program Files\\PowerShell\\7\\pwsh.exe"})
    assert "needs cmd" in refusal(other)["what"]
    assert plan(other, wanted(own_connection=True))["refusals"] == []


@pytest.mark.parametrize(
    ("connection", "shell", "refused"),
    [("ssh", "", True), ("ssh", "cmd", False), ("ssh", "powershell", False), ("psrp", "", False), ("winrm", "", False)],
)
def test_ssh_needs_a_shell_type(connection: str, shell: str, refused: bool) -> None:
    assert bool(wsl_plan.shell_type_refusal(connection, shell)) is refused


# --- Warnings ---------------------------------------------------------------------------------------------------------


def test_what_is_worth_knowing_is_said() -> None:
    def said(given: Facts, **changed: Any) -> str:
        return " ".join(plan(given, wanted(**changed))["warnings"])

    assert "PC1\\bob, who is logged on" in said(facts(scenarios.somebody_else_logged_on))
    assert "updates that wait" in said(facts(scenarios.other_reboot_pending))
    assert "Mirrored" in said(healthy(), **MIRRORED)
    assert "gpus: denied" in said(healthy(unknown=["gpus: denied"]))
    assert "say --limit 'pc1*'" in said(healthy(), limit="pc1")


@pytest.mark.parametrize(
    ("limit", "left_out"),
    [
        ("", False),
        ("pc1", True),
        ("pc1*", False),
        ("windows", True),
        ("pc1,pc1-wsl", False),
        ("all", False),
        ("desks", False),
        ("all:!pc2", False),
    ],
)
def test_a_limit_may_leave_the_distro_out(limit: str, left_out: bool) -> None:
    assert bool(wsl_plan.limit_warning(limit, "pc1", "pc1-wsl")) is left_out


# --- LAN --------------------------------------------------------------------------------------------------------------

CLOSED: dict[str, Any] = {"forward": {}, "forget": [], "rules": [], "closed": [], "allow": {}, "disallow": []}


@pytest.mark.parametrize(
    ("network", "change", "differs"),
    [
        ({}, {}, {}),
        ({}, {"lan": True}, {"forward": {"0.0.0.0/8080": "127.0.0.1/3000"}, "rules": [8080]}),
        ({"firewall_rules": ["llmdesk 8080"]}, {"lan": True}, {"forward": {"0.0.0.0/8080": "127.0.0.1/3000"}}),
        (
            {"firewall_rules": ["llmdesk 8080"], "portproxy": {"0.0.0.0/8080": "127.0.0.1/3000"}},
            {"lan": True},
            {},
        ),
        (
            {"firewall_rules": ["llmdesk 8080"], "portproxy": {"0.0.0.0/8080": "127.0.0.1/3000"}},
            {},
            {"forget": ["0.0.0.0/8080"], "closed": [8080]},
        ),
        ({"firewall_rules": ["llmdesk 8080"]}, {}, {"closed": [8080]}),
        ({"firewall_rules": ["llmdesk by hand"]}, {}, {}),
        ({}, {"lan": True, **MIRRORED}, {"allow": {"llmdesk-3000": 3000}}),
        ({"hyperv_rules": ["llmdesk-3000"]}, {"lan": True, **MIRRORED}, {}),
        ({"hyperv_rules": ["llmdesk-3000"]}, {**MIRRORED}, {"disallow": ["llmdesk-3000"]}),
        (
            {"hyperv_rules": ["llmdesk-3000"]},
            {"lan": True},
            {"forward": {"0.0.0.0/8080": "127.0.0.1/3000"}, "rules": [8080], "disallow": ["llmdesk-3000"]},
        ),
    ],
)
def test_ports_are_opened_and_closed(network: State, change: dict[str, Any], differs: dict[str, Any]) -> None:
    given = healthy()
    given["network"].update(network)
    found = plan(given, wanted(**change))
    assert found["lan"] == {**CLOSED, **differs}
    assert ("lan" in steps(found)) is bool(differs)


# --- The distro as a host ---------------------------------------------------------------------------------------------

WINDOWS = {"name": "pc1", "ansible_host": "192.0.2.7", "ansible_user": "Ann Lee", "ansible_port": None}


def test_the_distro_is_reached_through_the_sshd_of_windows() -> None:
    host = wsl_plan.distro_host({**WINDOWS, "ansible_password": "p"}, healthy(), wanted())
    assert host == {
        "name": "pc1-wsl",
        "groups": ["desks"],
        "ansible_connection": "community.general.wsl",
        "ansible_host": "192.0.2.7",
        "ansible_user": "Ann Lee",
        "ansible_password": "p",
        "ansible_become": False,
        "ansible_python_interpreter": "/usr/bin/python3",
        "ansible_remote_tmp": "/tmp/.ansible",
        "wsl_distribution": "Ubuntu-24.04",
        "wsl_user": "root",
        "wsl_default_user": "desk",
        "windows_host": "pc1",
    }


@pytest.mark.parametrize("connection", ["psrp", "winrm", "ansible.builtin.psrp"])
def test_psrp_cannot_carry_it_so_it_is_ssh_to_the_same_address(connection: str) -> None:
    windows = {**WINDOWS, "ansible_port": 5986}
    host = wsl_plan.distro_host(windows, healthy(), wanted(connection=connection, ssh_port=2022))
    assert (host["ansible_connection"], host["ansible_port"]) == ("community.general.wsl", 2022)


def test_a_sshd_of_its_own() -> None:
    variables = {"ansible_connection": "ssh", "ansible_port": 2222, "ansible_user": "root"}
    host = wsl_plan.distro_host(
        {**WINDOWS, "ansible_password": "p"}, healthy(), wanted(own_connection=True, host_variables=variables)
    )
    assert {key: host[key] for key in variables} == variables
    assert host["ansible_host"] == "192.0.2.7"
    assert not {"wsl_user", "ansible_password", "ansible_become"} & set(host)


def test_variables_for_it_win() -> None:
    host = wsl_plan.distro_host(
        WINDOWS, healthy(), wanted(lan=True, **MIRRORED, host_variables={"desk_listen": "192.0.2.7", "desk_port": 1})
    )
    assert (host["desk_listen"], host["desk_port"]) == ("192.0.2.7", 1)
    assert wsl_plan.distro_host(WINDOWS, healthy(), wanted(lan=True, **MIRRORED))["desk_listen"] == "0.0.0.0"
    assert "desk_listen" not in wsl_plan.distro_host(WINDOWS, healthy(), wanted(lan=True))


@pytest.mark.parametrize(
    ("given", "kind", "path"),
    [
        ("https://x.test/a/wsl.msi?x=/y", "url", "%ProgramData%\\llmdesk\\wsl.msi"),
        ("D:\\a\\wsl.msi", "windows", "D:\\a\\wsl.msi"),
        ("d:/wsl.msi", "windows", "d:/wsl.msi"),
        ("\\\\nas\\share\\wsl.msi", "windows", "\\\\nas\\share\\wsl.msi"),
        ("/srv/wsl.msi", "controller", "%ProgramData%\\llmdesk\\wsl.msi"),
        ("wsl.msi", "controller", "%ProgramData%\\llmdesk\\wsl.msi"),
    ],
)
def test_where_a_file_comes_from(given: str, kind: str, path: str) -> None:
    assert wsl_plan.source(given) == {"kind": kind, "path": path}


def test_the_program_is_that_of_the_package() -> None:
    given = healthy()
    given["wsl"]["msi"]["location"] = "D:\\WSL\\"
    assert wsl_plan.exe(given) == "D:\\WSL\\wsl.exe"


# --- In the distro ----------------------------------------------------------------------------------------------------

CONF = "[boot]\nsystemd=true\n\n[user]\ndefault=desk\n"


@pytest.mark.parametrize(
    ("conf", "people", "booted", "act", "text", "user"),
    [
        (None, [], False, True, CONF, "desk"),
        (CONF, ["desk"], True, False, CONF, ""),
        (CONF, ["desk"], False, True, CONF, ""),  # not read yet
        ("[boot]\nsystemd=true\n", ["desk"], True, True, CONF, ""),  # cut off between the two
        ("[boot]\nsystemd=true\n", ["anna"], True, False, "[boot]\nsystemd=true\n", ""),
        ("# mine\n[boot]\nsystemd=false\n", ["anna"], False, True, "# mine\n[boot]\nsystemd=true\n", ""),
        ("[user]\ndefault=anna\n", ["anna"], True, True, "[user]\ndefault=anna\n\n[boot]\nsystemd=true\n", ""),
        ("[boot]\nsystemd=true\n[user]\ndefault=root\n", ["desk"], True, False, None, ""),
    ],
)
def test_what_a_distro_needs(
    conf: str | None, people: list[str], booted: bool, act: bool, text: str | None, user: str
) -> None:
    desk = {
        "distro": {"conf": conf, "people": people, "systemd": True},
        "service_manager": "systemd" if booted else "none",
    }
    found = wsl_plan.distro_plan(desk, {"user": "desk"})
    assert (found["act"], found["user"]) == (act, user)
    assert found["conf"] == (conf if text is None else text)
    assert bool(found["reason"]) is act


def test_a_distro_without_systemd_is_not_restarted_for_ever() -> None:
    desk = {"distro": {"conf": None, "people": ["anna"], "systemd": False}, "service_manager": "none"}
    assert wsl_plan.distro_plan(desk, {"user": "desk"})["act"] is False
