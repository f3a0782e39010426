"""Many buyers, few copies: exactly what there is gets sold, and everybody is told clearly how it ended for him.

64 customers want one copy each of a book of which there are 10. Each repeats a call that was not answered under its key, as a browser does;
so the same must hold while the payment and cart services are killed at random. In the end money, orders, stock and carts agree: no money
without an order, no order without stock, none oversold.
"""

import concurrent.futures
import contextlib
import itertools
import random
import threading
import time

import httpx
import pytest

import api
from api import Caller, lines
from buying import BULGARIA, check_books, key, open_store, stock, wait_stock
from shop import kill, wait_for

BOOK, COPIES, BUYERS = 50, 10, 64
ANSWER_S = 90  # a buyer without an answer for so long is a fault by itself


class Buyer:
    """One customer; what became of him is in `end`: sold, or no-copies."""

    answers = itertools.count()  # of all buyers: the load, and no clock, sets the moment of a kill
    answered = 0

    def __init__(self, url: str, number: int):
        self.email = f"buyer-{number}@race.example"
        self.caller = api.register(url, self.email)
        self.end = None

    def ask(self, method: str, path: str, **more) -> httpx.Response:
        """Repeats until there is an answer that is one."""
        until = time.monotonic() + ANSWER_S
        while True:
            with contextlib.suppress(httpx.TransportError):
                answer = self.caller.call(method, path, **more)
                in_use = answer.status_code == 409 and answer.json()["type"] == "/problems/idempotency-key-in-use"
                if answer.status_code != 503 and not in_use:
                    Buyer.answered = next(Buyer.answers)
                    return answer
            assert time.monotonic() < until, f"{method} {path}: no answer within {ANSWER_S} s"
            time.sleep(0.05)

    def fill(self) -> None:
        answer = self.ask("POST", "/cart/lines", json={"book": BOOK, "quantity": 1}, headers=key())
        assert lines(answer) == [(BOOK, 1)]

    def no_copies(self, answer) -> bool:
        if answer.status_code != 409 or answer.json()["type"] != "/problems/out-of-stock":
            return False
        error = answer.json()["errors"][0]
        assert (error["book"], error["available"]) == (BOOK, 0), error
        self.end = "no-copies"
        return True

    def buy(self) -> None:
        version = self.ask("GET", "/cart").json()["version"]
        ship_to = {"country": BULGARIA["country"]}
        quoted = self.ask("POST", "/checkout/quote", json={"cart_version": version, "ship_to": ship_to})
        if self.no_copies(quoted):
            return
        assert quoted.status_code == 200, quoted.text
        form = {
            "cart_version": version, "expected_total": quoted.json()["total"],
            "shipping_method": quoted.json()["shipping_method"], "shipping_address": BULGARIA, "email": self.email,
        }  # fmt: skip
        placed = self.ask("POST", "/checkout", json=form, headers=key())
        if self.no_copies(placed):
            return
        assert placed.status_code in (200, 201), placed.text
        self.pay(placed.json()["payment"]["id"], placed.json()["order"]["id"])

    def pay(self, payment: str, order: str) -> None:
        path = f"/sandbox/payments/{payment}/confirm"
        answer = self.ask("POST", path, json={"payment_method": "pm_card_visa"})
        assert answer.status_code in (200, 409), answer.text  # 409: the first call counted, its answer was lost
        until = time.monotonic() + ANSWER_S
        while self.ask("GET", f"/orders/{order}").json()["state"] != "paid":
            assert time.monotonic() < until, f"{order} was paid for and is not paid"
            time.sleep(0.05)
        self.end = "sold"


class Killer(threading.Thread):
    """Kills the payment or the cart service, each time after a few more answers."""

    def __init__(self, shop, seed: int):
        super().__init__(daemon=True)
        self.shop, self.random, self.over, self.kills = shop, random.Random(seed), threading.Event(), 0

    def run(self) -> None:
        next_at = Buyer.answered
        while not self.over.wait(0.002):
            if Buyer.answered >= next_at:
                kill(self.shop.service(self.random.choice(["payment", "payment", "cart"])))
                self.kills += 1
                next_at = Buyer.answered + self.random.randint(1, 3)

    def end(self) -> None:
        self.over.set()
        self.join(30)


def receipts(shop) -> tuple[list, list]:
    """(payments that succeeded at the provider, paid orders), each as (order, amount)."""
    with contextlib.closing(open_store(shop, "sandbox.db")) as provider, contextlib.closing(open_store(shop)) as store:
        money = provider.execute("SELECT order_ref, amount - refunded FROM payments WHERE state = ?", (SUCCEEDED,)).fetchall()
        orders = store.execute("SELECT order_text(id), total_minor FROM orders WHERE state = 1").fetchall()
        return sorted(money), sorted(orders)


SUCCEEDED = 3  # payment_state_t of src/services/payment/payment_provider.h


@pytest.mark.parametrize("killed", [0, 1, 2], ids=["in-peace", "with-kills", "with-other-kills"])
def test_sixty_four_buyers_and_ten_copies(make_shop, seed, killed):
    shop = make_shop({"BOOKCART_PAYMENT_RECONCILE": "200ms"})
    admin = Caller(shop.url, {"access_token": shop.admin()})
    wait_stock(admin, 300)
    counted = admin.call("POST", f"/admin/stock/{BOOK}/adjust", json={"counted": COPIES, "reason": "for the race"})
    assert counted.status_code == 200, counted.text
    with concurrent.futures.ThreadPoolExecutor(4) as pool:  # passwords are hashed a few at a time
        buyers = list(pool.map(lambda number: Buyer(shop.url, number), range(BUYERS)))
    with concurrent.futures.ThreadPoolExecutor(BUYERS) as pool:
        list(pool.map(Buyer.fill, buyers))
        killer = Killer(shop, seed + killed)
        if killed:
            killer.start()
        try:
            list(pool.map(Buyer.buy, buyers))  # raises what any of them raised
        finally:
            if killed:
                killer.end()

    # After a kill all the others ask again at once, so a whole race is over after a few: 1…8 were seen.
    assert killer.kills >= 1 or not killed, "nothing was killed"
    print(f"{killer.kills} kills, {Buyer.answered} answers, seed {seed}")
    shop.wait_ready()
    ends = [buyer.end for buyer in buyers]
    assert (ends.count("sold"), ends.count("no-copies")) == (COPIES, BUYERS - COPIES)
    wait_for(lambda: stock(admin, BOOK)["reserved"] == 0, "nothing to be held any more")
    assert stock(admin, BOOK)["on_hand"] == 0
    money, orders = receipts(shop)
    assert money == orders and len(orders) == COPIES
    for buyer in buyers:
        left = [] if buyer.end == "sold" else [(BOOK, 1)]
        wait_for(lambda: lines(buyer.ask("GET", "/cart")) == left, f"the cart to be {left}")  # noqa: B023
    check_books(shop)
