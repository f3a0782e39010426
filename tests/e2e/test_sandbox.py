"""The sandbox from outside: its routes, its webhooks, and what the shop makes of them when they are late, doubled, reversed or lost."""

import hashlib
import hmac
import json
import time
import uuid

import httpx
import pytest

import api
from api import Caller, assert_problem
from buying import buy, check_books, confirm, key, order, place, refund, stock, wait_order, wait_stock
from shop import kill, wait_for

# What Stripe's page "Testing" says of each method: the code that a customer is told.
DECLINES = {
    "pm_card_visa_chargeDeclined": "generic_decline",
    "pm_card_visa_chargeDeclinedInsufficientFunds": "insufficient_funds",
    "pm_card_visa_chargeDeclinedLostCard": "lost_card",
    "pm_card_visa_chargeDeclinedStolenCard": "stolen_card",
    "pm_card_chargeDeclinedExpiredCard": "expired_card",
    "pm_card_chargeDeclinedIncorrectCvc": "incorrect_cvc",
    "pm_card_chargeDeclinedProcessingError": "processing_error",
}


def authenticate(buyer: Caller, payment: str, success: bool = True, headers: dict | None = None):
    return buyer.call(
        "POST", f"/sandbox/payments/{payment}/authenticate", json={"success": success}, headers=headers or {}
    )


def declined(answer) -> str:
    body = assert_problem(answer, 402, "payment-declined")
    assert [error["field"] for error in body["errors"]] == ["payment_method"]
    return body["errors"][0]["code"]


def inside(shop, method: str, path: str, **more):
    """A call on the payment service's internal listener."""
    service_key = (shop.data / "keys" / "service.key").read_text().strip()
    transport = httpx.HTTPTransport(uds=str(shop.data / "run" / "payment-internal.sock"))
    with httpx.Client(transport=transport, timeout=20) as client:
        return client.request(
            method, f"http://payment{path}", headers={"Authorization": f"Bearer {service_key}"}, **more
        )


def sign(shop, body: bytes, at: int | None = None, secret: str | None = None) -> str:
    at = int(time.time()) if at is None else at
    secret = secret or (shop.data / "keys" / "sandbox-webhook.key").read_text().strip()
    return f"t={at},v1={hmac.new(secret.encode(), f'{at}.'.encode() + body, hashlib.sha256).hexdigest()}"


def event(type: str = "payment_intent.succeeded", payment: str = "pi_none", **more) -> bytes:
    return json.dumps(
        {"id": f"evt_{uuid.uuid4().hex}", "object": "event", "type": type, "created": int(time.time()),
         "data": {"object": {"id": payment, "object": "payment_intent"}}, **more}
    ).encode()  # fmt: skip


def post_event(anyone: Caller, body: bytes, signature: str | None):
    headers = {"Content-Type": "application/json"}
    if signature is not None:
        headers["Stripe-Signature"] = signature
    return anyone.call("POST", "/payment/webhook", content=body, headers=headers, token=None)


@pytest.fixture(scope="module")
def admin(shop):
    caller = Caller(shop.url, {"access_token": shop.admin(), "user": {}})
    wait_stock(caller, 300)
    return caller


@pytest.fixture(scope="module", autouse=True)
def books_agree(shop, admin):
    yield
    check_books(shop)


@pytest.fixture
def buyer(shop):
    caller = api.register(shop.url, f"{uuid.uuid4().hex[:12]}@mail.example")
    yield caller
    caller.close()


@pytest.fixture
def placed(buyer, admin):
    buyer.add(31)
    return place(buyer)


# --- the form and the bank's page ---


def test_it_says_sandbox_wherever_it_shows(anyone, buyer, placed):
    assert anyone.get("/shop").json()["payment"]["provider"] == "sandbox"
    assert placed["payment"]["provider"] == "sandbox" and placed["order"]["test"] is True
    answer = confirm(buyer, placed["payment"]["id"])
    assert answer.json() == {"provider": "sandbox", "id": placed["payment"]["id"], "status": "succeeded"}


def test_declined_then_3d_secure_failed_then_paid(buyer, placed):
    payment, id = placed["payment"]["id"], placed["order"]["id"]
    for method, code in DECLINES.items():
        assert declined(confirm(buyer, payment, method)) == code
    wait_for(lambda: order(buyer, id)["payment"]["last_error"] == "processing_error", "the order to tell the last decline")
    assert order(buyer, id)["state"] == "awaiting_payment"

    assert confirm(buyer, payment, "pm_card_threeDSecure2Required").json()["status"] == "requires_action"
    assert declined(authenticate(buyer, payment, False)) == "payment_intent_authentication_failure"
    assert_problem(authenticate(buyer, payment), 409, "conflict")

    assert confirm(buyer, payment, "pm_card_threeDSecureRequiredChargeDeclined").json()["status"] == "requires_action"
    assert declined(authenticate(buyer, payment)) == "generic_decline"

    assert confirm(buyer, payment, "pm_card_threeDSecure2Required").json()["status"] == "requires_action"
    assert authenticate(buyer, payment).json()["status"] == "succeeded"
    paid = wait_order(buyer, id, "paid")
    assert paid["payment"]["last_error"] is None
    assert_problem(confirm(buyer, payment), 409, "conflict")
    assert_problem(authenticate(buyer, payment), 409, "conflict")


def test_payments_of_others_are_not_there(buyer, guest, anyone, placed):
    payment = placed["payment"]["id"]
    assert_problem(confirm(guest, payment), 404, "not-found")
    assert_problem(authenticate(guest, payment), 404, "not-found")
    for nonsense in ("pi_none", "pi_", "x", placed["order"]["id"], payment.upper()):
        assert_problem(confirm(buyer, nonsense), 404, "not-found")
    assert_problem(confirm(anyone, payment), 401)


@pytest.mark.parametrize("method", ["pm_card_gold", "", "4242424242424242", "' OR 1=1"])
def test_methods_that_are_none(buyer, placed, method):
    answer = confirm(buyer, placed["payment"]["id"], method)
    assert assert_problem(answer, 422, "not-acceptable-value")["errors"][0]["field"] == "payment_method"


def test_forms_that_are_wrong(buyer, placed):
    path = f"/sandbox/payments/{placed['payment']['id']}"
    for body in ({}, {"payment_method": 7}, {"payment_method": "pm_card_visa", "amount": 1}, [], "x"):
        assert_problem(buyer.call("POST", f"{path}/confirm", json=body), 400)
    for body in ({}, {"success": "yes"}, {"success": None}):
        assert_problem(buyer.call("POST", f"{path}/authenticate", json=body), 400)


def test_a_repeat_counts_once(buyer, placed):
    path, once = f"/sandbox/payments/{placed['payment']['id']}/confirm", key()
    first = buyer.call("POST", path, json={"payment_method": "pm_card_visa"}, headers=once)
    again = buyer.call("POST", path, json={"payment_method": "pm_card_visa"}, headers=once)
    assert first.status_code == again.status_code == 200 and first.json() == again.json()
    assert again.headers["idempotent-replayed"] == "true"
    other = buyer.call("POST", path, json={"payment_method": "pm_card_mastercard"}, headers=once)
    assert_problem(other, 422, "idempotency-key-reused")


def test_a_debit_is_waited_for(buyer, placed, admin):
    """Processing: neither cancelled nor expired meanwhile, paid when the bank has paid."""
    payment, id = placed["payment"]["id"], placed["order"]["id"]
    assert confirm(buyer, payment, "pm_success_de").json()["status"] == "processing"
    assert_problem(buyer.call("POST", f"/orders/{id}/cancel"), 409, "payment-in-progress")
    assert_problem(confirm(buyer, payment), 409, "conflict")
    wait_order(buyer, id, "paid")


def test_a_debit_that_bounces_can_be_paid_otherwise(buyer, placed):
    payment, id = placed["payment"]["id"], placed["order"]["id"]
    assert confirm(buyer, payment, "pm_failed_de").json()["status"] == "processing"
    wait_for(lambda: order(buyer, id)["payment"]["last_error"], "the debit to bounce")
    assert order(buyer, id)["state"] == "awaiting_payment"
    assert confirm(buyer, payment).status_code == 200
    wait_order(buyer, id, "paid")


@pytest.mark.parametrize(
    "method, state, refunded",
    [("pm_card_pendingRefund", "succeeded", 1), ("pm_card_refundFail", "failed", 0),
     ("pm_sandbox_pendingRefundFail", "failed", 0)],
)  # fmt: skip
def test_refunds_that_take_their_time(buyer, admin, method, state, refunded):
    buyer.add(32)
    placed = place(buyer)
    assert confirm(buyer, placed["payment"]["id"], method).status_code == 200
    id, total = placed["order"]["id"], placed["order"]["total"]
    wait_order(buyer, id, "paid")
    first = refund(admin, id)
    assert first.status_code == 201, first.text
    assert first.json()["state"] == ("succeeded" if method == "pm_card_refundFail" else "pending")
    assert refund(admin, id).status_code in (409, 422)  # pending counts: nothing is left to refund

    def settled():
        now = order(buyer, id)
        return now["refunds"][0]["state"] == state and now["refunded"]["amount"] == refunded * total["amount"]

    wait_for(settled, f"the refund to be {state}")


def test_a_refund_made_at_the_provider_appears(shop, buyer, admin):
    paid = buy(buyer, 33)
    payment = next(p["id"] for p in [admin.get(f"/admin/orders/{paid['id']}").json()["payment"]])
    path = f"/internal/sandbox/payments/{payment}/refunds"
    made = inside(shop, "POST", path, json={"amount": 100})
    assert made.status_code == 201, made.text
    wait_for(lambda: order(buyer, paid["id"])["refunded"]["amount"] == 100, "the refund to appear")
    assert inside(shop, "POST", path, json={"amount": paid["total"]["amount"]}).status_code == 409
    too_much = refund(admin, paid["id"], amount=paid["total"])
    assert too_much.status_code in (409, 422), too_much.text
    assert inside(shop, "POST", "/internal/sandbox/payments/pi_none/refunds", json={"amount": 1}).status_code == 404


def test_the_providers_own_doors_are_not_on_the_edge(shop, buyer):
    for path in ("/internal/sandbox/webhooks/resend", "/internal/sandbox/payments/pi_1/refunds"):
        assert httpx.post(f"{shop.url}{path}", json={"amount": 1}).status_code == 404
        assert buyer.call("POST", path, json={"amount": 1}).status_code == 404


# --- webhooks ---


def test_webhooks_that_are_not_the_providers(shop, anyone):
    body, now = event(), int(time.time())
    good = sign(shop, body)
    wrong = {
        "none": None,
        "empty": "",
        "nonsense": "x" * 50,
        "no time": good.split(",")[1],
        "no signature": good.split(",")[0],
        "other secret": sign(shop, body, secret="whsec_other"),
        "other body": sign(shop, body + b" "),
        "old": sign(shop, body, now - 301 - 60),
        "from the future": sign(shop, body, now + 301 + 60),
        "another time": f"t={now + 1}," + sign(shop, body, now).split(",")[1],
        "another scheme": good.replace("v1=", "v0="),
    }
    for what, signature in wrong.items():
        answer = post_event(anyone, body, signature)
        assert answer.status_code == 400, what
        assert_problem(answer, 400, "bad-signature")
    assert post_event(anyone, body, good).json() == {"received": True}


def test_a_webhook_again_and_of_unknown_kinds_is_taken(shop, anyone):
    body = event("v9.something.nobody.knows", data={"object": {"id": "x_1", "object": "x"}})
    for _ in range(3):
        assert post_event(anyone, body, sign(shop, body)).status_code == 200
    body = event(payment="pi_ofNobody")
    assert post_event(anyone, body, sign(shop, body)).status_code == 200


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"object":"event"}', b"\xff\xfe", b'{"id":"evt_1"}' * 2])
def test_signed_nonsense_is_malformed(shop, anyone, body):
    assert_problem(post_event(anyone, body, sign(shop, body)), 400)


def test_a_webhook_has_limits(shop, anyone):
    body = event(filler="x" * (1024 * 1024))
    assert_problem(post_event(anyone, body, sign(shop, body)), 413)
    body = event(filler="x" * (1024 * 1024 - 2000))
    assert post_event(anyone, body, sign(shop, body)).status_code == 200
    answer = anyone.call("POST", "/payment/webhook", content=b"a=b", headers={"Content-Type": "text/plain"}, token=None)
    assert_problem(answer, 415)


def test_an_event_about_a_payment_is_only_a_hint(shop, anyone, buyer, placed):
    """A rightly signed event that says «paid» changes nothing: the provider is asked, and it says otherwise."""
    body = event(payment=placed["payment"]["id"])
    assert post_event(anyone, body, sign(shop, body)).status_code == 200
    time.sleep(0.3)
    assert order(buyer, placed["order"]["id"])["state"] == "awaiting_payment"


# --- webhooks that are late, doubled, reversed, lost ---


def shopping(make_shop, **settings):
    """A shop of its own with a buyer and its administrator. Files in its folder `armed` arm fault points."""
    shop = make_shop({"BOOKCART_SANDBOX_SETTLE": "200ms", **settings}, start=False)
    armed = shop.folder / "armed"
    armed.mkdir()
    armed.chmod(0o777)  # the shop may run as another user
    shop.settings["BOOKCART_FAULTS"] = f"armed:{armed}"
    shop.start()
    admin = Caller(shop.url, {"access_token": shop.admin(), "user": {}})
    wait_stock(admin, 300)
    return shop, api.register(shop.url, f"{uuid.uuid4().hex[:12]}@mail.example"), admin


def buy_and_refund(buyer: Caller, admin: Caller, book: int) -> str:
    """Declined, 3-D Secure, paid, refunded twice: every kind of event."""
    before = stock(admin, book)["on_hand"]
    buyer.add(book, 2)
    placed = place(buyer)
    payment, id = placed["payment"]["id"], placed["order"]["id"]
    assert declined(confirm(buyer, payment, "pm_card_visa_chargeDeclined")) == "generic_decline"
    assert confirm(buyer, payment, "pm_card_threeDSecure2Required").status_code == 200
    assert authenticate(buyer, payment).status_code == 200
    paid = wait_order(buyer, id, "paid")
    assert stock(admin, book)["on_hand"] == before - 2
    for amount in (100, paid["total"]["amount"] - 100):
        answer = refund(admin, id, amount={"amount": amount, "currency": "EUR"})
        assert answer.status_code == 201, answer.text
    wait_for(lambda: order(buyer, id)["refunded"] == paid["total"], "both refunds to be told")
    return id


def test_doubled_and_reversed_webhooks_end_in_the_same_state(make_shop):
    # Nothing but webhooks can tell: the reconciler does not come in time.
    shop, buyer, admin = shopping(
        make_shop, BOOKCART_SANDBOX_WEBHOOKS="duplicated, reversed", BOOKCART_SANDBOX_WEBHOOK_DELAY="150ms",
        BOOKCART_PAYMENT_RECONCILE="1h",
    )  # fmt: skip
    for book in (41, 42):
        buy_and_refund(buyer, admin, book)
    assert inside(shop, "POST", "/internal/sandbox/webhooks/resend").status_code == 202
    buy_and_refund(buyer, admin, 43)
    check_books(shop)


def test_lost_webhooks_are_made_up_for(make_shop):
    shop, buyer, admin = shopping(
        make_shop, BOOKCART_SANDBOX_WEBHOOKS="lost", BOOKCART_PAYMENT_RECONCILE="100ms"
    )
    id = buy_and_refund(buyer, admin, 41)
    # Then they come after all: nothing changes.
    before = order(buyer, id)
    assert inside(shop, "POST", "/internal/sandbox/webhooks/resend").status_code == 202
    time.sleep(0.5)
    assert order(buyer, id) == before
    check_books(shop)


def test_webhooks_outlive_the_service(make_shop):
    """What could not be delivered while payment was dead is delivered when it is back."""
    shop, buyer, admin = shopping(
        make_shop, BOOKCART_SANDBOX_WEBHOOK_DELAY="1s", BOOKCART_PAYMENT_RECONCILE="1h"
    )
    buyer.add(44)
    placed = place(buyer)
    assert confirm(buyer, placed["payment"]["id"]).status_code == 200
    kill(shop.service("payment"))
    wait_for(lambda: buyer.get(f"/orders/{placed['order']['id']}").status_code == 200, "payment to be back")
    wait_order(buyer, placed["order"]["id"], "paid")
    check_books(shop)


@pytest.mark.parametrize("point", ["sandbox.deliver", "sandbox.delivered"])
def test_died_while_a_webhook_was_delivered(make_shop, point):
    """Before it left, or after it was taken and before that was noted: it comes again, and counts once."""
    shop, buyer, _ = shopping(make_shop, BOOKCART_PAYMENT_RECONCILE="1h")
    buyer.add(45)
    placed = place(buyer)
    file = shop.folder / "armed" / point
    file.write_text("kill")
    file.chmod(0o666)
    # The death may be that of the request too; 409: it was heard before.
    wait_for(lambda: confirm(buyer, placed["payment"]["id"]).status_code in (200, 409), "the payment to be confirmed")
    wait_for(lambda: not file.exists(), f"point {point} to be passed")
    wait_for(lambda: buyer.get(f"/orders/{placed['order']['id']}").status_code == 200, "payment to be back")
    wait_order(buyer, placed["order"]["id"], "paid")
    check_books(shop)
