# GNU General Public License v3.0+ (see LICENSE)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: fit
short_description: Whether models fit a desk
version_added: 0.1.0
author:
  - llmdesk maintainers (@llmdesk)
description:
  - Compares what models take with what a desk has, for each of them, and says which of the catalogue would be chosen.
  - The catalogue is the file C(files/model_catalog.yml) of the role M(llmdesk.workstation.ollama_models).
positional: models, context
options:
  _input:
    description: The desk facts, C(desk_state.desk).
    type: dict
    required: true
  models:
    description:
      - Descriptions of models, each with C(name) and C(weights), the bytes, and any of C(layers), C(cache_layers) that
        keep the whole context, C(window_layers) that keep the last C(window) tokens, C(heads), C(heads_kv), C(key),
        C(value), C(embedding), C(feed_forward), C(vocabulary), C(context), C(projector) and C(active). What is missing
        is taken from dense models of that size.
      - Empty for the walk-through's models and those that V(auto) chooses from.
    type: list
    elements: dict
    default: []
  context:
    description: Tokens of context; 0 for as many as Ollama takes by itself on that desk.
    type: int
    default: 0
"""

EXAMPLES = r"""
- name: Say how a model of one's own would run
  ansible.builtin.debug:
    msg: "{{ (desk_state.desk | llmdesk.workstation.fit([{'name': 'own:1', 'weights': 4900000000}])).models[0] }}"
"""

RETURN = r"""
_value:
  description: C(auto), with C(name) and C(reason) of the model that would be chosen, and C(models), each with
    C(verdict), C(reason), C(remedy), C(needed), C(available), C(where), C(context), C(gpu_layers) and C(layers).
  type: dict
"""

from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.llmdesk.workstation.plugins.module_utils import model_choice
from ansible_collections.llmdesk.workstation.plugins.plugin_utils.catalogue import catalogue


class FilterModule:
    """Hardware and models, for tasks."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by their names."""
        return {
            "fit": fit,
            "models_resolved": models_resolved,
        }


def fit(desk: dict[str, Any], models: list[dict[str, Any]] | None = None, context: int = 0) -> dict[str, Any]:
    """Return how models fit a desk."""
    for model in models or []:
        if not (isinstance(model, dict) and model.get("name")):
            raise AnsibleFilterError(f"fit takes descriptions with a name, not {model!r}")
    return model_choice.table(desk, models or [], catalogue(), int(context))


def models_resolved(desk: dict[str, Any], declared: list[Any], again: bool = False) -> list[Any]:
    """Return the declared models, with a name in the place of ``auto``."""
    if not any(map(model_choice.is_auto, declared)):
        return list(declared)
    return model_choice.resolved(desk, declared, catalogue(), bool(again))
