# SPDX-License-Identifier: GPL-3.0-or-later
"""What a desk has to have to hold itself to a git repository, and what is wrong with what is wanted."""

from __future__ import annotations

import re
from shlex import quote
from typing import Any

from ansible_collections.llmdesk.workstation.plugins.module_utils.network import environment, shell

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
# A host's name and a folder, as ssh has it, a folder of the desk, or an address. Everything else that git takes, such
# as ext::, runs a program.
_URL = re.compile(r"(?:(?:https?|ssh|git|file)://|/|(?:[\w.-]+@)?[\w.-]+:(?!:))\S*")
_OPENED = re.compile(r"https?://[^/@]+@")
_SSH_KEY = re.compile(r"(?:ssh|ecdsa|sk-ssh|sk-ecdsa)-\S+ \S+(?: .*)?")
_PGP_KEY = "-----BEGIN PGP PUBLIC KEY BLOCK-----"


def pull_plan(wanted: dict[str, Any], network: dict[str, Any]) -> dict[str, Any]:
    """Return the files and packages of a desk that pulls.

    :param wanted: the role's variables without ``desk_pull_``, and ``folder`` and ``checkout``, where the files and the
        repository lie, and ``hostname``, the desk's name in the inventory that is in use now.
    :param network: ``proxy`` and ``credentials``, as the filter ``network`` gives them.
    :returns: ``errors``, one sentence each; ``files``, path to content, and ``secrets``, the same for what nobody may
        see, each with everything that may be there, so that an empty content means no file; ``programs``, what has to
        be installed.
    """
    keys = [key.strip() for key in wanted["keys"]]
    pgp = [key for key in keys if key.startswith(_PGP_KEY)]
    ssh = [key for key in keys if key not in pgp]
    folder = wanted["folder"]
    secrets = {
        f"{folder}/ssh_key": _whole(wanted["ssh_key"]),
        f"{folder}/credentials": _whole(wanted["credentials"]),
        f"{folder}/vault_password": _whole(wanted["vault_password"]),
        f"{folder}/records_token": _whole(wanted["records_token"]),
        f"{folder}/settings": _settings(wanted, network),
    }
    files = {
        # Whoever holds one of these keys may sign; who they say they are is not asked.
        f"{folder}/allowed_signers": "".join(f'* namespaces="git" {key}\n' for key in ssh),
        f"{folder}/keys.asc": "".join(f"{key}\n" for key in pgp),
        f"{folder}/known_hosts": "".join(f"{line}\n" for line in wanted["known_hosts"]),
        f"{folder}/gitconfig": _git_configuration(wanted),
    }
    programs = ["git"] + ["gpg"] * bool(pgp) + ["ssh"] * bool(ssh or wanted["ssh_key"] or wanted["known_hosts"])
    return {"errors": _errors(wanted, ssh), "files": files, "secrets": secrets, "programs": programs}


def is_commit(version: str) -> bool:
    """Tell whether a version is a commit's whole id, which names one content for ever."""
    return bool(_COMMIT.fullmatch(version))


def _errors(wanted: dict[str, Any], ssh: list[str]) -> list[str]:
    url, version = wanted["url"], wanted["version"]
    errors = []
    if not url:
        errors.append("desk_pull_url is empty: say which git repository the desk is held to.")
    elif _OPENED.match(url):
        errors.append(
            "desk_pull_url has a password in it, which would stand in the journal. Put the address with the password "
            "into desk_pull_credentials, out of a vault, and leave it out of desk_pull_url."
        )
    elif not _URL.fullmatch(url):
        errors.append(f"desk_pull_url is {url!r}, which is no address of a git repository (https, ssh, git or a path).")
    if not (is_commit(version) or wanted["keys"]):
        errors.append(
            f"desk_pull_version is {version!r}, and desk_pull_keys is empty: whoever can push there would be root on "
            "this desk. Pin a commit by its whole id, or give the keys that commits have to be signed with."
        )
    if not re.fullmatch(r"[\w.][\w./+@-]*", version):
        errors.append(f"desk_pull_version is {version!r}, which is no branch, tag or commit.")
    errors += [
        f"desk_pull_keys has {key[:40]!r}, which is neither a public key of ssh nor an armoured one of gpg."
        for key in ssh
        if not _SSH_KEY.fullmatch(key)
    ]
    if wanted["ssh_key"] and not wanted["known_hosts"]:
        errors.append(
            "desk_pull_ssh_key without desk_pull_known_hosts: the desk could not tell the git server from another. "
            "'ssh-keyscan HOST' prints the line; compare it with what the server's owner says."
        )
    return errors


def _whole(text: str) -> str:
    return text.rstrip("\n") + "\n" if text else ""


def _settings(wanted: dict[str, Any], network: dict[str, Any]) -> str:
    """Return what the script reads, in the language of the shell."""
    folder = wanted["folder"]
    # local.yml has but one desk, and another name for it than the inventory of a room.
    own = "localhost" if wanted["inventory"] == "inventory/local.yml" else wanted["hostname"]
    values = {
        "url": wanted["url"],
        "version": wanted["version"],
        "pinned": "yes" if is_commit(wanted["version"]) else "",
        "signed": "yes" if wanted["keys"] else "",
        "inventory": wanted["inventory"],
        "host": wanted["host"] or own,
        "playbooks": " ".join(quote(playbook) for playbook in wanted["playbooks"]),
        "checkout": wanted["checkout"],
        "vault_password_file": f"{folder}/vault_password" if wanted["vault_password"] else "",
    }
    exported = {
        "LLMDESK_RECORDS": wanted["records_dir"],
        "LLMDESK_RECORDS_URL": wanted["records_url"],
        "LLMDESK_RECORDS_TOKEN_FILE": f"{folder}/records_token" if wanted["records_token"] else "",
    }
    return (
        "# Written by llmdesk's role desk_pull.\n"
        + "".join(f"{name}={quote(value)}\n" for name, value in values.items())
        + "".join(f"export {name}={quote(value)}\n" for name, value in exported.items())
        + shell(environment(network["proxy"], network["credentials"]), export=True)
    )


def _git_configuration(wanted: dict[str, Any]) -> str:
    """Return git's configuration: what it trusts, and how it signs in."""
    folder = wanted["folder"]
    # Only these keys count: neither those that root has, nor an authority's that the system trusts.
    lines = ['[gpg "ssh"]', f"\tallowedSignersFile = {folder}/allowed_signers", '[gpg "x509"]', "\tprogram = false"]
    # A server that says nothing for a minute has gone.
    lines += ["[http]", "\tlowSpeedLimit = 1", "\tlowSpeedTime = 60"]
    if wanted["credentials"]:
        lines += ["[credential]", "\thelper =", f"\thelper = store --file={folder}/credentials"]
    if wanted["ssh_key"] or wanted["known_hosts"]:
        ssh = f"ssh -o BatchMode=yes -o ConnectTimeout=20 -o UserKnownHostsFile={folder}/known_hosts"
        ssh += f" -o IdentitiesOnly=yes -i {folder}/ssh_key" * bool(wanted["ssh_key"])
        lines += ["[core]", f"\tsshCommand = {ssh}"]
    return "\n".join(lines) + "\n"
