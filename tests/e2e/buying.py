"""Buying, step by step: what tests of payment share."""

import contextlib
import pathlib
import shutil
import sqlite3
import tempfile
import uuid

import httpx

from api import Caller
from shop import wait_for

BULGARIA = {"name": "Ann Bell", "line1": "1 Long Street", "city": "Sofia", "postcode": "1000", "country": "BG"}
FRANCE = {"name": "Ann Bell", "line1": "1 rue Longue", "city": "Lyon", "postcode": "69001", "country": "FR"}


def key() -> dict:
    return {"Idempotency-Key": uuid.uuid4().hex}


def quote(buyer: Caller, country: str = "BG", **more):
    version = buyer.cart().json()["version"]
    return buyer.call("POST", "/checkout/quote", json={"cart_version": version, "ship_to": {"country": country}, **more})


def order_form(buyer: Caller, address: dict = BULGARIA, **more) -> dict:
    quoted = quote(buyer, address["country"])
    assert quoted.status_code == 200, quoted.text
    body = quoted.json()
    return {
        "cart_version": body["cart_version"], "expected_total": body["total"],
        "shipping_method": body["shipping_method"], "shipping_address": address, "email": "ann@mail.example", **more,
    }  # fmt: skip


def checkout(buyer: Caller, form: dict | None = None, headers: dict | None = None, **more):
    form = form if form is not None else order_form(buyer, **more)
    return buyer.call("POST", "/checkout", json=form, headers=headers or key())


def place(buyer: Caller, **more) -> dict:
    """An order of what is in the cart; {"order", "payment"}."""
    answer = checkout(buyer, **more)
    assert answer.status_code == 201, answer.text
    return answer.json()


def confirm(buyer: Caller, payment: str, method: str = "pm_card_visa"):
    return buyer.call("POST", f"/sandbox/payments/{payment}/confirm", json={"payment_method": method})


def order(buyer: Caller, id: str) -> dict:
    answer = buyer.get(f"/orders/{id}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def wait_order(buyer: Caller, id: str, state: str, seconds: float = 20) -> dict:
    found = {}

    def reached():
        found.update(order(buyer, id))
        return found["state"] == state

    wait_for(reached, f"order {id} to be {state}", seconds)
    return found


def buy(buyer: Caller, book: int, quantity: int = 1, **more) -> dict:
    """A paid order."""
    assert buyer.add(book, quantity).status_code == 200
    placed = place(buyer, **more)
    answer = confirm(buyer, placed["payment"]["id"])
    assert answer.status_code == 200, answer.text
    return wait_order(buyer, placed["order"]["id"], "paid")


def stock(admin: Caller, book: int) -> dict:
    answer = admin.get(f"/admin/stock/{book}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def wait_stock(admin: Caller, book: int) -> dict:
    """The ledger of a book that was just created."""
    wait_for(lambda: admin.get(f"/admin/stock/{book}").status_code == 200, f"the ledger of book {book}")
    return stock(admin, book)


def refund(admin: Caller, id: str, headers: dict | None = None, restock: list | None = None, **more):
    body = {"reason": "damaged", "restock": restock or [], **more}
    return admin.call("POST", f"/admin/orders/{id}/refunds", json=body, headers=headers or key())


def money(amount: int) -> dict:
    return {"amount": amount, "currency": "EUR"}


HOUR_MS = 3600 * 1000
DAY_MS = 24 * HOUR_MS
AGED = {
    "payment.db": {"orders": ["created_ms", "expires_ms", "ended_ms", "check_ms"], "refunds": ["created_ms", "check_ms"]},
    "sandbox.db": {"payments": ["created_ms"], "refunds": ["created_ms"], "request_keys": ["created_ms"]},
}


def grow_older(shop, by_ms: int) -> None:
    """Moves the past of a stopped shop, and of its sandbox, so far back: what happened an hour ago happened days ago."""
    assert shop.process.poll() is not None
    for name, tables in AGED.items():
        if not (shop.data / name).exists():
            continue
        with contextlib.closing(sqlite3.connect(shop.data / name, isolation_level=None)) as store:
            for table, columns in tables.items():
                store.execute(f"UPDATE {table} SET " + ", ".join(f"{c} = {c} - {by_ms}" for c in columns))


DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"


def public_id(prefix: str, data: bytes) -> str:
    """The text of sixteen bytes, as src/cart/cart_id.h has it."""
    number, digits = int.from_bytes(data, "big"), ""
    for _ in range(26):
        digits = DIGITS[number & 31] + digits
        number >>= 5
    return prefix + digits


# What must hold whatever happened: each asks for what breaks it.
INVARIANTS = {
    "on hand is the ledger's sum": """
        SELECT s.book FROM stock s WHERE s.on_hand <>
        (SELECT COALESCE(SUM(e.delta), 0) FROM stock_entries e WHERE e.book = s.book)""",
    "reserved is what orders hold": """
        SELECT s.book FROM stock s WHERE s.reserved <>
        (SELECT COALESCE(SUM(r.quantity), 0) FROM reservations r WHERE r.book = s.book)""",
    "nothing is oversold": "SELECT book FROM stock WHERE reserved < 0 OR on_hand < reserved",
    "open orders hold their lines, others nothing": """
        SELECT o.number FROM orders o WHERE
        (SELECT COUNT(*) FROM reservations r WHERE r.order_id = o.id) <>
        CASE WHEN o.state = 0 THEN (SELECT COUNT(*) FROM order_lines l WHERE l.order_id = o.id) ELSE 0 END""",
    "paid orders sold each line once, others none": """
        SELECT o.number, l.book FROM orders o JOIN order_lines l ON l.order_id = o.id WHERE
        (SELECT COUNT(*) FROM stock_entries e WHERE e.book = l.book AND e.reason = 'sold' AND e.delta = -l.quantity
         AND e.reference = order_text(o.id)) <> (o.state = 1)""",
    "every sale has its paid order": """
        SELECT e.reference FROM stock_entries e WHERE e.reason = 'sold' AND e.reference NOT IN
        (SELECT order_text(o.id) FROM orders o WHERE o.state = 1)""",
    "a paid order was told once": """
        SELECT order_text(o.id) FROM orders o WHERE
        (SELECT COUNT(*) FROM outbox b WHERE b.type = 'order.paid' AND b.event_key = order_text(o.id)) <> (o.state = 1)""",
    "refunds stay within what was paid": """
        SELECT number FROM orders WHERE refunded_minor > refunding_minor OR refunding_minor > paid_minor""",
    "an order's sums are its refunds'": """
        SELECT o.number FROM orders o WHERE
        o.refunding_minor <> (SELECT COALESCE(SUM(r.amount_minor), 0) FROM refunds r
                              WHERE r.order_ref = order_text(o.id) AND r.state <> 2) OR
        o.refunded_minor <> (SELECT COALESCE(SUM(r.amount_minor), 0) FROM refunds r
                             WHERE r.order_ref = order_text(o.id) AND r.state = 1)""",
    "a user has one open order": "SELECT open_user FROM orders WHERE open_user IS NOT NULL AND state <> 0",
}


@contextlib.contextmanager
def held(shop, service: str):
    """The files of a service stand still, as `bookcart backup` has it: nobody opens a store that a service writes."""
    if shop.process is None or shop.process.poll() is not None:
        yield
        return
    secret = (shop.data / "keys" / "service.key").read_text().strip()
    transport = httpx.HTTPTransport(uds=str(shop.data / "run" / f"{service}-internal.sock"))
    headers, id = {"Authorization": f"Bearer {secret}"}, uuid.uuid4().hex
    with httpx.Client(transport=transport, base_url=f"http://{service}", headers=headers, timeout=20) as internal:

        def hold():  # it may have been killed a moment ago, and is coming back
            with contextlib.suppress(httpx.HTTPError):
                return internal.post("/internal/hold", json={"id": id, "ms": 10000}).status_code == 200

        wait_for(hold, f"{service} to hold its files", 30)
        yield
        released = internal.post("/internal/hold/release", json={"id": id})
        assert released.json() == {"held": True}, released.text  # else the copy may be torn


def open_store(shop, name: str = "payment.db", service: str = "payment") -> sqlite3.Connection:
    """What a file of a service (payment has two, the other is sandbox.db) holds now: a copy in memory."""
    with tempfile.TemporaryDirectory() as folder:
        with held(shop, service):
            for end in ("", "-wal"):
                with contextlib.suppress(FileNotFoundError):
                    shutil.copy(shop.data / f"{name}{end}", folder)
        with contextlib.closing(sqlite3.connect(pathlib.Path(folder) / name)) as copy:
            store = sqlite3.connect(":memory:")
            copy.backup(store)
    store.create_function("order_text", 1, lambda data: public_id("ord_", data), deterministic=True)
    return store


def check_books(shop) -> None:
    """Stock, orders, refunds and events agree with each other."""
    with contextlib.closing(open_store(shop)) as store:
        broken = {name: rows for name, sql in INVARIANTS.items() if (rows := store.execute(sql).fetchall())}
    assert not broken, broken
