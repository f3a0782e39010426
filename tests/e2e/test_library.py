"""The catalogue, and how a change of it reaches a hot cart."""

import time

import httpx
import pytest

import api
from api import Caller, assert_problem, lines
from shop import wait_for

BOOK_FIELDS = {"id", "title", "authors", "year", "language", "price", "availability"}


@pytest.fixture(scope="module")
def admin(shop):
    return Caller(shop.url, {"access_token": shop.admin(), "user": {}})


def test_one_book(anyone):
    answer = anyone.get("/books/7")
    assert answer.status_code == 200
    book = answer.json()
    assert BOOK_FIELDS <= set(book)
    assert (book["id"], book["title"], book["price"]) == (7, "Book 7", {"amount": 1207, "currency": "EUR"})
    assert "public" in answer.headers["cache-control"] and "no-cache" in answer.headers["cache-control"]
    assert answer.headers["request-id"]


def test_a_repeat_is_304(anyone):
    tag = anyone.get("/books/7").headers["etag"]
    answer = anyone.get("/books/7", headers={"If-None-Match": tag})
    assert answer.status_code == 304
    assert answer.content == b""
    assert anyone.get("/books/7", headers={"If-None-Match": f"W/{tag.removeprefix('W/')}"}).status_code == 304
    assert anyone.call("HEAD", "/books/7").headers["etag"] == tag


@pytest.mark.parametrize("book", ["99999", "x", "0", "-1", "9007199254740992", "7.0"])
def test_no_such_book(anyone, book):
    assert_problem(anyone.get(f"/books/{book}"), 404, "not-found")


def test_pages_hold_every_book_once(anyone):
    seen, cursor = [], None
    while True:
        query = f"?limit=100&sort=title{'&cursor=' + cursor if cursor else ''}"
        answer = anyone.get("/books" + query)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert len(body["items"]) <= 100
        seen += [item["id"] for item in body["items"]]
        cursor = body["next_cursor"]
        if cursor is None:
            break
    assert sorted(seen) == sorted(set(seen))
    assert set(range(1, 299)) <= set(seen)


def test_a_page_has_24_and_an_etag(anyone):
    answer = anyone.get("/books")
    assert len(answer.json()["items"]) == 24
    tag = answer.headers["etag"]
    assert anyone.get("/books", headers={"If-None-Match": tag}).status_code == 304


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=101", "limit=x", "cursor=nonsense", "unknown=1", "limit=1&limit=2", "sort=size"]
)
def test_bad_query(anyone, query):
    assert_problem(anyone.get("/books?" + query), 400)


def test_methods(anyone):
    assert_problem(anyone.call("DELETE", "/books/7"), 405, "method-not-allowed")
    assert_problem(anyone.call("PUT", "/books"), 405, "method-not-allowed")


def test_shop(anyone):
    body = anyone.get("/shop").json()
    assert body["currency"] == "EUR"


def test_catalogue_compresses_and_carts_do_not(anyone, guest):
    answer = anyone.get("/books?limit=100", headers={"Accept-Encoding": "gzip"})
    assert answer.headers.get("content-encoding") == "gzip"
    guest.change([{"op": "add", "book": n, "quantity": 1} for n in range(20, 60)])
    assert "content-encoding" not in guest.cart(headers={"Accept-Encoding": "gzip"}).headers


def change_price(admin, book: int, amount: int):
    tag = admin.get(f"/admin/books/{book}").headers["etag"]
    body = {"price": {"amount": amount, "currency": "EUR"}}
    headers = {"If-Match": tag, "Content-Type": "application/merge-patch+json"}
    answer = admin.call("PATCH", f"/admin/books/{book}", json=body, headers={"If-Match": tag})
    if answer.status_code == 415:
        answer = admin.call("PATCH", f"/admin/books/{book}", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer


def test_if_match_guards_a_book(admin):
    old = admin.get("/admin/books/50").headers["etag"]
    change_price(admin, 50, 555)
    assert_problem(admin.call("PATCH", "/admin/books/50", json={"description": "x"}, headers={"If-Match": old}), 412)
    assert_problem(admin.call("PATCH", "/admin/books/50", json={"description": "x"}), 428)


def test_a_changed_price_shows_in_a_hot_cart_within_a_second(admin, guest):
    for _ in range(3):
        guest.set(60, 2)
    hot = guest.cart()
    assert hot.headers["cart-status"] == "hot"
    old = hot.json()["lines"][0]["unit_price"]["amount"]
    change_price(admin, 60, old + 100)
    started = time.monotonic()
    wait_for(
        lambda: guest.cart().json()["lines"][0]["unit_price"]["amount"] == old + 100, "the new price is in the hot cart", 5
    )
    print(f"shown {time.monotonic() - started:.3f} s after the change")
    after = guest.cart()
    assert after.headers["etag"] != hot.headers["etag"]
    assert after.json()["version"] == hot.json()["version"]
    assert after.json()["subtotal"]["amount"] == 2 * (old + 100)
    assert guest.cart(headers={"If-None-Match": hot.headers["etag"]}).status_code == 200
    page = wait_for(
        lambda: httpx.get(f"{guest.url}/api/v1/books/60").json()["price"]["amount"] == old + 100, "the page shows it", 5
    )
    assert page


def test_price_changed_is_told(admin, guest):
    guest.set(61, 1)
    old = guest.cart().json()["lines"][0]["unit_price"]["amount"]
    change_price(admin, 61, old + 1)
    told = []

    def seen():
        warnings = guest.cart().json()["warnings"]
        told.extend(w for w in warnings if w["code"] == "price-changed")
        return guest.cart().json()["lines"][0]["unit_price"]["amount"] == old + 1

    wait_for(seen, "the new price", 5)
    assert all(w["book"] == 61 for w in told)


def test_a_deleted_book_stays_as_a_line_that_counts_nothing(admin, guest):
    guest.set(62, 2)
    guest.set(63, 1)
    tag = admin.get("/admin/books/62").headers["etag"]
    assert admin.call("DELETE", "/admin/books/62", headers={"If-Match": tag}).status_code == 204
    body = wait_for(
        lambda: any(w["code"] == "gone" for w in guest.cart().json()["warnings"]) and guest.cart().json(), "gone is told", 5
    )
    assert {"code": "gone", "book": 62} in [{k: w[k] for k in ("code", "book")} for w in body["warnings"]]
    assert [line["book"] for line in body["lines"]] == [62, 63]
    assert body["subtotal"]["amount"] == body["lines"][1]["total"]["amount"]
    assert_problem(api.guest(guest.url).add(62, 1), 422, "unknown-book")
    wait_for(lambda: Caller(guest.url).get("/books/62").status_code == 404, "the page is gone", 5)
    assert lines(guest.remove(62)) == [(63, 1)]


def test_import_by_command_and_a_repeat_changes_nothing(shop, anyone):
    path = shop.folder / "more.csv"
    path.write_text('id,title,authors\n900,"A, quoted ""title""",Someone\n901,,Nobody\n902,Fine,\n', encoding="utf-8")
    path.chmod(0o644)
    first = shop.run("import", str(path), "--data", str(shop.data))
    assert first.returncode == 1, first.stdout + first.stderr  # not everything is there
    assert first.stdout.splitlines()[1:] == ["line 3: title is missing", "3 rows: 2 new, 0 changed, 0 unchanged, 1 rejected"]
    assert anyone.get("/books/900").json()["title"] == 'A, quoted "title"'
    tag = anyone.get("/books/900").headers["etag"]
    again = shop.run("import", str(path), "--data", str(shop.data))
    assert again.stdout.splitlines()[-1] == "3 rows: 0 new, 0 changed, 2 unchanged, 1 rejected"
    assert anyone.get("/books/900").headers["etag"] == tag
