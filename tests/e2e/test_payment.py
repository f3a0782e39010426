"""Buying: quote, checkout, payment, orders, stock, shipping, refunds."""

import uuid

import pytest

import api
from api import Caller, assert_problem, lines
from buying import (
    BULGARIA, FRANCE, buy, check_books, checkout, confirm, key, money, order, order_form, place, quote, refund, stock,
    wait_order, wait_stock,
)  # fmt: skip
from shop import wait_for


@pytest.fixture(scope="module")
def admin(shop):
    return Caller(shop.url, {"access_token": shop.admin(), "user": {}})


@pytest.fixture(scope="module", autouse=True)
def ledger(shop, admin):
    """The ledgers of the catalogue are open."""
    wait_stock(admin, 300)
    yield
    check_books(shop)


@pytest.fixture
def buyer(shop):
    caller = api.register(shop.url, f"{uuid.uuid4().hex[:12]}@mail.example")
    yield caller
    caller.close()


# --- quote ---


def test_a_quote(guest):
    guest.add(7, 2)
    answer = quote(guest)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["lines"] == [
        {"book": 7, "title": "Book 7", "isbn": None, "quantity": 2, "unit_price": money(1207), "tax_rate_bp": 900,
         "total": money(2414)}
    ]  # fmt: skip
    assert body["subtotal"] == money(2414)
    assert [method["id"] for method in body["shipping_methods"]] == ["standard", "express"]
    assert body["shipping_method"] == "standard" and body["shipping"] == money(490)
    # 9 % inside 29.04, rounded half up: 2904 × 900 ÷ 10900 = 239.78
    assert body["tax"] == [{"rate_bp": 900, "base": money(2664), "amount": money(240)}]
    assert body["tax_included"] is True and body["total"] == money(2904)


def test_a_quote_for_elsewhere(guest):
    guest.add(7)
    assert quote(guest, "FR").json()["tax"][0]["rate_bp"] == 550
    assert quote(guest, "US").json()["tax"][0] == {"rate_bp": 0, "base": money(3197), "amount": money(0)}
    express = quote(guest, shipping_method="express").json()
    assert express["shipping"] == money(990)
    names = guest.call(
        "POST", "/checkout/quote", headers={"Accept-Language": "bg"},
        json={"cart_version": express["cart_version"], "ship_to": {"country": "BG"}},
    ).json()  # fmt: skip
    assert names["shipping_methods"][0]["name"] == "Стандартна доставка"


def test_bad_quotes(guest):
    answer = quote(guest)
    assert_problem(answer, 422, "not-acceptable-value")
    guest.add(7)
    assert_problem(quote(guest, "XX"), 422, "not-acceptable-value")
    assert_problem(quote(guest, shipping_method="drone"), 422, "not-acceptable-value")
    version = guest.cart().json()["version"]
    for place_to, status in [({}, 400), ({"country": 1}, 400), ({"country": "BG", "street": "x"}, 400),
                             ({"country": "BG", "postcode": "10000"}, 422), ({"country": "bg"}, 422)]:  # fmt: skip
        answer = guest.call("POST", "/checkout/quote", json={"cart_version": version, "ship_to": place_to})
        assert_problem(answer, status)
    for bad in ("x", "", "-1", "99999999999999999999999"):
        answer = guest.call("POST", "/checkout/quote", json={"cart_version": bad, "ship_to": {"country": "BG"}})
        assert_problem(answer, 400)
    stale = {"cart_version": str(int(version) + 1), "ship_to": {"country": "BG"}}
    assert_problem(guest.call("POST", "/checkout/quote", json=stale), 409, "cart-changed")


# --- checkout ---


def test_a_purchase(buyer, admin):
    before = stock(admin, 11)
    buyer.add(11, 2)
    placed = place(buyer)
    assert placed["order"]["state"] == "awaiting_payment" and placed["order"]["test"] is True
    assert placed["payment"]["provider"] == "sandbox" and placed["payment"]["client_secret"]
    held = stock(admin, 11)
    assert (held["on_hand"], held["reserved"]) == (before["on_hand"], before["reserved"] + 2)
    buyer.add(12, 1)  # put in meanwhile: it stays
    assert confirm(buyer, placed["payment"]["id"]).status_code == 200
    paid = wait_order(buyer, placed["order"]["id"], "paid")
    assert paid["expires_at"] is None and paid["payment"]["last_error"] is None
    sold = stock(admin, 11)
    assert (sold["on_hand"], sold["reserved"]) == (before["on_hand"] - 2, before["reserved"])
    assert sold["history"][0]["delta"] == -2 and sold["history"][0]["reference"] == paid["id"]
    wait_for(lambda: lines(buyer.cart()) == [(12, 1)], "what was ordered to leave the cart")


def test_a_decline_leaves_the_order_open(buyer):
    buyer.add(13)
    placed = place(buyer)
    id, payment = placed["order"]["id"], placed["payment"]["id"]
    answer = confirm(buyer, payment, "pm_card_visa_chargeDeclinedInsufficientFunds")
    assert_problem(answer, 402, "payment-declined")
    wait_for(lambda: order(buyer, id)["payment"]["last_error"] == "insufficient_funds", "the decline to show")
    assert order(buyer, id)["state"] == "awaiting_payment"
    assert confirm(buyer, payment, "pm_card_threeDSecure2Required").json()["status"] == "requires_action"
    answer = buyer.call("POST", f"/sandbox/payments/{payment}/authenticate", json={"success": True})
    assert answer.status_code == 200, answer.text
    assert wait_order(buyer, id, "paid")["payment"]["last_error"] is None


def test_the_same_again_is_the_same_order(buyer):
    buyer.add(14)
    form, own_key = order_form(buyer), key()
    first = checkout(buyer, form, own_key)
    assert first.status_code == 201, first.text
    again = checkout(buyer, form, own_key)
    assert again.status_code == 201 and again.headers["idempotent-replayed"] == "true" and again.json() == first.json()
    other_key = checkout(buyer, form)
    assert other_key.status_code == 200 and "idempotent-replayed" not in other_key.headers
    assert other_key.json() == first.json()
    assert_problem(checkout(buyer, {**form, "email": "bea@mail.example"}, own_key), 422, "idempotency-key-reused")
    assert first.headers["location"] == f"/api/v1/orders/{first.json()['order']['id']}"


def test_one_open_order(buyer, admin):
    buyer.add(15)
    first = place(buyer)["order"]
    buyer.add(16)
    form = order_form(buyer)
    assert_problem(checkout(buyer, form), 409, "order-open")
    second = checkout(buyer, {**form, "replace": True})
    assert second.status_code == 201, second.text
    assert order(buyer, first["id"])["state"] == "cancelled"
    assert stock(admin, 15)["reserved"] == 1  # the second order has it too
    assert [o["id"] for o in buyer.get("/orders").json()["items"]] == [second.json()["order"]["id"], first["id"]]


def test_what_has_changed(buyer, admin):
    buyer.add(17)
    form = order_form(buyer)
    buyer.add(17)
    assert_problem(checkout(buyer, form), 409, "cart-changed")
    form = order_form(buyer)
    problem = assert_problem(checkout(buyer, {**form, "expected_total": money(1)}), 409, "price-changed")
    assert str(form["expected_total"]["amount"]) in problem["errors"][0]["detail"]


def test_not_enough(buyer, admin):
    buyer.add(8, 3)
    problem = assert_problem(checkout(buyer), 409, "out-of-stock")
    assert [(e["book"], e["available"]) for e in problem["errors"]] == [(8, 1)]
    assert stock(admin, 8)["reserved"] == 0


def test_forms_that_are_wrong(buyer):
    buyer.add(18)
    form = order_form(buyer)
    assert_problem(buyer.call("POST", "/checkout", json=form), 400, "idempotency-key-missing")
    wrong = [
        ({"shipping_address": {**BULGARIA, "postcode": "x"}}, 422),
        ({"shipping_address": {**BULGARIA, "country": "ZZ"}}, 422),
        ({"shipping_address": {**BULGARIA, "name": " "}}, 422),
        ({"shipping_address": {**BULGARIA, "city": "a\u0007b"}}, 422),
        ({"shipping_address": {**BULGARIA, "line2": "x" * 201}}, 422),
        ({"shipping_address": {**BULGARIA, "floor": "2"}}, 400),
        ({"shipping_address": {**BULGARIA, "name": 7}}, 400),
        ({"shipping_address": {"name": "Ann"}}, 400),
        ({"billing_address": {"name": "Ann"}}, 400),
        ({"email": "nobody"}, 422),
        ({"email": "a@b"}, 422),
        ({"shipping_method": "drone"}, 422),
        ({"expected_total": {"amount": 1.5, "currency": "EUR"}}, 422),
        ({"expected_total": {"amount": 1, "currency": "USD"}}, 422),
        ({"cart_version": 7}, 400),
        ({"replace": "yes"}, 400),
        ({"tip": 5}, 400),
    ]
    for change, status in wrong:
        answer = checkout(buyer, {**form, **change})
        assert answer.status_code == status, (change, answer.text)
        assert_problem(answer, status)
    fine = {**BULGARIA, "line2": None, "region": None, "phone": "+359 2 000 000"}
    assert checkout(buyer, {**form, "shipping_address": fine}).status_code == 201


def test_a_guest_needs_an_email_and_a_customer_has_one(guest, buyer):
    guest.add(19)
    form = order_form(guest)
    del form["email"]
    assert_problem(checkout(guest, form), 400, "malformed-request")
    buyer.add(19)
    form = order_form(buyer)
    del form["email"]
    answer = checkout(buyer, form)
    assert answer.status_code == 201, answer.text
    assert answer.json()["order"]["email"] == buyer.tokens["user"]["email"]


def test_cancel(buyer, admin):
    buyer.add(20, 2)
    placed = place(buyer)
    id = placed["order"]["id"]
    answer = buyer.call("POST", f"/orders/{id}/cancel")
    assert answer.status_code == 200 and answer.json()["state"] == "cancelled", answer.text
    assert stock(admin, 20)["reserved"] == 0
    assert buyer.call("POST", f"/orders/{id}/cancel").status_code == 200
    assert_problem(confirm(buyer, placed["payment"]["id"]), 409)
    paid = buy(buyer, 21)
    assert_problem(buyer.call("POST", f"/orders/{paid['id']}/cancel"), 409)


def test_orders_of_others_are_not_there(buyer, guest, admin):
    id = buy(buyer, 22)["id"]
    assert_problem(guest.get(f"/orders/{id}"), 404, "not-found")
    assert_problem(guest.call("POST", f"/orders/{id}/cancel"), 404, "not-found")
    assert guest.get("/orders").json() == {"items": [], "next_cursor": None}
    assert admin.get(f"/admin/orders/{id}").json()["user"] == buyer.user
    for nonsense in ("x", "ord_", "usr_" + id[4:], id.upper(), id + "0"):
        assert_problem(buyer.get(f"/orders/{nonsense}"), 404, "not-found")


def test_pages_of_orders(buyer, admin):
    ids = [buy(buyer, book)["id"] for book in (23, 24, 25)]
    first = buyer.get("/orders?limit=2").json()
    assert [o["id"] for o in first["items"]] == ids[:0:-1]
    rest = buyer.get(f"/orders?limit=2&cursor={first['next_cursor']}").json()
    assert [o["id"] for o in rest["items"]] == ids[:1] and rest["next_cursor"] is None
    assert_problem(admin.get(f"/admin/orders?cursor={first['next_cursor']}"), 400, "bad-cursor")
    mine = admin.get(f"/admin/orders?user={buyer.user}&state=paid&fulfilment=none").json()
    assert [o["id"] for o in mine["items"]] == ids[::-1]
    assert admin.get(f"/admin/orders?user={buyer.user}&state=expired").json()["items"] == []
    at = mine["items"][1]["created_at"]
    since = admin.get(f"/admin/orders?user={buyer.user}&from={at}").json()
    assert [o["id"] for o in since["items"]] == ids[:0:-1]
    until = admin.get(f"/admin/orders?user={buyer.user}&to={at}").json()
    assert [o["id"] for o in until["items"]] == ids[:1]
    for bad in ("state=open", "fulfilment=all", "user=x", "from=yesterday", "to=2026", "limit=0", "limit=-1", "page=2"):
        assert_problem(admin.get(f"/admin/orders?{bad}"), 400)


# --- an administrator's work ---


def test_shipping(buyer, admin):
    buyer.add(26, 2)
    buyer.add(27, 1)
    placed = place(buyer)
    id = placed["order"]["id"]
    form = {"carrier": "DHL", "tracking": "123"}
    assert_problem(admin.call("POST", f"/admin/orders/{id}/ship", json=form), 409, "conflict")
    confirm(buyer, placed["payment"]["id"])
    wait_order(buyer, id, "paid")
    for wrong in ([{"book": 26, "quantity": 3}], [{"book": 28, "quantity": 1}], [{"book": 26, "quantity": 1}] * 2, []):
        assert_problem(admin.call("POST", f"/admin/orders/{id}/ship", json={**form, "lines": wrong}), 422)
    part = admin.call("POST", f"/admin/orders/{id}/ship", json={**form, "lines": [{"book": 26, "quantity": 1}]})
    assert part.status_code == 200 and part.json()["fulfilment"] == "part", part.text
    own_key = key()
    rest = admin.call("POST", f"/admin/orders/{id}/ship", json=form, headers=own_key)
    assert rest.status_code == 200 and rest.json()["fulfilment"] == "shipped", rest.text
    assert rest.json()["shipments"][1]["lines"] == [{"book": 26, "quantity": 1}, {"book": 27, "quantity": 1}]
    again = admin.call("POST", f"/admin/orders/{id}/ship", json=form, headers=own_key)
    assert again.headers["idempotent-replayed"] == "true" and again.json() == rest.json()
    assert_problem(admin.call("POST", f"/admin/orders/{id}/ship", json=form), 409, "conflict")


def test_refunds(buyer, admin):
    paid = buy(buyer, 29, 2)
    id, total = paid["id"], paid["total"]["amount"]
    on_hand = stock(admin, 29)["on_hand"]
    own_key = key()
    answer = refund(admin, id, own_key, [{"book": 29, "quantity": 1}], amount=money(500))
    assert answer.status_code == 201 and answer.json()["state"] == "succeeded", answer.text
    again = refund(admin, id, own_key, [{"book": 29, "quantity": 1}], amount=money(500))
    assert again.status_code == 201 and again.headers["idempotent-replayed"] == "true"
    assert stock(admin, 29)["on_hand"] == on_hand + 1
    assert order(buyer, id)["refunded"] == money(500)
    assert_problem(refund(admin, id, amount=money(total - 499)), 409, "conflict")
    assert_problem(refund(admin, id, restock=[{"book": 29, "quantity": 2}], amount=money(1)), 422)
    assert_problem(refund(admin, id, restock=[{"book": 30, "quantity": 1}], amount=money(1)), 422)
    rest = refund(admin, id)
    assert rest.status_code == 201 and rest.json()["amount"] == money(total - 500), rest.text
    assert_problem(refund(admin, id), 409, "conflict")
    shown = order(buyer, id)
    assert shown["refunded"] == money(total) and len(shown["refunds"]) == 2
    assert stock(admin, 29)["on_hand"] == on_hand + 1


def test_refunds_that_cannot_be(buyer, admin):
    buyer.add(31)
    id = place(buyer)["order"]["id"]
    assert_problem(refund(admin, id), 409, "conflict")
    assert_problem(refund(admin, "ord_" + "0" * 26), 404, "not-found")
    body = {"reason": "x", "restock": []}
    assert_problem(admin.call("POST", f"/admin/orders/{id}/refunds", json=body), 400, "idempotency-key-missing")
    for wrong, status in [({"amount": 5}, 400), ({"amount": money(0)}, 422), ({"amount": money(-1)}, 422),
                          ({"reason": ""}, 422), ({"restock": [{"book": 31}]}, 400)]:  # fmt: skip
        assert_problem(refund(admin, id, **wrong) if "restock" not in wrong else
                       refund(admin, id, restock=wrong["restock"]), status)  # fmt: skip


def test_stock(admin):
    before = stock(admin, 40)
    change = {"delta": 5, "reason": "delivery"}
    own_key = key()
    answer = admin.call("POST", "/admin/stock/40/adjust", json=change, headers=own_key)
    assert answer.status_code == 200 and answer.json()["on_hand"] == before["on_hand"] + 5, answer.text
    again = admin.call("POST", "/admin/stock/40/adjust", json=change, headers=own_key)
    assert again.headers["idempotent-replayed"] == "true"
    counted = admin.call("POST", "/admin/stock/40/adjust", json={"counted": 12, "reason": "stock-taking"}).json()
    assert counted == {"book": 40, "on_hand": 12, "reserved": 0, "free": 12}
    first = admin.get("/admin/stock/40?limit=1").json()
    assert first["history"][0]["delta"] == 12 - before["on_hand"] - 5 and first["history"][0]["note"] == "stock-taking"
    rest = admin.get(f"/admin/stock/40?limit=5&cursor={first['next_cursor']}").json()
    assert [h["reason"] for h in rest["history"]] == ["adjusted", "opened"] and rest["next_cursor"] is None
    assert sum(h["delta"] for h in first["history"] + rest["history"]) == 12
    for wrong, status in [({}, 400), ({"delta": 1, "counted": 1}, 400), ({"delta": 0}, 422), ({"counted": -1}, 422),
                          ({"delta": 2000000}, 422), ({"delta": -13}, 409), ({"delta": 1.5}, 400)]:  # fmt: skip
        answer = admin.call("POST", "/admin/stock/40/adjust", json={"reason": "x", **wrong})
        assert_problem(answer, status)
    assert_problem(admin.get("/admin/stock/99999"), 404, "not-found")
    assert_problem(admin.call("POST", "/admin/stock/99999/adjust", json=change), 404, "not-found")
    assert_problem(admin.get(f"/admin/stock/41?cursor={first['next_cursor']}"), 400, "bad-cursor")


def test_stock_that_orders_hold_stays(buyer, admin):
    buyer.add(41, 3)
    place(buyer)
    assert_problem(admin.call("POST", "/admin/stock/41/adjust", json={"counted": 2, "reason": "x"}), 409, "conflict")
    assert admin.call("POST", "/admin/stock/41/adjust", json={"counted": 3, "reason": "x"}).json()["free"] == 0


def test_availability_follows_stock(anyone, admin):
    admin.call("POST", "/admin/stock/42/adjust", json={"counted": 0, "reason": "sold in the shop"})
    wait_for(lambda: anyone.get("/books/42").json()["availability"] == "out_of_stock", "the catalogue to hear of it")


def test_a_guests_orders_become_the_users(shop, guest):
    paid = buy(guest, 43)
    email = f"{uuid.uuid4().hex[:12]}@mail.example"
    api.register(shop.url, email).close()
    login = guest.call(
        "POST", "/auth/login", json={"email": email, "password": "a long enough password"}
    )  # the guest's token goes along
    assert login.status_code == 200, login.text
    user = Caller(shop.url, login.json())
    wait_for(lambda: [o["id"] for o in user.get("/orders").json()["items"]] == [paid["id"]], "the orders to move")
    user.close()


@pytest.mark.parametrize("address", [BULGARIA, FRANCE])
def test_what_was_quoted_is_what_is_paid(buyer, address):
    buyer.add(44, 3)
    form = order_form(buyer, address)
    placed = checkout(buyer, form).json()["order"]
    assert placed["total"] == form["expected_total"]
    tax = placed["tax"][0]
    assert tax["base"]["amount"] + tax["amount"]["amount"] == placed["total"]["amount"]


def test_who_is_erased_leaves_only_what_bookkeeping_needs(shop, buyer, admin):
    paid = buy(buyer, 45)
    buyer.add(46)
    open_id = place(buyer)["order"]["id"]
    exported = buyer.get("/me/export").json()
    assert paid["id"] in [o["id"] for o in exported["payment"]["orders"]]
    erased = buyer.call("POST", "/me/erase", json={"password": "a long enough password"})
    assert erased.status_code == 204, erased.text

    def forgotten():
        shown = admin.get(f"/admin/orders/{paid['id']}").json()
        return shown["email"] is None and shown["shipping_address"] is None and shown["billing_address"] is None

    wait_for(forgotten, "the order to be anonymous")
    kept = admin.get(f"/admin/orders/{paid['id']}").json()
    assert (kept["number"], kept["total"], kept["lines"]) == (paid["number"], paid["total"], paid["lines"])
    wait_for(lambda: admin.get(f"/admin/orders/{open_id}").json()["state"] == "cancelled", "the open order to end")


def test_webhooks_that_are_not_the_providers(anyone):
    body = '{"id":"evt_1","object":"event","type":"payment_intent.succeeded","created":1,"data":{"object":{}}}'
    forged = {"Content-Type": "application/json", "Stripe-Signature": "t=1,v1=" + "0" * 64}
    for headers in (forged, {"Content-Type": "application/json"}, {**forged, "Stripe-Signature": "nonsense"}):
        assert_problem(anyone.call("POST", "/payment/webhook", content=body, headers=headers), 400, "bad-signature")
    assert_problem(anyone.call("POST", "/payment/webhook", content="<x/>", headers={"Content-Type": "text/xml"}), 415)
    big = anyone.call("POST", "/payment/webhook", content=b" " * (1024 * 1024 + 1), headers=forged)
    assert_problem(big, 413, "body-too-large")
