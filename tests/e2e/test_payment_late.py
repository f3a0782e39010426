"""Money that comes when its order is over, which the shop rules out as far as it can: it lets go of an order only when the provider has said
that nothing can come. Here the provider is wrong about that (point provider.cancel-unknown), and the customer pays. Both ends: the copies are
still there, then he gets them; they are sold, then he gets his money back and a mail that says why. And money that comes back: the bank
returns a refund after days, and nobody is told."""

import contextlib
import sqlite3

import mailbox
import pytest

import api
from api import Caller, lines
from buying import (
    DAY_MS, buy, check_books, confirm, grow_older, money, order, place, refund, stock, wait_order, wait_stock,
)  # fmt: skip
from shop import wait_for

SCARCE, PLENTIFUL = 8, 10  # one copy; five hundred


@pytest.fixture(scope="module")
def late(program):
    """A shop, and who ordered in it what expired although it can still be paid: (buyer, order) of each book."""
    from conftest import shops
    from shop import Shop

    made = Shop(
        program,
        {"BOOKCART_ORDER_HOLD": "1s", "BOOKCART_PAYMENT_RECONCILE": "200ms",
         "BOOKCART_FAULTS": "provider.cancel-unknown=fail@*"},
        name="late",
    )  # fmt: skip
    shops.append(made)
    try:
        made.import_catalogue()
        made.start()
        admin = Caller(made.url, {"access_token": made.admin(), "user": {}})
        wait_stock(admin, 300)
        placed = {}
        for book, quantity in ((SCARCE, 1), (PLENTIFUL, 3)):
            buyer = api.register(made.url, f"late{book}@mail.example")
            buyer.add(book, quantity)
            placed[book] = (buyer, place(buyer, email=f"late{book}@mail.example"))
        for book, (buyer, expired) in placed.items():
            wait_order(buyer, expired["order"]["id"], "expired")
            assert stock(admin, book)["reserved"] == 0
        # From here on orders live long, and each webhook is delivered twice.
        made.stop()
        del made.settings["BOOKCART_ORDER_HOLD"], made.settings["BOOKCART_FAULTS"]
        made.settings["BOOKCART_SANDBOX_WEBHOOKS"] = "duplicated"
        made.start()
        yield made, admin, placed
        for caller in (admin, *(buyer for buyer, _ in placed.values())):
            caller.close()
    finally:
        made.destroy()
        shops.remove(made)


def test_copies_that_are_still_there_are_sold_after_all(late):
    shop, admin, placed = late
    buyer, expired = placed[PLENTIFUL]
    before = stock(admin, PLENTIFUL)
    assert confirm(buyer, expired["payment"]["id"]).status_code == 200
    paid = wait_order(buyer, expired["order"]["id"], "paid")
    assert paid["refunds"] == [] and paid["refunded"] == money(0)
    after = stock(admin, PLENTIFUL)
    assert (after["on_hand"], after["reserved"]) == (before["on_hand"] - 3, 0)
    mailbox.take(shop, f"late{PLENTIFUL}@mail.example", lambda mail: paid["number"] in mail.text)
    wait_for(lambda: lines(buyer.cart()) == [], "what was ordered to leave the cart")
    check_books(shop)
    shipped = admin.call("POST", f"/admin/orders/{paid['id']}/ship", json={"carrier": "DHL", "tracking": "1"})
    assert shipped.status_code == 200, shipped.text  # an order like any other


def test_money_for_copies_that_are_sold_goes_back(late):
    shop, admin, placed = late
    buyer, expired = placed[SCARCE]
    faster = api.guest(shop.url)
    bought = buy(faster, SCARCE)
    faster.close()
    assert stock(admin, SCARCE)["on_hand"] == 0
    assert confirm(buyer, expired["payment"]["id"]).status_code == 200
    id, total = expired["order"]["id"], expired["order"]["total"]
    wait_for(lambda: order(buyer, id)["refunded"] == total, "the money to go back")
    shown = order(buyer, id)
    assert shown["state"] == "expired"
    assert [(r["amount"], r["state"]) for r in shown["refunds"]] == [(total, "succeeded")]  # once, though told of it twice
    ledger = stock(admin, SCARCE)
    assert (ledger["on_hand"], ledger["reserved"]) == (0, 0)
    assert sorted(entry["delta"] for entry in ledger["history"]) == [-1, 1]  # opened, and sold to the faster one
    mail = mailbox.take(shop, f"late{SCARCE}@mail.example", lambda mail: shown["number"] in mail.text)
    assert f"{total['amount'] / 100:.2f}" in mail.text and "returned" in mail.subject
    assert lines(buyer.cart()) == [(SCARCE, 1)]  # he may try again when there are copies
    # All of it went back: there is nothing left to refund, and the other's order is untouched.
    assert refund(admin, id, amount=money(1)).status_code == 409
    assert admin.get(f"/admin/orders/{bought['id']}").json()["state"] == "paid"
    check_books(shop)


def test_a_refund_that_the_bank_sent_back_is_missed_by_nobody(late):
    shop, admin, _ = late
    buyer = api.guest(shop.url)
    came_back, stayed = buy(buyer, 11), buy(buyer, 12)
    for bought in (came_back, stayed):
        assert refund(admin, bought["id"]).json()["state"] == "succeeded"
    shop.stop()
    grow_older(shop, 2 * DAY_MS)  # the sweeps have read past these refunds long ago
    with contextlib.closing(sqlite3.connect(shop.data / "sandbox.db", isolation_level=None)) as sandbox:
        payment = (came_back["payment"]["id"],)
        assert sandbox.execute("UPDATE refunds SET state = 2 WHERE payment = ?", payment).rowcount == 1
        sandbox.execute("UPDATE payments SET refunded = 0 WHERE id = ?", payment)
    shop.settings["BOOKCART_SANDBOX_WEBHOOKS"] = "lost"
    shop.start()
    wait_for(lambda: order(buyer, came_back["id"])["refunded"] == money(0), "the returned refund to be found")
    shown = order(buyer, came_back["id"])
    assert shown["state"] == "paid" and [r["state"] for r in shown["refunds"]] == ["failed"]
    assert order(buyer, stayed["id"])["refunded"] == stayed["total"]
    # The money is the customer's still: it can be given back anew.
    anew = refund(admin, came_back["id"], amount=came_back["total"])
    assert anew.status_code == 201 and anew.json()["state"] == "succeeded", anew.text
    check_books(shop)
    buyer.close()
