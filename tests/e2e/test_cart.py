"""The Cart table of the API: every call, its success and what it answers."""

import threading

import pytest

import api
from api import assert_problem, lines, version

LINE_FIELDS = {"book", "title", "authors", "cover_url", "quantity", "unit_price", "total", "availability"}


def test_new_cart_is_empty(guest):
    answer = guest.cart()
    assert answer.status_code == 200
    assert answer.json() == {
        "version": "0", "lines": [], "count": 0, "subtotal": {"amount": 0, "currency": "EUR"}, "warnings": [],
    }  # fmt: skip
    assert answer.headers["cache-control"] == "private, no-cache"
    assert answer.headers["content-type"].split(";")[0] == "application/json"
    assert answer.headers["request-id"]


def test_add_answers_with_the_cart(guest):
    answer = guest.add(7, 2)
    body = answer.json()
    assert answer.status_code == 200
    assert answer.headers["cart-durability"] == "committed"
    assert body["version"] == "1"
    assert body["count"] == 2
    line = body["lines"][0]
    assert set(line) == LINE_FIELDS
    assert (line["book"], line["title"], line["quantity"]) == (7, "Book 7", 2)
    assert line["authors"] == ["Author 7", "Author 22"]
    assert line["unit_price"] == {"amount": 1207, "currency": "EUR"}
    assert line["total"] == {"amount": 2414, "currency": "EUR"}
    assert line["availability"] == "in_stock"
    assert body["subtotal"] == {"amount": 2414, "currency": "EUR"}
    assert body["warnings"] == []


def test_lines_stay_in_the_order_they_were_added(guest):
    for book in (30, 10, 20):
        guest.add(book)
    guest.add(10)
    assert lines(guest.set(30, 5)) == [(30, 5), (10, 2), (20, 1)]


def test_add_takes_away_and_the_line_goes_at_zero(guest):
    guest.add(7, 5)
    assert lines(guest.add(7, -2)) == [(7, 3)]
    assert lines(guest.add(7, -99)) == []


def test_taking_from_a_line_that_is_not_there_changes_nothing_but_the_version(guest):
    before = version(guest.cart())
    answer = guest.add(7, -1)
    assert lines(answer) == []
    assert version(answer) == before + 1


def test_set_remove_clear(guest):
    assert lines(guest.set(7, 3)) == [(7, 3)]
    assert lines(guest.set(8, 1)) == [(7, 3), (8, 1)]
    assert lines(guest.set(7, 0)) == [(8, 1)]
    assert lines(guest.remove(8)) == []
    assert lines(guest.remove(8)) == []
    guest.add(1)
    guest.add(2)
    assert lines(guest.clear()) == []
    assert lines(guest.cart()) == []


def test_a_group_is_all_or_none(guest):
    answer = guest.change([
        {"op": "add", "book": 7, "quantity": 1},
        {"op": "set", "book": 8, "quantity": 4},
        {"op": "remove", "book": 9},
    ])
    assert lines(answer) == [(7, 1), (8, 4)]
    assert version(answer) == 1
    refused = guest.change([{"op": "add", "book": 10, "quantity": 1}, {"op": "add", "book": 7, "quantity": 99}])
    problem = assert_problem(refused, 422, "quantity-limit")
    assert "changes[1]" in problem["errors"][0]["field"]
    after = guest.cart()
    assert lines(after) == [(7, 1), (8, 4)]
    assert version(after) == 1


def test_a_group_of_a_hundred(guest):
    answer = guest.change([{"op": "add", "book": n, "quantity": 1} for n in range(1, 101)])
    assert len(lines(answer)) == 100
    assert_problem(guest.change([{"op": "remove", "book": n} for n in range(1, 102)]), 400)


def test_limits(guest):
    assert lines(guest.set(7, 99)) == [(7, 99)]
    assert_problem(guest.add(7, 1), 422, "quantity-limit")
    guest.change([{"op": "add", "book": n, "quantity": 1} for n in range(101, 200)])
    assert_problem(guest.add(200, 1), 422, "line-limit")
    assert lines(guest.add(150, 1)).count((150, 2)) == 1
    assert len(lines(guest.cart())) == 100


def test_unknown_book(guest):
    assert_problem(guest.add(99999, 1), 422, "unknown-book")
    assert_problem(guest.set(99999, 1), 422, "unknown-book")
    assert lines(guest.remove(99999)) == []


def test_every_change_takes_one_version_and_it_shows(guest):
    for n in range(1, 6):
        assert version(guest.add(n)) == n
    assert version(guest.cart()) == 5


def test_etag_changes_with_the_cart_and_304_without(guest):
    first = guest.add(7, 1)
    tag = first.headers["etag"]
    assert tag.startswith('"') and not tag.startswith("W/")
    assert guest.cart().headers["etag"] == tag
    unchanged = guest.cart(headers={"If-None-Match": tag})
    assert unchanged.status_code == 304
    assert unchanged.content == b""
    assert unchanged.headers["etag"] == tag
    assert unchanged.headers["request-id"]
    assert guest.cart(headers={"If-None-Match": f'"x", W/{tag}'}).status_code == 304
    assert guest.cart(headers={"If-None-Match": "*"}).status_code == 304
    second = guest.add(7, 1)
    assert second.headers["etag"] != tag
    assert guest.cart(headers={"If-None-Match": tag}).status_code == 200


def test_head_is_get_without_a_body(guest):
    guest.add(7, 1)
    get = guest.cart()
    head = guest.call("HEAD", "/cart")
    assert head.status_code == 200
    assert head.content == b""
    for name in ("etag", "content-length", "content-type", "cache-control"):
        assert head.headers[name] == get.headers[name]
    assert guest.call("HEAD", "/cart", headers={"If-None-Match": get.headers["etag"]}).status_code == 304


def test_status_goes_from_cold_over_noted_to_hot(guest):
    seen = [guest.cart().headers["cart-status"] for _ in range(6)]
    assert set(seen) <= {"cold", "noted", "hot"}
    assert seen[0] != "hot"
    assert seen[-1] == "hot"
    assert seen == sorted(seen, key=["cold", "noted", "hot"].index)


# --- If-Match ---


def test_if_match(guest):
    tag = guest.add(7, 1).headers["etag"]
    answer = guest.set(7, 2, headers={"If-Match": tag})
    assert lines(answer) == [(7, 2)]
    assert_problem(guest.set(7, 3, headers={"If-Match": tag}), 412, "precondition-failed")
    assert lines(guest.cart()) == [(7, 2)]
    newest = answer.headers["etag"]
    assert lines(guest.add(8, 1, headers={"If-Match": f'"nonsense", {newest}'})) == [(7, 2), (8, 1)]
    assert lines(guest.remove(8, headers={"If-Match": "*"})) == [(7, 2)]


def test_if_match_is_strong(guest):
    tag = guest.add(7, 1).headers["etag"]
    assert_problem(guest.set(7, 2, headers={"If-Match": f"W/{tag}"}), 412)


@pytest.mark.parametrize("encoding", ["gzip", "gzip, deflate, br", "identity"])
def test_if_match_with_compression_asked_for(guest, encoding):
    """nginx's own filters would weaken the tag, or turn a committed change into 412."""
    tag = guest.add(7, 1).headers["etag"]
    answer = guest.set(7, 2, headers={"If-Match": tag, "Accept-Encoding": encoding})
    assert lines(answer) == [(7, 2)]
    assert "content-encoding" not in answer.headers
    assert not answer.headers["etag"].startswith("W/")
    again = guest.cart(headers={"If-None-Match": answer.headers["etag"], "Accept-Encoding": encoding})
    assert again.status_code == 304


# --- Idempotency-Key ---


def test_a_repeat_counts_once_and_says_so(guest):
    first = guest.add(7, 2, key="k-1")
    again = guest.add(7, 2, key="k-1")
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert lines(again) == [(7, 2)]
    assert version(again) == 1


def test_a_repeat_answers_the_cart_as_it_is_now(guest):
    guest.add(7, 2, key="k-1")
    guest.add(8, 1)
    again = guest.add(7, 2, key="k-1")
    assert lines(again) == [(7, 2), (8, 1)]
    assert version(again) == 2


def test_a_repeat_may_be_spelt_differently(guest):
    guest.add(7, 2, key="k-1")
    text = '{ "quantity" : 2,\n "book" : 7 }'
    headers = {"Idempotency-Key": "k-1", "Content-Type": "application/json; charset=utf-8"}
    again = guest.call("POST", "/cart/lines", content=text, headers=headers)
    assert again.headers["idempotent-replayed"] == "true"
    assert lines(again) == [(7, 2)]


def test_a_key_with_another_body(guest):
    guest.add(7, 2, key="k-1")
    assert_problem(guest.add(7, 3, key="k-1"), 422, "idempotency-key-reused")
    assert lines(guest.cart()) == [(7, 2)]


def test_a_key_belongs_to_its_user_method_and_path(shop, guest):
    guest.add(7, 2, key="k-1")
    other = api.guest(shop.url)
    assert lines(other.add(7, 2, key="k-1")) == [(7, 2)]
    assert lines(guest.set(7, 5, headers={"Idempotency-Key": "k-1"})) == [(7, 5)]
    assert lines(guest.set(8, 5, headers={"Idempotency-Key": "k-1"})) == [(7, 5), (8, 5)]


def test_the_key_is_looked_at_before_the_condition(guest):
    tag = guest.add(7, 1).headers["etag"]
    headers = {"If-Match": tag}
    guest.add(8, 1, key="k-2", headers=headers)
    again = guest.add(8, 1, key="k-2", headers=headers)
    assert again.headers["idempotent-replayed"] == "true"
    assert lines(again) == [(7, 1), (8, 1)]


def test_the_last_64_keys_are_remembered(guest):
    for n in range(70):
        guest.add(1 + n % 9, 1, key=f"key-{n}")
    before = version(guest.cart())
    for n in range(70):  # all are younger than two minutes, so more than 64 are
        assert guest.add(1 + n % 9, 1, key=f"key-{n}").headers["idempotent-replayed"] == "true"
    assert version(guest.cart()) == before


@pytest.mark.parametrize("key", ["", "a b", "x" * 65, "é"])
def test_a_key_is_1_to_64_visible_characters(guest, key):
    headers = {"Idempotency-Key": key.encode("latin-1")}
    answer = guest.call("POST", "/cart/lines", json={"book": 7, "quantity": 1}, headers=headers)
    assert_problem(answer, 400, "malformed-request")
    assert lines(guest.cart()) == []


# --- warnings ---


def test_warnings(guest):
    body = guest.change([
        {"op": "add", "book": 8, "quantity": 3}, {"op": "add", "book": 9, "quantity": 1},
    ]).json()  # fmt: skip
    assert {"code": "not-enough-stock", "book": 8, "available": 1} in body["warnings"]
    assert [w["code"] for w in body["warnings"] if w["book"] == 9] == ["out-of-stock"]


# --- several at once ---


def test_changes_from_many_connections_all_count(shop, guest):
    """Two workers, one cart: each change counts once, versions are all different."""
    seen, lock = [], threading.Lock()

    def add_ten():
        mine = api.Caller(shop.url, guest.tokens)
        for _ in range(10):
            answer = mine.add(7, 1)
            assert answer.status_code == 200, answer.text
            with lock:
                seen.append(version(answer))
        mine.close()

    threads = [threading.Thread(target=add_ten) for _ in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == list(range(1, 91))
    assert lines(guest.cart()) == [(7, 90)]
