"""What a request costs in SQL statements: fixed for its route, whatever is asked and however much there is.

One table: a row says which way through a route's handler is meant, what is answered, and the number of statements. Services started at
log level `debug` count them themselves (`Bookcart-Statements`); BEGIN and COMMIT do not count, looking up a token's standing does (auth
alone asks its tables for that: one statement on every route that needs a token). Rows with `over` are called with one of what they
name and with twelve, and must say the same. The few that grow with what is sent have a formula in place of a number.

`test_every_route_has_its_number` holds the table against `bookcart routes` and `bookcart routes internal`: a route without a success
here fails the run.
"""

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass

import httpx
import pytest

import api
from buying import key, money, quote
from counting import (
    NOBODY, NO_ORDER, NO_QUESTION, NO_SESSION, OTHER_PASSWORD, PASSWORD, SERVICES, SETTINGS, Scene, adjust, admin_password, again,
    answer_after, ask, ask_about_order, authenticating, cancel, change_user, changes, checkout,
    checkout_again, confirming, create, delete_absent, delete_book, delete_books, end_session, event, follow_up_after,
    frequent, job, link, login, logout, letters, logout_other, merge, own, patch_book, patch_question, picture, plant_letters, published, put_job,
    questions_of, refresh, refund_again, refund_there, refunded, refunding, register, reset, ship, upload,
)  # fmt: skip
from shop import Shop, wait_for
from test_contract import document, table

MANY = 12


Count = int | Callable[[int], int] | None  # a formula of how many; None: the edge answers, and no service is asked over HTTP


@dataclass(frozen=True)
class Row:
    service: str
    route: str  # method and path as `bookcart routes` prints them
    status: int
    statements: Count
    call: Callable  # (scene, how many) → the answer
    way: str = ""
    over: str = ""  # what there are many of

    def __str__(self):
        return " ".join(filter(None, (self.service, self.route, str(self.status), self.way)))


def of(service: str, route: str, *ways) -> list[Row]:
    """The rows of one route: (status, statements, call, way, over)."""
    return [Row(service, route, *way) for way in ways]


def number(statements: Count, n: int) -> int | None:
    return statements(n) if callable(statements) else statements


def keyed(service: str, route: str, status: int, statements: Count, send: Callable, over: str = "", required=False, repeat=1) -> list[Row]:
    """The rows of a route that takes an Idempotency-Key. `send(scene, how many)` is what sends the call under given headers. A key costs two
    statements, to be looked for and to be kept with the answer; a repeat is answered from what was kept."""

    def repeated(scene, n):
        call, own = send(scene, n), key()
        assert call(own).status_code == status
        answer = call(own)
        assert answer.headers["idempotent-replayed"] == "true"
        return answer

    plain = [] if required else [Row(service, route, status, statements, lambda s, n: send(s, n)({}), "", over)]
    return plain + [
        Row(service, route, status, lambda n: number(statements, n) + 2, lambda s, n: send(s, n)(key()), "under a key", over),
        Row(service, route, status, repeat, repeated, "again under its key"),
    ]


AUTH = [
    *of("auth", "POST /api/v1/auth/guest", (201, 0, lambda s, n: s.anyone.call("POST", "/auth/guest", json={}))),
    *of(
        "auth", "POST /api/v1/auth/register",
        (201, 7, lambda s, n: register(s, s.email())),
        (201, 12, lambda s, n: register(s, s.email(), s.guest()), "a guest's"),
        (409, 1, lambda s, n: register(s, s.customer().tokens["user"]["email"]), "taken"),
    ),
    *of(
        "auth", "POST /api/v1/auth/login",
        (200, 3, lambda s, n: login(s, s.sessions(n).tokens["user"]["email"]), "", "sessions"),
        (200, 10, lambda s, n: login(s, s.customer().tokens["user"]["email"], guest=s.buyer(n)), "with a guest's cart", "lines"),
        (401, 1, lambda s, n: login(s, s.customer().tokens["user"]["email"], OTHER_PASSWORD), "wrong password"),
        (401, 1, lambda s, n: login(s, s.email()), "nobody's address"),
    ),
    *of(
        "auth", "POST /api/v1/auth/refresh",
        (200, 7, lambda s, n: refresh(s.guest()), "a guest's first"),
        (200, 4, lambda s, n: refresh(s.sessions(n)), "", "sessions"),
        (401, 1, lambda s, n: s.anyone.call("POST", "/auth/refresh", json={"refresh_token": "bcr_" + "A" * 43}), "nobody's"),
    ),
    *of(
        "auth", "POST /api/v1/auth/logout",
        (204, 5, lambda s, n: logout(s.guest()), "a guest without a row"),
        (204, 5, lambda s, n: logout(s.sessions(n)), "", "sessions"),
        (204, 8, lambda s, n: logout_other(s), "token of another session"),
        (401, 2, lambda s, n: logout(s.customer(), s.customer().tokens["refresh_token"]), "another's"),
    ),
    *of(
        "auth", "POST /api/v1/auth/password/forgot",
        (202, 1, lambda s, n: s.anyone.call("POST", "/auth/password/forgot", json={"email": s.customer().tokens["user"]["email"]})),
        (202, 1, lambda s, n: s.anyone.call("POST", "/auth/password/forgot", json={"email": s.email()}), "nobody's address"),
    ),
    *of(
        "auth", "POST /api/v1/auth/password/reset",
        (204, 10, lambda s, n: reset(s, link(s, "reset", n)), "", "sessions"),
        (422, 1, lambda s, n: reset(s, "bcl_" + "A" * 43), "nobody's"),
    ),
    *of(
        "auth", "POST /api/v1/auth/email/verify",
        (204, 4, lambda s, n: s.anyone.call("POST", "/auth/email/verify", json={"token": link(s, "verify")})),
        (422, 1, lambda s, n: s.anyone.call("POST", "/auth/email/verify", json={"token": "bcl_" + "A" * 43}), "nobody's"),
    ),
    *of(
        "auth", "GET /api/v1/me",
        (200, 2, lambda s, n: s.guest().get("/me"), "a guest without a row"),
        (200, 2, lambda s, n: s.customer().get("/me")),
    ),
    *of(
        "auth", "PATCH /api/v1/me",
        (200, 4, lambda s, n: s.customer().call("PATCH", "/me", json={"name": "Other", "about": "Reads"})),
    ),
    *of("auth", "PUT /api/v1/me/picture", (200, 4, lambda s, n: picture(s.customer(), "/me/picture"))),
    *of(
        "auth", "POST /api/v1/me/password",
        (204, 9, lambda s, n: own(s.sessions(n), "/me/password", new_password=OTHER_PASSWORD), "", "other sessions"),
        (403, 2, lambda s, n: own(s.customer(), "/me/password", password="wrong one", new_password=OTHER_PASSWORD), "wrong password"),
    ),
    *of(
        "auth", "POST /api/v1/me/email",
        (202, 5, lambda s, n: own(s.sessions(n), "/me/email", email=s.email()), "", "other sessions"),
    ),
    *of("auth", "POST /api/v1/me/erase", (204, 9, lambda s, n: own(s.sessions(n), "/me/erase"), "", "other sessions")),
    *of("auth", "GET /api/v1/me/export", (200, 4, lambda s, n: s.sessions(n).get("/me/export"), "", "sessions")),
    *of("auth", "GET /api/v1/me/sessions", (200, 2, lambda s, n: s.sessions(n).get("/me/sessions"), "", "sessions")),
    *of(
        "auth", "DELETE /api/v1/me/sessions/{id}",
        (204, 3, lambda s, n: end_session(s.sessions(n)), "", "sessions"),
        (404, 2, lambda s, n: s.customer().call("DELETE", f"/me/sessions/{NO_SESSION}"), "nobody's"),
    ),
    *of(
        "auth", "GET /api/v1/admin/users",
        (200, 2, lambda s, n: s.admin.get(f"/admin/users?limit={n}&kind=customer"), "", "users"),
    ),
    *of(
        "auth", "PATCH /api/v1/admin/users/{id}",
        (200, 7, lambda s, n: change_user(s, s.sessions(n), role="admin"), "role", "sessions"),
        (200, 8, lambda s, n: change_user(s, s.sessions(n), disabled=True), "disabled", "sessions"),
        (200, 2, lambda s, n: change_user(s, s.customer(), disabled=False), "no change"),
        (404, 2, lambda s, n: s.admin.call("PATCH", f"/admin/users/{NOBODY}", json={"disabled": True}), "nobody"),
    ),
    *of("auth", "GET /api/v1/admin/audit", (200, 2, lambda s, n: s.admin.get(f"/admin/audit?limit={n}"), "", "entries")),
    *of("auth", "GET /.well-known/jwks.json", (200, 0, lambda s, n: s.clients["auth"].get("/.well-known/jwks.json"))),
    *of(
        "auth", "GET /internal/feed/revocations",
        (200, 1, lambda s, n: s.inside("auth", "GET", f"/internal/feed/revocations?limit={n}"), "", "entries"),
    ),
    *of(
        "auth", "GET /internal/users/{id}",
        (200, 1, lambda s, n: s.inside("auth", "GET", f"/internal/users/{s.customer().user}")),
        (404, 1, lambda s, n: s.inside("auth", "GET", f"/internal/users/{NOBODY}"), "nobody"),
    ),
    *of(
        "auth", "POST /internal/admins",
        (204, 3, lambda s, n: s.inside("auth", "POST", "/internal/admins", {"email": s.email(), "password": PASSWORD})),
    ),
    *of(
        "auth", "POST /internal/admins/password",
        (204, 8, lambda s, n: admin_password(s, n), "", "sessions"),
    ),
    *of("auth", "POST /internal/keys/rotate", (204, 0, lambda s, n: s.inside("auth", "POST", "/internal/keys/rotate"))),
]  # fmt: skip

LIBRARY = [
    *of(
        "library", "GET /api/v1/books",
        (200, 2, lambda s, n: s.behind("library", f"/books?limit={n}"), "", "books"),
        (200, 2, lambda s, n: s.behind("library", f"/books?limit={n}&author=Author+3&year_from=1810&sort=-price&available=true"), "filtered", "books"),
        (200, 2, lambda s, n: s.behind("library", "/books?ids=" + ",".join(map(str, s.lines(n)))), "by ids", "ids"),
        (200, 6, lambda s, n: s.behind("library", f"/books?limit={n}&q=book"), "searched", "books"),
        (200, 6, lambda s, n: s.behind("library", "/books?q=" + "+".join(["auhtor"] * n)), "searched for words", "words"),
    ),
    *of(
        "library", "GET /api/v1/books/suggest",
        (200, 3, lambda s, n: s.behind("library", "/books/suggest?q=" + "+".join(["bo"] * n)), "", "words"),
    ),
    *of(
        "library", "GET /api/v1/books/{id}",
        (200, 1, lambda s, n: s.behind("library", "/books/7")),
        (404, 1, lambda s, n: s.behind("library", "/books/999999"), "no book"),
    ),
    *of("library", "GET /api/v1/shop", (200, 0, lambda s, n: s.behind("library", "/shop"))),
    *keyed("library", "POST /api/v1/admin/books", 201, 11, lambda s, n: create(s, n), "authors"),
    *of("library", "POST /api/v1/admin/books", (201, 10, lambda s, n: create(s, 1, id=s.number())({}), "with an id of one's own")),
    *keyed("library", "POST /api/v1/admin/books/delete", 200, 8, lambda s, n: delete_books(s, n), "books"),
    *of(
        "library", "POST /api/v1/admin/books/delete",
        (200, 1, lambda s, n: delete_absent(s, n), "that are not there", "books"),
    ),
    *of("library", "GET /api/v1/admin/books/{id}", (200, 1, lambda s, n: s.admin.get("/admin/books/7"))),
    *of(
        "library", "PATCH /api/v1/admin/books/{id}",
        (200, 13, lambda s, n: patch_book(s, s.book(), title="Emma " + secrets.token_hex(4), authors=[f"A {m}" for m in range(n)]), "other words", "authors"),
        (200, 10, lambda s, n: patch_book(s, s.book(), description="New"), "the same words"),
        (200, 9, lambda s, n: patch_book(s, s.book(), price=money(999)), "no other text"),
        (200, 2, lambda s, n: patch_book(s, s.book(), year=1815), "no change"),
        (412, 1, lambda s, n: patch_book(s, s.book(), {"If-Match": '"other"'}, year=1816), "stale"),
    ),
    *of(
        "library", "DELETE /api/v1/admin/books/{id}",
        (204, 10, lambda s, n: delete_book(s, s.book())),
        (412, 1, lambda s, n: delete_book(s, {**s.book(), "tag": {"If-Match": '"other"'}}), "stale"),
    ),
    *of(
        "library", "PUT /api/v1/admin/books/{id}/cover",
        (200, 4, lambda s, n: picture(s.admin, f"/admin/books/{s.book()['id']}/cover")),
    ),
    *of(
        "library", "PUT /api/v1/admin/books/{id}/banner",
        (200, 4, lambda s, n: picture(s.admin, f"/admin/books/{s.book()['id']}/banner")),
    ),
    *keyed("library", "POST /api/v1/admin/books/import", 202, 1, lambda s, n: upload(s, n), "rows"),
    *of("library", "GET /api/v1/admin/jobs/{id}", (200, 2, lambda s, n: s.admin.get(job(s, n)), "", "refused rows")),
    *of(
        "library", "GET /internal/feed/books",
        (200, 1, lambda s, n: s.inside("library", "GET", f"/internal/feed/books?limit={n}"), "", "books"),
    ),
    *of(
        "library", "GET /internal/books",
        (200, 1, lambda s, n: s.inside("library", "GET", "/internal/books?ids=" + ",".join(map(str, s.lines(n)))), "", "books"),
    ),
    *of(
        "library", "PUT /internal/jobs/{id}",
        (202, 1, lambda s, n: put_job(s, n)(), "", "rows"),
        (202, 2, lambda s, n: again(put_job(s, n)), "once more", "rows"),
    ),
    *of("library", "GET /internal/jobs/{id}", (200, 2, lambda s, n: s.inside("library", "GET", "/internal" + job(s, n)[6:]), "", "refused rows")),
]  # fmt: skip

EDGE = [
    *of("cart", "GET /api/v1/cart", (200, None, lambda s, n: s.buyer(n).cart(), "", "lines")),
    *of(
        "cart", "PATCH /api/v1/cart",
        (200, None, lambda s, n: s.guest().change([{"op": "add", "book": book, "quantity": 1} for book in s.lines(n)]), "", "lines"),
    ),
    *of("cart", "DELETE /api/v1/cart", (200, None, lambda s, n: s.buyer(n).clear(), "", "lines")),
    *of("cart", "POST /api/v1/cart/lines", (200, None, lambda s, n: s.buyer(n).add(40), "", "lines")),
    *of("cart", "PUT /api/v1/cart/lines/{book}", (200, None, lambda s, n: s.buyer(n).set(40, 2), "", "lines")),
    *of("cart", "DELETE /api/v1/cart/lines/{book}", (200, None, lambda s, n: s.buyer(n).remove(10), "", "lines")),
]  # fmt: skip

CART = [
    *of(
        "cart", "GET /internal/carts/{user}",
        (200, 0, lambda s, n: s.inside("cart", "GET", f"/internal/carts/{s.buyer(n).user}"), "", "lines"),
    ),
    *of("cart", "POST /internal/carts/{user}/changes", (200, 0, lambda s, n: changes(s, n), "", "lines")),
    *of("cart", "POST /internal/carts/merge", (200, 0, lambda s, n: merge(s, n), "", "lines")),
]  # fmt: skip

PAYMENT = [
    *of("payment", "POST /api/v1/checkout/quote", (200, 0, lambda s, n: quote(s.buyer(n)), "", "lines")),
    *keyed("payment", "POST /api/v1/checkout", 201, 14, lambda s, n: checkout(s, n), "lines", required=True),
    *of(
        "payment", "POST /api/v1/checkout",
        (200, 5, lambda s, n: checkout_again(s, n), "the same once more", "lines"),
        (409, 3, lambda s, n: checkout_again(s, n, other=True), "another one is open", "lines"),
        (201, 29, lambda s, n: checkout_again(s, n, other=True, replace=True), "in place of another", "lines"),
    ),
    *of("payment", "GET /api/v1/orders", (200, 3, lambda s, n: s.orders(n).get("/orders"), "", "orders")),
    *of(
        "payment", "GET /api/v1/orders/{id}",
        (200, 3, lambda s, n: (lambda buyer, id: buyer.get(f"/orders/{id}"))(*refunded(s, n)), "", "lines, shipments, refunds"),
        (404, 1, lambda s, n: s.guest().get(f"/orders/{NO_ORDER}"), "no order"),
    ),
    *keyed("payment", "POST /api/v1/orders/{id}/cancel", 200, 17, lambda s, n: cancel(s, n), "lines"),
    *of(
        "payment", "POST /api/v1/payment/webhook",
        (200, 1, lambda s, n: s.webhook(event()), "of a payment that is not ours"),
        (200, 1, lambda s, n: s.webhook(event(s.placed(n)[1]["payment"]["id"])), "", "lines"),
        (200, 1, lambda s, n: [s.webhook(body) for body in [event()] * 2][1], "once more"),
        (400, 0, lambda s, n: s.webhook(event(), secret="whsec_other"), "wrongly signed"),
    ),
    *keyed("payment", "POST /api/v1/sandbox/payments/{id}/confirm", 200, 7, lambda s, n: confirming(s, n), "lines", repeat=2),
    *of(
        "payment", "POST /api/v1/sandbox/payments/{id}/confirm",
        (402, 7, lambda s, n: confirming(s, n, "pm_card_visa_chargeDeclined")({}), "declined", "lines"),
        (200, 5, lambda s, n: confirming(s, n, "pm_card_threeDSecure2Required")({}), "3-D Secure", "lines"),
    ),
    *keyed("payment", "POST /api/v1/sandbox/payments/{id}/authenticate", 200, 7, lambda s, n: authenticating(s, n), "lines", repeat=2),
    *of("payment", "GET /api/v1/admin/orders", (200, 3, lambda s, n: s.admin.get(f"/admin/orders?limit={n}"), "", "orders")),
    *of(
        "payment", "GET /api/v1/admin/orders/{id}",
        (200, 3, lambda s, n: s.admin.get(f"/admin/orders/{refunded(s, n)[1]}"), "", "lines, shipments, refunds"),
    ),
    *keyed("payment", "POST /api/v1/admin/orders/{id}/ship", 200, 11, lambda s, n: ship(s, n), "lines"),
    *keyed("payment", "POST /api/v1/admin/orders/{id}/refunds", 201, 26, lambda s, n: refunding(s, n), "lines", required=True),
    *of(
        "payment", "POST /api/v1/admin/orders/{id}/refunds",
        (201, 25, lambda s, n: refund_again(s, n), "without copies, after others", "refunds"),
    ),
    *of(
        "payment", "GET /api/v1/admin/stock/{book}",
        (200, 2, lambda s, n: s.admin.get(f"/admin/stock/10?limit={n}"), "", "entries"),
    ),
    *keyed("payment", "POST /api/v1/admin/stock/{book}/adjust", 200, 3, lambda s, n: adjust(s)),
    *of(
        "payment", "GET /internal/orders/{id}",
        (200, 1, lambda s, n: s.inside("payment", "GET", f"/internal/orders/{s.placed(n)[1]['order']['id']}"), "", "lines"),
        (404, 1, lambda s, n: s.inside("payment", "GET", f"/internal/orders/{NO_ORDER}"), "no order"),
    ),
    *of(
        "payment", "GET /internal/users/{id}/export",
        (200, 3, lambda s, n: s.inside("payment", "GET", f"/internal/users/{s.orders(n).user}/export"), "", "orders"),
        (200, 6, lambda s, n: s.inside("payment", "GET", f"/internal/users/{s.orders(100).user}/export"), "a second page of 100 orders"),
    ),
    *of(
        "payment", "POST /internal/sandbox/payments/{id}/refunds",
        (201, 7, lambda s, n: refund_there(s, n), "", "lines"),
        (404, 1, lambda s, n: s.inside("payment", "POST", "/internal/sandbox/payments/pi_none/refunds", {"amount": 1}), "no payment"),
    ),
    *of(
        "payment", "POST /internal/sandbox/webhooks/resend",
        (202, 1, lambda s, n: s.inside("payment", "POST", "/internal/sandbox/webhooks/resend")),
    ),
]  # fmt: skip

QUESTION = [
    *keyed("question", "POST /api/v1/questions", 201, 4, lambda s, n: ask(questions_of(s, n)), "open questions"),
    *of(
        "question", "POST /api/v1/questions",
        (201, 4, lambda s, n: ask(s.customer(), {"kind": "book", "id": 7})({}), "about a book"),
        (201, 4, lambda s, n: ask_about_order(s), "about an order"),
    ),
    *of("question", "GET /api/v1/questions", (200, 1, lambda s, n: questions_of(s, n).get("/questions"), "", "questions")),
    *of(
        "question", "GET /api/v1/questions/{id}",
        (200, 2, lambda s, n: (lambda caller, one: caller.get(f"/questions/{one['id']}"))(*s.asked(n)), "", "messages"),
        (404, 1, lambda s, n: s.customer().get(f"/questions/{NO_QUESTION}"), "no question"),
    ),
    *keyed("question", "POST /api/v1/questions/{id}/messages", 201, 5, lambda s, n: follow_up_after(s, n), "messages"),
    *of("question", "GET /api/v1/books/{id}/questions", (200, 1, lambda s, n: published(s, 50 + n, n), "", "questions")),
    *of(
        "question", "GET /api/v1/faq",
        (200, 1, lambda s, n: [frequent(s, n), s.behind("question", "/faq?language=en")][1], "", "questions"),
    ),
    *of(
        "question", "GET /api/v1/admin/questions",
        (200, 1, lambda s, n: s.admin.get(f"/admin/questions?limit={n}"), "", "questions"),
    ),
    *of(
        "question", "GET /api/v1/admin/questions/{id}",
        (200, 2, lambda s, n: s.admin.get(f"/admin/questions/{s.asked(n)[1]['id']}"), "", "messages"),
    ),
    *of(
        "question", "PATCH /api/v1/admin/questions/{id}",
        (200, 4, lambda s, n: patch_question(s, n), "closed", "messages"),
        (404, 1, lambda s, n: s.admin.call("PATCH", f"/admin/questions/{NO_QUESTION}", json={"state": "closed"}), "no question"),
    ),
    *keyed("question", "POST /api/v1/admin/questions/{id}/answer", 201, 7, lambda s, n: answer_after(s, n, True), "messages"),
    *of(
        "question", "POST /api/v1/admin/questions/{id}/answer",
        (201, 6, lambda s, n: answer_after(s, n, False)({}), "not published", "messages"),
    ),
    *of("question", "PUT /api/v1/admin/faq/{language}", (200, 2, lambda s, n: frequent(s, n), "", "questions")),
    *of(
        "question", "GET /internal/users/{id}/export",
        (200, 1, lambda s, n: s.inside("question", "GET", f"/internal/users/{questions_of(s, n).user}/export"), "", "questions"),
    ),
]  # fmt: skip


def of_every_service(name: str) -> list[Row]:
    """What the internal listener of each serves."""
    rows = [
        *of(name, "GET /healthz", (200, 0, lambda s, n: s.inside(name, "GET", "/healthz"))),
        *of(name, "GET /readyz", (200, 0, lambda s, n: s.inside(name, "GET", "/readyz"))),
        *of(name, "GET /metrics", (200, 0, lambda s, n: s.inside(name, "GET", "/metrics"))),
        *of(name, "POST /internal/hold", (200, 0, lambda s, n: s.inside(name, "POST", "/internal/hold", {"id": "test", "ms": 1}))),
        *of(name, "POST /internal/hold/release", (200, 0, lambda s, n: s.inside(name, "POST", "/internal/hold/release", {"id": "test"}))),
        *of(name, "GET /internal/dead-letters", (200, 3, lambda s, n: letters(s, name, n), "", "letters")),
        *of(
            name, "POST /internal/dead-letters/replay",
            (200, 1, lambda s, n: s.inside(name, "POST", "/internal/dead-letters/replay", {})),
            (404, 1, lambda s, n: s.inside(name, "POST", "/internal/dead-letters/replay", {"event": "evt_none"}), "no letter"),
        ),
        *of(
            name, "POST /internal/dead-letters/discard",
            (200, 4, lambda s, n: s.inside(name, "POST", "/internal/dead-letters/discard", {"type": f"planted.{n}"}), "", "letters"),
            (404, 4, lambda s, n: s.inside(name, "POST", "/internal/dead-letters/discard", {"event": "evt_none"}), "no letter"),
        ),
    ]  # fmt: skip
    # Without `wait`: each time a long poll is woken it looks once more.
    log = of(name, "GET /internal/events", (200, 1, lambda s, n: s.inside(name, "GET", f"/internal/events?limit={n}"), "", "events"))
    return rows + ([] if name == "cart" else log)


ROWS = [*AUTH, *LIBRARY, *EDGE, *CART, *PAYMENT, *QUESTION, *(row for name in SERVICES for row in of_every_service(name))]


# --- what is asked of it ---


def test_a_cart_costs_its_base_one_look(make_shop):
    """Behind the rows of `EDGE`: the first touch of a cart loads it, one statement; whatever follows finds it in memory. It is written to the
    base in batches, one guarded statement a cart, which no request waits for."""
    shop = make_shop()

    def metrics() -> dict[str, int]:
        page = httpx.get(f"{shop.operations}/cart/metrics", timeout=20).text
        return {name: int(value) for name, value in re.findall(r"(?m)^(bookcart_cart_\w+) (\d+)$", page)}

    before = metrics()
    buyers = [api.guest(shop.url) for _ in range(3)]
    for buyer in buyers:
        answers = [
            buyer.cart(), buyer.add(7, 2), buyer.set(8, 1), buyer.change([{"op": "add", "book": 10, "quantity": 1}]),
            buyer.remove(7), buyer.cart(), buyer.clear(), buyer.cart(),
        ]  # fmt: skip
        assert [answer.status_code for answer in answers] == [200] * len(answers)
        buyer.close()
    changes = before["bookcart_cart_changes_total"] + 5 * len(buyers)
    after = wait_for(lambda: (now := metrics())["bookcart_cart_changes_total"] == changes and now, "all changes to be counted", 10)
    assert after["bookcart_cart_loads_total"] - before["bookcart_cart_loads_total"] == len(buyers)


@pytest.fixture(scope="module")
def scene(program):
    shop = Shop(program, SETTINGS, name="counted")
    made = None
    try:
        shop.import_catalogue()
        plant_letters(shop, [1, MANY])
        made = Scene(shop.start())
        yield made
    finally:
        if made is not None:
            made.close()
        shop.destroy()


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_statements_are_as_the_table_says(scene, row):
    counts = {}
    for n in (1, MANY) if row.over else (1,):
        answer = row.call(scene, n)
        assert answer.status_code == row.status, answer.text
        count = answer.headers.get("bookcart-statements")
        counts[n] = None if count is None else int(count)
    assert counts == {n: number(row.statements, n) for n in counts}


def without_a_number(served: set[tuple[str, str]], rows: list[Row]) -> list[str]:
    """Routes of which no success is in the table."""
    return [" ".join(route) for route in sorted(served - {(row.service, row.route) for row in rows if row.status < 300})]


def test_every_route_has_its_number(program):
    served = {(service, f"{method} {path}") for which in ([], ["internal"]) for service, method, path, _ in table(program, "routes", *which)}
    assert without_a_number(served, ROWS) == [], "served, but what it costs is not in the table"
    assert sorted({(row.service, row.route) for row in ROWS} - served) == [], "in the table, but not served"
    # A route that takes a key is counted with it.
    takes = {f"{operation.method} {operation.path}" for operation in document.operations
             if any(parameter["name"] == "Idempotency-Key" for parameter in operation.parameters)}  # fmt: skip
    counted = {row.route for row in ROWS if row.way == "again under its key"} | {row.route for row in EDGE}
    assert takes - counted == set(), "takes a key, but what that costs is not in the table"
    # What it would not notice, it does not prove.
    assert without_a_number({*served, ("auth", "GET /api/v1/planted")}, ROWS) == ["auth GET /api/v1/planted"]
    assert without_a_number(served, [row for row in ROWS if row.route != "POST /api/v1/checkout"]) == ["payment POST /api/v1/checkout"]
