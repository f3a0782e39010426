"""Money that comes when its order is over, which the shop rules out as far as it can: it lets go of an order only when the provider has said
that nothing can come. Here the provider is wrong about that (point provider.cancel-unknown), and the customer pays. Both ends: the copies are
still there, then he gets them; they are sold, then he gets his money back and a mail that says why."""

import mailbox
import pytest

import api
from api import Caller, lines
from buying import buy, check_books, confirm, money, order, place, refund, stock, wait_order, wait_stock
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
