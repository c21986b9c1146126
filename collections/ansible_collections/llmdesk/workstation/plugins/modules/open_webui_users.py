#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: open_webui_users
short_description: The accounts of an Open WebUI page, as one list
description:
  - Makes the accounts in the list, holds their names, addresses, roles and groups, and disables those that have left
    the list. A whole class is one variable.
  - An account without a declared password gets one that can be typed from paper. It stands, one line an account, in
    a file on the desk that only root reads, before the account is made, so a run that is cut off is repaired by the
    next. Passwords appear in no output, no diff and no log.
  - People who change their password keep the new one, unless O(update_password=always).
  - Only accounts that this module made are disabled when they leave the list; they keep their chats, and come back
    with the list. Accounts that others made are held while they are in the list and left alone when they are not. The
    administrator who signs in is never touched.
  - Groups that are named in the list are made when missing. They get and lose only accounts of the list, and accounts
    that this module made; whoever else was put into them stays. Groups are not removed.
  - A run that finds everything right signs in once and asks for accounts, groups, and the members of each group.
version_added: 0.1.0
author:
  - llmdesk maintainers (@llmdesk)
options:
  url:
    description: Address of the page.
    type: str
    default: http://127.0.0.1:3000
  email:
    description: The administrator's address.
    type: str
    default: admin@localhost
  password_file:
    description: File on the desk that holds the administrator's password.
    type: path
    default: /etc/llmdesk/admin_password
  users:
    description: The accounts. An empty list disables every account that this module made.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The name, as the page shows it.
        type: str
        required: true
      email:
        description:
          - The address to sign in with, by which accounts are told apart. Nothing is ever sent to it.
          - After the C(@) stands C(localhost), or a name with a dot in it.
        type: str
        required: true
      role:
        description: Whether the account is a user's or an administrator's.
        type: str
        choices: [user, admin]
        default: user
      groups:
        description: Names of the groups that the account is in.
        type: list
        elements: str
        default: []
      password:
        description:
          - The password. Without one, it is generated. Give it out of a vault; it is not written to the desk.
        type: str
  update_password:
    description:
      - V(on_create) sets a password only when an account is made.
      - V(always) sets it again wherever it is another than the declared one, or the one in O(passwords_file). To find
        out, the module signs in as each person, and every run costs that.
    type: str
    choices: [always, on_create]
    default: on_create
  passwords_file:
    description:
      - Where generated passwords are kept, with mode 0600. A first line names the columns; then comes one line an
        account, with name, address, first password and groups, and a tab between each. It can be printed, or opened
        as a table.
      - It may be removed once it has been handed out. Its passwords are then known to their owners alone.
    type: path
    default: /etc/llmdesk/users.tsv
  memory_file:
    description: Where it is kept which accounts this module made, with mode 0600. It holds no password.
    type: path
    default: /etc/llmdesk/users.json
attributes:
  check_mode:
    support: full
    description: Says what would be changed, and writes nothing.
  diff_mode:
    support: full
    description: Shows the accounts that differ before and after, never a password.
seealso:
  - module: llmdesk.workstation.open_webui_model_access
  - module: llmdesk.workstation.open_webui_account
"""

EXAMPLES = r"""
- name: Give two classes and their teacher an account each
  llmdesk.workstation.open_webui_users:
    users:
      - name: Grace Hopper
        email: hopper@school.example
        role: admin
        password: "{{ vault_hopper_password }}"
      - name: Ada Lovelace
        email: ada@school.example
        groups: [class 8b]
      - name: Alan Turing
        email: alan@school.example
        groups: [class 9a, chess]

- name: Set everybody back to the passwords on the sheet
  llmdesk.workstation.open_webui_users:
    users: "{{ school_users }}"
    update_password: always
"""

RETURN = r"""
made:
  description: Addresses of the accounts that were made.
  returned: success
  type: list
  elements: str
  sample: [ada@school.example]
updated:
  description: Addresses of the accounts whose name, address, role, groups or password was changed.
  returned: success
  type: list
  elements: str
  sample: [alan@school.example]
disabled:
  description: Addresses of the accounts that were disabled, because they have left the list.
  returned: success
  type: list
  elements: str
  sample: []
groups:
  description: Names of the groups that were made.
  returned: success
  type: list
  elements: str
  sample: [class 8b]
passwords_file:
  description: The file that holds the generated passwords.
  returned: success
  type: str
  sample: /etc/llmdesk/users.tsv
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.llmdesk.workstation.plugins.module_utils.open_webui import (
    SIGN_IN,
    OpenWebUI,
    PageError,
    SignInRefused,
    group_ids,
    signed_in,
)
from ansible_collections.llmdesk.workstation.plugins.module_utils.open_webui_users import (
    BadSheet,
    declared,
    doubtful,
    faults,
    generated,
    held_groups,
    memory_text,
    read_memory,
    read_sheet,
    remembered,
    sheet,
    users_plan,
)
from ansible_collections.llmdesk.workstation.plugins.module_utils.whole_file import (
    is_private,
    read_whole,
    write_whole,
)


class Users:
    """The accounts of one page."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module
        self._options: dict[str, Any] = module.params
        self._wanted = declared(module.params["users"])
        with about(module.params["passwords_file"]):
            self._rows = read_sheet(read_whole(module.params["passwords_file"]))
        with about(module.params["memory_file"]):
            self._memory = read_memory(read_whole(module.params["memory_file"]))
        for address in self._rows:
            self._memory["accounts"].setdefault(address, None)
        self._passwords = {address: row[2] for address, row in self._rows.items()}
        self._hide(self._passwords.values())

    def hold(self) -> dict[str, Any]:
        """Hold the accounts as declared.

        :returns: the module's result.
        :raises PageError: the page does not answer, or refuses.
        """
        self._page = signed_in(self._options)
        self._recall()
        plan = self._plan()
        self._ready_passwords(plan)
        resets = self._resets(plan)
        text = sheet(self._wanted, plan["left"], self._passwords, self._rows)
        path = self._options["passwords_file"]
        rewrite = not is_private(path, text) and bool(self._passwords or self._rows)
        if not self._module.check_mode:
            if rewrite:
                write_whole(path, text)
            self._carry_out(plan, resets)
        disabled = [address for address, number in plan["left"].items() if "role" in plan["change"].get(number, {})]
        changed = set(plan["before"]) | set(resets)
        for address in resets:
            for when, words in (("before", "another"), ("after", "the declared one")):
                plan[when][address] = dict(plan[when].get(address) or {}, password=words)
        return {
            "changed": bool(changed or plan["add_groups"] or rewrite),
            "made": plan["make"],
            "updated": sorted(changed - set(plan["make"]) - set(disabled)),
            "disabled": disabled,
            "groups": plan["add_groups"],
            "passwords_file": path,
            "diff": {"before": plan["before"], "after": plan["after"]},
        }

    def _recall(self) -> None:
        """Find out about accounts that an earlier run was about to make when it ended."""
        self._accounts = self._page.accounts()
        unsure = doubtful(self._accounts, self._memory)
        for address in [address for address, number in self._memory["accounts"].items() if not number]:
            password = self._passwords.get(address) or self._wanted.get(address, {}).get("password")
            if address in unsure and password and self._opens(address, password):
                self._memory["accounts"][address] = unsure[address]
            elif address in unsure:
                # Made by somebody else since, or no longer ours to open: its first password is none.
                del self._memory["accounts"][address]
                self._passwords.pop(address, None)

    def _plan(self) -> dict[str, Any]:
        """Return what has to be done, by what the page has now."""
        held = held_groups(self._wanted, self._memory)
        self._groups = group_ids(self._page.groups(), held)
        members = {name: self._page.members(number) for name, number in self._groups.items()}
        return users_plan(self._wanted, self._accounts, members, self._memory, self._page.account["id"])

    def _ready_passwords(self, plan: dict[str, Any]) -> None:
        """Have a password ready for each account that has to be made; forget those of accounts that are gone."""
        for address in plan["make"]:
            if self._wanted[address]["password"]:
                self._passwords.pop(address, None)
            else:
                self._passwords.setdefault(address, generated())
        there = {*plan["make"], *plan["accounts"], *plan["left"]}
        self._passwords = {address: password for address, password in self._passwords.items() if address in there}
        self._hide(self._passwords.values())

    def _resets(self, plan: dict[str, Any]) -> dict[str, str]:
        """Return the passwords that have to be set again, by address."""
        if self._options["update_password"] != "always":
            return {}
        known = {
            address: self._wanted[address]["password"] or self._passwords.get(address) for address in plan["accounts"]
        }
        by_id = {account["id"]: account["email"] for account in self._accounts}
        resets = {}
        for address, password in known.items():
            if password and not self._opens(by_id[plan["accounts"][address]], password):
                resets[address] = password
            if self._wanted[address]["password"]:
                self._passwords.pop(address, None)  # what was generated no longer opens it
        return resets

    def _opens(self, address: str, password: str) -> bool:
        """Return whether a password opens an account."""
        with about(address):
            try:
                OpenWebUI(self._options["url"]).sign_in(address, password)
            except SignInRefused as error:
                if error.status == 429:  # too many tries: that says nothing
                    raise
                return False
        return True

    def _carry_out(self, plan: dict[str, Any], resets: dict[str, str]) -> None:
        """Do what has to be done, so that a run that is cut off anywhere leaves what the next one needs."""
        accounts: dict[str, str | None] = self._memory["accounts"]
        accounts.update(dict.fromkeys(plan["make"]))
        self._memory["groups"] = held_groups(self._wanted, self._memory)
        self._remember(self._memory)
        for number, changes in plan["change"].items():
            with about(next(account["email"] for account in self._accounts if account["id"] == number)):
                self._page.change_account(number, changes)
        for group in plan["add_groups"]:
            with about(f"group {group}"):
                self._groups[group] = self._page.add_group(group)
        for address in plan["make"]:
            user = self._wanted[address]
            password = user["password"] or self._passwords[address]
            with about(address):
                accounts[address] = self._page.add_account(
                    {"email": address, "name": user["name"], "role": user["role"], "password": password}
                )
            self._remember(self._memory)
        for address, password in resets.items():
            with about(address):
                self._page.change_account(plan["accounts"][address], {"password": password})
        if plan["make"]:
            # The page may have put them into its default group.
            self._accounts = self._page.accounts()
            plan = self._plan()
        numbers = {**plan["accounts"], **plan["left"]}
        for verb, groups in (("add", plan["join"]), ("remove", plan["leave"])):
            for group, addresses in groups.items():
                with about(f"group {group}"):
                    self._page.change_members(self._groups[group], verb, [numbers[address] for address in addresses])
        self._remember(remembered(self._wanted, plan, self._memory))

    def _remember(self, memory: dict[str, Any]) -> None:
        text = memory_text(memory)
        if not is_private(self._options["memory_file"], text):
            write_whole(self._options["memory_file"], text)

    def _hide(self, secrets: Any) -> None:
        """Let Ansible strike passwords out, should the page ever say one."""
        self._module.no_log_values.update(secrets)


@contextmanager
def about(what: str) -> Iterator[None]:
    """Say whom or what an error is about."""
    try:
        yield
    except PageError as error:
        raise type(error)(f"{what}: {error}", error.status) from error
    except BadSheet as error:
        raise BadSheet(f"{what}: {error}") from error


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **SIGN_IN,
            "users": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "email": {"type": "str", "required": True},
                    "role": {"type": "str", "choices": ["user", "admin"], "default": "user"},
                    "groups": {"type": "list", "elements": "str", "default": []},
                    "password": {"type": "str", "no_log": True},
                },
            },
            "update_password": {
                "type": "str",
                "choices": ["always", "on_create"],
                "default": "on_create",
                "no_log": False,
            },
            "passwords_file": {"type": "path", "default": "/etc/llmdesk/users.tsv", "no_log": False},
            "memory_file": {"type": "path", "default": "/etc/llmdesk/users.json"},
        },
        supports_check_mode=True,
    )
    wrong = faults(module.params["users"], module.params["email"])
    if wrong:
        module.fail_json(msg="The list of accounts cannot be held; nothing was changed. " + " ".join(wrong))
    try:
        result = Users(module).hold()
    except BadSheet as error:
        module.fail_json(
            msg=f"The accounts cannot be held; nothing was changed. {error}. Mend it, or move it away: a password in "
            "it is then known to its owner alone."
        )
    except (PageError, OSError) as error:
        module.fail_json(
            msg=f"The accounts of the page at {module.params['url']} could not be held: {error}. What was done stays, "
            "and the next run does the rest. Run 'llmdesk verify' to see which link is broken."
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
