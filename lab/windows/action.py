"""The action plugin that every stand-in module is: the PC is asked in the worker itself, and no connection is opened.

So an inventory with the real connections, ssh or psrp, serves the tests as it stands.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

from lab.windows import machine, modules

VARIABLE = "windows_machine"
"""The host variable that names the PC's file."""


class StandIn(ActionBase):  # type: ignore[misc]
    """A module of ansible.windows or community.windows."""

    MODULE = ""
    SPEC: dict[str, Any]
    CHECK_MODE = True
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Check the options as the module does, and do its work."""
        super().run(tmp, task_vars)
        task_vars = task_vars or {}
        self._given = dict(self._task.args)
        _, arguments = self.validate_argument_spec(argument_spec=self.SPEC)
        check = bool(self._task.check_mode)
        if check and not self.CHECK_MODE:
            return {"skipped": True, "changed": False, "msg": f"{self.MODULE} does not support check mode"}
        self.prepare(arguments)
        known = task_vars["hostvars"][self._task.delegate_to] if self._task.delegate_to else task_vars
        if VARIABLE not in known:
            raise AnsibleActionFail(f"the host variable {VARIABLE}, with the path of the lab's PC, is not set")
        path = Path(self._templar.template(known[VARIABLE]))
        try:
            with machine.opened(path, self._account(path), check) as opened:
                result = self.work(opened, arguments)
        except machine.Unreachable as lost:
            raise AnsibleConnectionFailure(f"the lab's PC does not answer: {lost}") from lost
        if not self._task.diff:
            result.pop("diff", None)
        return result

    def prepare(self, arguments: dict[str, Any]) -> None:
        """Bring what the module itself would get from its action plugin."""

    def work(self, opened: machine.Machine, arguments: dict[str, Any]) -> dict[str, Any]:
        """Do the module's work and return its result."""
        environment: dict[str, str] = {}
        for each in self._task.environment or []:
            environment.update({key: str(value) for key, value in (self._templar.template(each) or {}).items()})
        return modules.run(opened, self.MODULE, arguments, environment)

    def _account(self, path: Path) -> str | None:
        """Return who is at work: whom the task becomes, or the PC's own answer."""
        if not self._task.become:
            return None
        wanted = str(self._connection.become.get_option("become_user") if self._connection.become else "").casefold()
        accounts = machine.state(path)["accounts"]
        found: str | None = next(
            (each for each in accounts if wanted.casefold() in (each.casefold(), _plain(each))), None
        )
        if found is None:
            raise AnsibleActionFail(f"Failed to become user '{wanted}': the user name or password is incorrect")
        return found


def _plain(account: str) -> str:
    return account.rpartition("\\")[2].casefold()


class WinPowershell(StandIn):
    """Reads a script of the role, as the real one does."""

    def prepare(self, arguments: dict[str, Any]) -> None:
        if arguments["path"] and not arguments["remote_src"]:
            if arguments["script"]:
                raise AnsibleActionFail("parameters are mutually exclusive: path, script")
            arguments["script"] = self._loader.get_text_file_contents(self._find_needle("files", arguments["path"]))


class WinCopy(StandIn):
    """Reads the file or the text that is to be on the PC."""

    def prepare(self, arguments: dict[str, Any]) -> None:
        source, content = arguments["src"], arguments["content"]
        if (source is None) == (content is None):
            raise AnsibleActionFail("src and content are mutually exclusive, and one of them is required")
        arguments["basename"] = Path(source).name if source else ""
        if source and not arguments["remote_src"]:
            arguments["content"] = self._loader.get_text_file_contents(self._find_needle("files", source))
        elif isinstance(self._given.get("content"), (dict, list)):
            raise AnsibleActionFail("the lab copies text only")


class WinReboot(StandIn):
    """Starts the PC again, and returns when it answers."""

    def work(self, opened: machine.Machine, arguments: dict[str, Any]) -> dict[str, Any]:
        opened.state["modules"].append("win_reboot")
        if not opened.check:
            opened.change("restart", opened.boot, half=lambda: None)
        return {"changed": True, "rebooted": True, "elapsed": 0}
