"""What payment costs in statements, and what it finds when no webhook ever arrives."""

import httpx
import pytest

import api
from api import Caller
from buying import buy, check_books, checkout, confirm, money, place, quote, refund, wait_order, wait_stock
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
