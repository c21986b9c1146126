#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: ollama_model_info
short_description: What an Ollama server says of its models
description:
  - Lists all models of an Ollama server, or the named ones, with their digests, what they are made of, and where the
    loaded ones compute.
  - Asks Ollama alone, and changes nothing. No model is loaded, and nobody on the internet is asked, not even about a
    model that runs there.
version_added: 0.1.0
author:
  - llmdesk maintainers (@llmdesk)
options:
  name:
    description:
      - Names of models, understood as M(llmdesk.workstation.ollama_model) understands them; without any, all models.
      - A model that is not there is not in the result, and no failure.
    type: list
    elements: str
  details:
    description:
      - Whether to read each model's template, system prompt, parameters and license as well, which is one request a
        model.
      - By default, what is named is read and a whole list is not.
    type: bool
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
    description: The container that Ollama runs in.
    type: str
  timeout:
    description: Seconds that the server may be silent.
    type: float
    default: 30
attributes:
  check_mode:
    support: full
    description: Reading changes nothing.
  diff_mode:
    support: none
    description: There is nothing to compare.
seealso:
  - module: llmdesk.workstation.ollama_model
"""

EXAMPLES = r"""
- name: Ask which models there are
  llmdesk.workstation.ollama_model_info:
  register: ollama

- name: Say how much of the disk they have
  ansible.builtin.debug:
    msg: "{{ ollama.models | map(attribute='size') | sum | human_readable }}"

- name: Say which of them are loaded, and compute on the processor alone
  ansible.builtin.debug:
    msg: "{{ slow | map(attribute='name') }}"
  vars:
    slow: "{{ ollama.models | selectattr('loaded') | selectattr('loaded.processor', 'eq', 'cpu') }}"

- name: Ask an Ollama whose port is not published
  llmdesk.workstation.ollama_model_info:
    transport: container
    container: open-webui

- name: Ask what a classroom's model is made of
  llmdesk.workstation.ollama_model_info:
    name:
      - tutor:1
  register: tutor

- name: Hold that it has the system prompt of this term
  ansible.builtin.assert:
    that:
      - tutor.models | length == 1
      - tutor.models[0].system is search('term 2')
      - tutor.models[0].parameters.temperature == 0.2
"""

RETURN = r"""
models:
  description: The models, in the order in which they were named, or by name. Sizes are in bytes.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The name as Ollama lists it, always with its tag.
      returned: always
      type: str
    digest:
      description: The sha256 of the model's manifest, in hex. It alone tells whether two models are the same.
      returned: always
      type: str
    size:
      description: What it has on the disk. Models may share some of it.
      returned: always
      type: int
    family:
      description: The architecture; empty where Ollama does not tell.
      returned: always
      type: str
    parameter_size:
      description: The number of its parameters, as Ollama rounds it.
      returned: always
      type: str
    quantization:
      description: How its weights are stored; empty where Ollama does not tell.
      returned: always
      type: str
    context_length:
      description:
        - The longest context that it can have, in tokens. How long it is now says C(loaded).
        - Null where Ollama does not tell, which old ones do only with O(details).
      returned: always
      type: int
    capabilities:
      description: What it can do, such as C(completion), C(tools) or C(vision); null where Ollama does not tell.
      returned: always
      type: list
      elements: str
    remote:
      description: The C(host) and the C(model) that really answer, for a model in a cloud; null for one that is here.
      returned: always
      type: dict
    loaded:
      description:
        - Null where the model is not loaded, else where it computes (C(processor), one of C(gpu), C(cpu) and
          C(gpu-partly)), its C(size) in memory, how much of that is on GPUs (C(size_vram)), its C(context_length) in
          tokens (null where Ollama does not tell), and when it goes unless somebody asks it something (C(expires_at);
          centuries ahead for one that is to stay).
        - A model with two names is loaded under the one that was asked.
      returned: always
      type: dict
    parameter_count:
      description: The number of its parameters; null where Ollama does not tell.
      returned: with details
      type: int
    template:
      description: The template that makes a prompt of a conversation.
      returned: with details
      type: str
    system:
      description: The system prompt; empty where it has none of its own.
      returned: with details
      type: str
    parameters:
      description: Its own parameters by name; one that occurs several times, such as C(stop), is a list then.
      returned: with details
      type: dict
    license:
      description:
        - What its license calls itself, the first paragraph on one line; the whole text is long.
        - Of a model without a text, what its weights name as their license, such as C(apache-2.0).
      returned: with details
      type: str
    error:
      description: Why Ollama cannot say more, such as damaged files; stands in place of the details.
      returned: with details, of a model that Ollama cannot read, or that a cloud has
      type: str
  sample:
    - name: llama3.2:3b
      digest: a80c4f17acd55265feec403c7aef86be0c25983ab279d83f3bcd3abbcb5b8b72
      size: 2019393189
      family: llama
      parameter_size: 3.2B
      quantization: Q4_K_M
      context_length: 131072
      capabilities: [completion, tools]
      remote: null
      loaded:
        processor: gpu
        size: 3461726208
        size_vram: 3461726208
        context_length: 4096
        expires_at: "2026-05-30T10:49:12.205149813Z"
      parameter_count: 3212749888
      template: "{{ .System }} {{ .Prompt }}"
      system: ""
      parameters:
        stop: [<|start_header_id|>, <|end_header_id|>, <|eot_id|>]
      license: "LLAMA 3.2 COMMUNITY LICENSE AGREEMENT Llama 3.2 Version Release Date: September 25, 2024"
version:
  description: The server's version.
  returned: success
  type: str
  sample: 0.32.15
reason:
  description:
    - What kind of failure it is, as M(llmdesk.workstation.ollama_model) calls it, V(bad_name), V(server_unreachable),
      V(not_ollama), or V(failed) for everything else that the server says.
  returned: failure
  type: str
  sample: server_unreachable
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.llmdesk.workstation.plugins.module_utils.model_info import (
    asks_the_cloud,
    chosen,
    described,
    understood,
)
from ansible_collections.llmdesk.workstation.plugins.module_utils.model_name import BadName
from ansible_collections.llmdesk.workstation.plugins.module_utils.ollama import Ollama, OllamaError, OllamaUnreachable


class Info:
    """One look at a server's models."""

    def __init__(self, wanted: dict[str, Any]) -> None:
        names = wanted["name"]
        self._names = None if names is None else [understood(name) for name in names]
        self._details = names is not None if wanted["details"] is None else wanted["details"]
        self._ollama = Ollama(
            wanted["url"], wanted["timeout"], wanted["container"] if wanted["transport"] == "container" else None
        )

    def look(self) -> dict[str, Any]:
        """Return the module's result.

        :raises OllamaError: the server did not answer, or is no Ollama.
        """
        version, listed, running = self._ollama.version(), self._ollama.listed(), self._ollama.running()
        models = [self._model(listed[name], running.get(name)) for name in chosen(self._names, listed)]
        return {"changed": False, "models": models, "version": version}

    def _model(self, listed: dict[str, Any], running: dict[str, Any] | None) -> dict[str, Any]:
        if not self._details:
            return described(listed, running)
        if asks_the_cloud(listed):
            return {**described(listed, running), "error": "it runs in a cloud, which is not asked"}
        try:
            return described(listed, running, self._ollama.show(listed["name"]))
        except OllamaUnreachable:
            raise
        except OllamaError as error:
            # One damaged model does not keep what there is to say of the others.
            return {**described(listed, running), "error": str(error)}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "list", "elements": "str"},
            "details": {"type": "bool"},
            "url": {"type": "str", "default": "http://127.0.0.1:11434"},
            "transport": {"type": "str", "choices": ["http", "container"], "default": "http"},
            "container": {"type": "str"},
            "timeout": {"type": "float", "default": 30},
        },
        required_if=[("transport", "container", ["container"])],
        supports_check_mode=True,
    )
    place = module.params["container"] if module.params["transport"] == "container" else module.params["url"]
    try:
        module.exit_json(**Info(module.params).look())
    except BadName as error:
        module.fail_json(msg=str(error), reason=error.reason)
    except OllamaUnreachable as error:
        module.fail_json(
            msg=f"Ollama at {place} does not answer: {error}. Run './llmdesk up' to start it.", reason=error.reason
        )
    except OllamaError as error:
        module.fail_json(
            msg=f"The models of {place} could not be read: {error}. Check the address, and Ollama's log.",
            reason=error.reason,
        )


if __name__ == "__main__":
    main()
