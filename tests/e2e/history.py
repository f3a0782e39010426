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
    def __init__(self, history: History, end: int):
        self.history = history
        self.end = end
        self.fixed: dict[int, Change] = {}
        self.free: list[Change] = []
        self.shown: dict[int, Lines] = {}
        self.states: list[Lines] = []
        self.steps = 0
        self.deepest = history.start
        self.deepest_reason = ""

    def candidates(self, version: int, used: frozenset[str]):
        change = self.fixed.get(version)
        if change is not None:
            return [change]
        # Acknowledged ones first, the most urgent of them first.
        return sorted(
            (c for c in self.free if c.name not in used),
            key=lambda c: (c.outcome != "repeated", c.end if c.end is not None else float("inf")),
        )

    def fits(self, change: Change, version: int, last_begin: float, used: frozenset[str]) -> bool:
        # Real time: nothing that ended before this one began may still be without a version, …
        if change.end is not None and change.end < last_begin:
            return False  # … and what stands before it did not begin after it had ended.
        return not (change.outcome == "repeated" and version > change.version)

    def overdue(self, version: int, used: frozenset[str]) -> bool:
        """Some repeat showed a version that has gone by, and still has no place of its own."""
        return any(c.outcome == "repeated" and c.version < version and c.name not in used for c in self.free)

    def run(self) -> bool:
        """Depth first without recursion: a history may be long."""
        first = (self.history.start, self.history.start_lines, frozenset(), float("-inf"))
        failed: set = set()
        stack = [(first, None)]
        states = [self.history.start_lines]
        while stack:
            (version, lines, used, last_begin), options = stack[-1]
            if options is None:
                if version == self.end:
                    if all(c.outcome != "repeated" or c.name in used for c in self.free):
                        self.states = states[: version - self.history.start + 1]
                        return True
                    self.note(version, "an acknowledged change has no version left to take")
                    options = iter(())
                else:
                    options = iter(self.candidates(version + 1, used))
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
        if not self.fits(change, version, last_begin, used):
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
        now_used = used if change.name not in {c.name for c in self.free} else used | {change.name}
        if self.overdue(version + 1, now_used):
            self.note(version - 1, f"a repeat was answered with a version before its own change")
            return None
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
    for change in history.changes:
        if change.outcome != "refused":
            continue
        low = max((v for _, e, v, _, _ in _shown(history) if e < change.begin), default=history.start)
        high = min((v for b, _, v, _, _ in _shown(history) if b > change.end), default=history.start + len(states) - 1)
        for version in range(low, high + 1):
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

    search = _Search(history, end)
    search.shown = shown
    for change in history.changes:
        if change.outcome == "applied":
            if change.version in search.fixed:
                other = search.fixed[change.version].name
                return [f"{change.name} and {other}: both took version {change.version}"]
            if change.version == history.start:
                return [f"{change.name}: was applied without taking a version"]
            search.fixed[change.version] = change
        elif change.outcome in ("none", "repeated"):
            search.free.append(change)
    must = len(search.fixed) + sum(1 for c in search.free if c.outcome == "repeated")
    if must > end - history.start:
        return [f"{must} changes were acknowledged, but only {end - history.start} versions were taken: some are lost"]
    if len(search.fixed) + len(search.free) < end - history.start:
        return [f"{end - history.start} versions were taken by {len(search.fixed) + len(search.free)} changes: some count twice"]
    if not search.run():
        return [f"no legal order: stuck behind version {search.deepest}: {search.deepest_reason}"]
    return _check_refused(history, search.states)
