"""A customer and his account, through the edge: what he changes, what ends, what the mail says."""

import os
import signal
import time
import unicodedata

import httpx
import pytest

import api
import mailbox
from api import Caller, assert_problem, lines
from shop import wait_for

PASSWORD = "a long enough password"
OTHER = "another long password"
count = iter(range(1, 10_000))


def new_email() -> str:
    return f"account{next(count)}.{time.time_ns()}@mail.example"


def post(shop, path, body, **headers):
    return httpx.post(f"{shop.url}/api/v1/auth/{path}", json=body, headers=headers, timeout=20)


def login(shop, email, password=PASSWORD) -> Caller:
    answer = post(shop, "login", {"email": email, "password": password})
    assert answer.status_code == 200, answer.text
    return Caller(shop.url, answer.json())


def heat(caller: Caller) -> None:
    """Until the edge answers his cart from memory."""
    wait_for(lambda: caller.add(7, 1).status_code == 200 and caller.cart().headers["cart-status"] == "hot", "a hot cart")


def wait_refused(caller: Caller) -> float:
    """How many seconds until his hot cart is refused. One is promised; a busy machine may be slow itself."""
    started = time.monotonic()
    wait_for(lambda: caller.cart().status_code == 401, "the hot cart is refused", 5, every=0.01)
    took = time.monotonic() - started
    print(f"refused at the edge after {took:.3f} s")
    return took


def refresh(shop, caller: Caller):
    return post(shop, "refresh", {"refresh_token": caller.tokens["refresh_token"]})


# --- profile ---


def test_profile(shop):
    reader = api.register(shop.url, new_email())
    answer = reader.call("PATCH", "/me", json={"name": "Émile Zola", "about": "J'accuse…\n", "language": "fr"})
    assert answer.status_code == 200
    assert reader.get("/me").json() == answer.json()
    assert answer.json()["name"] == "Émile Zola"
    assert reader.call("PATCH", "/me", json={"about": None}).json()["about"] in ("", None)
    answer = reader.call("PATCH", "/me", content=b'{"name":"Emile"}', headers={"Content-Type": "application/merge-patch+json"})
    assert answer.json()["name"] == "Emile"
    assert_problem(reader.call("PATCH", "/me", json={"language": "de"}), 422, "not-acceptable-value")
    assert_problem(reader.call("PATCH", "/me", json={"email": "x@y.zz"}), 400, "malformed-request")
    assert_problem(reader.call("PATCH", "/me", json=[]), 400)
    assert_problem(api.guest(shop.url).call("PATCH", "/me", json={}), 403, "registration-required")


# --- passwords ---


def test_a_new_password_ends_the_other_sessions_at_the_edge(shop):
    address = new_email()
    here = api.register(shop.url, address)
    there = login(shop, address)
    heat(there)
    heat(here)
    assert_problem(here.call("POST", "/me/password", json={"password": "wrong one", "new_password": OTHER}), 403, "wrong-password")
    assert here.call("POST", "/me/password", json={"password": PASSWORD, "new_password": OTHER}).status_code == 204
    wait_refused(there)
    assert_problem(refresh(shop, there), 401, "bad-refresh-token")
    assert here.cart().status_code == 200
    assert refresh(shop, here).status_code == 200
    assert_problem(post(shop, "login", {"email": address, "password": PASSWORD}), 401, "bad-credentials")
    login(shop, address, OTHER)
    mailbox.take(shop, address, lambda mail: "assword" in mail.subject)


def test_a_forgotten_password(shop):
    address = new_email()
    reader = api.register(shop.url, address)
    heat(reader)
    known = post(shop, "password/forgot", {"email": address.upper()}, **{"Accept-Language": "bg"})
    unknown = post(shop, "password/forgot", {"email": new_email()})
    assert (known.status_code, known.content) == (unknown.status_code, unknown.content) == (202, b"")
    token = mailbox.take_token(shop, address, "reset")
    assert_problem(post(shop, "password/reset", {"token": token, "password": "short"}), 422, "not-acceptable-value")
    assert post(shop, "password/reset", {"token": token, "password": OTHER}).status_code == 204
    assert_problem(post(shop, "password/reset", {"token": token, "password": PASSWORD}), 422, "bad-link")
    wait_refused(reader)
    again = login(shop, address, OTHER)
    assert again.cart().status_code == 200  # in the same second, at the edge too
    assert lines(again.cart()) != []


@pytest.mark.parametrize("length", [7, 201, 300])
def test_passwords_too_short_or_long_are_refused_clearly(shop, length):
    answer = post(shop, "register", {"email": new_email(), "password": "p" * length, "name": "Reader"})
    body = assert_problem(answer, 422, "not-acceptable-value")
    assert [(e["field"], e["code"]) for e in body["errors"]] == [("password", "length")]


def test_a_password_of_300_characters_is_just_wrong_at_the_login(shop):
    address = new_email()
    api.register(shop.url, address)
    assert_problem(post(shop, "login", {"email": address, "password": "p" * 300}), 401, "bad-credentials")


# --- addresses ---


def test_an_address_is_one_in_every_form(shop):
    name = f"reader{time.time_ns()}"
    domain = "bücher.example"
    assert unicodedata.is_normalized("NFC", domain)
    reader = api.register(shop.url, f"{name}@{domain}")
    assert reader.tokens["user"]["email"] == f"{name}@xn--bcher-kva.example"
    for form in (f"{name.upper()}@{domain.upper()}", f"{name}@{unicodedata.normalize('NFD', domain)}", f"{name}@xn--bcher-kva.example"):
        assert login(shop, form).user == reader.user
        assert_problem(post(shop, "register", {"email": form, "password": PASSWORD, "name": "Other"}), 409, "email-taken")
    # A local part is never folded: another letter may be another mailbox.
    answer = post(shop, "register", {"email": f"ı{name}@mail.example", "password": PASSWORD, "name": "Other"})
    assert_problem(answer, 422, "not-acceptable-value")


def test_an_address_is_verified_and_changed(shop):
    old, new = new_email(), new_email()
    reader = api.register(shop.url, old)
    assert reader.get("/me").json()["email_verified"] is False
    assert post(shop, "email/verify", {"token": mailbox.take_token(shop, old, "verify")}).status_code == 204
    assert reader.get("/me").json()["email_verified"] is True
    assert reader.call("POST", "/me/email", json={"email": new, "password": PASSWORD}).status_code == 202
    assert reader.get("/me").json()["email"] == old
    token = mailbox.take_token(shop, new, "verify")
    assert post(shop, "email/verify", {"token": token}).status_code == 204
    assert_problem(post(shop, "email/verify", {"token": token}), 422, "bad-link")
    assert reader.get("/me").json()["email"] == new
    told = mailbox.take(shop, old, lambda mail: True)
    assert new not in told.text
    login(shop, new)


def test_mail_speaks_the_users_language(shop):
    address = new_email()
    answer = post(shop, "register", {"email": address, "password": PASSWORD, "name": "Читател"}, **{"Accept-Language": "bg"})
    assert answer.status_code == 201
    assert mailbox.take(shop, address, lambda mail: mail.token("verify")).language == "bg"


# --- sessions ---


def test_sessions_are_listed_and_ended_at_the_edge(shop):
    address = new_email()
    first = api.register(shop.url, address)
    second = login(shop, address)
    heat(first)
    items = second.get("/me/sessions").json()["items"]
    assert [item["current"] for item in items] == [True, False]
    assert second.call("DELETE", f"/me/sessions/{items[1]['id']}").status_code == 204
    wait_refused(first)
    assert second.cart().status_code == 200
    assert len(second.get("/me/sessions").json()["items"]) == 1
    assert_problem(api.register(shop.url, new_email()).call("DELETE", f"/me/sessions/{items[0]['id']}"), 404, "not-found")


# --- export and erasure ---


def test_export(shop):
    reader = api.register(shop.url, new_email())
    reader.add(7, 3)
    answer = reader.get("/me/export")
    assert answer.status_code == 200
    body = answer.json()
    assert body["user"]["id"] == reader.user
    assert body["cart"]["lines"] == [{"book": 7, "quantity": 3}]
    assert set(body["missing"]) == {name for name in ("cart", "payment", "question") if body[name] is None}
    assert "argon2" not in answer.text


def test_an_export_while_a_part_is_away_names_it(make_shop):
    shop = make_shop()
    reader = api.register(shop.url, new_email())
    question = shop.service("question")
    os.kill(question, signal.SIGSTOP)
    try:
        body = reader.get("/me/export").json()
    finally:
        os.kill(question, signal.SIGCONT)
    assert body["question"] is None
    assert "question" in body["missing"]
    assert "cart" not in body["missing"]


def test_erasure(shop):
    address = new_email()
    reader = api.register(shop.url, address)
    heat(reader)
    assert_problem(reader.call("POST", "/me/erase", json={"password": "wrong one"}), 403, "wrong-password")
    assert reader.call("POST", "/me/erase", json={"password": PASSWORD}).status_code == 204
    wait_refused(reader)
    assert_problem(post(shop, "login", {"email": address, "password": PASSWORD}), 401, "bad-credentials")
    again = api.register(shop.url, address)
    assert again.user != reader.user
    assert lines(again.cart()) == []


# --- the cookie ---


def cookie_of(answer) -> str:
    header = answer.headers["set-cookie"]
    for part in ("HttpOnly", "Secure", "SameSite=Strict", "Path=/api/v1/auth"):
        assert part in header
    return header.split(";", 1)[0]


def test_the_cookie_and_whom_it_serves(shop):
    answer = post(shop, "guest", {"transport": "cookie"})
    assert "refresh_token" not in answer.json()
    cookie = cookie_of(answer)

    def refresh_by_cookie(**headers):
        return httpx.post(f"{shop.url}/api/v1/auth/refresh", headers={"Cookie": cookie, **headers}, timeout=20, content=b"{}")

    own = {"Origin": shop.url, "Content-Type": "application/json"}
    for wrong in ("https://evil.example", shop.url + ".evil.example", shop.url.replace("http:", "https:"), "null", ""):
        assert_problem(refresh_by_cookie(**{**own, "Origin": wrong}), 403, "forbidden")
    assert_problem(refresh_by_cookie(**{"Content-Type": "application/json"}), 403, "forbidden")
    for form in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        assert_problem(refresh_by_cookie(**{**own, "Content-Type": form}), 415, "unsupported-media-type")
    good = refresh_by_cookie(**own)
    assert good.status_code == 200
    assert "refresh_token" not in good.json()
    assert cookie_of(good) != cookie
    # Nothing else is opened by it.
    assert_problem(httpx.get(f"{shop.url}/api/v1/me", headers={"Cookie": cookie_of(good), **own}), 401, "unauthorized")
    token = good.json()["access_token"]
    assert_problem(httpx.get(f"{shop.url}/api/v1/me", headers={"Cookie": f"access_token={token}"}), 401, "unauthorized")


def test_the_cookies_origin_is_the_public_one(make_shop):
    shop = make_shop({"BOOKCART_PUBLIC_URL": "https://Shop.example:443"})
    cookie = cookie_of(post(shop, "guest", {"transport": "cookie"}))
    own = {"Cookie": cookie, "Content-Type": "application/json"}
    for origin, status in (("https://shop.example", 200), (shop.url, 403), ("http://shop.example", 403)):
        answer = httpx.post(f"{shop.url}/api/v1/auth/refresh", headers={**own, "Origin": origin}, content=b"{}", timeout=20)
        assert answer.status_code == status, (origin, answer.text)


# --- limits ---


def test_guessing_is_slowed_and_locks_nobody_out(make_shop):
    shop = make_shop({"BOOKCART_RATE_LIMITS": "on"})
    address = new_email()
    api.register(shop.url, address)
    for _ in range(6):
        assert_problem(post(shop, "login", {"email": address, "password": "wrong one"}), 401, "bad-credentials")
    late = post(shop, "login", {"email": address, "password": PASSWORD})
    assert_problem(late, 429, "too-many-requests")
    nobody = "nobody@mail.example"
    for _ in range(6):
        assert_problem(post(shop, "login", {"email": nobody, "password": "wrong one"}), 401, "bad-credentials")
    assert_problem(post(shop, "login", {"email": nobody, "password": "wrong one"}), 429, "too-many-requests")
    wait_for(lambda: post(shop, "login", {"email": address, "password": PASSWORD}).status_code == 200, "he is let in", 40, every=0.5)
