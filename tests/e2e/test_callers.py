"""Who may call what: every route of the contract with every kind of caller, and other ways to show a token."""

import json
import time
import uuid

import httpx
import pytest
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

import api
import contract
from api import Caller, assert_problem, segment, unsegment
from buying import place, wait_stock
from shop import wait_for


def sign_es256(header: dict, claims: dict, key) -> str:
    signed = unsegment(json.dumps(header).encode()) + "." + unsegment(json.dumps(claims).encode())
    r, s = decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
    return signed + "." + unsegment(r.to_bytes(32, "big") + s.to_bytes(32, "big"))


def parts(token: str) -> tuple[dict, dict, bytes]:
    header, claims, signature = token.split(".")
    return json.loads(segment(header)), json.loads(segment(claims)), segment(signature)


def bad_tokens(good: str, jwks: bytes) -> dict[str, str]:
    """What nobody signed, made of a token that is good."""
    header, claims, signature = parts(good)
    head, body, mark = good.split(".")
    stranger = ec.generate_private_key(ec.SECP256R1())
    now = int(time.time())

    def hs256(key: bytes) -> str:
        signed = unsegment(json.dumps({**header, "alg": "HS256"}).encode()) + "." + body
        mac = hmac.HMAC(key, hashes.SHA256())
        mac.update(signed.encode())
        return signed + "." + unsegment(mac.finalize())

    flipped = bytearray(signature)
    flipped[5] ^= 1
    admin = unsegment(json.dumps({**claims, "role": "admin", "kind": "customer"}).encode())
    return {
        "malformed": "nonsense",
        "empty": "",
        "two-parts": f"{head}.{body}",
        "four-parts": f"{good}.x",
        "not-base64": f"{head}.{body}!.{mark}",
        "cut": good[:-10],
        "long": good + "A" * 5000,
        "flipped": f"{head}.{body}.{unsegment(bytes(flipped))}",
        "other-claims": f"{head}.{admin}.{mark}",
        "wrong-key": sign_es256(header, {**claims, "role": "admin"}, stranger),
        "wrong-key-expired": sign_es256(header, {**claims, "iat": now - 2000, "exp": now - 1000}, stranger),
        "unknown-kid": sign_es256({**header, "kid": "other"}, claims, stranger),
        "own-key-inside": sign_es256({**header, "jwk": {"kty": "EC"}}, claims, stranger),
        "alg-none": unsegment(json.dumps({**header, "alg": "none"}).encode()) + "." + body + ".",
        "alg-none-signed": unsegment(json.dumps({**header, "alg": "None"}).encode()) + "." + body + "." + mark,
        "hs256-with-jwks": hs256(jwks),
        "hs256-with-x": hs256(segment(json.loads(jwks)["keys"][0]["x"])),
        "zero-signature": f"{head}.{body}.{unsegment(bytes(64))}",
    }


def expired_token(shop) -> str:
    """Signed by the shop's own key, as its data folder holds it: only its time is over."""
    header, claims, _ = parts(api.guest(shop.url).token)
    jwk = json.loads((shop.data / "keys" / f"signing-{header['kid']}.json").read_text())["jwk"]
    key = ec.derive_private_key(int.from_bytes(segment(jwk["d"]), "big"), ec.SECP256R1())
    now = int(time.time())
    return sign_es256(header, {**claims, "iat": now - 2000, "exp": now - 1000}, key)


def ended_tokens(shop, admin: Caller) -> dict[str, str]:
    """Good until something happened: signed out, disabled, demoted."""
    revoked = api.guest(shop.url)
    assert revoked.call("POST", "/auth/logout", json={"refresh_token": revoked.tokens["refresh_token"]}).status_code == 204
    disabled = api.register(shop.url, "disabled@reader.example")
    assert admin.call("PATCH", f"/admin/users/{disabled.user}", json={"disabled": True}).status_code == 200
    demoted = api.register(shop.url, "demoted@reader.example", "a long enough password")
    assert admin.call("PATCH", f"/admin/users/{demoted.user}", json={"role": "admin"}).status_code == 200
    as_admin = api.login(shop.url, "demoted@reader.example", "a long enough password")
    assert as_admin.call("GET", "/admin/users").status_code == 200
    assert admin.call("PATCH", f"/admin/users/{demoted.user}", json={"role": "customer"}).status_code == 200
    ended = {"revoked": revoked.token, "disabled": disabled.token, "demoted-admin": as_admin.token}
    # The whole matrix follows: wait until the last place has heard of it (within a second, test_auth_admin.py).
    for token in ended.values():
        for path in ("/cart", "/me", "/admin/books/7", "/orders", "/questions"):
            wait_for(lambda: Caller(shop.url).call("GET", path, token=token).status_code in (401, 404), f"{path} refuses it")  # noqa: B023
    return ended


@pytest.fixture(scope="module")
def callers(module_shop):
    """Every kind of caller: its token (None: none)."""
    shop = module_shop
    admin = Caller(shop.url, {"access_token": shop.admin()})
    jwks = httpx.get(f"{shop.url}/.well-known/jwks.json").content
    return {
        "none": None,
        **bad_tokens(api.guest(shop.url).token, jwks),
        "expired": expired_token(shop),
        **ended_tokens(shop, admin),
        "guest": api.guest(shop.url).token,
        "customer": api.register(shop.url, "matrix@reader.example").token,
        "another-customer": api.register(shop.url, "another@reader.example").token,
        "admin": admin.token,
    }


GOOD = ["guest", "customer", "another-customer", "admin"]


def refusal(operation, who: str) -> tuple[int, str] | None:
    """What x-callers says: the status and the problem; None: the call is let in."""
    if operation.data["security"] == []:
        return None
    if who == "none":
        return None if operation.callers == "anyone" else (401, "unauthorized")
    if who not in GOOD:
        return 401, "unauthorized"
    if who == "guest" and operation.callers == "customer":
        return 403, "registration-required"
    if who != "admin" and operation.callers == "admin":
        return 403, "forbidden"
    return None


def send(http, operation, token: str | None, method: str | None = None, path: str | None = None):
    """One call in the form that the document asks for, with its examples; nothing that its path names is there."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}".strip()}
    more = {}
    for parameter in operation.parameters:
        if parameter["in"] == "header" and parameter.get("required"):
            headers[parameter["name"]] = str(parameter.get("example", '"x"'))
        if parameter["in"] == "query" and parameter.get("required"):
            more.setdefault("params", {})[parameter["name"]] = parameter["example"]
    if "Idempotency-Key" in headers:
        headers["Idempotency-Key"] = uuid.uuid4().hex
    if operation.body is not None:
        media, content = next(iter(operation.body["content"].items()))
        example = content.get("example", "x")
        headers["Content-Type"] = media
        more["content"] = example if isinstance(example, str) else json.dumps(example)
    return http.request(method or operation.method, path or operation.example_path(), headers=headers, **more)


def verdict(answer, expected: tuple[int, str] | None, method: str) -> str | None:
    """What is wrong; None: nothing. The form of the answer is judged behind every call (contract.py)."""
    problem = ""
    if method != "HEAD" and answer.headers.get("content-type") == contract.PROBLEM:
        problem = answer.json()["type"].removeprefix("/problems/")
    got = (answer.status_code, problem)
    if expected is not None:
        return None if got == expected or (method == "HEAD" and got[0] == expected[0]) else f"{got}, not {expected}"
    if answer.status_code >= 500 or problem in ("unauthorized", "forbidden", "registration-required"):
        return f"{got}: it should be let in"
    return None


@pytest.mark.parametrize("operation", [o for o in contract.document.operations if not o.planned], ids=str)
def test_route_and_caller(module_shop, callers, operation):
    """One row of the matrix: this route with every kind of caller, and what the contract says of each."""
    wrong = []
    fresh = {**callers, "guest": api.guest(module_shop.url).token}  # one of the rows makes a customer of him
    with httpx.Client(base_url=module_shop.url, timeout=20) as http:
        for who, token in fresh.items():
            for method in [operation.method] + (["HEAD"] if operation.method == "GET" else []):
                answer = send(http, operation, token, method)
                if who == "long" and answer.status_code in (400, 431):
                    continue  # too long to be read at all
                fault = verdict(answer, refusal(operation, who), method)
                if fault is not None:
                    wrong.append(f"{method} as {who}: {fault}")
    assert wrong == []


@pytest.fixture(scope="module")
def belongings(module_shop):
    """A customer and one of everything that can be his alone, by the path it is under."""
    admin = Caller(module_shop.url, {"access_token": module_shop.admin()})
    wait_stock(admin, 300)
    owner = api.register(module_shop.url, "owner@reader.example")
    owner.add(60)
    placed = place(owner)
    question = {"about": {"kind": "shop"}, "subject": "Hours", "text": "When are you open?"}
    asked = owner.call("POST", "/questions", json=question)
    assert asked.status_code == 201, asked.text
    sessions = owner.get("/me/sessions").json()["items"]
    return owner, {
        "/api/v1/orders/{id}": placed["order"]["id"],
        "/api/v1/sandbox/payments/{id}": placed["payment"]["id"],
        "/api/v1/questions/{id}": asked.json()["id"],
        "/api/v1/me/sessions/{id}": sessions[0]["id"],
    }  # fmt: skip


OWNED = [o for o in contract.document.operations if "{" in o.path and (o.callers == "owner" or "/me/" in o.path)]


@pytest.mark.parametrize("operation", OWNED, ids=str)
def test_what_is_anothers_is_not_there(module_shop, belongings, callers, operation):
    """The owner is let in; everybody else gets, word for word, what he gets for what never was."""
    owner, ids = belongings
    place_of = next(prefix for prefix in ids if operation.path.startswith(prefix))  # a new kind of thing needs its row above
    real = operation.path.replace("{id}", ids[place_of])
    never = operation.path.replace("{id}", ids[place_of][:-1] + ("0" if ids[place_of][-1] != "0" else "1"))
    strangers = [callers["another-customer"], callers["admin"]]
    if operation.callers == "owner":
        strangers.append(api.guest(module_shop.url).token)
    with httpx.Client(base_url=module_shop.url, timeout=20) as http:

        def told(token, path):
            problem = assert_problem(send(http, operation, token, path=path), 404, "not-found")
            return {**problem, "request_id": ""}

        for token in strangers:
            assert told(token, real) == told(token, never)
        if operation.id != "endSession":  # it would end the owner's own
            assert send(http, operation, owner.token, path=real).status_code not in (401, 403, 404)


@pytest.mark.parametrize("scheme", ["Basic", "bearer2", "Token"])
def test_other_schemes_are_no_token(module_shop, callers, scheme):
    caller = Caller(module_shop.url)
    assert_problem(caller.call("GET", "/cart", token=None, headers={"Authorization": f"{scheme} {callers['guest']}"}), 401)


def test_scheme_is_case_insensitive(module_shop, callers):
    caller = Caller(module_shop.url)
    answer = caller.call("GET", "/cart", token=None, headers={"Authorization": f"bearer {callers['guest']}"})
    assert answer.status_code == 200


def test_a_token_in_query_or_cookie_counts_for_nothing(module_shop, callers):
    caller = Caller(module_shop.url)
    assert caller.call("GET", f"/cart?access_token={callers['guest']}", token=None).status_code in (400, 401)
    assert_problem(caller.call("GET", "/cart", token=None, headers={"Cookie": f"access_token={callers['guest']}"}), 401)


def test_two_authorizations_are_refused(module_shop, callers):
    raw = api.Raw(module_shop.url).send(
        f"GET /api/v1/cart HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {callers['guest']}\r\n"
        f"Authorization: Bearer {callers['customer']}\r\nConnection: close\r\n\r\n"
    )
    assert raw.answer()[0] in (400, 401)


def test_guests_and_customers_see_their_own_cart_only(shop):
    one, other = api.guest(shop.url), api.guest(shop.url)
    one.add(7, 3)
    assert api.lines(other.cart()) == []


def test_internal_routes_are_not_reachable_from_outside(module_shop, callers):
    for path in ("/internal/feed/books", "/internal/feed/revocations", f"/internal/carts/usr_{'0' * 26}", "/metrics", "/healthz",
                 "/readyz"):  # fmt: skip
        for token in (None, callers["admin"]):
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            assert httpx.get(module_shop.url + path, headers=headers).status_code == 404
            assert httpx.get(module_shop.url + "/api/v1" + path, headers=headers).status_code == 404
