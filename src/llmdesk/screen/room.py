# SPDX-License-Identifier: GPL-3.0-or-later
"""A room of desks as lines of text: what it does now, and how it ended. Pure, and the same for every screen."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace

from rich.cells import cell_len, set_cell_size

from llmdesk import words
from llmdesk.desks import desks, half_of
from llmdesk.events import TaskEnded
from llmdesk.run import INTERRUPTED, Outcome, Play
from llmdesk.story import ATTENTION, Row, State, Story, Work

Line = list[tuple[str, str]]
"""Pieces of text with their styles."""

FIT = 30
"""Rows of the table at the end; what is healthy beyond them is only counted."""

SMALL = 4
"""Desks of which each is shown whole at the end."""

BARS = 100
"""Columns from which on there is room for bars."""

NAMED = 12
"""Columns that are left to the name of what comes, whatever its figures take."""

TASKS = 140
"""Columns from which on a task has a column beside its work."""

_MARKS: dict[State, tuple[str, str]] = {
    "failed": ("✗", "red"),
    "unreachable": ("✗", "red"),
    "reboot": ("!", "yellow"),
    "stalled": ("!", "yellow"),
    "working": ("•", "cyan"),
    "waiting": ("·", "dim"),
    "done": ("✓", "green"),
}
_VERB: dict[State, str] = {
    "failed": "failed",
    "unreachable": "unreachable",
    "reboot": "waiting for a restart",
    "stalled": "standing still",
    "working": "working",
    "waiting": "waiting",
    "done": "done",
}
_ENDED: dict[State, str] = {
    "reboot": "restart",
    "stalled": "not finished",
    "working": "not finished",
    "waiting": "not finished",
}
_SSH = re.compile(
    r"^(Task failed: )?(Data could not be sent to remote host|Failed to connect to the host via ssh).*?: "
)
_SAYS_NOTHING = ("non-zero return code", "MODULE FAILURE", "@@@@")
"""How the first line of a reason begins where the last one of what was printed says more."""


def natural(name: str) -> list[tuple[int, str]]:
    """Return what sorts ``desk10`` behind ``desk9``."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def names(hosts: Iterable[str], most: int = 3) -> str:
    """Return hosts in words: ``desk1, desk2, desk3 and 40 more``."""
    ordered = sorted(hosts, key=natural)
    more = len(ordered) - most
    return ", ".join(ordered[:most] if more > 1 else ordered) + (f" and {more} more" if more > 1 else "")


# --- In the middle of a run ------------------------------------------------------------------------------------------


def frame(
    story: Story, now: float, width: int, height: int, messages: Iterable[str] = (), head: str = ""
) -> list[Line]:
    """Return what fills a screen: what needs a person on top, totals at the bottom, no more lines than it has.

    :param now: the time on the clock of the events.
    :param messages: what was said, of which the last two are shown.
    :param head: the first line, where there is room for it.
    """
    rows = [(row.state(now), row) for row in story.rows()]
    top: list[Line] = [[(fit(head, width), "dim")], []] if head and height > 12 else []
    said: list[Line] = [[(fit(text, width), "yellow")] for text in list(messages)[-2:] if height > 12]
    below: list[Line] = [*said, *_totals(story, rows, now, width)]
    if height <= 6:
        below = below[-2:]
    free = max(0, height - len(top) - len(below))
    body = _body(story, rows, now, width, free)
    return (top + body + [[]] * (free - len(body)) + below)[:height]


def summary(story: Story, now: float) -> str:
    """Return the totals as one line."""
    counts, traffic = _counts(Counter(row.state(now) for row in story.rows())), _traffic(story, now)
    return "; ".join(filter(None, (counts, traffic)))


def fit(text: str, width: int) -> str:
    """Return the first line of a text in at most so many columns."""
    text = text.splitlines()[0] if text else ""
    return text if cell_len(text) <= width else set_cell_size(text, max(0, width - 1)).rstrip() + "…"[:width]


def ending(text: str, width: int) -> str:
    """Return a text in at most so many columns, without its beginning: an image's registry says less than its tag."""
    while cell_len(text) > width:
        text = "…" + text.lstrip("…")[1:]
    return text


def _padded(text: str, width: int) -> str:
    return set_cell_size(fit(text, width), width)


def _counts(states: Counter[State]) -> str:
    told = [f"{states['done']} of {states.total()} desks done"]
    return ", ".join(
        told + [f"{states[state]} {_VERB[state]}" for state in (*ATTENTION, "working", "waiting") if states[state]]
    )


def _traffic(story: Story, now: float) -> str:
    come, total = story.bytes()
    near_come, near_total = story.bytes_by_lan()
    rate, left = story.rate(now), story.left(now)
    told = []
    if near_total:
        told.append(f"{words.share(come - near_come, total - near_total)} over the line")
        told.append(f"{words.share(near_come, near_total)} in the LAN")
    elif come or total:
        told.append(words.share(come, total))
    if rate:
        told.append(f"{words.size(rate)}/s")
    if left:
        told.append(f"about {words.clock(left)} left")
    return ", ".join(told)


def _totals(story: Story, rows: list[tuple[State, Row]], now: float, width: int) -> list[Line]:
    states = Counter(state for state, _ in rows)
    took = words.clock(max(0.0, now - (now if story.began is None else story.began)))
    counts = fit(_counts(states), width - len(took) - 1)
    gap = width - cell_len(counts) - len(took)
    return [
        _shares(states, width),
        [(counts, "bold"), (" " * gap, ""), (took, "bold")],
        [(fit(_traffic(story, now), width), "cyan")],
    ]


def _shares(states: Counter[State], width: int) -> Line:
    """Return one bar of all desks: done, in trouble, under way, to come."""
    total = states.total() or 1
    trouble = sum(states[state] for state in ATTENTION)
    ends, come = [], 0
    for count in (states["done"], trouble, states["working"]):
        come += count
        ends.append(round(width * come / total))
    lengths = (ends[0], ends[1] - ends[0], ends[2] - ends[1], width - ends[2])
    return [("━" * n, style) for n, style in zip(lengths, ("green", "red", "cyan", "bright_black"), strict=True) if n]


def _body(story: Story, rows: list[tuple[State, Row]], now: float, width: int, height: int) -> list[Line]:
    order = {name: index for index, name in enumerate(story.phases)}
    groups: dict[str, list[tuple[State, Row]]] = {"attention": [], "working": [], "waiting": [], "done": []}
    for state, row in rows:
        groups["attention" if state in ATTENTION else state].append((state, row))
    groups["attention"].sort(key=lambda each: (ATTENTION.index(each[0]), natural(each[1].host)))
    groups["working"].sort(key=lambda each: (order.get(each[1].phase, -1), natural(each[1].host)))
    groups["waiting"].sort(key=lambda each: natural(each[1].host))
    groups["done"].sort(key=lambda each: natural(each[1].host))
    draw = _Rows(story, [row for _, row in rows], now, width)
    if len(rows) <= height:
        return [draw.line(state, row) for group in groups.values() for state, row in group]
    return _folded(groups, order, draw, height)


def _folded(groups: dict[str, list[tuple[State, Row]]], order: dict[str, int], draw: _Rows, height: int) -> list[Line]:
    """Return the rows that need a person and the slowest of the others, and in a line a group what else there is."""
    attention, working, waiting, done = groups.values()
    free = height - bool(waiting) - bool(done)
    trouble = min(len(attention), max(1, free - min(4, len(working))))
    trouble -= trouble < len(attention)
    lines = [draw.line(state, row) for state, row in attention[: max(0, trouble)]]
    if trouble < len(attention):
        lines.append(draw.folded("failed", f"and {len(attention) - trouble} more that need you"))
    free -= len(lines)
    if len(working) <= free:
        lines += [draw.line(state, row) for state, row in working]
    elif free > 0:
        # The slowest are shown, and stand in an order in which they do not jump.
        slowest = sorted(working, key=lambda each: (order.get(each[1].phase, -1), _progress(each[1])))[: free - 1]
        shown = {row.host for _, row in slowest}
        lines += [draw.line(state, row) for state, row in working if row.host in shown]
        rest = Counter(row.phase for _, row in working if row.host not in shown)
        where = ", ".join(f"{phase} {count}" for phase, count in rest.items())
        lines.append(draw.folded("working", f"and {rest.total()} more that work: {where}"))
    if waiting:
        lines.append(
            draw.folded("waiting", f"{_desks(len(waiting))} waiting: {names((r.host for _, r in waiting), 99)}")
        )
    free = height - len(lines)
    latest = sorted(done, key=lambda each: -(each[1].ended or 0.0))[: max(0, free - 1)]
    shown = {row.host for _, row in latest}
    lines += [draw.line(state, row) for state, row in done if row.host in shown]
    if len(shown) < len(done):
        rest_of = [row.host for _, row in done if row.host not in shown]
        more = f"and {_desks(len(rest_of))} more" if shown else _desks(len(rest_of))
        lines.append(draw.folded("done", f"{more} done: {names(rest_of, 99)}"))
    return lines[:height]


def _desks(count: int) -> str:
    return f"{count} desk{'s' * (count != 1)}"


def _progress(row: Row) -> float:
    """Return how far a host's work is, from 0 to 1; a task without any has hardly begun."""
    total = row.work.now.total if row.work else None
    return row.work.now.completed / total if row.work and total else 0.0


class _Rows:
    """Draws hosts as lines whose columns stand under each other."""

    def __init__(self, story: Story, rows: list[Row], now: float, width: int) -> None:
        self._now = now
        self._width = width
        self._desk = min(max((cell_len(row.host) for row in rows), default=0), max(12, width // 5))
        self._phase = min(max((cell_len(name) for name in story.phases), default=0), max(14, width // 8))
        self._task = 30 if width >= TASKS else 0

    def line(self, state: State, row: Row) -> Line:
        """Return one host as a line."""
        mark, style = _MARKS[state]
        took = words.clock(row.seconds(self._now)) if row.began is not None else ""
        begin: Line = [
            (f"{mark} ", style),
            (f"{_padded(row.host, self._desk)}  ", "bold" if state in ATTENTION else ""),
            (f"{_padded('' if state == 'done' else row.phase, self._phase)}  ", style if state in ATTENTION else "dim"),
        ]
        if self._task:
            begin.append((f"{_padded(row.task if row.ended is None or row.broken else '', self._task)}  ", "dim"))
        free = self._width - sum(cell_len(text) for text, _ in begin) - 9
        told = self._told(state, row, free)
        gap = free - sum(cell_len(text) for text, _ in told)
        return [*begin, *told, (" " * max(0, gap), ""), (f"{took:>9}", "dim")]

    def folded(self, state: State, text: str) -> Line:
        """Return a line that stands for many hosts."""
        mark, style = _MARKS[state]
        return [(f"{mark} ", style), (fit(text, self._width - 2), "dim")]

    def _told(self, state: State, row: Row, width: int) -> Line:
        if state in ("failed", "unreachable", "reboot") and row.broken:
            return [(fit(reason(row.broken), width), _MARKS[state][1])]
        if state == "stalled":
            since = self._now - (row.work.moved if row.work else row.since)
            what = f"{row.work.now.item} {words.amount(row.work)}" if row.work else row.task
            return [(fit(f"nothing moves for {words.clock(since)}: {what}", width), "yellow")]
        if state == "done":
            return [(fit(achieved(row), width), "dim")]
        if state == "waiting":
            return []
        if row.work is None:
            return [] if self._task else [(fit(row.task, width), "dim")]
        return self._work(row.work, width)

    def _work(self, work: Work, width: int) -> Line:
        told: Line = []
        if self._width >= BARS and work.now.total:
            done = round(20 * min(1.0, work.now.completed / work.now.total))
            told = [("━" * done, "cyan"), ("━" * (20 - done), "bright_black"), ("  ", "")]
            width -= 22
        figures = ", ".join(filter(None, (words.amount(work), words.pace(work))))
        item = ending(work.now.item, max(NAMED, width - cell_len(figures) - 1))
        return [*told, (fit(f"{item} {figures}".rstrip(), max(0, width)), "")]


def reason(event: TaskEnded) -> str:
    """Return why a host broke, in a line."""
    lines = event.message.strip().splitlines() or ["it gave no reason"]
    first = _SSH.sub("", lines[0])
    return lines[-1] if first.startswith(_SAYS_NOTHING) else first


def achieved(row: Row) -> str:
    """Return what came of a host that is done, in a line."""
    report = row.report or {}
    told = [f"{row.changed} changed" if row.changed else "nothing to change"]
    model, proof = report.get("model") or {}, report.get("proof") or {}
    if model.get("name"):
        told.append(words.model(model))
    if proof.get("tokens_per_s"):
        told.append(f"{proof['tokens_per_s']} tokens/s")
    return ", ".join([*told, *_broken(row), *_drifted(row)])


def _broken(row: Row) -> list[str]:
    return [words.link(link) for link in (row.report or {}).get("links") or [] if not link.get("ok")]


def _drifted(row: Row) -> list[str]:
    drift = (row.report or {}).get("drift") or {}
    return [f"{finding['sentence']} {finding['remedy']}" for finding in drift.get("found") or []]


# --- At the end ------------------------------------------------------------------------------------------------------


def small(story: Story) -> bool:
    """Tell whether there are so few desks that each can be shown whole."""
    return len(story.rows()) <= SMALL


def table(story: Story, width: int) -> list[Line]:
    """Return how every desk ended, and once for all whom it concerns what was said of them."""
    rows = [(row.state(story.at), row) for row in story.rows()]
    lines = _table(rows, story.at, width)
    for heading, style, told in (
        ("broken", "red", _said(rows, _broken)),
        ("drift", "yellow", _said(rows, _drifted)),
        ("warning", "yellow", _said(rows, lambda row: (row.report or {}).get("warnings") or [])),
    ):
        lines += [[(f"{heading:<9}", style), (f"{names(hosts)}: {text}", style)] for text, hosts in told.items()]
    return [*lines, *_accounts(rows)]


def failures(story: Story, play: Play, outcome: Outcome) -> list[Line]:
    """Return what failed, once for all whom it concerns, and how to run only those again."""
    lines: list[Line] = []
    found = desks(story)
    for events in _alike(story).values():
        first, *others = words.failure(events[0], half_of(found, events[0].host))
        who = names(event.host for event in events)
        style = "yellow" if events[0].waits_for_reboot else "red"
        lines.append([])
        lines.append([(first.replace(events[0].host, who, 1), f"bold {style}")])
        lines += [[(line, style if index + 2 <= len(others) else "")] for index, line in enumerate(others)]
    return [*lines, *_again(story, play, outcome), []]


def _table(rows: list[tuple[State, Row]], now: float, width: int) -> list[Line]:
    def needs_a_person(each: tuple[State, Row]) -> bool:
        return each[0] != "done" or bool(_broken(each[1]) or _drifted(each[1]))

    first = sorted(filter(needs_a_person, rows), key=lambda each: (list(_MARKS).index(each[0]), natural(each[1].host)))
    healthy = sorted((each for each in rows if not needs_a_person(each)), key=lambda each: natural(each[1].host))
    room_left = len(healthy) if len(rows) <= FIT else max(5, FIT - len(first))
    table = [
        ("", "desk", "", "changed", "model", "tokens/s", "time", "address"),
        *(_cells(state, row, now) for state, row in (*first, *healthy[:room_left])),
    ]
    columns = [max(cell_len(cells[index]) for cells in table) for index in range(len(table[0]))]
    columns[1] = min(columns[1], max(12, width // 4))
    columns[4] = min(columns[4], max(12, width // 4))
    shown = [index for index, size in enumerate(columns) if size or index == 0]
    while sum(columns[index] + 2 for index in shown) > width and len(shown) > 4:
        shown.pop()
    drawn = [*((state, "yellow") for state, _ in first), *((state, "") for state, _ in healthy[:room_left])]
    styles = ["dim", *(_MARKS[state][1] if state != "done" else style for state, style in drawn)]
    lines: list[Line] = [[]]
    for cells, style in zip(table, styles, strict=True):
        texts = [
            cells[index].rjust(columns[index]) if index in (3, 5, 6) else _padded(cells[index], columns[index])
            for index in shown
        ]
        lines.append([("  ".join(texts).rstrip(), style)])
    if len(healthy) > room_left:
        rest = [row for _, row in healthy[room_left:]]
        changed = sum(bool(row.changed) for row in rest)
        told = f"{changed} of them changed" if changed else "nothing changed on them"
        lines.append([(f"✓ and {_desks(len(rest))} more that are as they should be, {told}", "green")])
    return [*lines, []]


def _cells(state: State, row: Row, now: float) -> tuple[str, ...]:
    report = row.report or {}
    proof, model = report.get("proof") or {}, report.get("model") or {}
    word = "not begun" if row.began is None else _outcome(row) if state == "done" else _ENDED.get(state, state)
    return (
        "!" if word in ("broken", "drift") else _MARKS[state][0],
        row.host,
        word,
        str(row.changed),
        words.model(model) if model.get("name") else "",
        str(proof.get("tokens_per_s") or ""),
        words.clock(row.seconds(now)) if row.began is not None else "",
        str(report.get("address") or ""),
    )


def _outcome(row: Row) -> str:
    if _broken(row):
        return "broken"
    if _drifted(row):
        return "drift"
    return "changed" if row.changed else "ok"


def _said(rows: list[tuple[State, Row]], told: Callable[[Row], list[str]]) -> dict[str, list[str]]:
    said: dict[str, list[str]] = {}
    for _, row in rows:
        for text in told(row):
            said.setdefault(text, []).append(row.host)
    return said


def _accounts(rows: list[tuple[State, Row]]) -> list[Line]:
    accounts = [(row.report or {}).get("account") or {} for _, row in rows]
    emails = sorted({str(account.get("email")) for account in accounts if account.get("state") == "managed"})
    told = f"{', '.join(emails)}; './llmdesk password DESK' prints a desk's password"
    return [[("account  ", "dim"), (told, "")]] if emails else []


def _alike(story: Story) -> dict[tuple[str, ...], list[TaskEnded]]:
    """Return the failures, those together that differ in nothing but a number or the host's name."""
    alike: dict[tuple[str, ...], list[TaskEnded]] = {}
    for event in sorted(story.failures(), key=lambda event: natural(event.host)):
        message = re.sub(r"\d+", "#", event.message.replace(event.host, "…"))
        alike.setdefault((event.phase, event.task, event.outcome, event.path, message), []).append(event)
    return alike


def _again(story: Story, play: Play, outcome: Outcome) -> list[Line]:
    """Return how to run only those again that are not done."""
    hosts = unfinished(story, outcome)
    if not story.room or not hosts or len(hosts) == len({*story.hosts, *story.expected}):
        return []
    command = words.command(replace(play, limit=",".join(hosts)).command())
    short = "./llmdesk retry" if play.changes else ""
    told: list[Line] = [[], [(f"Only {'that one' if len(hosts) == 1 else f'those {len(hosts)}'} again:", "bold")]]
    return told + [[(f"  {line}", "")] for line in (short, f"$ {command}") if line]


def unfinished(story: Story, outcome: Outcome) -> list[str]:
    """Return the hosts that a run left undone, both halves of a desk that has two.

    Those are the broken ones, and of a run that was cut short all that have not come to their end: a person may have
    ended it, a mirror or canary that failed, too many failures, or whatever has killed Ansible.
    """
    left = {event.host for event in story.failures()}
    if outcome.rc:
        left |= story.untouched()
    if outcome.rc == INTERRUPTED or (outcome.rc and not story.recap):
        left |= {row.host for row in story.rows() if row.ended is None or row.broken}
    if story.stopped:
        left |= {row.host for row in story.rows() if row.report is None}
    found = desks(story)
    for host in list(left):
        desk = half_of(found, host)
        left |= {desk.host, desk.windows_host or desk.host} if desk else set()
    return sorted(left, key=natural)
