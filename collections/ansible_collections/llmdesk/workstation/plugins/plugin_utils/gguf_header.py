# SPDX-License-Identifier: GPL-3.0-or-later
"""What the header of a GGUF file says of the memory that its model takes. On the controller: it needs PyPI's ``gguf``.

That library brings numpy, so it is an extra of its own, and is loaded only where a file is named.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

LIBRARY = "gguf==0.19.0"
LONG = 1024  # elements of an array, from which on it is the vocabulary

# Layers of which one keeps the whole context, where a file with a sliding window does not tell (llama.cpp, src/models).
PERIODS = {"gemma2": 2, "gpt-oss": 2, "gptoss": 2, "gemma3n": 5, "gemma3": 6, "gemma-embedding": 6}
PERIOD = 4


class BadFile(ValueError):
    """A file is not there, is no GGUF file, or holds no model."""


def shape(path: Path) -> dict[str, Any]:
    """Return the description of a file's model, as the filter ``fit`` takes it.

    :raises BadFile: there is none to be had; the text is a sentence without its full stop.
    """
    fields, weights = _read(path)
    kind = str(fields.get("general.architecture"))
    if kind == "clip":
        raise BadFile("it is a projector, which turns pictures into tokens for a model in another file")
    if int(fields.get("split.count") or 1) > 1:
        raise BadFile("it is one of several parts; join them with 'llama-gguf-split --merge'")
    return {"name": path.name, **described(fields, kind), "weights": weights}


def described(fields: dict[str, Any], kind: str) -> dict[str, Any]:
    """Return what the fields of a header say of a model's size, without its weights.

    :param fields: by their full names; of the vocabulary the number of its tokens.
    :param kind: the architecture.
    """
    own = {name[len(kind) + 1 :]: value for name, value in fields.items() if name.startswith(f"{kind}.")}
    layers = int(own.get("block_count") or 0)
    heads = _each(own.get("attention.head_count") or 0, layers)
    heads_kv = _each(own.get("attention.head_count_kv") or own.get("attention.head_count") or 0, layers)
    embedding = int(own.get("embedding_length") or 0)
    if not layers or not any(heads) or not embedding:
        raise BadFile(f"its header does not say how a model of the kind {kind} is built")
    key = int(own.get("attention.key_length") or embedding // max(heads))
    # The last layers of some use the cache of those before them, and of some only every few attend at all.
    caching = range(layers - int(own.get("attention.shared_kv_layers") or 0))
    every = int(own.get("full_attention_interval") or 1)
    attending = [n for n in caching if heads[n] and heads_kv[n] and (n + 1) % every == 0]
    sliding = _sliding(own, kind, layers)
    whole = [n for n in attending if not sliding[n]]
    windows = [n for n in attending if sliding[n]]
    experts, used = int(own.get("expert_count") or 0), int(own.get("expert_used_count") or 0)
    found = {
        "layers": layers,
        "cache_layers": len(whole),
        "window_layers": len(windows),
        "window": int(own.get("attention.sliding_window") or 0),
        "heads": max(heads),
        "heads_kv": max((heads_kv[n] for n in whole), default=0),
        "window_heads_kv": max((heads_kv[n] for n in windows), default=0),
        "key": key,
        "value": int(own.get("attention.value_length") or key),
        "window_key": int(own.get("attention.key_length_swa") or key),
        "embedding": embedding,
        "feed_forward": max(_each(own.get("feed_forward_length") or 0, layers))
        or used * int(own.get("expert_feed_forward_length") or 0),
        "vocabulary": int(fields.get("tokenizer.ggml.tokens") or own.get("vocab_size") or 0),
        "context": int(own.get("context_length") or 0),
        # Of a mixture of experts nearly all weights are experts'.
        "active": used / experts if experts and used else 1.0,
    }
    return {name: value for name, value in found.items() if value or name in ("cache_layers", "heads_kv")}


def _each(value: Any, layers: int) -> list[int]:
    """Return a number for every layer, of a field that has one for all or one each."""
    return [int(one) for one in value] if isinstance(value, list) else [int(value)] * layers


def _sliding(own: dict[str, Any], kind: str, layers: int) -> list[bool]:
    """Return for every layer whether it keeps a window only."""
    pattern = own.get("attention.sliding_window_pattern")
    if isinstance(pattern, list):
        return [bool(pattern[n % len(pattern)]) for n in range(layers)]
    if not own.get("attention.sliding_window") or not (pattern or kind in PERIODS):
        return [False] * layers
    period = int(pattern or PERIODS.get(kind, PERIOD))
    return [(n + 1) % period != 0 for n in range(layers)]


def _read(path: Path) -> tuple[dict[str, Any], int]:
    """Return the fields of a header by their names, and the bytes of the file's tensors."""
    if not path.is_file():
        raise BadFile("there is no such file")
    try:
        import numpy as np
        from gguf import GGUFReader, GGUFValueType  # A third of a second, and not everybody has it.
    except ImportError:
        raise BadFile(f"its header is read with a library that is not there: .venv/bin/pip install {LIBRARY}") from None

    class Header(GGUFReader):
        """A header without its vocabulary: the library makes an array of every token, which takes ten seconds."""

        def _get_field_parts(self, orig_offs: int, raw_type: int) -> tuple[int, list[Any], list[int], list[Any]]:
            if GGUFValueType(raw_type) == GGUFValueType.ARRAY:
                kind, length = self._get(orig_offs, np.uint32), self._get(orig_offs + 4, np.uint64)
                if length[0] > LONG:
                    offset = self._after(orig_offs + 12, GGUFValueType(kind[0]), int(length[0]))
                    return offset - orig_offs, [kind, length], [], [GGUFValueType.ARRAY]
            parts: tuple[int, list[Any], list[int], list[Any]] = super()._get_field_parts(orig_offs, raw_type)
            return parts

        def _after(self, offset: int, kind: Any, length: int) -> int:
            if kind != GGUFValueType.STRING:
                return offset + length * int(self._get(offset, self.gguf_scalar_to_np[kind]).nbytes)
            for _ in range(length):
                offset += 8 + int(self._get(offset, np.uint64)[0])
            return offset

    try:
        header = Header(path)
        fields = {name: _value(field) for name, field in header.fields.items()}
        return fields, sum(int(tensor.n_bytes) for tensor in header.tensors)
    except (ValueError, KeyError, IndexError, OSError, OverflowError) as error:
        raise BadFile(f"it is no GGUF file, or a torn one ({error})") from error


def _value(field: Any) -> Any:
    """Return a field's value; of a long array its length."""
    return int(field.parts[4][0]) if field.types and not field.data else field.contents()
