# GNU General Public License v3.0+ (see LICENSE)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: model_shape
short_description: What is known of a model that takes memory
version_added: 0.1.0
author:
  - llmdesk maintainers (@llmdesk)
description:
  - Describes models for the filter P(llmdesk.workstation.fit#filter), on the controller. Of a name the first
    that knows it is asked, the catalogue or the manifest in its registry (the bytes alone), of a file its header.
  - Where nobody knows a model, its description is its name and an C(error), a sentence.
options:
  _terms:
    description: Names of models, paths of GGUF files on the controller, or descriptions, which are taken as they are.
    type: list
    elements: raw
    required: true
  timeout:
    description: Seconds that a registry may take to answer.
    type: float
    default: 3
"""

EXAMPLES = r"""
- name: Say how a model of a registry would run
  ansible.builtin.debug:
    msg: "{{ desk_state.desk | llmdesk.workstation.fit(query('llmdesk.workstation.model_shape', 'phi4:14b')) }}"
"""

RETURN = r"""
_raw:
  description: A description a term, in the order of the terms.
  type: list
  elements: dict
"""

from pathlib import Path
from typing import Any

from ansible.plugins.lookup import LookupBase
from ansible_collections.llmdesk.workstation.plugins.module_utils import model_manifest, registry
from ansible_collections.llmdesk.workstation.plugins.module_utils.model_name import BadName, canonical
from ansible_collections.llmdesk.workstation.plugins.plugin_utils.catalogue import catalogue
from ansible_collections.llmdesk.workstation.plugins.plugin_utils.gguf_header import BadFile, shape

PROJECTOR = "application/vnd.ollama.image.projector"


class LookupModule(LookupBase):  # type: ignore[misc]
    """Descriptions of models, for tasks."""

    def run(self, terms: list[Any], variables: Any = None, **options: Any) -> list[dict[str, Any]]:
        """Return a description a term."""
        self.set_options(var_options=variables, direct=options)
        timeout = float(self.get_option("timeout"))
        return [describe(term, timeout) for term in terms]


def describe(term: Any, timeout: float) -> dict[str, Any]:
    """Return the description of one model, or its name and an ``error``."""
    if isinstance(term, dict):
        return term
    if is_file(term):
        try:
            return shape(Path(term).expanduser())
        except BadFile as error:
            return {"name": term, "error": str(error)}
    try:
        name = canonical(term)
        found = next((entry for entry in catalogue() if entry["name"] == name), None)
        return found or by_bytes(name, registry.manifest(name, timeout))
    except BadName as error:
        return {"name": term, "error": str(error).rstrip(".")}
    except registry.RegistryError as error:
        return {"name": term, "error": f"it is not in the catalogue, and {error}"}


def is_file(term: str) -> bool:
    """Tell whether a term is a path and no name."""
    return term.startswith(("/", ".", "~")) or term.endswith(".gguf")


def by_bytes(name: str, manifest: model_manifest.Manifest) -> dict[str, Any]:
    """Return the description of a model whose manifest is all that is known."""
    sizes = {layer.kind: layer.size for layer in manifest.layers}
    return {
        "name": name,
        "weights": sizes.get(model_manifest.WEIGHTS) or manifest.size,
        "projector": sizes.get(PROJECTOR, 0),
    }
