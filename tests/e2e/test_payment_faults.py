"""Payment dies, or its provider does, between two steps: the shop ends where it would have ended. Every point has a name; none is met by waiting."""

import contextlib
import pathlib
import uuid

import httpx
import pytest

import api
from api import Caller, assert_problem, lines
from buying import (
    buy, check_books, checkout, confirm, key, money, open_store, order, order_form, place, refund, stock, wait_order,
    wait_stock,
)  # fmt: skip
from shop import wait_for

SETTINGS = {
    "BOOKCART_PAYMENT_RECONCILE": "200ms", "BOOKCART_PAYMENT_TIMEOUT": "2s", "BOOKCART_SANDBOX_SETTLE": "300ms"
}  # fmt: skip


class Points:
    """Arms a point: the service dies there once (kill), or the step behind it fails once (fail)."""

    def __init__(self, shop, folder: pathlib.Path):
        self.shop, self.folder = shop, folder

    def arm(self, point: str, what: str = "kill") -> None:
        file = self.folder / point
        file.write_text(what)
        file.chmod(0o666)

    def passed(self, point: str) -> bool:
        return not (self.folder / point).exists()

    def wait_passed(self, point: str) -> None:
        wait_for(lambda: self.passed(point), f"point {point} to be passed")


@pytest.fixture(scope="module")
def faulty(program, tmp_path_factory):
    """A shop whose services can be told where to die."""
    from conftest import shops
    from shop import Shop

    made = Shop(program, SETTINGS, name="faulty")
    folder = made.folder / "armed"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    made.settings["BOOKCART_FAULTS"] = f"armed:{folder}"
    shops.append(made)
    try:
        made.import_catalogue()
        made.start()
        yield made, Points(made, folder)
    finally:
        made.destroy()
        shops.remove(made)


@pytest.fixture(scope="module")
def admin(faulty):
    shop, _ = faulty
    caller = Caller(shop.url, {"access_token": shop.admin(), "user": {}})
    wait_stock(caller, 300)
    return caller


@pytest.fixture
def points(faulty, admin):
    shop, made = faulty
    yield made
    assert not list(made.folder.iterdir()), "a point was armed and never passed"
    wait_settled(shop)
    check_books(shop)


@pytest.fixture
def buyer(faulty):
    shop, _ = faulty
    caller = api.register(shop.url, f"{uuid.uuid4().hex[:12]}@mail.example")
    yield caller
    caller.close()


def wait_settled(shop) -> None:
    """Nothing of what the service must still do by itself is left."""

    def settled():
        with contextlib.closing(open_store(shop)) as store:
            return store.execute(
                "SELECT (SELECT COUNT(*) FROM refunds WHERE state = 0) + (SELECT COUNT(*) FROM webhooks WHERE state = 0)"
                " + (SELECT COUNT(*) FROM orders WHERE state = 0 AND ending = 1)"
            ).fetchone()[0] == 0  # fmt: skip

    wait_for(settled, "refunds, webhooks and endings to be over", 30)


def again(send, good=(200, 201), seconds: float = 30):
    """Sends until it is answered as a client would that is told to come again."""
    answers = []

    def answered():
        with contextlib.suppress(httpx.HTTPError):
            answer = send()
            assert answer.status_code in (*good, 409, 502, 503, 504), f"{answer.status_code} {answer.text}"
            if answer.status_code in good:
                answers.append(answer)
                return True
        return False

    wait_for(answered, "an answer", seconds, 0.1)
    return answers[0]


# A point before a step and the point behind the step before it are one place to die: each place is met once.
CHECKOUT_POINTS = ["payment.reserved", "provider.create-told", "payment.checked-out"]


@pytest.mark.parametrize("point", CHECKOUT_POINTS)
def test_died_while_checking_out(buyer, admin, points, point):
    before = stock(admin, 50)
    buyer.add(50, 2)
    form, own_key = order_form(buyer), key()
    points.arm(point)
    placed = again(lambda: checkout(buyer, form, own_key)).json()
    assert points.passed(point)
    held = again(lambda: admin.get("/admin/stock/50")).json()
    assert held["reserved"] == before["reserved"] + 2  # once, although it was asked for twice
    assert again(lambda: confirm(buyer, placed["payment"]["id"])).status_code == 200
    wait_order(buyer, placed["order"]["id"], "paid")
    assert len(buyer.get("/orders").json()["items"]) == 1
    assert stock(admin, 50)["on_hand"] == before["on_hand"] - 2


def test_died_while_checking_out_and_nobody_comes_back(make_shop):
    """The order expires by itself, and its stock returns."""
    shop = make_shop({**SETTINGS, "BOOKCART_ORDER_HOLD": "2s"}, start=False)
    folder = shop.folder / "armed"
    folder.mkdir()
    folder.chmod(0o777)
    shop.settings["BOOKCART_FAULTS"] = f"armed:{folder}"
    shop.start()
    admin = Caller(shop.url, {"access_token": shop.admin(), "user": {}})
    wait_stock(admin, 300)
    points = Points(shop, folder)
    for point in ("payment.reserved", "provider.create-told"):
        buyer = api.guest(shop.url)
        buyer.add(51)
        points.arm(point)
        with contextlib.suppress(httpx.HTTPError):
            assert checkout(buyer).status_code in (502, 503, 504)
        wait_for(lambda: again(lambda: admin.get("/admin/stock/51")).json()["reserved"] == 0, "the stock to return", 30)
        orders = buyer.get("/orders").json()["items"]
        assert [o["state"] for o in orders] == ["expired"]
        buyer.close()
    # An expired order's payment cannot be paid any more: it was cancelled at the provider first.
    buyer = api.guest(shop.url)
    buyer.add(52)
    placed = place(buyer)
    wait_order(buyer, placed["order"]["id"], "expired")
    assert_problem(confirm(buyer, placed["payment"]["id"]), 409)
    check_books(shop)
    buyer.close()
    admin.close()


@pytest.mark.parametrize("point", ["payment.webhook-stored", "payment.settled"])
def test_died_while_being_told_of_the_payment(buyer, points, point):
    buyer.add(53)
    placed = place(buyer)
    points.arm(point)
    again(lambda: confirm(buyer, placed["payment"]["id"]), (200, 409))
    points.wait_passed(point)
    wait_for(lambda: again(lambda: buyer.get(f"/orders/{placed['order']['id']}")).json()["state"] == "paid", "the order")
    wait_for(lambda: lines(buyer.cart()) == [], "what was ordered to leave the cart")


@pytest.mark.parametrize("point", ["payment.webhook", "payment.settle"])
def test_the_webhook_could_not_be_stored_or_applied(buyer, points, point):
    buyer.add(54)
    placed = place(buyer)
    points.arm(point, "fail")
    assert confirm(buyer, placed["payment"]["id"]).status_code == 200
    points.wait_passed(point)
    wait_order(buyer, placed["order"]["id"], "paid")


CANCEL_POINTS = [("payment.ending", "kill"), ("provider.cancel-told", "kill"), ("provider.cancel", "fail"),
                 ("provider.cancel-told", "fail"), ("payment.settle", "fail")]  # fmt: skip


@pytest.mark.parametrize("point, what", CANCEL_POINTS)
def test_died_while_cancelling(buyer, admin, points, point, what):
    buyer.add(55)
    placed = place(buyer)
    points.arm(point, what)
    with contextlib.suppress(httpx.HTTPError):
        assert buyer.call("POST", f"/orders/{placed['order']['id']}/cancel").status_code in (200, 502, 503, 504)
    points.wait_passed(point)
    # Nobody asks again: the wish was written down, the keeper goes on.
    wait_for(lambda: again(lambda: buyer.get(f"/orders/{placed['order']['id']}")).json()["state"] == "cancelled", point)
    assert again(lambda: admin.get("/admin/stock/55")).json()["reserved"] == 0


@pytest.mark.parametrize("point", ["provider.create", "provider.create-told"])
def test_the_provider_is_away_at_checkout(buyer, points, point):
    buyer.add(56)
    form, own_key = order_form(buyer), key()
    points.arm(point, "fail")
    answer = checkout(buyer, form, own_key)
    assert_problem(answer, 503, "unavailable")
    placed = checkout(buyer, form, own_key)
    assert placed.status_code == 200, placed.text  # the order that was placed the first time
    assert placed.json()["payment"]["id"]
    assert len(buyer.get("/orders").json()["items"]) == 1


REFUND_POINTS = [("payment.refund-stored", "kill"), ("provider.refund-told", "kill"), ("provider.refund", "fail"),
                 ("provider.refund-told", "fail")]  # fmt: skip


@pytest.mark.parametrize("point, what", REFUND_POINTS)
def test_died_while_refunding(buyer, admin, points, point, what):
    paid = buy(buyer, 57, 2)
    on_hand = stock(admin, 57)["on_hand"]
    own_key, amount = key(), money(300)
    points.arm(point, what)

    def ask():
        return refund(admin, paid["id"], own_key, [{"book": 57, "quantity": 1}], amount=amount)

    first = again(ask, (201,))
    assert points.passed(point)
    wait_for(lambda: order(buyer, paid["id"])["refunded"] == amount, "the refund to be made")
    shown = order(buyer, paid["id"])
    assert [(r["id"], r["amount"], r["state"]) for r in shown["refunds"]] == [(first.json()["id"], amount, "succeeded")]
    assert stock(admin, 57)["on_hand"] == on_hand + 1


def test_a_refund_made_at_the_provider_appears(faulty, buyer, points):
    shop, _ = faulty
    paid = buy(buyer, 59)
    secret = (shop.data / "keys" / "service.key").read_text().strip()
    transport = httpx.HTTPTransport(uds=str(shop.data / "run" / "payment-internal.sock"))
    with httpx.Client(transport=transport, base_url="http://payment", timeout=20) as internal:
        answer = internal.post(
            f"/internal/sandbox/payments/{paid['payment']['id']}/refunds", json={"amount": 250},
            headers={"Authorization": f"Bearer {secret}"},
        )  # fmt: skip
        assert answer.status_code in (200, 201), answer.text
    wait_for(lambda: order(buyer, paid["id"])["refunded"] == money(250), "the provider's refund to show")
    assert [r["state"] for r in order(buyer, paid["id"])["refunds"]] == ["succeeded"]


def test_refunds_that_settle_later(buyer, admin, points):
    """pm_card_pendingRefund settles later; pm_card_refundFail comes back, and the money can be refunded again."""
    for method, end in (("pm_card_pendingRefund", "succeeded"), ("pm_card_refundFail", "failed")):
        buyer.add(60)
        placed = place(buyer)
        assert confirm(buyer, placed["payment"]["id"], method).status_code == 200
        id = wait_order(buyer, placed["order"]["id"], "paid")["id"]
        assert refund(admin, id).status_code == 201
        wait_for(lambda: order(buyer, id)["refunds"][0]["state"] == end, f"the refund to be {end}", 30)
        expected = placed["order"]["total"] if end == "succeeded" else money(0)
        assert order(buyer, id)["refunded"] == expected
        again_refund = refund(admin, id)
        assert again_refund.status_code == (409 if end == "succeeded" else 201), again_refund.text
