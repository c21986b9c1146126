# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to happen to one model: the difference between what is there, what is wanted, and what a registry has."""

from __future__ import annotations

from typing import NamedTuple


class Present(NamedTuple):
    """A model as the server has it.

    ``digest`` is None where it has none; ``weights`` is the sha256 of its weights, empty where nobody asked; ``faults``
    says what of its files is broken; ``differs`` names what of a declared model is not as declared; ``alias`` is
    another name, one of the sources', under which the server has the wanted model already.
    """

    digest: str | None = None
    weights: str = ""
    faults: tuple[str, ...] = ()
    differs: tuple[str, ...] = ()
    alias: str = ""


class Wanted(NamedTuple):
    """A model as it should be.

    ``state`` is present, latest or absent; ``pins`` are the digests of the manifests that may stand under the name, any
    where empty; ``made`` is true for a model that is declared and made here instead of pulled.
    """

    state: str = "present"
    pins: tuple[str, ...] = ()
    made: bool = False


class Remote(NamedTuple):
    """A model as a registry has it.

    ``digests`` are those under which a server may list it; ``exact`` is false where the server writes manifests anew,
    so that they say nothing (before 0.19).
    """

    digests: tuple[str, ...]
    weights: str = ""
    exact: bool = True


class Plan(NamedTuple):
    """``do`` is nothing, pull, copy, create, delete or heal; ``why`` says why in words."""

    do: str
    why: str


def plan(present: Present, wanted: Wanted, remote: Remote | None = None) -> Plan:
    """Return what has to be done.

    :param remote: what the first registry that answered has, for ``latest`` and for pins on a server whose digests
        are not exact; None where nobody was asked, or nobody answered.
    """
    here = present.digest is not None
    if wanted.state == "absent":
        return Plan("delete", "it is here and should not be") if here else Plan("nothing", "it is not here")
    bring = "create" if wanted.made else "pull"
    if not here and present.alias and not wanted.made:
        return Plan("copy", f"{present.alias} is here")
    if not here:
        return Plan(bring, "it is not here")
    if present.faults:
        return Plan("heal", "; ".join(present.faults))
    if wanted.made:
        if present.differs:
            return Plan("create", f"other than declared: {', '.join(present.differs)}")
        return Plan("nothing", "it is here as declared")
    if wanted.pins and present.digest not in wanted.pins and not _same(present, remote):
        return Plan("pull", f"its digest is {present.digest[:12] if present.digest else ''} and not the pinned one")
    if wanted.state == "latest" and remote is not None and not _same(present, remote):
        return Plan("pull", f"the registry has {remote.digests[0][:12]}")
    return Plan("nothing", "it is here")


def _same(present: Present, remote: Remote | None) -> bool:
    """Tell whether a registry's model is the one that is here.

    Where an old server has written the manifest anew, the weights must do. They say less: a new template over the same
    weights goes unseen.
    """
    if remote is None:
        return False
    if present.digest in remote.digests:
        return True
    return not remote.exact and bool(present.weights) and present.weights == remote.weights
