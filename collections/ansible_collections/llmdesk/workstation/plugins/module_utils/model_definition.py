# SPDX-License-Identifier: GPL-3.0-or-later
"""Models that are declared: another model, or a file, with a system prompt, a template or parameters of one's own.

Facts about ``/api/create`` and ``/api/show`` (0.32.15): parameters are laid over those of the base and cannot be
removed; ``modelfile`` names the weights and adapters by their blobs; nothing else tells what a model was made of.
"""

from __future__ import annotations

import contextlib
import re
from typing import Any, NamedTuple

from ansible_collections.llmdesk.workstation.plugins.module_utils.model_info import as_parameters, parse_parameters

KEYS = ("template", "system", "license", "parameters", "messages")

# Of Ollama's own options; others are left to the server, which may be newer than this list.
_KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("num_ctx", "num_predict", "num_keep", "num_batch", "num_gpu", "num_thread"), (int,)),
    **dict.fromkeys(("seed", "top_k", "repeat_last_n"), (int,)),
    **dict.fromkeys(("temperature", "top_p", "min_p", "typical_p", "repeat_penalty"), (int, float)),
    **dict.fromkeys(("presence_penalty", "frequency_penalty"), (int, float)),
    "stop": (str, list),
}
_WORDS = {int: "whole number", float: "number", list: "text or a list of them"}
_BLOB = re.compile(r"^(FROM|ADAPTER) .*sha256-([0-9a-f]{64})\s*$", re.MULTILINE)


class BadDefinition(ValueError):
    """What was declared cannot be made. ``reason`` is the module's word for it."""

    reason = "bad_parameters"


class Definition(NamedTuple):
    """What a model is made of; a value of None means that nothing is asked of it."""

    weights: str | None = None
    adapters: tuple[str, ...] | None = None
    template: str | None = None
    system: str | None = None
    license: str | None = None
    parameters: dict[str, list[str]] | None = None
    messages: tuple[tuple[str, str], ...] | None = None
    quantization: str | None = None


def checked(create: dict[str, Any]) -> dict[str, Any]:
    """Return a declaration without what was not given, and with parameters of the types that Ollama wants.

    :raises BadDefinition: a parameter has another type.
    """
    given = {key: value for key, value in create.items() if value is not None}
    if "parameters" in given:
        given["parameters"] = {name: _typed(name, value) for name, value in given["parameters"].items()}
    return given


def _typed(name: str, value: Any) -> Any:
    """Return a parameter's value as the type it must have: templates make strings of everything."""
    kinds = _KINDS.get(name)
    if kinds is None:
        return value
    if name == "stop" and isinstance(value, str):
        return [value]  # Ollama takes a text, and then fails at every chat
    if isinstance(value, str) and str not in kinds:
        with contextlib.suppress(ValueError):
            value = float(value) if float in kinds else int(value)
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise BadDefinition(f"the parameter {name} is a {_WORDS[kinds[-1]]}, and not {value!r}")
    return value


def shown(show: dict[str, Any]) -> Definition:
    """Return what a model is made of, out of the answer of ``/api/show``."""
    blobs = _BLOB.findall(str(show.get("modelfile") or ""))
    return Definition(
        weights=next((digest for word, digest in blobs if word == "FROM"), None),
        adapters=tuple(digest for word, digest in blobs if word == "ADAPTER"),
        template=str(show.get("template") or ""),
        system=str(show.get("system") or ""),
        license=str(show.get("license") or ""),
        parameters=parse_parameters(str(show.get("parameters") or "")),
        messages=tuple((message["role"], message["content"]) for message in show.get("messages") or []),
        quantization=str((show.get("details") or {}).get("quantization_level") or ""),
    )


def wanted(base: Definition | None, create: dict[str, Any], adapters: tuple[str, ...] = ()) -> Definition:
    """Return what a declared model should be made of.

    :param base: what it is made from; None for a file, of which only the server will say more.
    :param create: the declaration, of :func:`checked`.
    :param adapters: sha256 of its adapters' files.
    """
    found = base or Definition()
    declared: dict[str, Any] = {key: create[key] for key in ("template", "system") if key in create}
    if "license" in create:
        texts = create["license"]
        declared["license"] = "\n".join(texts) if isinstance(texts, list) else texts
    if "parameters" in create:
        declared["parameters"] = {**(found.parameters or {}), **as_parameters(create["parameters"])}
    if "messages" in create:
        declared["messages"] = tuple((message["role"], message["content"]) for message in create["messages"])
    if adapters:
        declared["adapters"] = adapters
    if create.get("quantize"):
        # Other weights are made of the base's; nobody can know their digest before.
        declared.update(quantization=str(create["quantize"]).upper(), weights=None)
    return found._replace(**declared)


def differences(found: Definition, asked: Definition) -> list[str]:
    """Return the names of what a model is not made of as it should be."""
    wanted = {name: value for name, value in asked._asdict().items() if value is not None}
    return [name for name, value in wanted.items() if _plain(getattr(found, name)) != _plain(value)]


def _plain(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value


def request(
    name: str, create: dict[str, Any], weights: str | None = None, adapters: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Return the body for ``/api/create``.

    :param weights: sha256 of a GGUF file's blob, for a model that is not made from another one.
    :param adapters: sha256 of the blobs of its adapters.
    """
    body = {key: create[key] for key in (*KEYS, "from", "quantize") if key in create}
    if weights:
        body["files"] = {"model.gguf": f"sha256:{weights}"}
    if adapters:
        body["adapters"] = {f"adapter-{number}.gguf": f"sha256:{digest}" for number, digest in enumerate(adapters)}
    return dict(body, model=name)
