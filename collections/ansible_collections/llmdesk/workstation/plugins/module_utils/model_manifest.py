# SPDX-License-Identifier: GPL-3.0-or-later
"""A model's manifest: which blobs it is made of. The same document in a registry and in a model store."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any, NamedTuple

MEDIA_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
WEIGHTS = "application/vnd.ollama.image.model"
_DIGEST = re.compile(r"^sha256:[0-9a-f]{64}$")


class NotAManifest(ValueError):
    """The text is something else, such as a page of a network that wants a person to sign in."""


class Layer(NamedTuple):
    """One blob: ``digest`` is its sha256 in hex, ``size`` its bytes, ``kind`` its media type."""

    digest: str
    size: int
    kind: str


class Manifest(NamedTuple):
    """What a model is made of.

    ``digest`` is the sha256 of the manifest itself, in hex, as ``/api/tags`` shows it; ``digest_where_made`` the one
    that the server shows which made the model and pushed it: its own copy ends in a line feed, which a push strips.
    """

    digest: str
    digest_where_made: str
    layers: tuple[Layer, ...]

    @property
    def size(self) -> int:
        """Return the bytes of all blobs, each counted once."""
        return sum({layer.digest: layer.size for layer in self.layers}.values())

    @property
    def weights(self) -> str:
        """Return the sha256 of the weights, empty where there are none."""
        return next((layer.digest for layer in self.layers if layer.kind == WEIGHTS), "")


def parse(body: bytes) -> Manifest:
    """Return the manifest that a document is.

    :raises NotAManifest: it is none.
    """
    try:
        document = json.loads(body)
        listed = [*document["layers"], *filter(None, [document.get("config")])]
        digests = [hashlib.sha256(text).hexdigest() for text in (body, body + b"\n")]
        return Manifest(digests[0], digests[1], tuple(_layer(layer) for layer in listed))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NotAManifest("what it sent is no manifest of a model") from error


def _layer(layer: dict[str, Any]) -> Layer:
    if not _DIGEST.match(layer["digest"]):
        raise ValueError(layer["digest"])
    return Layer(layer["digest"][len("sha256:") :], int(layer["size"]), str(layer.get("mediaType")))
