# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to happen to one model: whatever the states are, the plan ends in what is wanted, and then does nothing."""

from __future__ import annotations

import pytest
from ansible_collections.llmdesk.workstation.plugins.module_utils.model_state import (
    Plan,
    Present,
    Remote,
    Wanted,
    plan,
)
from hypothesis import given, settings
from hypothesis import strategies as st

DIGESTS = ("a" * 64, "b" * 64, "c" * 64)
GONE = Present()

digests = st.sampled_from(DIGESTS)
presents = st.builds(
    Present,
    digest=st.none() | digests,
    weights=st.sampled_from(["", "w1", "w2"]),
    faults=st.sampled_from([(), ("blob aa is missing",)]),
    differs=st.sampled_from([(), ("system",)]),
    alias=st.sampled_from(["", "mirror.example.com/library/a:1"]),
)
wanteds = st.builds(
    Wanted,
    state=st.sampled_from(["present", "latest", "absent"]),
    pins=st.lists(digests, max_size=2, unique=True).map(tuple),
    made=st.booleans(),
)
remotes = st.none() | st.builds(
    Remote, digests=digests.map(lambda digest: (digest,)), weights=st.sampled_from(["w1", "w2"]), exact=st.booleans()
)


# The same examples every time: a run that finds something new by chance is somebody else's red.
many = settings(max_examples=1000, derandomize=True, deadline=None)


def carried_out(what: Plan, present: Present, wanted: Wanted, remote: Remote | None) -> Present:
    """Return what is there after a plan was carried out by a server and registries that do as they are told."""
    pins = wanted.pins or DIGESTS
    brought = remote.digests[0] if remote and remote.digests[0] in pins else pins[0]
    weights = remote.weights if remote else present.weights
    return {
        "nothing": present,
        "delete": GONE,
        "copy": Present(brought, weights),
        "create": Present(DIGESTS[2], present.weights),
        # A model that is made is made anew, one that is pulled is pulled anew.
        "heal": Present(DIGESTS[2] if wanted.made else brought, weights),
        "pull": Present(brought, weights),
    }[what.do]


@many
@given(presents, wanteds, remotes)
def test_a_plan_that_was_carried_out_leaves_nothing_to_do(
    present: Present, wanted: Wanted, remote: Remote | None
) -> None:
    if wanted.state == "latest" and wanted.pins and remote and remote.digests[0] not in wanted.pins:
        remote = Remote(wanted.pins, remote.weights, remote.exact)  # a registry that has another one is refused before
    after = carried_out(plan(present, wanted, remote), present, wanted, remote)
    assert plan(after, wanted, remote).do == "nothing"
    assert (after.digest is None) == (wanted.state == "absent")
    assert not after.faults or after == present


@many
@given(presents, wanteds, remotes)
def test_a_plan_has_a_reason_and_takes_nothing_away_unasked(
    present: Present, wanted: Wanted, remote: Remote | None
) -> None:
    what = plan(present, wanted, remote)
    assert what.why
    assert what.do != "delete" or wanted.state == "absent"
    assert what.do != "heal" or present.faults
    assert what.do not in ("create",) or wanted.made
    assert what.do not in ("pull", "copy") or not wanted.made


@pytest.mark.parametrize(
    ("present", "wanted", "remote", "expected"),
    [
        (GONE, Wanted(), None, "pull: it is not here"),
        (GONE, Wanted(made=True), None, "create: it is not here"),
        (Present(alias="mirror/library/a:1"), Wanted(), None, "copy: mirror/library/a:1 is here"),
        (Present("a"), Wanted(), None, "nothing: it is here"),
        (Present("a"), Wanted(pins=("a",)), None, "nothing: it is here"),
        (Present("a"), Wanted(pins=("b",)), None, "pull: its digest is a and not the pinned one"),
        (Present("a"), Wanted("latest"), Remote(("a", "a2")), "nothing: it is here"),
        (Present("a2"), Wanted("latest"), Remote(("a", "a2")), "nothing: it is here"),
        (Present("a"), Wanted("latest"), Remote(("b", "b2")), "pull: the registry has b"),
        # An old server writes the manifest anew.
        (Present("a", "w"), Wanted("latest"), Remote(("b",), "w", exact=False), "nothing: it is here"),
        (Present("a", "w"), Wanted("latest"), Remote(("b",), "w2", exact=False), "pull: the registry has b"),
        (Present("a", "w"), Wanted("latest"), Remote(("b",), "w"), "pull: the registry has b"),
        (Present("a", faults=("blob x is missing",)), Wanted(), None, "heal: blob x is missing"),
        (Present("a", differs=("system",)), Wanted(made=True), None, "create: other than declared: system"),
        (Present("a"), Wanted(made=True), None, "nothing: it is here as declared"),
        (Present("a"), Wanted("absent"), None, "delete: it is here and should not be"),
        (Present("a", faults=("x",)), Wanted("absent"), None, "delete: it is here and should not be"),
        (GONE, Wanted("absent"), None, "nothing: it is not here"),
    ],
)
def test_what_is_done_and_why(present: Present, wanted: Wanted, remote: Remote | None, expected: str) -> None:
    assert ": ".join(plan(present, wanted, remote)) == expected
