# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a model fits a desk: how much memory it takes, where it goes, and what would make it fit.

The formula, and where each part of it comes from (Ollama 0.32.15 and llama.cpp b10488, which it runs):

- *weights*: the bytes of the file. Without a GPU Ollama loads them without mmap (``disableMmapDefaultReason`` in
  server/sched.go), so they are memory of the process.
- *cache*: a key and a value for every token of the context, in every layer that attends: layers * heads * (length of a
  key + of a value) * bytes of the cache's type. A layer with a sliding window keeps window + batch tokens, rounded up
  to 256 (llama-kv-cache-iswa.cpp); one that is recurrent keeps a state that does not grow, and is not counted.
- *compute buffer*: for every token of a batch, the mask over the context in two bytes, and the vectors of one layer in
  four: five of the embedding's length and 2.64 of the feed-forward's, fitted to what llama-server prints for two models
  and four contexts. Without flash attention the scores of all heads stand there as well.
- *overhead*: the program, its heap, and the vocabulary, measured: 25 MiB and 230 bytes a token of the vocabulary.

The context is the one that Ollama takes by itself (server/routes.go): 4096 tokens, from 23 GiB of VRAM on 32768, from
47 GiB on 262144, never more than the model was trained for. The batch grows with it (server/sched.go). On a GPU
llama.cpp leaves 1 GiB free (``fit_params_target`` in common/common.h), and CUDA takes 457 MiB before any model does
(``MinimumMemory`` in ml/device.go). It never shortens the context that Ollama gives it: what does not fit goes to the
CPU, layer by layer (common/fit.cpp).

Total memory counts, not what happens to be free: a verdict must not change because the model is loaded.
"""

from __future__ import annotations

from typing import Any, NamedTuple

MIB = 1024**2
GIB = 1024**3
GB = 1000**3  # as registries, and the people who sell memory, count

VERDICTS = ("gpu", "gpu-partly", "cpu", "cpu-slow", "no")
"""From the best to the worst."""

CACHE_BYTES = {"f16": 2.0, "q8_0": 34 / 32, "q4_0": 18 / 32}
"""Of one number in the cache, by its type: a block of 32 numbers carries its scale (ggml-common.h)."""

CONTEXTS = ((47 * GIB, 262144), (23 * GIB, 32768), (0, 4096))
BATCHES = ((32768, 2048), (4096, 1024), (0, 512))  # above such a context
SURCHARGE = {2048: (2 * GIB, 60), 1024: (768 * MIB, 75), 512: (0, 100)}  # what a batch costs, and the most before it

MARGIN = GIB  # that llama.cpp leaves free on every GPU
DRIVER = 457 * MIB  # that CUDA takes on every GPU
SYSTEM = 2 * GIB  # for the system and the page, which has 564 MiB resident (measured)
PROGRAM = 25 * MIB
TOKEN = 230  # bytes that a token of the vocabulary takes
VOCABULARY = 128000  # where nobody has told

OLDEST = 5.0  # compute capability that Ollama supports (docs/gpu.mdx)
# Of GPUs without memory of their own: TX1, TX2, Xavier, Orin, Thor (by two numbers), GB10.
SHARED = ("5.3", "6.2", "7.2", "8.7", "10.1", "11.0", "12.1")
VENDORS = ("nvidia", "amd")  # others have no engine in the image

# Bytes of weights that a CPU reads for every token, up to which it writes as fast as a person reads: ten tokens a
# second, where four cores read 16 GB a second. A rule of thumb: 7 GB a second were measured on two.
CORE = GB * 4 // 10
CORES = 4

# What a model of so many bytes has, where nothing but its bytes is known: up to a size (layers, heads, length of a key,
# of the embedding, of the feed-forward). The dense models of Meta and Alibaba; others have less of a cache.
SHAPES = (
    (16 * GB // 10, (16, 8, 64, 2048, 8192)),
    (35 * GB // 10, (28, 8, 128, 3072, 8192)),
    (7 * GB, (36, 8, 128, 4096, 14336)),
    (16 * GB, (48, 8, 128, 5120, 17408)),
    (30 * GB, (64, 8, 128, 5120, 27648)),
    (10**6 * GB, (80, 8, 128, 8192, 28672)),
)


class BadDescription(ValueError):
    """What is told about a model is too little, or cannot be."""


class Model(NamedTuple):
    """What of a model takes memory. Lengths are numbers of numbers, ``active`` the share of the weights a token reads.

    ``layers`` counts all of them, ``cache_layers`` those that keep the whole context, ``window_layers`` those that keep
    the last ``window`` tokens. ``demand_*`` are what somebody asks for, whatever the formula says, and
    ``advised_vram`` what somebody recommends: bytes.
    """

    name: str
    weights: int
    layers: int
    cache_layers: int
    heads_kv: int
    key: int
    value: int
    embedding: int
    feed_forward: int
    heads: int = 32
    vocabulary: int = VOCABULARY
    context: int = 0
    window: int = 0
    window_layers: int = 0
    window_heads_kv: int = 0
    window_key: int = 0
    projector: int = 0
    active: float = 1.0
    demand_vram: int = 0
    demand_memory: int = 0
    advised_vram: int = 0
    caution: str = ""
    guessed: bool = False


class Card(NamedTuple):
    """A GPU that counts: ``room`` is what a model may take of it, ``shared`` whether it is the machine's memory."""

    name: str
    vram: int
    room: int
    shared: bool
    compute: float


class Hardware(NamedTuple):
    """What of a desk counts: the cards that work together, memory for models, cores, and why a GPU does not count."""

    cards: tuple[Card, ...]
    vram: int
    memory: int
    total_memory: int
    cores: int
    without: str


def described(entry: dict[str, Any]) -> Model:
    """Return the model that an entry of the catalogue, or a description of the same form, is about.

    :param entry: ``name`` and ``weights``, the bytes; with any of the other fields of ``Model``. What is missing is
        taken from dense models of that size.
    :raises BadDescription: a field is unknown, or no number.
    """
    name = str(entry.get("name") or "a model")
    unknown = sorted(set(entry) - set(Model._fields) - {"rank", "walk_through", "source"})
    if unknown:
        raise BadDescription(f"{name}: a model has no {', '.join(unknown)}; it has {', '.join(Model._fields)}")
    numbers = {key: value for key, value in entry.items() if key not in ("name", "caution", "guessed", "source")}
    wrong = sorted(key for key, value in numbers.items() if not isinstance(value, (int, float)) or value < 0)
    if wrong or not entry.get("weights"):
        raise BadDescription(f"{name}: {', '.join(wrong) or 'weights'} must be a number above zero")
    given = {key: value for key, value in entry.items() if key in Model._fields}
    layers, heads_kv, key, embedding, feed_forward = next(
        shape for largest, shape in SHAPES if entry["weights"] <= largest
    )
    filled: dict[str, Any] = {
        "layers": layers,
        "heads_kv": heads_kv,
        "key": key,
        "embedding": embedding,
        "feed_forward": feed_forward,
        "guessed": "layers" not in entry,
        **given,
        "name": name,
    }
    filled.setdefault("cache_layers", filled["layers"] - filled.get("window_layers", 0))
    filled.setdefault("value", filled["key"])
    filled.setdefault("window_heads_kv", filled["heads_kv"])
    filled.setdefault("window_key", filled["key"])
    return Model(**filled)


def hardware(desk: dict[str, Any]) -> Hardware:
    """Return what of a desk counts for models.

    :param desk: the desk facts.
    """
    memory = max(0, desk["memory"]["total"] - SYSTEM)
    counted: dict[str, list[Card]] = {}
    left_out: list[str] = []
    for gpu in desk["gpus"]:
        card, why = _card(gpu, memory)
        if card:
            counted.setdefault(gpu["vendor"], []).append(card)
        else:
            left_out.append(why)
    # Cards of one kind work together; of two kinds Ollama takes the one with more memory.
    cards = max(counted.values(), key=lambda group: sum(card.room for card in group), default=[])
    without = "; ".join(left_out) or str(desk["gpu"]["reason"])
    return Hardware(
        cards=tuple(cards),
        vram=sum(card.vram for group in counted.values() for card in group),
        memory=memory,
        total_memory=desk["memory"]["total"],
        cores=desk["cpu"]["cores"],
        without=without,
    )


def _card(gpu: dict[str, Any], memory: int) -> tuple[Card | None, str]:
    name, compute = gpu["name"], gpu.get("compute")
    if gpu["vendor"] not in VENDORS:
        return None, f"{name} does not count: the image has no engine for it"
    if compute and float(compute) < OLDEST:
        return None, f"{name} does not count: its compute capability is {compute}, and Ollama needs {OLDEST}"
    if gpu["vram"] is None and compute in SHARED:
        return Card(name, memory, max(0, memory - MARGIN), True, float(compute or 0)), ""
    if gpu["vram"] is None:
        return None, f"{name} does not count: how much memory it has cannot be told"
    return Card(name, gpu["vram"], max(0, gpu["vram"] - DRIVER - MARGIN), False, float(compute or OLDEST + 1)), ""


def default_context(vram: int) -> int:
    """Return the context that Ollama takes where nobody names one.

    :param vram: bytes of all GPUs together.
    """
    return next(context for least, context in CONTEXTS if vram >= least)


def cache(model: Model, context: int, batch: int, kind: str = "f16") -> int:
    """Return the bytes of the cache of keys and values."""
    whole = model.cache_layers * model.heads_kv * (model.key + model.value) * context
    cells = min(context, -(-(model.window + batch) // 256) * 256)
    windows = model.window_layers * model.window_heads_kv * 2 * model.window_key * cells
    return int((whole + windows) * CACHE_BYTES[kind])


def compute(model: Model, context: int, batch: int, flash: bool = True) -> int:
    """Return the bytes of the buffers in which a batch is computed."""
    cells = min(context, -(-(model.window + batch) // 256) * 256) if model.window_layers else 0
    masks = 2 * (context + cells)
    scores = 0 if flash else 4 * model.heads * context
    return int(batch * (masks + scores + 4 * (5 * model.embedding + 2.64 * model.feed_forward)))


def overhead(model: Model) -> int:
    """Return the bytes that the program takes beside the model."""
    return PROGRAM + TOKEN * model.vocabulary


def resident(model: Model, context: int, kind: str = "f16") -> int:
    """Return the bytes of memory that a model takes on a desk without a GPU, once it was asked something long."""
    batch = _batch_for(context)
    return (
        model.weights
        + model.projector
        + cache(model, context, batch, kind)
        + compute(model, context, batch)
        + (overhead(model))
    )


def _batch_for(context: int) -> int:
    return next(batch for above, batch in BATCHES if context > above or not above)


def _batch(model: Model, context: int, room: int) -> int:
    """Return the batch that Ollama takes on a GPU: the largest for this context that leaves enough of it free."""
    batch = _batch_for(context)
    guessed = model.weights + 4 * (model.cache_layers + model.window_layers) * model.heads_kv * model.key * context
    while batch > 512:
        surcharge, most = SURCHARGE[batch]
        if guessed + surcharge <= room * 80 // 100 and guessed <= room * most // 100:
            break
        batch //= 2
    return batch


def on_gpu(model: Model, context: int, room: int, kind: str = "f16", flash: bool = True) -> int:
    """Return the bytes of VRAM that a model takes where all of it goes there."""
    batch = _batch(model, context, room)
    return model.weights + model.projector + cache(model, context, batch, kind) + compute(model, context, batch, flash)


def fit(desk: dict[str, Any], model: Model, context: int = 0, kind: str = "f16") -> dict[str, Any]:
    """Return whether a model fits a desk.

    :param context: tokens; 0 for what Ollama takes by itself.
    :param kind: type of the cache, a key of ``CACHE_BYTES``.
    :returns: ``verdict``, one of ``VERDICTS``; ``reason`` and ``remedy``, a sentence each (a remedy may be empty);
        ``needed`` and ``available``, the bytes that decide, and ``where`` they are: ``vram`` or ``memory``;
        ``context``; ``gpu_layers`` of ``layers``.
    """
    has = hardware(desk)
    context = min(context or default_context(has.vram), model.context or 10**9)
    if kind not in CACHE_BYTES:
        raise BadDescription(f"a cache has no type {kind}, only {', '.join(CACHE_BYTES)}")
    answer: dict[str, Any] = {
        "model": model.name,
        "context": context,
        "gpu_layers": 0,
        "layers": model.layers + 1,
        "guessed": model.guessed,
        "remedy": "",
    }
    answer.update(_demanded(has, model) or _placed(has, model, context, kind))
    if 0 < has.vram < model.advised_vram:
        answer["reason"] += f"; {size(model.advised_vram)} of VRAM are recommended, with less it is slow"
    if model.caution:
        answer["reason"] += f"; but {model.caution}"
    if model.guessed:
        answer["reason"] += " (guessed from its bytes)"
    return answer


def _demanded(has: Hardware, model: Model) -> dict[str, Any] | None:
    """Return the refusal of a model whose demands are not met, None where they are or where it has none."""
    room = sum(card.vram for card in has.cards)
    if room < model.demand_vram:
        what = f"{size(room)} of VRAM" if has.cards else f"none ({has.without})"
        wanted = f"a GPU with {size(model.demand_vram)} of VRAM"
        available, needed, where = room, model.demand_vram, "vram"
    elif has.total_memory < model.demand_memory:
        what, wanted = f"{size(has.total_memory)}", f"{size(model.demand_memory)} of memory"
        available, needed, where = has.total_memory, model.demand_memory, "memory"
    else:
        return None
    return {
        "verdict": "no",
        "needed": needed,
        "available": available,
        "where": where,
        "reason": f"it asks for {wanted}, and this desk has {what}",
        "remedy": f"{wanted}, or a smaller model",
    }


def _placed(has: Hardware, model: Model, context: int, kind: str) -> dict[str, Any]:
    room = sum(card.room for card in has.cards)
    if not has.cards:
        return _on_cpu(has, model, context, kind, has.without)
    flash = all(card.compute >= 6 and card.compute != 7.2 for card in has.cards)
    # Every card computes for itself, and whole layers: each but one may be left with less room than a layer takes.
    batch = _batch(model, context, room)
    waste = (len(has.cards) - 1) * (model.weights // (model.layers + 1) + compute(model, context, batch, flash))
    largest = max(has.cards, key=lambda card: card.room)
    needed = on_gpu(model, context, room, kind, flash)
    where = largest.name if len(has.cards) == 1 else f"{len(has.cards)} GPUs together"
    if on_gpu(model, context, largest.room, kind, flash) <= largest.room:
        needed, room, where = on_gpu(model, context, largest.room, kind, flash), largest.room, largest.name
        where += ", in memory that it shares with the machine" if largest.shared else ""
    elif needed + waste > room:
        return _partly(has, model, context, kind, where, flash)
    return {
        "verdict": "gpu",
        "needed": needed,
        "available": room,
        "where": "vram",
        "gpu_layers": model.layers + 1,
        "reason": f"all of it fits on {where}: {size(needed)} of {size(room)} at a context of {context}",
    }


def _partly(has: Hardware, model: Model, context: int, kind: str, where: str, flash: bool) -> dict[str, Any]:
    room = sum(card.room for card in has.cards)
    others, buffers = len(has.cards) - 1, compute(model, context, 512, flash)
    fixed = buffers * len(has.cards) + model.projector
    layer = (model.weights + cache(model, context, 512, kind)) // (model.layers + 1)
    # Of several cards each ends with a piece of a layer that has no room.
    layers = max(0, min(model.layers, (room - fixed - others * layer) // max(1, layer)))
    needed = on_gpu(model, context, 0, kind, flash) + others * (layer + buffers)
    if any(card.shared for card in has.cards):
        return _on_cpu(has, model, context, kind, f"{where} shares the machine's memory, too little for all of it")
    if not layers:
        return _on_cpu(has, model, context, kind, f"no layer of it fits on {where}")
    rest = model.weights + model.projector + cache(model, context, 512, kind) + overhead(model) - layers * layer
    if rest > has.memory:
        return _too_large(has, needed + overhead(model), has.memory + room)
    shorter = _shorter(model, context, room, kind, flash)
    remedy = f"a GPU with {_card_for(model, needed)}"
    if shorter:
        remedy = f"a context of {shorter} (num_ctx) instead of {context}, or {remedy}"
    return {
        "verdict": "gpu-partly",
        "needed": needed,
        "available": room,
        "where": "vram",
        "gpu_layers": layers,
        "reason": f"{layers} of its {model.layers + 1} layers fit on {where}, the CPU computes the others: it needs "
        f"{size(needed)} of VRAM at a context of {context}, and {size(room)} are there for it",
        "remedy": remedy,
    }


def _shorter(model: Model, context: int, room: int, kind: str, flash: bool) -> int:
    """Return the longest of the usual contexts at which all of a model fits, 0 where none does."""
    shorter = [tokens for tokens in (131072, 65536, 32768, 16384, 8192, 4096) if tokens < context]
    return next((tokens for tokens in shorter if on_gpu(model, tokens, room, kind, flash) <= room), 0)


def _on_cpu(has: Hardware, model: Model, context: int, kind: str, why: str) -> dict[str, Any]:
    needed = resident(model, context, kind)
    if needed > has.memory:
        return _too_large(has, needed, has.memory)
    read = int(model.weights * model.active)
    brisk = CORE * min(has.cores, CORES)
    slow = read > brisk
    pace = (
        f"slowly: every word takes {size(read)} of weights, and {size(brisk)} are what stays brisk on {has.cores} cores"
        if slow
        else f"at reading speed, in {size(needed)} of {size(has.memory)}"
    )
    return {
        "verdict": "cpu-slow" if slow else "cpu",
        "needed": needed,
        "available": has.memory,
        "where": "memory",
        "reason": f"{why}; the CPU answers {pace}",
        "remedy": f"a GPU with {_card_for(model, on_gpu(model, context, 0, kind))}" if slow else "",
    }


def _too_large(has: Hardware, needed: int, available: int) -> dict[str, Any]:
    return {
        "verdict": "no",
        "needed": needed,
        "available": available,
        "where": "memory",
        "reason": f"it needs {size(needed)}, and this desk has {size(available)} for a model",
        "remedy": f"{size(needed - available)} more memory, or a smaller model",
    }


def _card_for(model: Model, needed: int) -> str:
    """Return the memory of the smallest card, as cards are sold, on which so many bytes fit."""
    needed = max(needed, model.advised_vram - DRIVER - MARGIN)
    sold = (4, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64, 80, 96, 128, 192)
    found = next((gib for gib in sold if needed <= gib * GIB - DRIVER - MARGIN), 0)
    return f"{found} GB of VRAM" if found else f"{size(needed + DRIVER + MARGIN)} of VRAM, in several cards"


def size(count: float) -> str:
    """Return bytes as registries print them: 5225388164 is ``5.2 GB``."""
    return f"{count / GB:.1f} GB" if count >= GB else f"{count / 1000**2:.0f} MB"
