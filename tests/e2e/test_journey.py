"""One purchase, from the first search to the refund, as a customer lives it. Read it from top to bottom: it is the tour of the shop.

Ann looks around as a guest, registers, finds her cart on a second device, pays at the third try, gets her mails, sends a part back and asks
a question whose answer everybody can read. Bob runs the shop.
"""

import pytest

import api
import mailbox
from api import Caller, assert_problem, lines
from buying import BULGARIA, check_books, confirm, key, order_form, quote, refund, stock, wait_order, wait_stock
from shop import wait_for

ANN = "ann@reader.example"
PASSWORD = "correct horse battery"


@pytest.fixture
def journey(make_shop):
    """A shop with Bob at the till, and Ann's telephone without a sign-in."""
    shop = make_shop()
    bob = Caller(shop.url, {"access_token": shop.admin()})
    wait_stock(bob, 300)
    yield shop, bob, api.guest(shop.url)
    check_books(shop)


def test_from_first_search_to_refund(journey):
    shop, bob, telephone = journey

    # Ann types with a slip of the finger, and finds the book.
    typing = telephone.get("/books/suggest?q=book 1").json()["items"]
    assert 1 <= len(typing) <= 10
    found = telephone.get("/books?q=bok 11").json()["items"]
    assert 11 in [book["id"] for book in found[:3]]
    book = telephone.get("/books/11").json()
    assert book["availability"] == "in_stock"

    # Into the cart. Nobody asked who she is.
    cart = telephone.add(11, 2)
    assert lines(cart) == [(11, 2)] and cart.json()["subtotal"]["amount"] == 2 * book["price"]["amount"]
    assert cart.headers["cart-durability"] == "committed"

    # She registers: the guest becomes the customer, with the same cart.
    answer = telephone.call("POST", "/auth/register", json={"email": ANN, "password": PASSWORD, "name": "Ann Bell"})
    assert answer.status_code == 201, answer.text
    phone = Caller(shop.url, answer.json())
    assert phone.user == telephone.user and lines(phone.cart()) == [(11, 2)]
    token = mailbox.take_token(shop, ANN, "verify")
    assert phone.call("POST", "/auth/email/verify", json={"token": token}).status_code == 204
    assert phone.get("/me").json()["email_verified"] is True

    # On her laptop she had been looking too. Signing in there merges both carts, and says line by line how.
    laptop_guest = api.guest(shop.url)
    laptop_guest.add(11, 1)
    laptop_guest.add(12, 1)
    laptop = api.login(shop.url, ANN, PASSWORD, guest=laptop_guest, cart="max")
    merge = laptop.tokens["cart_merge"]
    assert merge["state"] == "merged"
    assert {(line["book"], line["guest"], line["user"], line["result"]) for line in merge["lines"]} >= {(12, 1, 0, 1)}
    assert sorted(lines(laptop.cart())) == [(11, 2), (12, 1)]
    wait_for(lambda: sorted(lines(phone.cart())) == [(11, 2), (12, 1)], "the telephone to show the same cart")
    wait_for(lambda: laptop_guest.cart().status_code == 401, "the guest to have ended")

    # What will it cost, sent to Sofia?
    quoted = quote(laptop).json()
    assert quoted["total"]["amount"] == quoted["subtotal"]["amount"] + quoted["shipping"]["amount"]  # prices hold the tax
    form = order_form(laptop, email=ANN)
    assert form["expected_total"] == quoted["total"]

    # She checks out. The copies are hers until the order expires; the double click changes nothing.
    own_key = key()
    placed = laptop.call("POST", "/checkout", json=form, headers=own_key)
    assert placed.status_code == 201, placed.text
    again = laptop.call("POST", "/checkout", json=form, headers=own_key)
    assert again.json() == placed.json() and again.headers["idempotent-replayed"] == "true"
    order, payment = placed.json()["order"], placed.json()["payment"]["id"]
    assert order["state"] == "awaiting_payment" and stock(bob, 11)["reserved"] == 2

    # The first card is declined, and the order stays open.
    declined = confirm(laptop, payment, "pm_card_visa_chargeDeclinedInsufficientFunds")
    assert assert_problem(declined, 402, "payment-declined")["errors"][0]["code"] == "insufficient_funds"
    assert laptop.get(f"/orders/{order['id']}").json()["state"] == "awaiting_payment"

    # While the bank asks for 3-D Secure, she puts one more book into the cart on the telephone.
    assert confirm(laptop, payment, "pm_card_threeDSecure2Required").json()["status"] == "requires_action"
    phone.add(13, 1)
    done = laptop.call("POST", f"/sandbox/payments/{payment}/authenticate", json={"success": True})
    assert done.json()["status"] == "succeeded"
    paid = wait_order(laptop, order["id"], "paid")

    # What was ordered has left the cart; what came later is still there. The stock is sold.
    wait_for(lambda: lines(phone.cart()) == [(13, 1)], "what was ordered to leave the cart")
    assert stock(bob, 11)["reserved"] == 0 and stock(bob, 11)["on_hand"] == 498

    # The mail names the order.
    mail = mailbox.take(shop, ANN, lambda mail: paid["number"] in mail.text)
    assert "Book 11" in mail.text
    history = phone.get("/orders").json()["items"]
    assert [entry["id"] for entry in history] == [order["id"]]
    assert history[0]["lines"][0]["title"] == "Book 11" and history[0]["shipping_address"] == BULGARIA

    # Bob sends it; Ann sends one copy back and gets its money.
    sent = bob.call("POST", f"/admin/orders/{order['id']}/ship", json={"carrier": "DHL", "tracking": "JD014600"})
    assert sent.json()["fulfilment"] == "shipped"
    mailbox.take(shop, ANN, lambda mail: "JD014600" in mail.text)
    back = refund(bob, order["id"], restock=[{"book": 11, "quantity": 1}], amount=book["price"])
    assert back.status_code == 201 and back.json()["state"] == "succeeded"
    wait_for(lambda: phone.get(f"/orders/{order['id']}").json()["refunded"] == book["price"], "the refund to show")
    assert stock(bob, 11)["on_hand"] == 499
    too_much = refund(bob, order["id"], amount=paid["total"])
    assert_problem(too_much, 409)

    # She asks about the book; Bob answers for everybody, in words of his own.
    asked = phone.call(
        "POST", "/questions", json={"about": {"kind": "book", "id": 11}, "subject": "Binding", "text": "Mine is soft. Are all?"}
    ).json()
    queue = bob.get("/admin/questions?state=open").json()["items"]
    assert [entry["id"] for entry in queue] == [asked["id"]]
    told = bob.call(
        "POST", f"/admin/questions/{asked['id']}/answer",
        json={"text": "Yes, it is a paperback.", "public": True, "public_question": "Is this edition a paperback?"},
    )  # fmt: skip
    assert told.status_code == 201, told.text
    mailbox.take(shop, ANN, lambda mail: "Binding" in mail.text)
    assert phone.get(f"/questions/{asked['id']}").json()["state"] == "answered"
    everybody = Caller(shop.url)
    public = wait_for(lambda: everybody.get("/books/11/questions").json()["items"], "the answer to be public")
    assert public[0]["answer"] == "Yes, it is a paperback." and "Ann" not in str(public) and "Mine is soft" not in str(public)
