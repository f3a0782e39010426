"""Who may call what: every route with every kind of caller."""

import json
import time

import httpx
import pytest
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

import api
from api import Caller, assert_problem, segment, unsegment
from shop import wait_for


def sign_es256(header: dict, claims: dict, key) -> str:
    signed = unsegment(json.dumps(header).encode()) + "." + unsegment(json.dumps(claims).encode())
    r, s = decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
    return signed + "." + unsegment(r.to_bytes(32, "big") + s.to_bytes(32, "big"))


def parts(token: str) -> tuple[dict, dict, bytes]:
    header, claims, signature = token.split(".")
    return json.loads(segment(header)), json.loads(segment(claims)), segment(signature)


@pytest.fixture(scope="module")
def callers(shop):
    """Every kind of token, by name. Those of `bad_tokens` must be 401 everywhere a token counts."""
    guest = api.guest(shop.url)
    customer = api.register(shop.url, "matrix@reader.example")
    revoked = api.guest(shop.url)
    revoked.cart()
    out = revoked.call("POST", "/auth/logout", json={"refresh_token": revoked.tokens["refresh_token"]})
    assert out.status_code == 204, out.text
    wait_for(lambda: revoked.cart().status_code == 401, "the revoked token is refused")
    header, claims, signature = parts(guest.token)
    head, body, mark = guest.token.split(".")
    stranger = ec.generate_private_key(ec.SECP256R1())
    now = int(time.time())
    public = httpx.get(f"{shop.url}/.well-known/jwks.json").content

    def hs256(key: bytes) -> str:
        signed = unsegment(json.dumps({**header, "alg": "HS256"}).encode()) + "." + body
        mac = hmac.HMAC(key, hashes.SHA256())
        mac.update(signed.encode())
        return signed + "." + unsegment(mac.finalize())

    flipped = bytearray(signature)
    flipped[5] ^= 1
    x = json.loads(public)["keys"][0]["x"]
    return {
        "none": None,
        "malformed": "nonsense",
        "empty": "",
        "two-parts": f"{head}.{body}",
        "four-parts": f"{guest.token}.x",
        "not-base64": f"{head}.{body}!.{mark}",
        "cut": guest.token[:-10],
        "long": guest.token + "A" * 5000,
        "flipped": f"{head}.{body}.{unsegment(bytes(flipped))}",
        "other-claims": f"{head}.{unsegment(json.dumps({**claims, 'role': 'admin', 'kind': 'customer'}).encode())}.{mark}",
        "expired": sign_es256(header, {**claims, "iat": now - 2000, "exp": now - 1000}, stranger),
        "wrong-key": sign_es256(header, {**claims, "role": "admin"}, stranger),
        "unknown-kid": sign_es256({**header, "kid": "other"}, claims, stranger),
        "own-key-inside": sign_es256({**header, "jwk": {"kty": "EC"}}, claims, stranger),
        "alg-none": unsegment(json.dumps({**header, "alg": "none"}).encode()) + "." + body + ".",
        "alg-none-signed": unsegment(json.dumps({**header, "alg": "None"}).encode()) + "." + body + "." + mark,
        "hs256-with-jwks": hs256(public),
        "hs256-with-x": hs256(segment(x)),
        "zero-signature": f"{head}.{body}.{unsegment(bytes(64))}",
        "revoked": revoked.token,
        "guest": guest.token,
        "customer": customer.token,
        "admin": shop.admin(),
    }


BAD = ["malformed", "empty", "two-parts", "four-parts", "not-base64", "cut", "long", "flipped", "other-claims", "expired",
       "wrong-key", "unknown-kid", "own-key-inside", "alg-none", "alg-none-signed", "hs256-with-jwks", "hs256-with-x",
       "zero-signature", "revoked"]  # fmt: skip
GOOD = ["guest", "customer", "admin"]

# method, path, body, status by caller: none, guest, customer, admin. None: the call is its own authentication.
ROUTES = [
    ("GET", "/cart", None, 401, 200, 200, 200),
    ("HEAD", "/cart", None, 401, 200, 200, 200),
    ("POST", "/cart/lines", {"book": 7, "quantity": 1}, 401, 200, 200, 200),
    ("PUT", "/cart/lines/7", {"quantity": 1}, 401, 200, 200, 200),
    ("DELETE", "/cart/lines/7", None, 401, 200, 200, 200),
    ("PATCH", "/cart", {"changes": [{"op": "remove", "book": 7}]}, 401, 200, 200, 200),
    ("DELETE", "/cart", None, 401, 200, 200, 200),
    ("GET", "/books", None, 200, 200, 200, 200),
    ("GET", "/books/7", None, 200, 200, 200, 200),
    ("GET", "/books/suggest?q=book", None, 200, 200, 200, 200),
    ("GET", "/shop", None, 200, 200, 200, 200),
    ("GET", "/admin/books/7", None, 401, 403, 403, 200),
    ("PATCH", "/admin/books/7", {"description": "x"}, 401, 403, 403, 428),
    ("DELETE", "/admin/books/299", None, 401, 403, 403, 428),
]
PUBLIC = {"/books", "/books/7", "/books/suggest?q=book", "/shop"}


@pytest.mark.parametrize("route", ROUTES, ids=lambda r: f"{r[0]} {r[1]}")
@pytest.mark.parametrize("who", ["none", *GOOD])
def test_route_and_caller(shop, callers, route, who):
    method, path, body, *statuses = route
    expected = statuses[["none", *GOOD].index(who)]
    caller = Caller(shop.url)
    answer = caller.call(method, path, token=callers[who], json=body) if body else caller.call(method, path, token=callers[who])
    if expected >= 400 and method != "HEAD":
        assert_problem(answer, expected)
    else:
        assert answer.status_code == expected, answer.text


@pytest.mark.parametrize("who", BAD)
@pytest.mark.parametrize("route", [r for r in ROUTES if r[1] not in PUBLIC], ids=lambda r: f"{r[0]} {r[1]}")
def test_bad_token_is_refused_everywhere(shop, callers, route, who):
    method, path, body, *_ = route
    token = callers[who]
    caller = Caller(shop.url)
    headers = {"Authorization": f"Bearer {token}".strip() if token == "" else f"Bearer {token}"}
    more = {"json": body} if body else {}
    answer = caller.call(method, path, token=None, headers=headers, **more)
    if len(token) > 4000 and answer.status_code in (400, 431):
        return  # too long to be read at all
    if method == "HEAD":
        assert answer.status_code == 401
    else:
        assert_problem(answer, 401, "unauthorized")


@pytest.mark.parametrize("scheme", ["Basic", "bearer2", "Token"])
def test_other_schemes_are_no_token(shop, callers, scheme):
    caller = Caller(shop.url)
    assert_problem(caller.call("GET", "/cart", token=None, headers={"Authorization": f"{scheme} {callers['guest']}"}), 401)


def test_scheme_is_case_insensitive(shop, callers):
    caller = Caller(shop.url)
    answer = caller.call("GET", "/cart", token=None, headers={"Authorization": f"bearer {callers['guest']}"})
    assert answer.status_code == 200


def test_a_token_in_query_or_cookie_counts_for_nothing(shop, callers):
    caller = Caller(shop.url)
    assert caller.call("GET", f"/cart?access_token={callers['guest']}", token=None).status_code in (400, 401)
    assert_problem(caller.call("GET", "/cart", token=None, headers={"Cookie": f"access_token={callers['guest']}"}), 401)


def test_two_authorizations_are_refused(shop, callers):
    raw = api.Raw(shop.url).send(
        f"GET /api/v1/cart HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {callers['guest']}\r\n"
        f"Authorization: Bearer {callers['customer']}\r\nConnection: close\r\n\r\n"
    )
    assert raw.answer()[0] in (400, 401)


def test_guests_and_customers_see_their_own_cart_only(shop):
    one, other = api.guest(shop.url), api.guest(shop.url)
    one.add(7, 3)
    assert api.lines(other.cart()) == []


def test_internal_routes_are_not_reachable_from_outside(shop, callers):
    for path in ("/internal/feed/books", "/internal/feed/revocations", f"/internal/carts/usr_{'0' * 26}", "/metrics", "/healthz",
                 "/readyz"):  # fmt: skip
        for token in (None, callers["admin"]):
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            assert httpx.get(shop.url + path, headers=headers).status_code == 404
            assert httpx.get(shop.url + "/api/v1" + path, headers=headers).status_code == 404
