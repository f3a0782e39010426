"""The promise: whatever is killed, nothing acknowledged is lost or counted twice.

Clients change carts without pause and repeat every request under its Idempotency-Key until they have an answer. Meanwhile
workers, the master, services, `up` and everything at once are killed with SIGKILL. Every request and answer of every cart goes
into a history, and history.check decides. Some carts have two clients at once; one client sends without keys (what it is not told
may have counted or not, but never twice).

The next kill comes after a random number of acknowledged changes, so the load and not a clock sets the moment.
"""

import itertools
import random
import signal
import threading
import time

import httpx

import api
from history import Change, History, Read, check
from shop import Shop, is_alive, kill, wait_for

CARTS = 8
ANSWER_S = 120  # a client that gets no answer for so long is a fault by itself


class Clock:
    """One order of beginnings and ends for all clients."""

    def __init__(self):
        self.count = itertools.count()

    def now(self) -> int:
        return next(self.count)


class Load:
    def __init__(self, shop: Shop, seed: int):
        self.shop, self.seed, self.clock = shop, seed, Clock()
        self.histories = [History() for _ in range(CARTS)]
        self.locks = [threading.Lock() for _ in range(CARTS)]
        self.stop = threading.Event()
        self.acknowledged = 0
        self.retries = 0
        self.condition = threading.Condition()
        self.faults: list[str] = []
        self.owners = []
        self.threads = []

    def start(self) -> None:
        for cart in range(CARTS):
            owner = api.guest(self.shop.url)
            answer = owner.cart()
            assert (api.version(answer), api.lines(answer)) == (0, [])
            self.owners.append(owner)
            # Even carts have two clients; the last has one that sends no keys.
            for client in range(2 if cart % 2 == 0 else 1):
                keyed = cart != CARTS - 1
                self.threads.append(threading.Thread(target=self.guard, args=(cart, client, keyed), daemon=True))
        for thread in self.threads:
            thread.start()

    def guard(self, cart: int, client: int, keyed: bool) -> None:
        try:
            self.client(cart, client, keyed)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test must see it
            with self.condition:
                self.faults.append(f"cart {cart} client {client}: {type(error).__name__}: {error}")
                self.condition.notify_all()

    def random_ops(self, rng: random.Random) -> tuple:
        def one():
            book = rng.randint(1, 12)
            return rng.choice([
                ("add", book, rng.choice([-3, -1, 1, 1, 2, 5])), ("add", book, rng.choice([1, 2, 60])),
                ("set", book, rng.randint(0, 20)), ("remove", book),
            ])  # fmt: skip

        if rng.random() < 0.03:
            return (("clear",),)
        return tuple(one() for _ in range(rng.choice([1, 1, 1, 1, 2, 5])))

    def client(self, cart: int, client: int, keyed: bool) -> None:
        rng = random.Random(f"{self.seed}-{cart}-{client}")
        http = httpx.Client(timeout=15)
        history, lock = self.histories[cart], self.locks[cart]
        for number in itertools.count():
            if self.stop.is_set():
                break
            if rng.random() < 0.4:
                begin = self.clock.now()
                answer = self.send_until_answered(http, cart, "GET", "/cart", None, None)
                with lock:
                    history.reads.append(Read(begin, self.clock.now(), api.version(answer), tuple(api.lines(answer))))
                continue
            change = Change(f"cart{cart}-client{client}-{number}", self.random_ops(rng), self.clock.now())
            with lock:
                history.changes.append(change)
            method, path, body = self.request_of(change.ops, rng)
            key = change.name if keyed else None
            answer = self.send_until_answered(http, cart, method, path, body, key, again=keyed)
            self.record(change, answer, lock)
        http.close()

    @staticmethod
    def request_of(ops: tuple, rng: random.Random):
        if len(ops) == 1 and rng.random() < 0.8:
            op = ops[0]
            if op[0] == "add":
                return "POST", "/cart/lines", {"book": op[1], "quantity": op[2]}
            if op[0] == "set":
                return "PUT", f"/cart/lines/{op[1]}", {"quantity": op[2]}
            if op[0] == "remove":
                return "DELETE", f"/cart/lines/{op[1]}", None
        if ops == (("clear",),):
            return "DELETE", "/cart", None
        changes = [dict(zip(("op", "book", "quantity"), op, strict=False)) for op in ops]
        return "PATCH", "/cart", {"changes": changes}

    def send_until_answered(self, http, cart, method, path, body, key, again=True):
        """The answer, or None when there is none and the request may not be repeated."""
        end = time.monotonic() + ANSWER_S
        last = ""
        while True:
            headers = {"Authorization": f"Bearer {self.owners[cart].token}"}
            if key is not None:
                headers["Idempotency-Key"] = key
            try:
                answer = http.request(method, f"{self.shop.url}/api/v1{path}", json=body, headers=headers)
                if answer.status_code == 401:
                    self.refresh(cart)
                elif answer.status_code not in (429, 500, 502, 503, 504):
                    return answer
                last = f"{answer.status_code} {answer.text}"
            except httpx.HTTPError as error:
                last = repr(error)
            if not again:
                return None
            self.retries += 1
            if time.monotonic() > end:
                raise AssertionError(f"no answer for {ANSWER_S} s to {method} {path}, last: {last}")
            time.sleep(0.02)  # the pause of a polite client, not a wait for a state

    def refresh(self, cart: int) -> None:
        owner = self.owners[cart]
        with self.locks[cart]:
            answer = httpx.post(f"{self.shop.url}/api/v1/auth/refresh", json={"refresh_token": owner.tokens["refresh_token"]})
            if answer.status_code == 200:
                owner.tokens = answer.json()

    def record(self, change: Change, answer, lock) -> None:
        if answer is None:
            return
        end = self.clock.now()
        with lock:
            change.end = end
            if answer.status_code == 422:
                assert answer.json()["type"] in ("/problems/quantity-limit", "/problems/line-limit"), answer.text
                change.outcome = "refused"
            else:
                assert answer.status_code == 200, f"{answer.status_code} {answer.text}"
                replayed = answer.headers.get("idempotent-replayed") == "true"
                change.version, change.lines = api.version(answer), tuple(api.lines(answer))
                change.outcome = "repeated" if replayed else "applied"
        with self.condition:
            self.acknowledged += 1
            self.condition.notify_all()

    def wait_acknowledged(self, more: int) -> None:
        with self.condition:
            target = self.acknowledged + more
            done = self.condition.wait_for(lambda: self.acknowledged >= target or self.faults, ANSWER_S)
            assert not self.faults, self.faults
            assert done, f"only {self.acknowledged} of {target} changes in {ANSWER_S} s\n{self.shop.tail()}"

    def finish(self) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join(ANSWER_S)
        assert not self.faults, self.faults

    def read_all(self) -> None:
        http = httpx.Client(timeout=15)
        for cart, history in enumerate(self.histories):
            begin = self.clock.now()
            answer = self.send_until_answered(http, cart, "GET", "/cart", None, None)
            history.reads.append(Read(begin, self.clock.now(), api.version(answer), tuple(api.lines(answer))))
        http.close()


def restart(shop: Shop) -> None:
    """After the supervisor was killed: nothing may be left of it, and the next one starts on the same port."""
    shop.process.wait()
    shop.start()


def kill_worker(shop, rng):
    kill(rng.choice(shop.workers()))


def kill_workers(shop, _rng):
    kill(*shop.workers())


def kill_master(shop, _rng):
    kill(shop.master())


def kill_cart(shop, _rng):
    kill(shop.service("cart"))


def kill_auth(shop, _rng):
    kill(shop.service("auth"))


def kill_library(shop, _rng):
    kill(shop.service("library"))


def kill_up(shop, _rng):
    children = shop.descendants()
    shop.process.send_signal(signal.SIGKILL)
    shop.process.wait()
    wait_for(lambda: not any(is_alive(pid) for pid in children), "no child outlives its supervisor", 10)
    restart(shop)


def kill_everything(shop, _rng):
    shop.kill_all()
    restart(shop)


VICTIMS = [
    kill_worker, kill_cart, kill_worker, kill_master, kill_cart, kill_up, kill_workers, kill_cart, kill_everything,
    kill_auth, kill_cart, kill_library,
]  # fmt: skip


def test_nothing_acknowledged_is_lost_or_doubled(make_shop, request, seed):
    kills = request.config.getoption("--kills")
    rng = random.Random(seed)
    shop = make_shop({"BOOKCART_CART_DIRTY_AGE_MAX": "2s", "BOOKCART_CART_CALM_AGE": "200ms"})
    load = Load(shop, seed)
    load.start()
    try:
        load.wait_acknowledged(50)
        for number in range(kills):
            victim = VICTIMS[number % len(VICTIMS)]
            victim(shop, rng)
            load.wait_acknowledged(rng.randint(1, 150))
    finally:
        load.stop.set()
    load.finish()
    load.read_all()

    # Once more from what is on the disk alone.
    shop.kill_all()
    shop.start()
    load.read_all()
    assert shop.stop() == 0
    shop.start()
    load.read_all()

    changes = sum(len(history.changes) for history in load.histories)
    reads = sum(len(history.reads) for history in load.histories)
    print(f"seed {seed}: {kills} kills, {changes} changes, {reads} reads, {load.retries} repeats")
    for cart, history in enumerate(load.histories):
        faults = check(history)
        assert not faults, f"seed {seed}, cart {cart}: {faults[:5]}"
    repeated = sum(c.outcome == "repeated" for h in load.histories for c in h.changes)
    assert load.retries > 0, "no kill was noticed by any client: the test proved nothing"
    print(f"{repeated} changes were answered by a repeat")
