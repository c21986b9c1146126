#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: open_webui_account
short_description: The administrator's account of an Open WebUI desk
description:
  - Makes the first account of an Open WebUI data volume, which is its administrator, before anybody else can reach
    the page, and keeps the password in a file that only root reads.
  - Where no container uses the volume, a one-shot container without a network carries the final settings just long
    enough to make the account. Where one is running, the account is made through it.
  - The password travels through standard input and a file alone, never through an argument or the environment.
  - A volume that already has accounts is left as it is. If the password in the file, or the one given, opens the
    administrator's account, it is C(managed), else C(unmanaged).
version_added: 0.1.0
author:
  - llmdesk maintainers (@llmdesk)
options:
  container:
    description: Name of the container that serves the page.
    type: str
    default: open-webui
  image:
    description: Image of the one-shot container, an id or a reference that is present on the desk.
    type: str
    required: true
  volume:
    description: Name of the volume that holds the page's data.
    type: str
    default: open-webui
  environment:
    description: The settings of the final container, which seed the data volume at its first start.
    type: dict
    default: {}
  email:
    description: The address that the administrator signs in with.
    type: str
    default: admin@localhost
  name:
    description: The administrator's name, as the page shows it.
    type: str
    default: Administrator
  password:
    description: The password. Without one, the file's is used, and without a file one is generated.
    type: str
  password_file:
    description: Where the password is kept, with mode 0600, in a folder with mode 0700.
    type: path
    default: /etc/llmdesk/admin_password
  timeout:
    description: Seconds that the page may take to start.
    type: int
    default: 180
attributes:
  check_mode:
    support: full
    description: Says what would be made without starting anything.
  diff_mode:
    support: full
    description: Shows the account's state before and after, never the password.
"""

EXAMPLES = r"""
- name: Make the administrator before the page is published
  llmdesk.workstation.open_webui_account:
    image: ghcr.io/open-webui/open-webui:ollama

- name: Use a password out of the vault
  llmdesk.workstation.open_webui_account:
    image: ghcr.io/open-webui/open-webui:ollama
    password: "{{ vault_desk_password }}"
"""

RETURN = r"""
account:
  description: The account as it is now.
  returned: success
  type: dict
  contains:
    state:
      description: C(managed) when the password in the file opens the account, C(unmanaged) when accounts exist and
        it does not.
      type: str
      sample: managed
    email:
      description: The address to sign in with.
      type: str
      sample: admin@localhost
    password_file:
      description: The file that holds the password.
      type: str
      sample: /etc/llmdesk/admin_password
"""

import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.llmdesk.workstation.plugins.module_utils.whole_file import read_whole, write_whole

ONE_SHOT = "open-webui-account"
DATA = "/app/backend/data"


class AccountError(Exception):
    """The account could not be made; the sentence says what, where and what to do."""


class Account:
    """The administrator's account of one data volume."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module
        self._wanted: dict[str, Any] = module.params

    def state(self) -> dict[str, Any]:
        """Return the account as the result shows it, without asking the page."""
        exists = os.path.exists(self._wanted["password_file"])
        return {
            "state": "managed" if exists else "none",
            "email": self._wanted["email"],
            "password_file": self._wanted["password_file"],
        }

    def ensure(self) -> dict[str, Any]:
        """Make the account where there is none.

        :returns: ``changed`` and ``account``.
        :raises AccountError: Docker or the page refuses.
        """
        given = self._wanted["password"]
        kept = read_password(self._wanted["password_file"])
        with self._page() as page:
            if self._ask(page, "GET", "/api/config").get("onboarding"):
                password = given or kept or secrets.token_urlsafe(18)
                # On disk first: a run that is killed after the sign-up must not lose the only key.
                write_whole(self._wanted["password_file"], password + "\n")
                person = {"name": self._wanted["name"], "email": self._wanted["email"], "password": password}
                self._ask(page, "POST", "/api/v1/auths/signup", person)
                return {"changed": True, "account": dict(self.state(), state="managed")}
            for password in filter(None, (given, kept)):
                person = {"email": self._wanted["email"], "password": password}
                if "token" in self._ask(page, "POST", "/api/v1/auths/signin", person):
                    changed = password != kept
                    if changed:
                        write_whole(self._wanted["password_file"], password + "\n")
                    return {"changed": changed, "account": dict(self.state(), state="managed")}
        return {"changed": False, "account": dict(self.state(), state="unmanaged")}

    @contextmanager
    def _page(self) -> Iterator[str]:
        """Yield the name of a container that serves the page over the data volume."""
        self._docker("rm", "--force", ONE_SHOT)
        users = self._docker(
            "ps", "--filter", "volume=" + self._wanted["volume"], "--format", "{{.Names}}", check=True
        ).split()
        if self._wanted["container"] in users:
            self._await_ready(self._wanted["container"])
            yield self._wanted["container"]
            return
        if users:
            raise AccountError(
                f"the volume {self._wanted['volume']} is in use by the container {users[0]}; two servers on one "
                f"database would damage it: stop it with 'docker stop {users[0]}' and run again"
            )
        # Ollama is not needed to make an account; without a network nobody can be faster than we are.
        environment = dict(self._wanted["environment"], USE_OLLAMA_DOCKER="false")
        settings = [part for key, value in sorted(environment.items()) for part in ("--env", f"{key}={value}")]
        volume = f"{self._wanted['volume']}:{DATA}"
        try:
            self._docker(
                "run", "--detach", "--init", "--network", "none", "--name", ONE_SHOT, "--volume", volume,
                *settings, self._wanted["image"], check=True,
            )  # fmt: skip
            self._await_ready(ONE_SHOT)
            yield ONE_SHOT
        finally:
            # Half a minute to close the database in order; killed only after that.
            self._docker("stop", "--time", "30", ONE_SHOT)
            self._docker("rm", "--force", ONE_SHOT)

    def _await_ready(self, container: str) -> None:
        deadline = time.monotonic() + self._wanted["timeout"]
        while time.monotonic() < deadline:
            running = self._docker("inspect", "--format", "{{.State.Running}}", container)
            if running.strip() != "true":
                raise AccountError(f"the page stopped while it started: {self._last_words(container)}")
            if self._module.run_command(
                ["docker", "exec", container, "curl", "--silent", "--fail", "http://127.0.0.1:8080/ready"]
            )[0] == 0:  # fmt: skip
                return
            time.sleep(0.5)
        raise AccountError(f"the page did not start within {self._wanted['timeout']} s: {self._last_words(container)}")

    def _last_words(self, container: str) -> str:
        _rc, out, err = self._module.run_command(["docker", "logs", "--tail", "5", container])
        return " / ".join((out + err).strip().splitlines()) or "its log is empty"

    def _ask(self, container: str, method: str, path: str, body: dict[str, str] | None = None) -> dict[str, Any]:
        command = ["docker", "exec", "--interactive", container, "curl", "--silent", "--show-error", "--max-time", "60"]
        if body is not None:
            command += ["--header", "Content-Type: application/json", "--data", "@-"]
        command += ["--request", method, "http://127.0.0.1:8080" + path]
        rc, out, err = self._module.run_command(command, data=json.dumps(body) if body is not None else None)
        if rc != 0:
            raise AccountError(f"the page did not answer {path}: {err.strip()}")
        try:
            answer = json.loads(out)
        except ValueError:
            raise AccountError(f"the page did not answer {path} with JSON but with: {out[:200]}") from None
        if path.endswith("signup") and "token" not in answer:
            raise AccountError(f"the page refused to make the account {body['email'] if body else ''}: {answer}")
        return answer if isinstance(answer, dict) else {}

    def _docker(self, *arguments: str, check: bool = False) -> str:
        rc, out, err = self._module.run_command(["docker", *arguments])
        if check and rc != 0:
            raise AccountError(f"'docker {arguments[0]}' failed: {err.strip()}")
        return str(out)


def read_password(path: str) -> str:
    """Return the password kept in a file, empty where there is none."""
    return (read_whole(path) or "").strip()


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "container": {"type": "str", "default": "open-webui"},
            "image": {"type": "str", "required": True},
            "volume": {"type": "str", "default": "open-webui"},
            "environment": {"type": "dict", "default": {}},
            "email": {"type": "str", "default": "admin@localhost"},
            "name": {"type": "str", "default": "Administrator"},
            "password": {"type": "str", "no_log": True},
            "password_file": {"type": "path", "default": "/etc/llmdesk/admin_password", "no_log": False},
            "timeout": {"type": "int", "default": 180},
        },
        supports_check_mode=True,
    )
    account = Account(module)
    before = account.state()
    try:
        if module.check_mode:
            result = {"changed": before["state"] == "none", "account": dict(before, state="managed")}
        else:
            result = account.ensure()
    except (AccountError, OSError) as error:
        module.fail_json(msg=f"The administrator's account could not be made: {error}")
    after = result["account"]
    module.exit_json(diff={"before": {"state": before["state"]}, "after": {"state": after["state"]}}, **result)


if __name__ == "__main__":
    main()
