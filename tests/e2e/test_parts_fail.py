"""DESIGN, "When parts fail": the lines about edge, link, engine and SQLite, made to happen."""

import contextlib
import os
import signal
import threading
import time

import httpx
import pytest

import api
from api import assert_problem, lines, version
from shop import kill, wait_for


def warm(shop, quantity: int = 3):
    """A guest with a seat: his reads need nobody but the edge."""
    guest = api.guest(shop.url)
    for _ in range(quantity):
        guest.add(7, 1)
    wait_for(lambda: guest.cart().headers["cart-status"] == "hot", "a seat")
    return guest


class Stopped:
    """A process that stands still: there, but silent (SIGSTOP)."""

    def __init__(self, pid: int):
        self.pid = pid

    def __enter__(self):
        os.kill(self.pid, signal.SIGSTOP)
        return self

    def __exit__(self, *_):
        with contextlib.suppress(ProcessLookupError):  # killed meanwhile
            os.kill(self.pid, signal.SIGCONT)


@pytest.fixture
def own(make_shop):
    return make_shop({"BOOKCART_CART_WRITE_TIMEOUT": "1s", "BOOKCART_CART_STALE_MAX": "3s"})


def test_cart_service_away_seats_are_served_and_changes_get_503(own):
    guest = warm(own)
    with Stopped(own.service("cart")):
        read = guest.cart()
        assert lines(read) == [(7, 3)]
        assert read.headers["cart-status"] == "hot"
        refused = guest.add(7, 1, key="again")
        assert_problem(refused, 503, "cart-unavailable")
        assert guest.cart().status_code in (200, 503)
    answer = wait_for(lambda: (a := guest.add(7, 1, key="again")).status_code == 200 and a, "the change goes through")
    assert lines(answer) == [(7, 4)]
    assert lines(guest.cart()) == [(7, 4)]


def test_a_seat_is_not_shown_for_ever_without_its_service(own):
    guest = warm(own)
    with Stopped(own.service("cart")):
        answer = wait_for(lambda: (a := guest.cart()).status_code != 200 and a, "stale_max is over", 20, every=0.1)
        assert_problem(answer, 503)
    wait_for(lambda: guest.cart().status_code == 200, "the seat is vouched for again")
    assert lines(guest.cart()) == [(7, 3)]


def test_a_change_waits_for_a_service_that_comes_back_in_time(make_shop):
    shop = make_shop({"BOOKCART_CART_WRITE_TIMEOUT": "20s"})
    guest = warm(shop)
    answers = []
    with Stopped(shop.service("cart")):
        thread = threading.Thread(target=lambda: answers.append(guest.add(7, 1)))
        thread.start()
        other = api.Caller(shop.url, guest.tokens)
        assert lines(other.cart()) == [(7, 3)]  # nothing unconfirmed is shown
        assert not answers
    thread.join(20)
    assert lines(answers[0]) == [(7, 4)]


def test_cart_service_killed_between_change_and_answer(own):
    """The journal is replayed; a repeat with the same key counts once."""
    guest = warm(own)
    pid = own.service("cart")
    results = []
    with Stopped(pid):
        thread = threading.Thread(target=lambda: results.append(guest.add(7, 1, key="k")))
        thread.start()
        time.sleep(0.1)  # so that the change is likelier on its way; nothing depends on it
        kill(pid)
        thread.join(20)
    answer = wait_for(lambda: (a := guest.add(7, 1, key="k")).status_code == 200 and a, "the service is back", 30)
    assert lines(answer) == [(7, 4)]
    assert version(answer) == 4


def test_a_link_that_was_cut_hides_no_change(own):
    """Changes by other ways while a worker's link is down show on its next read."""
    guest = warm(own)
    os.kill(own.service("cart"), signal.SIGKILL)
    answer = wait_for(lambda: (a := guest.add(8, 1, key="k8")).status_code == 200 and a, "the service is back", 30)
    newest = version(answer)
    for _ in range(20):  # whichever worker answers
        with httpx.Client() as http:
            read = http.get(f"{own.url}/api/v1/cart", headers={"Authorization": f"Bearer {guest.token}"})
        assert version(read) >= newest


def test_auth_away_known_tokens_go_on(own):
    guest = warm(own)
    kill(own.service("auth"))
    assert lines(guest.cart()) == [(7, 3)]
    answer = wait_for(lambda: (a := guest.add(7, 1, key="k")).status_code == 200 and a, "changes again", 30)
    assert lines(answer) == [(7, 4)]


def test_auth_away_says_503(own):
    with Stopped(own.service("auth")):
        pass
    pid = own.service("auth")
    kill(pid)
    seen = set()

    def back():
        answer = httpx.post(f"{own.url}/api/v1/auth/guest", json={}, timeout=20)
        if answer.status_code != 201:
            assert_problem(answer, 503)
        seen.add(answer.status_code)
        return answer.status_code == 201

    wait_for(back, "auth is back", 30)
    assert seen <= {201, 503}


def test_library_away_known_pages_and_carts_are_served(own):
    guest = warm(own)
    page = httpx.get(f"{own.url}/api/v1/books/7")
    assert page.status_code == 200
    pid = own.service("library")
    with Stopped(pid):
        assert lines(guest.cart()) == [(7, 3)]
        assert lines(guest.add(7, 1)) == [(7, 4)]
        assert lines(guest.add(8, 1)) == [(7, 4), (8, 1)]
    kill(own.service("library"))
    assert httpx.get(f"{own.url}/api/v1/books/7", timeout=20).json() == page.json()


def test_a_stranger_cannot_touch_the_base(own):
    """carts.db has one owner: another program is kept out, and changes go on."""
    import sqlite3

    guest = warm(own)
    stranger = sqlite3.connect(own.data / "carts.db", isolation_level=None, timeout=0.2)
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        stranger.execute("BEGIN IMMEDIATE")
    stranger.close()
    for n in range(20):
        assert lines(guest.add(7, 1)) == [(7, 4 + n)]
    own.kill_all()
    own.start()
    assert lines(api.Caller(own.url, guest.tokens).cart()) == [(7, 23)]


def test_disk_full_refuses_and_loses_nothing(make_shop):
    """The journal's limit stands for a full disk: beyond it changes are refused, and what was told stays."""
    shop = make_shop({"BOOKCART_CART_JOURNAL_MAX": "16m", "BOOKCART_CART_SEGMENT": "1m"})
    guest = api.guest(shop.url)
    told = 0
    for _ in range(50):
        answer = guest.add(7, 1)
        if answer.status_code == 200:
            told += 1
        else:
            assert_problem(answer, 503, "cart-unavailable")
    shop.kill_all()
    shop.start()
    assert lines(api.Caller(shop.url, guest.tokens).cart()) == [(7, told)]


def test_memory_short_everybody_is_served(make_shop):
    """More carts than the engine and the edge can hold at once: clean ones make room, none is lost."""
    settings = {"BOOKCART_CART_MEMORY": "1m", "BOOKCART_CART_ZONE": "2m", "BOOKCART_CART_CALM_AGE": "0"}
    shop = make_shop(settings, start=False, catalogue=False)
    wide = [2**52 + n for n in range(100)]  # ids that take eight bytes each: a cart of about a kilobyte
    shop.import_catalogue("id,title,authors,price,stock\n" + "".join(f"{n},Book,Author,5.00,500\n" for n in wide))
    shop.start()

    def status() -> dict:
        return httpx.get(f"{shop.operations}/status", timeout=20).json()

    guests = []
    with httpx.Client(base_url=f"{shop.url}/api/v1", timeout=20) as http:

        def headers(token: str) -> dict:
            return {"Authorization": f"Bearer {token}"}

        def shop_until_crowded(most: int) -> None:
            for n in range(most):
                token = http.post("/auth/guest", json={}).json()["access_token"]
                changes = [{"op": "add", "book": book, "quantity": 1 + (n + book) % 9} for book in wide]
                answer = http.patch("/cart", json={"changes": changes}, headers=headers(token))
                assert answer.status_code == 200, answer.text
                guests.append((token, lines(answer)))
                for _ in range(2):  # earns the seat
                    assert lines(http.get("/cart", headers=headers(token))) == guests[-1][1]
                if n % 100 == 99 and status()["cleared_phase1_total"] > 200:
                    return

        shop_until_crowded(6000)
        assert status()["cleared_phase1_total"] > 200, status()
        for token, expected in guests:
            assert lines(http.get("/cart", headers=headers(token))) == expected
