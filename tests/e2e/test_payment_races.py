"""Sixty-four buyers, ten copies: ten are sold, every other buyer gets a clear answer; also while services are killed. And what a request costs."""

import concurrent.futures
import contextlib
import random
import threading
import time

import httpx
import pytest

import api
from api import Caller
from buying import (
    BULGARIA, buy, check_books, checkout, confirm, key, money, open_store, order_form, place, quote, refund, stock, wait_order,
    wait_stock,
)  # fmt: skip
from shop import kill, wait_for

BUYERS, COPIES = 64, 10
AT_ONCE = 16
ANSWER_S = 60


@pytest.fixture
def admin_of():
    callers = []

    def make(shop) -> Caller:
        callers.append(Caller(shop.url, {"access_token": shop.admin(), "user": {}}))
        wait_stock(callers[-1], 300)
        return callers[-1]

    yield make
    for caller in callers:
        caller.close()


def until_answered(send):
    """As a client that repeats under its key until it is told: statuses that say "later" are not answers."""
    end = time.monotonic() + ANSWER_S
    while time.monotonic() < end:
        with contextlib.suppress(httpx.HTTPError):
            answer = send()
            in_use = answer.status_code == 409 and answer.json()["type"].endswith("idempotency-key-in-use")
            if answer.status_code not in (401, 429, 502, 503, 504) and not in_use:
                return answer
        time.sleep(0.05)
    raise AssertionError("no answer")


def buy_one(url: str, book: int) -> tuple[str, str]:
    """("sold", order) or ("refused", problem)."""
    buyer = api.guest(url)
    try:
        put, own = key()["Idempotency-Key"], key()
        assert until_answered(lambda: buyer.add(book, key=put)).status_code == 200
        quoted = until_answered(lambda: quote(buyer))
        if quoted.status_code == 409:
            return "refused", quoted.json()["type"]
        body = quoted.json()
        form = {"cart_version": body["cart_version"], "expected_total": body["total"], "shipping_method": "standard",
                "shipping_address": BULGARIA, "email": "ann@mail.example"}  # fmt: skip
        answer = until_answered(lambda: checkout(buyer, form, own))
        if answer.status_code not in (200, 201):
            return "refused", answer.json()["type"]
        placed = answer.json()
        paid = until_answered(lambda: confirm(buyer, placed["payment"]["id"]))
        assert paid.status_code in (200, 409), paid.text  # 409: the confirmation before had arrived
        return "sold", placed["order"]["id"]
    finally:
        buyer.close()


def race(shop, book: int) -> list[tuple[str, str]]:
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda _: buy_one(shop.url, book), range(BUYERS)))


def judge(shop, admin, book: int, results: list) -> None:
    sold = [order for end, order in results if end == "sold"]
    refused = {problem for end, problem in results if end == "refused"}
    assert len(sold) == len(set(sold)) == COPIES, results
    assert refused == {"/problems/out-of-stock"}

    def all_paid():
        store = open_store(shop)
        try:
            return store.execute("SELECT COUNT(*) FROM orders WHERE state = 1").fetchone()[0] == COPIES
        finally:
            store.close()

    wait_for(all_paid, "every sold order to be paid", 30)
    left = until_answered(lambda: admin.get(f"/admin/stock/{book}")).json()
    assert (left["on_hand"], left["reserved"]) == (0, 0)
    check_books(shop)


def test_ten_copies_are_sold_ten_times(make_shop, admin_of):
    shop = make_shop()
    admin = admin_of(shop)
    assert admin.call("POST", "/admin/stock/100/adjust", json={"counted": COPIES, "reason": "x"}).status_code == 200
    judge(shop, admin, 100, race(shop, 100))


def test_ten_copies_while_services_are_killed(make_shop, admin_of, seed):
    shop = make_shop({"BOOKCART_PAYMENT_RECONCILE": "200ms"})
    admin = admin_of(shop)
    assert admin.call("POST", "/admin/stock/100/adjust", json={"counted": COPIES, "reason": "x"}).status_code == 200
    chance, over = random.Random(seed), threading.Event()

    def kill_now_and_then():
        while not over.wait(chance.uniform(0.3, 1.2)):
            kill(shop.service(chance.choice(["payment", "payment", "cart"])))

    killer = threading.Thread(target=kill_now_and_then)
    killer.start()
    try:
        results = race(shop, 100)
    finally:
        over.set()
        killer.join()
    judge(shop, admin, 100, results)


def statements(answer) -> int:
    assert answer.status_code in (200, 201), answer.text
    return int(answer.headers["bookcart-statements"])


def test_statements_do_not_grow_with_what_is_asked(make_shop, admin_of):
    """The number of SQL statements of a request is fixed for its route, however many lines an order has. The sandbox's own count too."""
    shop = make_shop({"BOOKCART_LOG_LEVEL": "debug"})
    admin, counts = admin_of(shop), {}
    for count in (1, 12):
        buyer = api.guest(shop.url)
        for book in range(1, count + 1):
            if book not in (8, 9):
                buyer.add(book)
        quoted = quote(buyer)
        counts.setdefault("quote", set()).add(statements(quoted))
        made = checkout(buyer)
        counts.setdefault("checkout", set()).add(statements(made))
        placed = made.json()
        confirm(buyer, placed["payment"]["id"])
        id = wait_order(buyer, placed["order"]["id"], "paid")["id"]
        shipped = admin.call("POST", f"/admin/orders/{id}/ship", json={"carrier": "DHL", "tracking": "1"})
        counts.setdefault("ship", set()).add(statements(shipped))
        restock = [{"book": book, "quantity": 1} for book in range(1, count + 1) if book not in (8, 9)]
        counts.setdefault("refund", set()).add(statements(refund(admin, id, restock=restock, amount=money(1))))
        counts.setdefault("order", set()).add(statements(buyer.get(f"/orders/{id}")))
        counts.setdefault("orders", set()).add(statements(buyer.get("/orders")))
        counts.setdefault("admin order", set()).add(statements(admin.get(f"/admin/orders/{id}")))
        counts.setdefault("admin orders", set()).add(statements(admin.get("/admin/orders")))
        counts.setdefault("stock", set()).add(statements(admin.get("/admin/stock/1")))
        adjusted = admin.call("POST", "/admin/stock/1/adjust", json={"delta": 1, "reason": "x"})
        counts.setdefault("adjust", set()).add(statements(adjusted))
        buyer.close()
        cancelling = api.guest(shop.url)
        cancelling.add(20)
        cancelled = cancelling.call("POST", f"/orders/{place(cancelling)['order']['id']}/cancel")
        counts.setdefault("cancel", set()).add(statements(cancelled))
        cancelling.close()
    assert counts == {
        "quote": {0}, "checkout": {16}, "ship": {11}, "refund": {28}, "order": {3}, "orders": {3}, "admin order": {3},
        "admin orders": {3}, "stock": {2}, "adjust": {3}, "cancel": {17},
    }  # fmt: skip


def test_a_lost_webhook_is_not_missed(make_shop, admin_of):
    """No webhook ever arrives: the keeper asks by itself, for payments and for refunds made at the provider."""
    shop = make_shop({"BOOKCART_SANDBOX_WEBHOOKS": "lost", "BOOKCART_PAYMENT_RECONCILE": "100ms"})
    admin_of(shop)
    buyer = api.guest(shop.url)
    paid = buy(buyer, 30)
    secret = (shop.data / "keys" / "service.key").read_text().strip()
    transport = httpx.HTTPTransport(uds=str(shop.data / "run" / "payment-internal.sock"))
    with httpx.Client(transport=transport, base_url="http://payment", timeout=20) as internal:
        answer = internal.post(f"/internal/sandbox/payments/{paid['payment']['id']}/refunds", json={"amount": 99},
                               headers={"Authorization": f"Bearer {secret}"})  # fmt: skip
        assert answer.status_code in (200, 201), answer.text
    wait_for(lambda: buyer.get(f"/orders/{paid['id']}").json()["refunded"] == money(99), "the sweep to find it", 30)
    check_books(shop)
    buyer.close()
