"""The checker itself: it accepts what is legal and finds each kind of fault."""

import random

import pytest

from history import Change, History, Read, Refused, apply, check


def applied(name, ops, begin, end, version, lines):
    return Change(name, ops, begin, end, "applied", version, lines)


A = (("add", 7, 1),)


def test_model():
    assert apply((), (("add", 7, 2), ("add", 8, 1))) == ((7, 2), (8, 1))
    assert apply(((7, 2), (8, 1)), (("add", 7, -2),)) == ((8, 1),)
    assert apply(((7, 2),), (("set", 7, 5), ("remove", 9))) == ((7, 5),)
    assert apply(((7, 2),), (("clear",), ("set", 3, 1))) == ((3, 1),)
    with pytest.raises(Refused):
        apply(((7, 99),), A)
    with pytest.raises(Refused):
        apply(tuple((n, 1) for n in range(1, 101)), (("add", 101, 1),))


def test_legal():
    assert check(History(changes=[
        applied("a", A, 0, 1, 1, ((7, 1),)),
        applied("b", A, 2, 3, 2, ((7, 2),)),
    ], reads=[Read(4, 5, 2, ((7, 2),))])) == []  # fmt: skip


def test_legal_with_a_repeat_and_an_unknown():
    history = History(
        changes=[
            applied("a", A, 0, 1, 1, ((7, 1),)),
            Change("b", (("add", 8, 1),), 2, 9, "repeated", 3, ((7, 2), (8, 1))),
            applied("c", A, 3, 8, 3, ((7, 2), (8, 1))),
            Change("d", (("add", 9, 1),), 10),
        ]
    )
    assert check(history) == []
    history.reads.append(Read(11, 12, 4, ((7, 2), (8, 1), (9, 1))))
    assert check(history) == []


def test_lost():
    faults = check(History(changes=[applied("a", A, 0, 1, 1, ((7, 1),))], reads=[Read(2, 3, 0, ())]))
    assert "after a had shown 1" in faults[0]


def test_lost_and_its_version_taken_by_another():
    faults = check(History(changes=[
        applied("a", A, 0, 1, 1, ((7, 1),)),
        applied("b", (("add", 8, 1),), 2, 3, 1, ((8, 1),)),
    ]))  # fmt: skip
    assert faults


def test_lost_repeat():
    """Told "repeated", but no version is left for it."""
    faults = check(History(changes=[
        applied("a", A, 0, 1, 1, ((7, 1),)),
        Change("b", (("add", 8, 1),), 2, 3, "repeated", 1, ((7, 1),)),
    ]))  # fmt: skip
    assert "lost" in faults[0]


def test_doubled():
    faults = check(History(changes=[
        applied("a", A, 0, 1, 1, ((7, 1),)),
    ], reads=[Read(2, 3, 2, ((7, 2),))]))  # fmt: skip
    assert "twice" in faults[0]


def test_doubled_inside_one_version():
    faults = check(History(changes=[applied("a", A, 0, 1, 1, ((7, 2),))]))
    assert "no legal order" in faults[0]


def test_unacknowledged_counted_twice():
    faults = check(History(changes=[Change("a", A, 0)], reads=[Read(2, 3, 2, ((7, 2),))]))
    assert "twice" in faults[0]


def test_unacknowledged_twice_hidden_by_an_idle_one():
    faults = check(History(changes=[
        Change("a", A, 0), Change("b", (("add", 8, 1),), 0),
    ], reads=[Read(2, 3, 2, ((7, 2),))]))  # fmt: skip
    assert "no legal order" in faults[0]


def test_reordered():
    """b began after a had ended, but stands before it."""
    faults = check(History(changes=[
        applied("a", (("set", 7, 1),), 0, 1, 2, ((7, 1),)),
        applied("b", (("set", 7, 2),), 2, 3, 1, ((7, 2),)),
    ]))  # fmt: skip
    assert faults


def test_reordered_repeat():
    """b, a repeat, began after a had ended; only b-then-a explains what was shown."""
    faults = check(History(changes=[
        Change("a", (("set", 7, 1),), 0, 1, "repeated", 2, ((7, 1),)),
        Change("b", (("set", 7, 2),), 2, 3, "repeated", 2, ((7, 1),)),
    ]))  # fmt: skip
    assert "no legal order" in faults[0]


def test_repeat_shows_a_cart_before_its_own_change():
    faults = check(History(changes=[
        applied("a", A, 0, 10, 1, ((7, 1),)),
        Change("b", (("add", 8, 1),), 0, 10, "repeated", 1, ((7, 1),)),
        applied("c", A, 0, 20, 3, ((7, 2), (8, 1))),
    ]))  # fmt: skip
    assert faults


def test_version_back():
    history = History(changes=[
        applied("a", A, 0, 1, 1, ((7, 1),)), applied("b", A, 2, 3, 2, ((7, 2),)),
    ], reads=[Read(4, 5, 1, ((7, 1),))])  # fmt: skip
    assert "shows version 1 after b had shown 2" in check(history)[0]


def test_version_back_between_two_reads():
    history = History(changes=[
        applied("a", A, 0, 9, 1, ((7, 1),)),
    ], reads=[Read(1, 2, 1, ((7, 1),)), Read(3, 4, 0, ())])  # fmt: skip
    assert "after read 0 had shown 1" in check(history)[0]


def test_one_version_two_carts():
    history = History(changes=[applied("a", A, 0, 9, 1, ((7, 1),))], reads=[Read(10, 11, 1, ((7, 3),))])
    assert "elsewhere" in check(history)[0]


def test_order_of_lines_counts():
    faults = check(History(changes=[
        applied("a", (("add", 7, 1), ("add", 8, 1)), 0, 1, 1, ((8, 1), (7, 1))),
    ]))  # fmt: skip
    assert faults


def test_refused_without_reason():
    history = History(changes=[
        applied("a", A, 0, 1, 1, ((7, 1),)), Change("b", (("add", 7, 1),), 2, 3, "refused"),
    ])  # fmt: skip
    assert "refused, but allowed" in check(history)[0]
    history.changes[1].ops = (("add", 7, 99),)
    assert check(history) == []


def test_refused_but_counted():
    history = History(changes=[
        applied("a", A, 0, 1, 1, ((7, 1),)), Change("b", (("add", 7, 1),), 2, 3, "refused"),
    ], reads=[Read(4, 5, 2, ((7, 2),))])  # fmt: skip
    assert check(history)


def simulate(rng: random.Random):
    """A legal history of several clients on one cart, with answers lost, and the final read."""
    history = History()
    lines, version, clock = (), 0, 0.0
    clients = [None] * rng.randint(1, 4)
    for number in range(rng.randint(1, 120)):
        clock += 1
        at = rng.randrange(len(clients))
        waiting = clients[at]
        if waiting is None:
            if rng.random() < 0.3:
                history.reads.append(Read(clock, clock + 0.5, version, lines))
                continue
            ops = tuple(
                rng.choice([("add", rng.randint(1, 4), rng.choice([-2, -1, 1, 2, 40])), ("set", rng.randint(1, 4), rng.randint(0, 9)),
                            ("remove", rng.randint(1, 4)), ("clear",)])
                for _ in range(rng.choice([1, 1, 1, 3]))
            )  # fmt: skip
            clients[at] = [Change(f"c{number}", ops, clock), False]
            history.changes.append(clients[at][0])
            continue
        change, done = waiting
        if not done:
            try:
                lines = apply(lines, change.ops)
            except Refused:
                change.outcome, change.end, clients[at] = "refused", clock, None
                continue
            version += 1
            waiting[1] = True
            if rng.random() < 0.5:  # the answer arrives
                change.outcome, change.version, change.lines, change.end = "applied", version, lines, clock
                clients[at] = None
        elif rng.random() < 0.9:
            change.outcome, change.version, change.lines, change.end = "repeated", version, lines, clock
            clients[at] = None
    history.reads.append(Read(clock + 1, clock + 2, version, lines))
    return history


def test_random_legal_histories_pass_and_damaged_ones_fail(seed):
    rng = random.Random(seed)
    damaged = caught = 0
    for _ in range(400):
        history = simulate(rng)
        assert check(history) == [], f"seed {seed}"
        acknowledged = [c for c in history.changes if c.outcome == "applied"]
        if not acknowledged:
            continue
        damaged += 1
        victim = rng.choice(acknowledged)
        kind = rng.choice(["lose", "double", "back"])
        last = history.reads[-1]
        if kind == "lose":  # acknowledged, and a version that others took
            history.changes.append(Change("lost", (("add", 3, 1),), victim.begin, victim.end, "repeated", victim.version, victim.lines))
        elif kind == "double":
            history.reads.append(Read(last.end + 1, last.end + 2, last.version + 1, apply((), (("set", 77, 7),))))
        else:
            history.reads.append(Read(last.end + 1, last.end + 2, last.version - 1, victim.lines))
        # An unacknowledged change elsewhere may explain a lost one: only then may it pass.
        caught += check(history) != []
    assert damaged > 100
    assert caught >= damaged * 0.9, f"seed {seed}: {caught} of {damaged}"
