#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: desk_network
short_description: The proxy of a desk, and the authorities that it trusts
description:
  - Brings a proxy to the package manager, and to the files that Docker and the container are started with; brings
    certificates into the system's trust store. Takes everything away again where nothing is wanted any more.
  - Asks the proxy first. One that cannot be reached, or that wants another password, ends the run before anything is
    changed.
  - Keeps a note that only root can read, by which M(llmdesk.workstation.desk_facts) knows whether all is as wanted.
version_added: 0.1.0
author:
  - llmdesk maintainers (@llmdesk)
extends_documentation_fragment:
  - llmdesk.workstation.network
options:
  certificates:
    description: Certificates of authorities in PEM, one each.
    type: list
    elements: str
    default: []
  family:
    description: The distribution's family, as the desk facts name it; it decides which package manager is told.
    type: str
    default: debian
  names:
    description: Names of the container and its desk, which the container reaches without the proxy.
    type: list
    elements: str
    default: []
  config_dir:
    description: Folder of the note, and of what Docker and the container read.
    type: path
    default: /etc/llmdesk
  timeout:
    description: Seconds that the proxy may take to answer.
    type: float
    default: 5
attributes:
  check_mode:
    support: full
    description: Asks the proxy, and says what would change.
  diff_mode:
    support: full
    description: Shows proxy, certificates and files before and after, never a password.
"""

EXAMPLES = r"""
- name: Go through the company's proxy
  llmdesk.workstation.desk_network:
    proxy:
      http: http://proxy.example.com:3128
      https: http://proxy.example.com:3128
      no_proxy: [.example.com]

- name: Take proxy and authorities away
  llmdesk.workstation.desk_network:
"""

RETURN = r"""
revision:
  description: A word that is drawn anew at every change, null where nothing is set.
  returned: success
  type: str
  sample: 3f1c09a77b52
"""

import json
import os
import shutil
import uuid
from typing import Any
from urllib.parse import urlsplit

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.llmdesk.workstation.plugins.module_utils import network
from ansible_collections.llmdesk.workstation.plugins.module_utils.whole_file import read_whole, write_whole

ASKED_FOR = ("registry.ollama.ai", 443)  # A proxy that denies it is there, and says so later with the reason.


class Refused(Exception):
    """The desk cannot be given what is wanted; the sentence says what, where and what to do."""


class Network:
    """What is set on one desk."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module
        self._wanted: dict[str, Any] = module.params
        self._proxy = {name: value for name, value in (module.params["proxy"] or {}).items() if value}
        self._credentials = {name: value for name, value in (module.params["proxy_credentials"] or {}).items() if value}
        self._certificates = {network.fingerprint(pem): pem for pem in module.params["certificates"]}
        self._note = os.path.join(module.params["config_dir"], network.STATE)

    def ensure(self) -> dict[str, Any]:
        """Set what is wanted, and return the module's result.

        :raises Refused: the proxy does not let us in, or the system has no trust store.
        """
        wanted = {
            "proxy": self._proxy,
            "credentials": self._credentials,
            "certificates": sorted(self._certificates),
        }
        stands = network.standing(read_whole(self._note), wanted, read_whole)
        before = self._files_before()
        files = network.files(
            self._wanted["family"],
            self._proxy,
            self._credentials,
            self._wanted["config_dir"],
            tuple(self._wanted["names"]),
        )
        difference = {
            "before": described(stands["proxy"], stands["certificates"], sorted(before)),
            "after": described(self._proxy, sorted(self._certificates), [file.path for file in files]),
        }
        if stands["state"] != "differs":
            return {"changed": False, "revision": stands["revision"], "diff": difference}
        self._ask()
        revision = uuid.uuid4().hex[:12] if any(wanted.values()) else None
        if not self._module.check_mode:
            self._act(wanted, files, before, revision)
        return {"changed": True, "revision": revision, "diff": difference}

    def _files_before(self) -> dict[str, Any]:
        try:
            files: dict[str, Any] = json.loads(read_whole(self._note) or "{}").get("files", {})
        except ValueError:
            return {}
        return files

    def _ask(self) -> None:
        """Ask the proxy before anything depends on it."""
        for kind in network.KINDS:
            plain = self._proxy.get(kind)
            if not plain or (kind == "https" and plain == self._proxy.get("http")):
                continue
            host = urlsplit(plain).netloc
            whole = network.address(self._proxy, self._credentials, kind)
            seconds = self._wanted["timeout"]
            reached: list[str] = []

            def ask(whole: str = whole, seconds: float = seconds, reached: list[str] = reached) -> str:
                reached.append(network.tunnel(whole, *ASKED_FOR, seconds))
                return ""

            said = network.in_time(ask, seconds * 2)
            way = f"See that desk_proxy.{kind} is right"
            if said:
                raise Refused(f"the proxy {host} cannot be reached: {said}. {way}")
            if said is None:
                raise Refused(f"the proxy {host} did not answer within {seconds:g} s. {way}")
            refusal = network.refused(reached[0], plain, kind in self._credentials)
            if refusal or reached[0].startswith("it does not answer"):
                raise Refused(refusal or f"{host} is no proxy: {reached[0]}. {way}")

    def _act(
        self, wanted: dict[str, Any], files: list[network.File], before: dict[str, Any], revision: str | None
    ) -> None:
        kept = {file.path: {"sha256": network.mark(_ours(file), file.block), "block": file.block} for file in files}
        note = {"revision": revision, "wanted": wanted, "files": {**before, **kept}, "complete": False}
        # First, so that a run that is cut off leaves nothing that nobody knows of.
        self._keep(note)
        for path in sorted(set(before) - set(kept)):
            if not _is_certificate(path):
                self._remove(path, before[path]["block"])
        for file in files:
            if file.block is None:
                write_whole(file.path, file.text, file.private)
            else:
                text = network.with_block(read_whole(file.path) or "", file.text, file.block)
                write_whole(file.path, text, file.private)
        trusted = self._trust({path for path in before if _is_certificate(path)})
        if revision is None:
            os.unlink(self._note)
            return
        self._keep({**note, "files": {**kept, **trusted}, "complete": True})

    def _keep(self, note: dict[str, Any]) -> None:
        write_whole(self._note, json.dumps(note, indent=4, sort_keys=True) + "\n")

    @staticmethod
    def _remove(path: str, block: str | None) -> None:
        text = read_whole(path)
        if text is None:
            return
        if block is None:
            os.unlink(path)
        else:
            write_whole(path, network.with_block(text, "", block), private=False)

    def _trust(self, before: set[str]) -> dict[str, Any]:
        """Bring the certificates into the system's trust store, and return their files."""
        if not self._certificates and not before:
            return {}
        store = network.trust_store(os.path.isdir, shutil.which)
        if store is None and shutil.which("apt-get"):
            self._run(["apt-get", "update"], check=False)
            self._run(["apt-get", "install", "--yes", "--no-install-recommends", "ca-certificates"])
            store = network.trust_store(os.path.isdir, shutil.which)
        if store is None:
            raise Refused("this system has neither update-ca-certificates nor update-ca-trust: install ca-certificates")
        folder, suffix, program = store
        kept: dict[str, Any] = {}
        for found, pem in self._certificates.items():
            path = os.path.join(folder, f"{PREFIX}{found[:12]}{suffix}")
            write_whole(path, pem, private=False)
            kept[path] = {"sha256": network.mark(pem, None), "block": None}
        gone = before - set(kept)
        for path in gone:
            self._remove(path, None)
        # What is gone leaves links behind unless all are made anew; update-ca-trust always does so.
        self._run([program, "--fresh"] if gone and program == "update-ca-certificates" else [program])
        return kept

    def _run(self, command: list[str], check: bool = True) -> None:
        environment = {
            **network.environment(self._proxy, self._credentials),
            "DEBIAN_FRONTEND": "noninteractive",
            "LC_ALL": "C",
        }
        rc, out, err = self._module.run_command(command, environ_update=environment)
        if check and rc != 0:
            last = [line for line in (out + err).splitlines() if line.strip()][-1:]
            raise Refused(f"'{' '.join(command)}' failed: {network.redacted(' '.join(last))}")


PREFIX = "llmdesk-"


def described(proxy: dict[str, Any] | None, certificates: list[str], files: list[str]) -> dict[str, Any]:
    """Return what a person sees of it."""
    return {"proxy": proxy or None, "certificates": certificates, "files": files}


def _ours(file: network.File) -> str:
    return file.text if file.block is None else network.with_block("", file.text, "")


def _is_certificate(path: str) -> bool:
    return any(path.startswith(os.path.join(store[0], PREFIX)) for store in network.TRUST_STORES)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **network.ARGUMENTS,
            "certificates": {"type": "list", "elements": "str", "default": []},
            "family": {"type": "str", "default": "debian"},
            "names": {"type": "list", "elements": "str", "default": []},
            "config_dir": {"type": "path", "default": "/etc/llmdesk"},
            "timeout": {"type": "float", "default": 5},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**Network(module).ensure())
    except Refused as error:
        module.fail_json(msg=f"{str(error)[0].upper()}{str(error)[1:]}.")
    except ValueError:
        begin = "-----BEGIN CERTIFICATE-----"
        module.fail_json(msg=f"A certificate is not in PEM. Give each as a text that begins with {begin}.")
    except OSError as error:
        module.fail_json(msg=f"Proxy and authorities could not be set: {error}.")


if __name__ == "__main__":
    main()
