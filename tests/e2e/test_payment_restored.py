"""A payment store that was put back: what was paid since the cut is found at the provider, and nobody's money is kept for nothing."""

import contextlib
import json
import shutil
import time

import api
from api import Caller
from buying import buy, check_books, open_store, place, wait_stock
from shop import wait_for


def at_provider(shop, sql: str) -> list:
    with contextlib.closing(open_store(shop, "sandbox.db")) as store:
        return store.execute(sql).fetchall()


def test_orders_that_the_cut_lost(make_shop):
    shop = make_shop({"BOOKCART_PAYMENT_RECONCILE": "200ms"})
    admin = Caller(shop.url, {"access_token": shop.admin(), "user": {}})
    wait_stock(admin, 300)
    buyer = api.guest(shop.url)
    kept = buy(buyer, 70)
    shop.stop()
    saved = shop.folder / "payment.db"
    shutil.copy(shop.data / "payment.db", saved)
    cut_ms = int(time.time() * 1000)
    shop.start()
    buyer, other = api.guest(shop.url), api.guest(shop.url)
    lost = buy(buyer, 71)
    other.add(72)
    opened = place(other)
    shop.stop()

    for name in ("payment.db-wal", "payment.db-shm"):
        (shop.data / name).unlink(missing_ok=True)
    owner = (shop.data / "payment.db").stat()
    shutil.copy(saved, shop.data / "payment.db")
    shutil.os.chown(shop.data / "payment.db", owner.st_uid, owner.st_gid)
    mark = shop.data / "restored.json"
    mark.write_text(json.dumps({"cut_ms": cut_ms}))
    shutil.os.chown(mark, owner.st_uid, owner.st_gid)
    shop.start()
    wait_for(lambda: not mark.exists(), "the mark to be heeded", 30)

    # Paid for an order that is gone: the money goes back, all of it, once. Not paid yet: it cannot be any more.
    def given_back():
        return at_provider(shop, f"SELECT amount FROM refunds WHERE payment = '{lost['payment']['id']}' AND state = 1")

    assert wait_for(given_back, "the money to go back", 30) == [(lost["total"]["amount"],)]
    assert at_provider(shop, f"SELECT state FROM payments WHERE id = '{opened['payment']['id']}'") == [(4,)]
    assert not at_provider(shop, f"SELECT 1 FROM refunds WHERE payment = '{kept['payment']['id']}'")
    check_books(shop)
    for caller in (admin, buyer, other):
        caller.close()
