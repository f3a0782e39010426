"""What payment does when nobody tells it anything: no webhook ever arrives, or there is nothing to pay."""

import httpx
import pytest

import api
from api import Caller
from buying import buy, check_books, money, place, refund, wait_stock
from shop import wait_for


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


def test_what_costs_nothing_is_paid_at_once(make_shop):
    shop = make_shop({"BOOKCART_SHIPPING": "BG: pickup=0"}, start=False, catalogue=False)
    shop.import_catalogue("id,title,authors,year,language,price,stock\n1,Leaflet,Nobody,2000,en,0.00,5\n")
    shop.start()
    admin = Caller(shop.url, {"access_token": shop.admin(), "user": {}})
    wait_stock(admin, 1)
    buyer = api.guest(shop.url)
    buyer.add(1, 2)
    placed = place(buyer)
    assert placed["payment"] is None and placed["order"]["state"] == "paid" and placed["order"]["payment"] is None
    assert admin.get("/admin/stock/1").json()["on_hand"] == 3
    assert refund(admin, placed["order"]["id"]).status_code == 409
    wait_for(lambda: buyer.cart().json()["lines"] == [], "what was ordered to leave the cart")
    check_books(shop)
    admin.close()
    buyer.close()
