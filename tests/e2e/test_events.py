"""Events between services, as an operator sees them, and what they do to carts that people have open."""

import json
import sqlite3
import time

import httpx

import api
import buying
from shop import wait_for
from test_backup import Unix


def put_event(shop, key: str, data: str) -> None:
    """Into the outbox of a payment service that is down: something only a bug would publish."""
    store = sqlite3.connect(shop.data / "payment.db")
    with store:
        store.execute(
            "INSERT INTO outbox(id, topic, type, event_key, created_ms, data) VALUES(?, 'orders', 'order.paid', ?, ?, ?)",
            (f"evt_{key}", key, int(time.time() * 1000), data),
        )
    store.close()


def events(shop, *words: str):
    return shop.run("events", *words, "--data", str(shop.data))


def test_everybody_follows_everybody(shop):
    def nobody_is_behind():
        done = events(shop)
        assert done.returncode == 0, done.stderr
        return "behind" in done.stdout and not [line for line in done.stdout.splitlines() if "behind" in line and "behind 0" not in line]

    wait_for(nobody_is_behind, "all events of the catalogue to be followed")
    listed = events(shop, "list").stdout
    followed = {tuple(line.split()[:3:2]) for line in listed.splitlines() if " follows " in line}
    assert {("cart", "payment"), ("cart", "auth"), ("payment", "library"), ("library", "payment")} <= followed
    assert listed.splitlines()[-1] == "0 dead letters"


def test_a_change_by_a_service_reaches_a_cart_that_is_open(shop):
    buyer = api.guest(shop.url)
    try:
        assert api.lines(buyer.add(7, 5)) == [(7, 5)]
        wait_for(lambda: buyer.cart().headers["cart-status"] == "hot", "a seat at the edge")
        before = buyer.cart()
        cart = Unix(shop.data, "cart")
        body = {"id": "test/1", "changes": [{"op": "add", "book": 7, "quantity": -2}, {"op": "add", "book": 8, "quantity": -1}]}
        for _ in range(2):  # the second one is a repeat
            status, seen = cart.ask("POST", f"/internal/carts/{buyer.user}/changes", body)
            assert (status, seen["lines"]) == (200, [{"book": 7, "quantity": 3}])
        after = wait_for(lambda: (got := buyer.cart()).headers["etag"] != before.headers["etag"] and got, "the change", 2)
        assert after.headers["cart-status"] == "hot"  # pushed, not fetched again
        assert api.lines(after) == [(7, 3)]
        assert api.version(after) == int(seen["version"]) == api.version(before) + 1
        # The condition of a client that has not seen it fails, as it must.
        api.assert_problem(buyer.set(7, 9, headers={"If-Match": before.headers["etag"]}), 412)
    finally:
        buyer.close()


def test_a_dead_letter_is_shown_and_replayed(make_shop):
    shop = make_shop(catalogue=False)
    assert shop.stop() == 0
    put_event(shop, "ord_1", '{"order":"ord_1"}')
    put_event(shop, "ord_2", '{"order":"ord_2","user":"usr_x","lines":[]}')
    done = events(shop)
    assert done.returncode == 1
    assert "does not answer" in done.stderr
    shop.start()
    wait_for(lambda: events(shop).stdout.splitlines()[-1] == "2 dead letters", "two dead letters", 30)
    listed = events(shop).stdout
    assert "evt_ord_1 order.paid key ord_1" in listed
    assert "its data is malformed" in listed
    done = events(shop, "replay", "evt_ord_1")
    assert (done.returncode, done.stdout) == (0, "1 to be tried again\n")
    done = events(shop, "replay")
    assert done.returncode == 0
    wait_for(lambda: "to be tried again" not in events(shop).stdout, "both to be dead again", 30)
    assert events(shop).stdout.splitlines()[-1] == "2 dead letters"
    assert events(shop, "replay", "evt_none").returncode == 1
    assert events(shop, "drop").returncode == 2
    assert "event-is-dead" in shop.log.read_text()


def test_a_dead_letter_is_discarded_and_named_in_the_log(make_shop):
    shop = make_shop(catalogue=False)
    assert shop.stop() == 0
    for key in ("ord_1", "ord_2", "ord_3"):
        put_event(shop, key, '{"order":"%s"}' % key)
    shop.start()
    wait_for(lambda: events(shop).stdout.splitlines()[-1] == "3 dead letters", "three dead letters", 30)
    for words in (("discard",), ("discard", "evt_ord_1", "--all-of", "order.paid"), ("list", "--all-of", "order.paid"),
                  ("replay", "--all-of", "order.paid")):
        assert events(shop, *words).returncode == 2, words
    assert shop.run("keys", "rotate", "--all-of", "order.paid", "--data", str(shop.data)).returncode == 2
    for words in (("discard", "evt_none"), ("discard", "--all-of", "order.refunded")):
        done = events(shop, *words)
        assert (done.returncode, done.stdout) == (1, "") and "no dead letter" in done.stderr
    assert events(shop).stdout.splitlines()[-1] == "3 dead letters"
    done = events(shop, "discard", "evt_ord_1")
    assert done.returncode == 0, done.stderr
    first, event, count, left = done.stdout.splitlines()
    assert first == "cart     discarded: payment evt_ord_1 order.paid key ord_1: its data is malformed"
    assert json.loads(event)["data"] == {"order": "ord_1"}  # whole: there is no other copy
    assert (count, left.split()[0]) == ("1 discarded", "2")
    done = events(shop, "discard", "--all-of", "order.paid")
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "2 discarded"
    assert events(shop).stdout.splitlines()[-1] == "0 dead letters"
    named = [json.loads(line) for line in shop.log.read_text().splitlines() if '"event-discarded"' in line]
    assert {(line["log"], line["id"], line["type"], line["key"]) for line in named} == {
        ("payment", f"evt_{key}", "order.paid", key) for key in ("ord_1", "ord_2", "ord_3")
    }


def attempt(step):
    """What a patient client does while parts are away: None now, the answer when there is one."""
    try:
        return step()
    except (AssertionError, httpx.HTTPError):
        return None


def test_followers_killed_again_and_again_count_every_purchase_once(make_shop):
    """Each service that follows events dies before and after its commits for as long as the shop lives."""
    shop = make_shop({"BOOKCART_FAULTS": "events.apply=kill@4, events.applied=kill@6"})
    buyer = api.register(shop.url, "killed@shop.example")
    try:
        for book in range(50, 54):
            # Two copies: one is ordered and paid, the other was added meanwhile and stays.
            wait_for(lambda: attempt(lambda: api.lines(buyer.set(book, 1))), "a line", 30)
            placed = wait_for(lambda: attempt(lambda: buying.place(buyer, replace=True)), "an order", 40)
            order, payment = placed["order"]["id"], placed["payment"]["id"]
            wait_for(lambda: attempt(lambda: api.lines(buyer.add(book, 1, key=f"more-{book}"))), "one more", 30)
            wait_for(lambda: attempt(lambda: buying.confirm(buyer, payment).status_code == 200), "the payment", 40)
            wait_for(lambda: attempt(lambda: buying.order(buyer, order)["state"] == "paid"), "the order to be paid", 40)
            wait_for(lambda: attempt(lambda: api.lines(buyer.cart()) == [(book, 1)]), "what was ordered to leave the cart", 40)
            wait_for(lambda: attempt(lambda: api.lines(buyer.clear()) == []), "an empty cart", 30)
        wait_for(lambda: events(shop).stdout.endswith("0 dead letters\n"), "an answer of all", 30)
        wait_for(lambda: api.lines(buyer.cart()) == [], "the cart")
        buying.check_books(shop)
        assert shop.log.read_text().count("killed by signal 9") >= 3
    finally:
        buyer.close()
