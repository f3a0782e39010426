"""What the cart's calls do with input that is wrong, large, slow or strange. Nothing of it may change a cart."""

import json

import pytest

from api import Raw, assert_problem, lines, version

ADD = ("POST", "/cart/lines")
SET = ("PUT", "/cart/lines/7")
PATCH = ("PATCH", "/cart")


def send(guest, call, content: bytes | str, **headers):
    headers = {"Content-Type": "application/json", **headers}
    return guest.call(call[0], call[1], content=content, headers=headers)


@pytest.fixture
def untouched(guest):
    """A guest whose cart must be as it was when the test ends."""
    guest.add(5, 5)
    yield guest
    after = guest.cart()
    assert lines(after) == [(5, 5)]
    assert version(after) == 1


@pytest.mark.parametrize(
    "call, content, field",
    [
        pytest.param(ADD, b"", "", id="empty"),
        pytest.param(ADD, b"   ", "", id="blank"),
        pytest.param(ADD, b"[]", "", id="not-an-object"),
        pytest.param(ADD, b'{"book":7', "", id="truncated"),
        pytest.param(ADD, b'{"book":7,"quantity":1}x', "", id="trailing"),
        pytest.param(ADD, b'{"book":7,"quantity":1}{"book":7,"quantity":1}', "", id="twice"),
        pytest.param(ADD, b'{"book":7}', "quantity", id="missing-quantity"),
        pytest.param(ADD, b'{"quantity":1}', "book", id="missing-book"),
        pytest.param(ADD, b'{"book":7,"quantity":1,"colour":"red"}', "colour", id="unknown-field"),
        pytest.param(ADD, b'{"book":7,"book":8,"quantity":1}', "book", id="duplicate-key"),
        pytest.param(ADD, b'{"book":7,"quantity":1,"quantity":1}', "quantity", id="duplicate-quantity"),
        pytest.param(ADD, b'{"book":7,"qu\\u0061ntity":1,"quantity":1}', "quantity", id="duplicate-escaped"),
        pytest.param(ADD, b'{"book":7,"quantity":1.5}', "quantity", id="fraction"),
        pytest.param(ADD, b'{"book":7,"quantity":1.0}', "quantity", id="fraction-zero"),
        pytest.param(ADD, b'{"book":7,"quantity":1e1}', "quantity", id="exponent"),
        pytest.param(ADD, b'{"book":7,"quantity":"1"}', "quantity", id="string"),
        pytest.param(ADD, b'{"book":7,"quantity":null}', "quantity", id="null"),
        pytest.param(ADD, b'{"book":7,"quantity":true}', "quantity", id="bool"),
        pytest.param(ADD, b'{"book":7,"quantity":01}', "quantity", id="leading-zero"),
        pytest.param(ADD, b'{"book":7,"quantity":+1}', "quantity", id="plus"),
        pytest.param(ADD, b'{"book":7,"quantity":0}', "quantity", id="add-zero"),
        pytest.param(ADD, b'{"book":7,"quantity":18446744073709551617}', "quantity", id="overflow"),
        pytest.param(ADD, b'{"book":9007199254740992,"quantity":1}', "book", id="book-2^53"),
        pytest.param(ADD, b'{"book":18446744073709551623,"quantity":1}', "book", id="book-overflow"),
        pytest.param(ADD, b'{"book":0,"quantity":1}', "book", id="book-zero"),
        pytest.param(ADD, b'{"book":-7,"quantity":1}', "book", id="book-negative"),
        pytest.param(ADD, b'{"b\xffook":7,"quantity":1}', "", id="invalid-utf8"),
        pytest.param(ADD, b'{"book":7,"quantity":1,"x":"\xc0\xaf"}', "x", id="overlong-utf8"),
        pytest.param(ADD, b'{"book":7,"quantity":1,"x":"\\ud800"}', "x", id="half-surrogate"),
        pytest.param(ADD, b'\xef\xbb\xbf{"book":7,"quantity":1}', "", id="byte-order-mark"),
        pytest.param(ADD, b'{"book":7,"quantity":1,"x":' + b"[" * 100 + b"]" * 100 + b"}", "x", id="depth"),
        pytest.param(ADD, b"[" * 8000, "", id="deep-truncated"),
        pytest.param(ADD, b"{'book':7,'quantity':1}", "", id="single-quotes"),
        pytest.param(ADD, b'{"book":7,"quantity":1,}', "", id="trailing-comma"),
        pytest.param(ADD, b'{"book":7,"quantity":NaN}', "quantity", id="nan"),
        pytest.param(SET, b'{"book":7,"quantity":1}', "book", id="set-with-book"),
        pytest.param(SET, b"{}", "quantity", id="set-empty"),
        pytest.param(PATCH, b"{}", "changes", id="patch-empty"),
        pytest.param(PATCH, b'{"changes":[]}', "changes", id="no-change"),
        pytest.param(PATCH, b'{"changes":{}}', "changes", id="changes-object"),
        pytest.param(PATCH, b'{"changes":[7]}', "changes[0]", id="change-number"),
        pytest.param(PATCH, b'{"changes":[{"op":"take","book":7,"quantity":1}]}', "changes[0].op", id="unknown-op"),
        pytest.param(PATCH, b'{"changes":[{"book":7,"quantity":1}]}', "changes[0].op", id="no-op"),
        pytest.param(
            PATCH, b'{"changes":[{"op":"add","book":7,"quantity":1},{"op":"add","book":8,"quantity":2.5}]}',
            "changes[1].quantity", id="fraction-in-second",
        ),
        pytest.param(PATCH, b'{"changes":[{"op":"add","book":7}]}', "changes[0].quantity", id="add-no-quantity"),
    ],
)  # fmt: skip
def test_malformed_body_says_where(untouched, call, content, field):
    answer = send(untouched, call, content)
    body = assert_problem(answer, 400, "malformed-request")
    assert body["errors"], body
    where = body["errors"][0]
    assert where["code"] and where["detail"]
    assert where["field"].startswith(field) or field == "", where


@pytest.mark.parametrize("quantity", [100, -100, 12345, -(2**62)])
def test_a_number_no_cart_can_hold(untouched, quantity):
    answer = send(untouched, ADD, json.dumps({"book": 7, "quantity": quantity}))
    assert_problem(answer, 422, "quantity-limit")


@pytest.mark.parametrize("quantity", [100, -1])
def test_set_outside_of_0_to_99(untouched, quantity):
    assert_problem(send(untouched, SET, json.dumps({"quantity": quantity})), 422, "quantity-limit")


@pytest.mark.parametrize("media", ["text/plain", "application/xml", "application/jsonx", "application/x-www-form-urlencoded"])
def test_media_type(untouched, media):
    answer = untouched.call("POST", "/cart/lines", content=b'{"book":7,"quantity":1}', headers={"Content-Type": media})
    assert_problem(answer, 415, "unsupported-media-type")


def test_no_media_type(untouched):
    raw = Raw(untouched.url)
    body = '{"book":7,"quantity":1}'
    raw.send(
        f"POST /api/v1/cart/lines HTTP/1.1\r\nHost: shop\r\nAuthorization: Bearer {untouched.token}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    )
    assert raw.answer()[0] == 415


@pytest.mark.parametrize("media", ["application/json", "Application/JSON", "application/json;charset=UTF-8"])
def test_media_type_spellings(guest, media):
    answer = guest.call("POST", "/cart/lines", content=b'{"book":7,"quantity":1}', headers={"Content-Type": media})
    assert lines(answer) == [(7, 1)]


def padded(size: int) -> bytes:
    body = b'{"book":7,"quantity":1}'
    return body[:-1] + b" " * (size - len(body)) + b"}"


def test_body_of_16_kib_spooled_to_a_file(guest):
    """More than nginx keeps in memory for this place, and still allowed."""
    assert lines(send(guest, ADD, padded(16384))) == [(7, 1)]
    assert lines(send(guest, ADD, padded(8193))) == [(7, 2)]


@pytest.mark.parametrize("size", [16385, 100_000, 3_000_000])
def test_body_too_large(untouched, size):
    assert_problem(send(untouched, ADD, padded(size)), 413, "body-too-large")


def test_chunked_body_too_large(untouched):
    def chunks():
        for _ in range(40):
            yield b" " * 1000

    assert_problem(send(untouched, ADD, chunks()), 413, "body-too-large")


def test_chunked_body(guest):
    def chunks():
        for byte in b'{"book":7,"quantity":2}':
            yield bytes([byte])

    assert lines(send(guest, ADD, chunks())) == [(7, 2)]


def test_chunked_body_spooled_to_a_file(guest):
    def chunks():
        yield b'{"book":7,'
        for _ in range(12):
            yield b" " * 1000
        yield b'"quantity":2}'

    assert lines(send(guest, ADD, chunks())) == [(7, 2)]


def head(guest, length: int, version_text: str = "HTTP/1.1") -> str:
    return (
        f"POST /api/v1/cart/lines {version_text}\r\nHost: shop\r\nAuthorization: Bearer {guest.token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    )


def test_body_split_into_single_bytes(guest):
    body = '{"book":7,"quantity":2}'
    raw = Raw(guest.url)
    for character in head(guest, len(body)) + body:
        raw.send(character)
    status, _, answer = raw.answer()
    assert status == 200
    assert json.loads(answer)["count"] == 2


def test_two_requests_in_one_packet(guest):
    body = '{"book":7,"quantity":2}'
    raw = Raw(guest.url)
    raw.send((head(guest, len(body)) + body) * 2)
    assert raw.answer()[0] == 200
    wait = guest.cart()
    assert wait.status_code == 200


def test_http_1_0(guest):
    body = '{"book":7,"quantity":2}'
    raw = Raw(guest.url).send(head(guest, len(body), "HTTP/1.0") + body)
    status, headers, answer = raw.answer()
    assert status == 200
    assert json.loads(answer)["count"] == 2
    assert headers["etag"]


def test_client_gone_before_its_body_changes_nothing(untouched):
    raw = Raw(untouched.url).send(head(untouched, 50) + '{"book":7,')
    raw.close()


@pytest.mark.parametrize(
    "method, path, allow",
    [
        ("POST", "/cart", {"GET", "HEAD", "PATCH", "DELETE"}),
        ("PUT", "/cart", {"GET", "HEAD", "PATCH", "DELETE"}),
        ("GET", "/cart/lines", {"POST"}),
        ("DELETE", "/cart/lines", {"POST"}),
        ("GET", "/cart/lines/7", {"PUT", "DELETE"}),
        ("POST", "/cart/lines/7", {"PUT", "DELETE"}),
        ("PATCH", "/cart/lines/7", {"PUT", "DELETE"}),
    ],
)
def test_method_not_allowed(untouched, method, path, allow):
    answer = untouched.call(method, path)
    assert_problem(answer, 405, "method-not-allowed")
    assert {word.strip() for word in answer.headers["allow"].split(",")} == allow


@pytest.mark.parametrize(
    "path",
    ["/cart/", "/cart/line", "/cart/lines/", "/cart/lines/x", "/cart/lines/07", "/cart/lines/7/8", "/cart/lines/-1",
     "/cart/lines/0", "/cart/lines/9007199254740992", "/cart/lines/99999999999999999999999", "/carts"],
)  # fmt: skip
def test_no_such_place(untouched, path):
    assert_problem(untouched.call("PUT", path, json={"quantity": 1}), 404, "not-found")


@pytest.mark.parametrize("query", ["?x=1", "?book=7"])
def test_unknown_parameters_are_refused(untouched, query):
    assert_problem(untouched.call("GET", "/cart" + query), 400, "malformed-request")


def test_a_body_where_none_belongs(untouched):
    assert_problem(untouched.call("DELETE", "/cart/lines/5", json={"quantity": 1}), 400, "malformed-request")


@pytest.mark.parametrize(
    "text, status",
    [
        ("GET /api/v1/cart HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("GET /api/v1/cart HTTP/1.1\r\n\r\n", 400),
        ("NONSENSE\r\n\r\n", 400),
        ("GET /api/v1/cart HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400),
        ("GET /api/v1/cart HTTP/1.1\r\nHost: a\r\nX: " + "y" * 40000 + "\r\n\r\n", (400, 431)),
        ("GET /api/v1/cart/" + "y" * 40000 + " HTTP/1.1\r\nHost: a\r\n\r\n", (400, 414)),
        ("TRACE /api/v1/cart HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        ("GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        ("GET /api/v1/../../../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /api/v1/../../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", 404),
    ],
    ids=["two-hosts", "no-host", "no-http", "bad-length", "large-header", "long-uri", "trace", "nowhere", "dots-above", "dots"],
)
def test_what_nginx_answers_itself_is_a_problem_too(shop, text, status):
    status_got, headers, body = Raw(shop.url).send(text).answer()
    assert status_got in (status if isinstance(status, tuple) else (status,))
    assert headers["content-type"].split(";")[0] == "application/problem+json"
    problem = json.loads(body)
    assert problem["status"] == status_got
    assert problem["request_id"] == headers["request-id"]


@pytest.mark.parametrize("language, word", [("fr", "requête"), ("bg-BG,bg;q=0.9", "Заявката"), ("en", "request"), ("xx", "request")])
def test_titles_speak_the_callers_language(untouched, language, word):
    answer = send(untouched, ADD, b"{", **{"Accept-Language": language})
    assert word in assert_problem(answer, 400)["title"]
    assert "accept-language" in answer.headers["vary"].lower()
