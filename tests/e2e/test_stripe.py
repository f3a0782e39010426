"""A shop whose payments are Stripe's: bought, away at each call, answers lost, webhooks under rotated secrets, nothing secret in the log."""

import uuid

import pytest

import api
from api import Caller, assert_problem
from buying import (
    DAY_MS, HOUR_MS, check_books, checkout, confirm, grow_older, money, order, order_form, place, refund, stock, wait_order, wait_stock,
)  # fmt: skip
from shop import Shop, wait_for
from stripe_double import Stripe

OLD_SECRET, NEW_SECRET = "whsec_oldOne", "whsec_newOne"


@pytest.fixture(scope="module")
def stripe():
    double = Stripe(NEW_SECRET)
    yield double
    double.close()


@pytest.fixture(scope="module")
def stripe_shop(program, stripe):
    from conftest import shops

    made = Shop(
        program,
        {"BOOKCART_PAYMENTS": "stripe:", "BOOKCART_STRIPE_KEY": "sk_test_double",
         "BOOKCART_STRIPE_PUBLISHABLE_KEY": "pk_test_double",
         "BOOKCART_STRIPE_WEBHOOK_SECRETS": f"{OLD_SECRET} {NEW_SECRET}", "BOOKCART_STRIPE_API": stripe.url,
         "BOOKCART_PAYMENT_RECONCILE": "200ms", "BOOKCART_PAYMENT_TIMEOUT": "1500ms"},
        name="stripe",
    )  # fmt: skip
    shops.append(made)
    try:
        made.import_catalogue()
        yield made.start()
        log = made.log.read_text(encoding="utf-8", errors="replace")
        for secret in ("sk_test_double", OLD_SECRET, NEW_SECRET, "_secret_", "mail.example"):
            assert secret not in log, f"{secret} was logged"
    finally:
        made.destroy()
        shops.remove(made)


@pytest.fixture(scope="module")
def admin(stripe_shop):
    caller = Caller(stripe_shop.url, {"access_token": stripe_shop.admin(), "user": {}})
    wait_stock(caller, 300)
    return caller


@pytest.fixture
def buyer(stripe_shop, stripe, admin):
    caller = api.register(stripe_shop.url, f"{uuid.uuid4().hex[:12]}@mail.example")
    yield caller
    caller.close()
    stripe.trouble.clear()
    check_books(stripe_shop)


def tell(anyone: Caller, told: tuple[bytes, dict]):
    body, headers = told
    return anyone.call("POST", "/payment/webhook", content=body, headers=headers, token=None)


def payments_of(stripe: Stripe, id: str) -> list[dict]:
    return [payment for payment in stripe.payments.values() if payment["metadata"]["order"] == id]


def test_a_purchase_and_its_refund(stripe, buyer, admin):
    shown = buyer.get("/shop").json()["payment"]
    assert shown == {"provider": "stripe", "publishable_key": "pk_test_double"}
    buyer.add(7, 2)
    placed = place(buyer)
    id, payment = placed["order"]["id"], placed["payment"]["id"]
    at_stripe = stripe.payments[payment]
    assert placed["payment"] == {"provider": "stripe", "id": payment, "client_secret": at_stripe["client_secret"]}
    assert placed["order"]["test"] is True  # a test key
    assert (at_stripe["amount"], at_stripe["currency"]) == (placed["order"]["total"]["amount"], "eur")
    assert at_stripe["metadata"] == {"order": id, "number": placed["order"]["number"]}
    _, _, headers = next(a for a in stripe.asked if a[:2] == ("POST", "/v1/payment_intents"))
    assert (headers["Idempotency-Key"], headers["Stripe-Version"]) == (id, "2024-06-20")
    assert_problem(confirm(buyer, payment), 404)  # no sandbox here

    stripe.decline(payment, "insufficient_funds")
    assert tell(buyer, stripe.event(payment, "payment_intent.payment_failed")).status_code == 200
    wait_for(lambda: order(buyer, id)["payment"]["last_error"] == "insufficient_funds", "the decline to be told")
    stripe.pay(payment)
    assert tell(buyer, stripe.event(payment)).json() == {"received": True}
    paid = wait_order(buyer, id, "paid")

    answer = refund(admin, id, amount={"amount": 100, "currency": "EUR"})
    assert answer.status_code == 201 and answer.json()["state"] == "succeeded", answer.text
    with stripe.lock:
        stripe.refund(payment, 50)  # by hand, in Stripe's pages
    assert tell(buyer, stripe.event(payment, "charge.refunded")).status_code == 200
    wait_for(lambda: order(buyer, id)["refunded"]["amount"] == 150, "both refunds to be told")
    too_much = refund(admin, id, amount={"amount": paid["total"]["amount"] - 149, "currency": "EUR"})
    assert too_much.status_code in (409, 422)


@pytest.mark.parametrize("trouble", [["busy"], ["broken", "away"], ["lost"], ["lost", "busy", "lost"]])
def test_a_stumble_at_checkout_is_not_noticed(stripe, buyer, trouble):
    buyer.add(8 + 100)
    form = order_form(buyer)
    stripe.trouble.extend(trouble)
    answer = checkout(buyer, form)
    assert answer.status_code == 201, answer.text
    assert not stripe.trouble
    assert len(payments_of(stripe, answer.json()["order"]["id"])) == 1


@pytest.mark.parametrize("trouble", ["away*", "lost*"])
def test_away_at_checkout_then_back(stripe, buyer, trouble):
    buyer.add(109)
    form = order_form(buyer)
    stripe.trouble.append(trouble)
    assert_problem(checkout(buyer, form), 503, "unavailable")
    stripe.trouble.clear()
    answer = checkout(buyer, form)
    assert answer.status_code in (200, 201), answer.text
    id, payment = answer.json()["order"]["id"], answer.json()["payment"]["id"]
    assert [p["id"] for p in payments_of(stripe, id)] == [payment]
    stripe.pay(payment)
    wait_order(buyer, id, "paid")  # found without a webhook


@pytest.mark.parametrize("trouble", ["away*", "lost*"])
def test_away_at_cancel_then_back(stripe, buyer, admin, trouble):
    before = stock(admin, 110)
    buyer.add(110, 3)
    placed = place(buyer)
    id, payment = placed["order"]["id"], placed["payment"]["id"]
    stripe.trouble.append(trouble)
    answer = buyer.call("POST", f"/orders/{id}/cancel")
    assert_problem(answer, 503)
    # Nothing is given back before the provider has said that no money can come.
    assert stock(admin, 110)["reserved"] == before["reserved"] + 3
    stripe.trouble.clear()
    wait_order(buyer, id, "cancelled")
    assert stripe.payments[payment]["status"] == "canceled"
    assert stock(admin, 110)["free"] == before["free"]


@pytest.mark.parametrize("trouble", ["away*", "lost*"])
def test_away_at_a_refund_then_back(stripe, buyer, admin, trouble):
    buyer.add(111)
    placed = place(buyer)
    id, payment = placed["order"]["id"], placed["payment"]["id"]
    stripe.pay(payment)
    paid = wait_order(buyer, id, "paid")
    stripe.trouble.append(trouble)
    answer = refund(admin, id)
    assert answer.status_code in (201, 503), answer.text
    stripe.trouble.clear()
    wait_for(lambda: order(buyer, id)["refunded"] == paid["total"], "the refund to be made")
    assert len([r for r in stripe.refunds.values() if r["payment_intent"] == payment]) == 1


def test_paid_while_the_customer_cancels(stripe, buyer, admin):
    """Stripe took the money a moment before: the order is paid, not cancelled."""
    buyer.add(112)
    placed = place(buyer)
    id, payment = placed["order"]["id"], placed["payment"]["id"]
    stripe.pay(payment)
    answer = buyer.call("POST", f"/orders/{id}/cancel")
    assert answer.status_code == 409, answer.text
    assert order(buyer, id)["state"] == "paid"


def test_secrets_are_rotated_without_a_gap(stripe, buyer):
    buyer.add(113)
    payment = place(buyer)["payment"]["id"]
    try:
        for secret, status in ((OLD_SECRET, 200), (NEW_SECRET, 200), ("whsec_other", 400)):
            stripe.secret = secret
            assert tell(buyer, stripe.event(payment, "payment_intent.created")).status_code == status
    finally:
        stripe.secret = NEW_SECRET


def test_a_refund_that_failed_after_days_is_found_without_its_webhook(stripe_shop, stripe, buyer, admin):
    paid = []
    for book in (114, 115):
        buyer.add(book)
        placed = place(buyer)
        stripe.pay(placed["payment"]["id"])
        paid.append(wait_order(buyer, placed["order"]["id"], "paid"))
        assert refund(admin, paid[-1]["id"]).json()["state"] == "succeeded"
    stripe_shop.stop()
    grow_older(stripe_shop, 2 * DAY_MS)
    stripe.grow_older(2 * DAY_MS)
    stripe.send_back(paid[0]["payment"]["id"])
    stripe_shop.start()
    wait_for(lambda: order(buyer, paid[0]["id"])["refunded"] == money(0), "the failed refund to be found")
    assert [r["state"] for r in order(buyer, paid[0]["id"])["refunds"]] == ["failed"]
    assert order(buyer, paid[1]["id"])["refunded"] == paid[1]["total"]


def repeat_after_a_day(shop: Shop, stripe: Stripe) -> None:
    """The shop was down for a day, and Stripe has forgotten its keys."""
    shop.stop()
    grow_older(shop, 25 * HOUR_MS)
    stripe.grow_older(25 * HOUR_MS)
    assert not stripe.answers
    stripe.trouble.clear()
    shop.start()


@pytest.mark.parametrize("trouble, made", [("lost*", 1), ("away*", 0)])
def test_a_refund_repeated_after_its_key_was_forgotten(stripe_shop, stripe, buyer, admin, trouble, made):
    def refunds():
        return [r["amount"] for r in stripe.refunds.values() if r["payment_intent"] == payment]

    buyer.add(116, 2)
    placed = place(buyer)
    id, payment = placed["order"]["id"], placed["payment"]["id"]
    stripe.pay(payment)
    wait_order(buyer, id, "paid")
    stripe.trouble.append(trouble)
    answer = refund(admin, id, amount=money(100))  # a part: a second one would be made just as well
    assert answer.status_code == 201 and answer.json()["state"] == "pending", answer.text
    assert refunds() == [100] * made
    repeat_after_a_day(stripe_shop, stripe)
    wait_for(lambda: order(buyer, id)["refunded"] == money(100), "the refund to be known")
    assert [(r["id"], r["state"]) for r in order(buyer, id)["refunds"]] == [(answer.json()["id"], "succeeded")]
    assert refunds() == [100]


def test_a_payment_repeated_after_its_key_was_forgotten(stripe_shop, stripe, buyer):
    buyer.add(117)
    stripe.trouble.append("lost*")
    assert_problem(checkout(buyer), 503, "unavailable")
    id = buyer.get("/orders").json()["items"][0]["id"]
    assert [p["status"] for p in payments_of(stripe, id)] == ["requires_payment_method"]
    repeat_after_a_day(stripe_shop, stripe)
    wait_order(buyer, id, "expired")
    # The one that was made a day ago, found and ended; no second one that somebody would have to end.
    assert [p["status"] for p in payments_of(stripe, id)] == ["canceled"]
