"""Decides whether the history of one cart was legal. Pure: events in, faults out.

The model. A cart starts at version `start`; every applied change takes the next version, alone; a refused one (422) takes none.
So a history is legal when the versions start+1 … end can be given to the changes, one each, such that

1. every acknowledged change has exactly one version (counted once: not lost, not doubled);
2. a change that was never acknowledged has one or none;
3. an answer that is no repeat shows the cart right behind its own change: it names the change's version;
4. a repeat shows the cart at some version at or behind its change's;
5. whatever an answer showed at a version is what the model says the cart was then;
6. what ended before something else began comes first (real time), for changes and for reads: versions never go back;
7. a refused change is one that the model refuses at some version between its beginning and its end.

Changes with a version of their own (3) are fixed points; between them only changes that were in flight may stand, so the search
over the rest is small. It is exact: it tries every order that 1–6 allow, remembering what has failed.
"""

import bisect
import itertools
from dataclasses import dataclass, field

LINES_MAX = 100
QUANTITY_MAX = 99

Lines = tuple[tuple[int, int], ...]
Op = tuple  # ("add", book, n) ("set", book, n) ("remove", book) ("clear",)


class Refused(Exception):
    """The cart's rules do not allow this change."""


def apply(lines: Lines, ops: tuple[Op, ...]) -> Lines:
    """The cart behind a change of all these operations or none; raises Refused."""
    cart = dict(lines)  # keeps the order of adding
    for op in ops:
        kind = op[0]
        if kind == "clear":
            cart.clear()
            continue
        book = op[1]
        before = cart.get(book, 0)
        quantity = {"add": lambda: before + op[2], "set": lambda: op[2], "remove": lambda: 0}[kind]()
        if quantity <= 0:
            cart.pop(book, None)
        elif quantity > QUANTITY_MAX:
            raise Refused("quantity-limit")
        else:
            cart[book] = quantity
            if len(cart) > LINES_MAX:
                raise Refused("line-limit")
    return tuple(cart.items())


@dataclass
class Change:
    """One request with its repeats. Times count from anywhere; `end` None: never acknowledged."""

    name: str
    ops: tuple[Op, ...]
    begin: float
    end: float | None = None
    outcome: str = "none"  # none, applied, repeated, refused
    version: int | None = None  # that the answer showed
    lines: Lines | None = None


@dataclass
class Read:
    begin: float
    end: float
    version: int
    lines: Lines


@dataclass
class History:
    start: int = 0
    start_lines: Lines = ()
    changes: list[Change] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)


SEARCH_MAX = 2_000_000


class _Search:
    """The search over the free changes. Everything it asks at one version it finds by bisection in lists that were sorted
    once: a history has tens of thousands of changes, of which a few are in flight at any moment."""

    def __init__(self, history: History, end: int, fixed: dict[int, Change], free: list[Change], shown: dict[int, Lines]):
        self.history = history
        self.end = end
        self.fixed = fixed
        self.free = sorted(free, key=lambda c: c.begin)
        self.shown = shown
        self.states: list[Lines] = []
        self.steps = 0
        self.deepest = history.start
        self.deepest_reason = ""

        self.free_names = {c.name for c in free}
        self.ended = [c for c in self.free if c.end is not None]
        self.never_ended = [c for c in self.free if c.end is None]
        self.ended_begins = [c.begin for c in self.ended]
        self.longest = max((c.end - c.begin for c in self.ended), default=0.0)
        # Repeats by the version that they showed: behind it they have no place any more.
        self.shown_by_repeat: dict[int, list[str]] = {}
        for c in self.free:
            if c.outcome == "repeated":
                self.shown_by_repeat.setdefault(c.version, []).append(c.name)
        self.version_of_repeat = {c.name: c.version for c in self.free if c.outcome == "repeated"}
        # What stands at `version` began before everything fixed behind it had ended.
        self.earliest_end_from: dict[int, float] = {}
        earliest = float("inf")
        for version in range(end, history.start - 1, -1):
            change = fixed.get(version)
            if change is not None and change.end is not None:
                earliest = min(earliest, change.end)
            self.earliest_end_from[version] = earliest

    def candidates(self, version: int, used: frozenset[str], last_begin: float):
        change = self.fixed.get(version)
        if change is not None:
            return [change]
        low = bisect.bisect_left(self.ended_begins, last_begin - self.longest)
        high = bisect.bisect_right(self.ended_begins, self.earliest_end_from[version])
        found = [
            c
            for c in (*self.ended[low:high], *self.never_ended)
            if c.name not in used and (c.outcome != "repeated" or c.version >= version)
        ]
        # Acknowledged ones first, the most urgent of them first.
        found.sort(key=lambda c: (c.outcome != "repeated", c.end if c.end is not None else float("inf")))
        return found

    def fits(self, change: Change, version: int, last_begin: float) -> bool:
        # Real time: nothing that ended before this one began may still be without a version, …
        if change.end is not None and change.end < last_begin:
            return False  # … and what stands before it did not begin after it had ended.
        return not (change.outcome == "repeated" and version > change.version)

    def overdue(self, version: int, used: frozenset[str]) -> bool:
        """Some repeat showed this version, the newest there is, and still has no place of its own."""
        return any(name not in used for name in self.shown_by_repeat.get(version, ()))

    def run(self) -> bool:
        """Depth first without recursion: a history may be long."""
        first = (self.history.start, self.history.start_lines, frozenset(), float("-inf"))
        if self.overdue(self.history.start, frozenset()):
            self.note(self.history.start, "an acknowledged change has no version left to take")
            return False
        failed: set = set()
        stack = [(first, None)]
        states = [self.history.start_lines]
        while stack:
            (version, lines, used, last_begin), options = stack[-1]
            if options is None:
                if version == self.end:
                    # Every repeat showed a version up to here, and none was overdue at it: all have their place.
                    self.states = states[: version - self.history.start + 1]
                    return True
                options = iter(self.candidates(version + 1, used, last_begin))
                stack[-1] = (stack[-1][0], options)
            advanced = False
            for change in options:
                self.steps += 1
                if self.steps > SEARCH_MAX:
                    raise RuntimeError("the search is too large: the history has too many changes in flight at once")
                step = self.step(change, version + 1, lines, used, last_begin)
                if step is None or (step[0], step[2], step[1], step[3]) in failed:
                    continue
                del states[version - self.history.start + 1 :]
                states.append(step[1])
                stack.append((step, None))
                advanced = True
                break
            if not advanced:
                failed.add((version, used, lines, last_begin))
                stack.pop()
        return False

    def step(self, change: Change, version: int, lines: Lines, used: frozenset[str], last_begin: float):
        if not self.fits(change, version, last_begin):
            self.note(version - 1, f"{change.name} had ended before its predecessor began, or was shown earlier")
            return None
        try:
            after = apply(lines, change.ops)
        except Refused:
            self.note(version - 1, f"{change.name} would have been refused")
            return None
        if self.shown.get(version, after) != after:
            self.note(version - 1, f"after {change.name} version {version} would be {after}, shown was {self.shown[version]}")
            return None
        now_used = used | {change.name} if change.name in self.free_names else used
        if self.overdue(version, now_used):
            self.note(version - 1, "a repeat was answered with a version before its own change")
            return None
        # Whoever can have no further place need not be remembered.
        now_used = frozenset(name for name in now_used if self.version_of_repeat.get(name, self.end) > version)
        return version, after, now_used, max(last_begin, change.begin)

    def note(self, version: int, reason: str) -> None:
        if version >= self.deepest:
            self.deepest, self.deepest_reason = version, reason


def _shown(history: History):
    """Every (begin, end, version, lines, who) that an answer showed."""
    for change in history.changes:
        if change.outcome in ("applied", "repeated"):
            yield change.begin, change.end, change.version, change.lines, change.name
    for number, read in enumerate(history.reads):
        yield read.begin, read.end, read.version, read.lines, f"read {number}"


def _check_shown(history: History, shown: dict[int, Lines]) -> list[str]:
    faults = []
    for _, _, version, lines, who in _shown(history):
        if version < history.start:
            faults.append(f"{who}: version {version} lies before the start {history.start}")
        elif shown.setdefault(version, lines) != lines:
            faults.append(f"{who}: version {version} shows {lines}, elsewhere {shown[version]}")
    return faults


def _check_time(history: History) -> list[str]:
    """Versions never go back for anyone who looks later."""
    faults = []
    events = []
    for begin, end, version, _, who in _shown(history):
        events.append((end, 1, version, who))
        events.append((begin, 0, version, who))
    newest, newest_who = history.start, "start"
    floor: dict[str, tuple[int, str]] = {}
    for _, is_end, version, who in sorted(events, key=lambda event: (event[0], event[1])):
        if not is_end:
            floor[who] = (newest, newest_who)
            continue
        at_least, by = floor[who]
        if version < at_least:
            faults.append(f"{who}: shows version {version} after {by} had shown {at_least}")
        if version > newest:
            newest, newest_who = version, who
    return faults


def _check_refused(history: History, states: list[Lines]) -> list[str]:
    faults = []
    ends = sorted((end, version) for _, end, version, _, _ in _shown(history))
    begins = sorted(((begin, version) for begin, _, version, _, _ in _shown(history)), reverse=True)
    newest_by = list(itertools.accumulate((version for _, version in ends), max))
    oldest_from = list(itertools.accumulate((version for _, version in begins), min))
    end_times = [end for end, _ in ends]
    begin_times = [-begin for begin, _ in begins]
    for change in history.changes:
        if change.outcome != "refused":
            continue
        before = bisect.bisect_left(end_times, change.begin)  # answers that had ended when it began
        behind = bisect.bisect_left(begin_times, -change.end)  # … and that began when it had ended
        low = newest_by[before - 1] if before > 0 else history.start
        high = oldest_from[behind - 1] if behind > 0 else history.start + len(states) - 1
        for version in range(max(low, history.start), high + 1):
            try:
                apply(states[version - history.start], change.ops)
            except Refused:
                break
        else:
            faults.append(f"{change.name}: refused, but allowed at every version from {low} to {high}")
    return faults


def check(history: History) -> list[str]:
    """Every fault found, in words; an empty list: the history is legal."""
    names = [change.name for change in history.changes]
    assert len(set(names)) == len(names), "changes need names of their own"
    shown = {history.start: history.start_lines}
    faults = _check_shown(history, shown) + _check_time(history)
    if faults:
        return faults
    end = max(shown)

    fixed: dict[int, Change] = {}
    free: list[Change] = []
    for change in history.changes:
        if change.outcome == "applied":
            if change.version in fixed:
                return [f"{change.name} and {fixed[change.version].name}: both took version {change.version}"]
            if change.version == history.start:
                return [f"{change.name}: was applied without taking a version"]
            fixed[change.version] = change
        elif change.outcome in ("none", "repeated"):
            free.append(change)
    must = len(fixed) + sum(1 for c in free if c.outcome == "repeated")
    if must > end - history.start:
        return [f"{must} changes were acknowledged, but only {end - history.start} versions were taken: some are lost"]
    if len(fixed) + len(free) < end - history.start:
        return [f"{end - history.start} versions were taken by {len(fixed) + len(free)} changes: some count twice"]
    search = _Search(history, end, fixed, free, shown)
    if not search.run():
        return [f"no legal order: stuck behind version {search.deepest}: {search.deepest_reason}"]
    return _check_refused(history, search.states)
