# SPDX-License-Identifier: GPL-3.0-or-later
"""What an Ollama server says of its models, put into words that a playbook can compare."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from ansible_collections.llmdesk.workstation.plugins.module_utils.model_name import CloudOnly, canonical

TITLE = 200  # characters of a license's title at most

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?$")

# How Go writes what cannot stand in a string as it is.
_ESCAPE = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8})|(.))")
_LETTERS = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def parse_parameters(text: str) -> dict[str, list[str]]:
    """Return a model's parameters by name, each with all of its values, in a form that can be compared.

    Ollama lists the names in another order each time, and writes 1048576 as ``1.048576e+06``; the order of the values
    of one name is kept, and every number is spelled as ``spelled`` does.

    :param text: ``parameters`` of ``/api/show``: a line a value, its name first, strings quoted as Go does.
    """
    found: dict[str, list[str]] = {}
    for name, value in _lines(text):
        found.setdefault(name, []).append(spelled(value))
    return found


def as_parameters(declared: dict[str, Any]) -> dict[str, list[str]]:
    """Return declared parameters in the form of ``parse_parameters``.

    :param declared: by name, a value or a list of them; null and an empty list leave no trace in Ollama.
    """
    values = {name: value if isinstance(value, (list, tuple)) else [value] for name, value in declared.items()}
    found = {name: [spelled(one) for one in several if one is not None] for name, several in values.items()}
    return {name: several for name, several in found.items() if several}


def spelled(value: Any) -> str:
    """Return a parameter's value as text: two that Ollama takes for the same are the same text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        number = float(value)  # which Ollama makes of every number, however it was written
        return str(int(number)) if number.is_integer() else repr(number)
    return str(value)


def parameters(text: str) -> dict[str, Any]:
    """Return a model's parameters by name, typed; one that occurs several times is a list.

    :param text: ``parameters`` of ``/api/show``.
    """
    found: dict[str, list[Any]] = {}
    for name, value in _lines(text):
        found.setdefault(name, []).append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


def _lines(text: str) -> Iterator[tuple[str, Any]]:
    for line in text.split("\n"):
        name, _space, value = line.strip().partition(" ")
        if name:
            yield name, _value(value.strip())


def _value(text: str) -> Any:
    if len(text) > 1 and text[0] == text[-1] == '"':
        return _ESCAPE.sub(_character, text[1:-1])
    if text in ("true", "false"):
        return text == "true"
    if not _NUMBER.match(text):
        return text
    number = float(text)
    return int(number) if number.is_integer() else number


def _character(escape: re.Match[str]) -> str:
    code = escape[1] or escape[2] or escape[3]
    return chr(int(code, 16)) if code else _LETTERS.get(escape[4], escape[4])


def understood(name: str) -> str:
    """Return a name as ``canonical`` does; a cloud's model may be listed, though no desk can have it.

    :raises BadName: the name cannot be one.
    """
    try:
        return canonical(name)
    except CloudOnly:
        return name.strip()


def chosen(wanted: Iterable[str] | None, there: Iterable[str]) -> list[str]:
    """Return the names, as the server lists them, of the models that were asked for.

    :param wanted: canonical names, in any case, as Ollama reads them; None for every model.
    :param there: the names that the server lists.
    """
    if wanted is None:
        return sorted(there)
    listed = {name.lower(): name for name in there}
    return [listed[name] for name in dict.fromkeys(name.lower() for name in wanted) if name in listed]


def remote(listed: dict[str, Any]) -> dict[str, str] | None:
    """Return the ``host`` and the ``model`` that really answer, None for a model that runs on its server.

    :param listed: a model's entry in ``/api/tags``.
    """
    host, model = str(listed.get("remote_host") or ""), str(listed.get("remote_model") or "")
    return {"host": host, "model": model} if host or model else None


def asks_the_cloud(listed: dict[str, Any]) -> bool:
    """Say whether Ollama would pass a question about this model on to a server on the internet.

    :param listed: a model's entry in ``/api/tags``.
    """
    return remote(listed) is not None or str(listed["name"]).endswith((":cloud", "-cloud"))


def described(
    listed: dict[str, Any], running: dict[str, Any] | None, shown: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return what there is to say of a model; sizes are bytes.

    :param listed: its entry in ``/api/tags``.
    :param running: its entry in ``/api/ps``, None where it is not loaded.
    :param shown: what ``/api/show`` says of it, None where that was not asked.
    """
    # What a list of an old server does not know stands in the model's file, which only the second answer is read from.
    details = {**_told(listed.get("details")), **_told((shown or {}).get("details"))}
    info = (shown or {}).get("model_info") or {}
    context = info.get(f"{info.get('general.architecture')}.context_length")
    model = {
        "name": listed["name"],
        "digest": listed["digest"],
        "size": listed["size"],
        "family": details.get("family") or "",
        "parameter_size": details.get("parameter_size") or "",
        "quantization": details.get("quantization_level") or "",
        "context_length": context or details.get("context_length") or None,
        "capabilities": (shown or {}).get("capabilities") or listed.get("capabilities"),
        "remote": remote(listed),
        "loaded": _loaded(running),
    }
    if shown is not None:
        model.update(
            parameter_count=info.get("general.parameter_count"),
            template=shown.get("template") or "",
            system=shown.get("system") or "",
            parameters=parameters(shown.get("parameters") or ""),
            license=title(shown.get("license") or "") or str(info.get("general.license") or ""),
        )
    return model


def _told(details: dict[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (details or {}).items() if value not in ("", "unknown", None)}


def _loaded(running: dict[str, Any] | None) -> dict[str, Any] | None:
    if running is None:
        return None
    return {
        "processor": processor(running),
        "size": running["size"],
        "size_vram": running.get("size_vram", 0),
        "context_length": running.get("context_length") or None,
        "expires_at": running["expires_at"],
    }


def processor(running: dict[str, Any]) -> str:
    """Return where a loaded model computes: ``gpu``, ``gpu-partly`` or ``cpu``.

    :param running: its entry in ``/api/ps``; ``size_vram`` against ``size`` tells how much of it is on a GPU.
    """
    on_gpu = running.get("size_vram") or 0
    if not on_gpu:
        return "cpu"
    return "gpu" if on_gpu >= running["size"] else "gpu-partly"


def title(license_: str) -> str:
    """Return what a license calls itself: its first paragraph on one line, cut where it is no title but a text."""
    paragraph: list[str] = []
    for line in license_.split("\n"):
        if line.strip():
            paragraph += line.split()
        elif paragraph:
            break
    text = " ".join(paragraph)
    return text if len(text) <= TITLE else text[: TITLE - 1].rstrip() + "…"


def no_chat(shown: dict[str, Any]) -> str:
    """Say why a model cannot hold a conversation, empty where it can.

    :param shown: the answer of ``/api/show``; a server that says nothing of capabilities is believed.
    """
    capabilities = shown.get("capabilities")
    if capabilities is not None and "completion" not in capabilities:
        return "makes embeddings and holds no conversation"
    if str(shown.get("template") or "").strip() in ("", "{{ .Prompt }}"):
        return "has no chat template, so that it carries a text on instead of answering; give it one under create"
    return ""
