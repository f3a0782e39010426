"""Reload, upgrade, kills of parts: what the edge and the supervisor promise while things change under load."""

import signal
import threading

import httpx
import pytest

import api
from api import lines, version
from shop import is_alive, kill, wait_for


class Steady:
    """Clients that read and change their carts without pause, each on a connection it keeps.

    A connection that is idle may be closed at any moment, also in the instant in which its client sends the next request;
    HTTP leaves that race to the client, who asks again. What may not be is that a request was taken and its answer lost:
    the repeat of a change, under the same key, would say `Idempotent-Replayed`.
    """

    def __init__(self, shop, clients: int = 6):
        self.shop = shop
        self.stop = threading.Event()
        self.faults, self.done = [], 0
        self.condition = threading.Condition()
        self.callers = [api.guest(shop.url) for _ in range(clients)]
        for caller in self.callers:
            caller.add(7, 1)
        self.threads = [threading.Thread(target=self.run, args=(caller,)) for caller in self.callers]

    def run(self, caller) -> None:
        expected = 1
        while not self.stop.is_set():
            try:
                read = self.ask(caller.cart)
                if (version(read), lines(read)) != (expected, [(7, 1 + (expected - 1) % 2)]):
                    raise AssertionError(f"expected version {expected}: {read.text}")
                key = {"Idempotency-Key": f"{id(caller)}-{expected}"}
                change = self.ask(lambda: caller.set(7, 2 if expected % 2 else 1, headers=key))
                expected += 1
                assert "idempotent-replayed" not in change.headers, "a change was taken, and its answer lost"
                assert version(change) == expected, change.text
            except Exception as error:  # noqa: BLE001 - every kind of failure is a finding
                self.fault(repr(error))
                return
            with self.condition:
                self.done += 2
                self.condition.notify_all()

    @staticmethod
    def ask(request):
        for _ in range(3):
            try:
                return request()
            except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
                pass  # closed while idle, unless the repeat shows otherwise
        return request()

    def fault(self, text: str) -> None:
        with self.condition:
            self.faults.append(text)
            self.condition.notify_all()

    def wait(self, more: int) -> None:
        with self.condition:
            target = self.done + more
            assert self.condition.wait_for(lambda: self.done >= target or self.faults, 60), "the load stands still"

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        self.wait(50)
        return self

    def __exit__(self, kind, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join(30)
        if kind is None:
            assert not self.faults, self.faults


@pytest.fixture
def own(make_shop):
    return make_shop()


def test_reload_under_load(own):
    with Steady(own) as load:
        for _ in range(5):
            before = set(own.workers())
            own.process.send_signal(signal.SIGHUP)
            wait_for(lambda: not before & set(own.workers()), "new workers")
            load.wait(100)
            assert not load.faults, load.faults


def test_seats_survive_a_reload(own):
    guest = api.guest(own.url)
    for _ in range(4):
        guest.add(7, 1)
    assert guest.cart().headers["cart-status"] == "hot"
    before = set(own.workers())
    own.process.send_signal(signal.SIGHUP)
    wait_for(lambda: not before & set(own.workers()), "new workers")
    wait_for(lambda: not any(is_alive(pid) for pid in before), "old workers gone")
    fresh = api.Caller(own.url, guest.tokens)
    assert fresh.cart().headers["cart-status"] == "hot"
    assert lines(fresh.cart()) == [(7, 4)]


def test_binary_upgrade_under_load(own):
    old = own.master()
    with Steady(own) as load:
        own.process.send_signal(signal.SIGUSR2)
        wait_for(lambda: not is_alive(old), "the old master has gone", 30)
        load.wait(100)
    assert own.master() != old
    assert own.stop() == 0


def test_a_worker_is_killed(own):
    guest = api.guest(own.url)
    for n in range(6):
        kill(own.workers()[0])
        answer = None
        for _ in range(50):  # the connection may have been the worker's
            try:
                answer = guest.add(7, 1, key=f"k{n}")
            except httpx.HTTPError:
                continue
            if answer.status_code == 200:
                break
        assert answer is not None and answer.status_code == 200, answer
        assert lines(answer) == [(7, n + 1)]
    wait_for(lambda: len(own.workers()) == 2, "both workers are back")


def test_the_master_is_killed(own):
    guest = api.guest(own.url)
    guest.add(7, 1)
    workers = own.workers()
    kill(own.master())
    wait_for(lambda: not any(is_alive(pid) for pid in workers), "no worker outlives its master")
    fresh = api.Caller(own.url, guest.tokens)

    def back():
        try:
            answer = fresh.cart()
        except httpx.HTTPError:
            return False
        return answer.status_code == 200 and lines(answer) == [(7, 1)]

    wait_for(back, "the cart is served again")


def test_no_child_outlives_its_supervisor(own):
    guest = api.guest(own.url)
    guest.add(7, 3)
    children = own.descendants()
    assert len(children) >= 6
    own.process.send_signal(signal.SIGKILL)
    own.process.wait()
    wait_for(lambda: not any(is_alive(pid) for pid in children), "all children gone", 10)
    own.start()
    assert lines(api.Caller(own.url, guest.tokens).cart()) == [(7, 3)]


@pytest.mark.parametrize("name", ["auth", "library", "cart"])
def test_a_killed_service_is_started_again(own, name):
    old = own.service(name)
    kill(old)
    own.wait_event(rf"{name}: pid {old} killed by signal 9")
    wait_for(lambda: own.service(name) != old, f"{name} again")
    own.wait_ready()
    guest = api.guest(own.url)
    assert lines(guest.add(7, 1)) == [(7, 1)]


def test_a_terminal_interrupt_stops_in_order(own):
    own.process.send_signal(signal.SIGINT)
    assert own.process.wait(40) == 0
    order = [line for line in own.events if ": pid" in line and "stopped" in line]
    assert [line.split(":")[1].strip() for line in order] == ["nginx", "question", "payment", "cart", "library", "auth"]


def test_sigterm_lets_every_request_finish(own):
    """Clients see answers or refused connections, never a cart they were not told of."""
    guests = [api.guest(own.url) for _ in range(8)]
    told = {guest.user: 0 for guest in guests}
    sent = {guest.user: 0 for guest in guests}
    begun = threading.Barrier(len(guests) + 1)

    def change(guest):
        guest.add(7, 1)
        told[guest.user] = sent[guest.user] = 1
        begun.wait()
        for _ in range(90):
            sent[guest.user] += 1
            try:
                answer = guest.add(7, 1)
            except httpx.HTTPError:
                return
            if answer.status_code != 200:
                sent[guest.user] -= 0
                return
            told[guest.user] += 1

    threads = [threading.Thread(target=change, args=(guest,)) for guest in guests]
    for thread in threads:
        thread.start()
    begun.wait()
    assert own.stop() == 0
    for thread in threads:
        thread.join()
    own.start()
    for guest in guests:
        (_, quantity), = lines(api.Caller(own.url, guest.tokens).cart())
        assert told[guest.user] <= quantity <= sent[guest.user]
