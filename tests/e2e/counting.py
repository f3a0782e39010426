"""A shop whose services count their SQL statements, and the calls that test_statements.py counts in it."""

import contextlib
import hashlib
import hmac
import json
import secrets
import sqlite3
import time
import uuid

import httpx

import api
import mailbox
from api import Caller
from buying import BULGARIA, confirm, key, money, order_form, place, refund, wait_order, wait_stock
from shop import Shop, wait_for
from test_pictures import png

SERVICES = ["auth", "library", "cart", "payment", "question"]
PASSWORD = "a long enough password"
OTHER_PASSWORD = "another long password"
EMMA = {"title": "Emma", "authors": ["Jane Austen"], "year": 1815, "language": "en", "price": money(1299)}
NOBODY = "usr_" + "0" * 25 + "1"
NO_SESSION = "ses_" + "0" * 25 + "1"
NO_ORDER = "ord_" + "0" * 25 + "1"
NO_QUESTION = "que_" + "0" * 25 + "1"


# The sandbox's own webhooks would let the keeper write down now and then what the counted request is about to write, which then finds less
# to do. They are told late, and `Scene.paid` tells what it waits for itself.
SETTINGS = {"BOOKCART_LOG_LEVEL": "debug", "BOOKCART_SANDBOX_WEBHOOK_DELAY": "1d"}


STORES = {"auth": "auth.db", "library": "library.db", "cart": "cart-events.db", "payment": "payment.db", "question": "question.db"}


def plant_letters(shop: Shop, counts: list[int]) -> None:
    """Dead letters of a log that nobody follows, in every service's file: of each count that many, of a type that is named for it."""
    done = shop.run("migrate", "--data", str(shop.data))
    assert done.returncode == 0, done.stdout + done.stderr
    for name in STORES.values():
        with contextlib.closing(sqlite3.connect(shop.data / name, isolation_level=None)) as store:
            for count in counts:
                for n in range(count):
                    event = {"specversion": "1.0", "id": f"evt_{count}_{n}", "source": "/nowhere", "type": f"planted.{count}",
                             "subject": f"{count}-{n}", "time": "2026-01-01T00:00:00Z", "topic": "books", "data": {}}  # fmt: skip
                    store.execute(
                        "INSERT INTO dead_letters(source, event_id, event_key, event, reason, tries, failed_ms) "
                        "VALUES('nowhere', ?, ?, ?, 'planted', 6, 1)",
                        (event["id"], event["subject"], json.dumps(event)),
                    )


class Scene:
    """A shop with these settings, and whoever and whatever the rows need in it."""

    def __init__(self, shop: Shop):
        self.shop = shop
        self.open: list = []
        self.anyone = self.keep(Caller(shop.url))
        self.admin = self.keep(Caller(shop.url, {"access_token": shop.admin(), "user": {}}))
        service_key = (shop.data / "keys" / "service.key").read_text().strip()
        self.clients = {}
        for name in SERVICES:
            for listener, headers in ((name, {}), (f"{name}-internal", {"Authorization": f"Bearer {service_key}"})):
                transport = httpx.HTTPTransport(uds=str(shop.data / "run" / f"{listener}.sock"))
                client = httpx.Client(transport=transport, base_url=f"http://{name}", headers=headers, timeout=20)
                self.clients[listener] = self.keep(client)
        wait_stock(self.admin, 300)
        self.numbers = iter(range(700_000, 800_000))

    def keep(self, thing):
        self.open.append(thing)
        return thing

    def close(self) -> None:
        for thing in self.open:
            thing.close()

    def inside(self, service: str, method: str, path: str, body: dict | None = None):
        return self.clients[f"{service}-internal"].request(method, path, json=body)

    def behind(self, service: str, path: str):
        """A catalogue page from the service itself: the edge would give a cached one, with the number of its making."""
        return self.clients[service].get("/api/v1" + path)

    # --- who ---

    def email(self) -> str:
        return f"counted-{secrets.token_hex(6)}@mail.example"

    def guest(self) -> Caller:
        return self.keep(api.guest(self.shop.url))

    def customer(self, email: str | None = None) -> Caller:
        return self.keep(api.register(self.shop.url, email or self.email()))

    def sessions(self, count: int) -> Caller:
        """A customer with `count` sessions beside his own."""
        email = self.email()
        caller = self.customer(email)
        for _ in range(count):
            self.keep(api.login(self.shop.url, email))
        return caller

    # --- what ---

    def book(self) -> dict:
        answer = self.admin.call("POST", "/admin/books", json={**EMMA, "title": f"Emma {secrets.token_hex(4)}", "stock": 9})
        assert answer.status_code == 201, answer.text
        return {**answer.json(), "tag": {"If-Match": answer.headers["etag"]}}

    def number(self) -> int:
        """Of a book that never was."""
        return next(self.numbers)

    def lines(self, count: int) -> list[int]:
        """Books that are there in plenty."""
        return list(range(10, 10 + count))

    def buyer(self, lines: int = 1) -> Caller:
        buyer = self.guest()
        changes = [{"op": "add", "book": book, "quantity": 1} for book in self.lines(lines)]
        assert buyer.change(changes).status_code == 200
        return buyer

    def placed(self, lines: int = 1) -> tuple[Caller, dict]:
        buyer = self.buyer(lines)
        return buyer, place(buyer)

    def paid(self, lines: int = 1) -> tuple[Caller, str]:
        buyer, made = self.placed(lines)
        assert confirm(buyer, made["payment"]["id"]).status_code == 200
        assert self.webhook(event(made["payment"]["id"])).status_code == 200
        return buyer, wait_order(buyer, made["order"]["id"], "paid")["id"]

    def orders(self, count: int) -> Caller:
        """Somebody with `count` orders that are over, and refunds and shipments none."""
        buyer = self.guest()
        for _ in range(count):
            assert buyer.change([{"op": "set", "book": 10, "quantity": 1}]).status_code == 200
            id = place(buyer)["order"]["id"]
            assert buyer.call("POST", f"/orders/{id}/cancel").status_code == 200
        return buyer

    def asked(self, messages: int = 1, caller: Caller | None = None, about: dict | None = None) -> tuple[Caller, dict]:
        caller = caller or self.customer()
        answer = ask(caller, about)({})
        assert answer.status_code == 201, answer.text
        for _ in range(messages - 1):
            assert follow_up(caller, answer.json()["id"])({}).status_code == 201
        return caller, answer.json()

    def webhook(self, body: bytes, secret: str | None = None):
        at = int(time.time())
        secret = secret or (self.shop.data / "keys" / "sandbox-webhook.key").read_text().strip()
        mark = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
        headers = {"Stripe-Signature": f"t={at},v1={mark}", "Content-Type": "application/json"}
        return self.anyone.call("POST", "/payment/webhook", content=body, headers=headers)


# --- calls that several rows make; those that take a key are given as what sends them with it ---


def refresh(caller: Caller):
    answer = caller.call("POST", "/auth/refresh", json={"refresh_token": caller.tokens["refresh_token"]}, token=None)
    if answer.status_code == 200:
        caller.tokens = answer.json()
    return answer


def logout(caller: Caller, refresh_token: str | None = None):
    return caller.call("POST", "/auth/logout", json={"refresh_token": refresh_token or caller.tokens["refresh_token"]})


def login(scene: Scene, email: str, password: str = PASSWORD, guest: Caller | None = None):
    token = guest.token if guest else None
    return scene.anyone.call("POST", "/auth/login", json={"email": email, "password": password}, token=token)


def register(scene: Scene, email: str, guest: Caller | None = None):
    body = {"email": email, "password": PASSWORD, "name": "Reader"}
    return scene.anyone.call("POST", "/auth/register", json=body, token=guest.token if guest else None)


def logout_other(scene: Scene):
    """The access token of one session, the refresh token of another of the same user."""
    caller = scene.customer()
    other = scene.keep(api.login(scene.shop.url, caller.tokens["user"]["email"]))
    return logout(caller, other.tokens["refresh_token"])


def own(caller: Caller, path: str, **fields):
    """A change that asks for the password once more."""
    return caller.call("POST", path, json={"password": PASSWORD, **fields})


def end_session(caller: Caller):
    """Another of one's own."""
    other = next(item["id"] for item in caller.get("/me/sessions").json()["items"] if not item["current"])
    return caller.call("DELETE", f"/me/sessions/{other}")


def change_user(scene: Scene, caller: Caller, **fields):
    return scene.admin.call("PATCH", f"/admin/users/{caller.user}", json=fields)


def admin_password(scene: Scene, sessions: int):
    caller = scene.sessions(sessions)
    email = caller.tokens["user"]["email"]
    assert change_user(scene, caller, role="admin").status_code == 200
    return scene.inside("auth", "POST", "/internal/admins/password", {"email": email, "password": OTHER_PASSWORD})


def reset(scene: Scene, token: str):
    return scene.anyone.call("POST", "/auth/password/reset", json={"token": token, "password": OTHER_PASSWORD})


def link(scene: Scene, page: str, sessions: int = 0) -> str:
    """The token in the mail that a customer gets."""
    email = scene.sessions(sessions).tokens["user"]["email"]
    if page == "reset":
        assert scene.anyone.call("POST", "/auth/password/forgot", json={"email": email}).status_code == 202
    return mailbox.take_token(scene.shop, email, page)


def sender(caller: Caller, method: str, path: str, body: dict | None = None, **more):
    """Sends the same call again and again, under the headers it is given."""
    headers = more.pop("headers", {})
    json = {} if body is None else {"json": body}
    return lambda key: caller.call(method, path, headers={**headers, **key}, **json, **more)


def picture(caller: Caller, path: str):
    data = png(30, 30, tuple(secrets.token_bytes(3)))
    return caller.call("PUT", path, content=data, headers={"Content-Type": "image/png"})


def create(scene: Scene, authors: int, **fields):
    names = [f"Author {secrets.token_hex(4)}" for _ in range(authors)]
    return sender(scene.admin, "POST", "/admin/books", {**EMMA, "title": "Emma", "authors": names, **fields})


def delete_book(scene: Scene, book: dict):
    return scene.admin.call("DELETE", f"/admin/books/{book['id']}", headers=book["tag"])


def delete_absent(scene: Scene, count: int):
    return scene.admin.call("POST", "/admin/books/delete", json={"ids": list(range(4_000_000, 4_000_000 + count))})


def patch_book(scene: Scene, book: dict, tag: dict | None = None, **fields):
    return scene.admin.call("PATCH", f"/admin/books/{book['id']}", json=fields, headers=tag or book["tag"])


def delete_books(scene: Scene, count: int):
    return sender(scene.admin, "POST", "/admin/books/delete", {"ids": [scene.book()["id"] for _ in range(count)]})


def upload(scene: Scene, rows: int):
    text = "id,title\n" + "".join(f"{scene.number()},T\n" for _ in range(rows))
    return sender(scene.admin, "POST", "/admin/books/import", content=text.encode(), headers={"Content-Type": "text/csv"})


def job(scene: Scene, rejected: int) -> str:
    text = "id,title\n" + "".join(f"x{n},T\n" for n in range(rejected))
    made = scene.admin.call("POST", "/admin/books/import", content=text.encode(), headers={"Content-Type": "text/csv"})
    path = f"/admin/jobs/{made.json()['id']}"
    wait_for(lambda: scene.admin.get(path).json()["state"] != "running", "the job has ended")
    return path


def put_job(scene: Scene, rows: int):
    """An upload of the import command, which draws the job's id itself and so may send it again."""
    text = "id,title\n" + "".join(f"{scene.number()},T\n" for _ in range(rows))
    id = "job_0" + "".join(secrets.choice("0123456789abcdefghjkmnpqrstvwxyz") for _ in range(25))
    return lambda: scene.clients["library-internal"].put(f"/internal/jobs/{id}", content=text.encode(), headers={"Content-Type": "text/csv"})


def again(send):
    """The second of two calls."""
    assert send().is_success
    return send()


def checkout(scene: Scene, lines: int):
    buyer = scene.buyer(lines)
    return sender(buyer, "POST", "/checkout", order_form(buyer))


def checkout_again(scene: Scene, lines: int, other: bool = False, **more):
    """Once more with an order that is open: the same, or another."""
    buyer = scene.buyer(lines)
    first = order_form(buyer)
    assert buyer.call("POST", "/checkout", json=first, headers=key()).status_code == 201
    second = {**first, "shipping_address": {**BULGARIA, "city": "Varna"}} if other else first
    return buyer.call("POST", "/checkout", json={**second, **more}, headers=key())


def cancel(scene: Scene, lines: int):
    buyer, made = scene.placed(lines)
    return sender(buyer, "POST", f"/orders/{made['order']['id']}/cancel")


def ship(scene: Scene, lines: int):
    _, id = scene.paid(lines)
    return sender(scene.admin, "POST", f"/admin/orders/{id}/ship", {"carrier": "DHL", "tracking": "1"})


def refund_again(scene: Scene, before: int):
    """One more refund of an order that has some."""
    _, id = scene.paid()
    for _ in range(before):
        assert refund(scene.admin, id, amount=money(1)).status_code == 201
    return refund(scene.admin, id, amount=money(1))


def refunding(scene: Scene, lines: int):
    _, id = scene.paid(lines)
    restock = [{"book": book, "quantity": 1} for book in scene.lines(lines)]
    body = {"reason": "damaged", "restock": restock, "amount": money(1)}
    return sender(scene.admin, "POST", f"/admin/orders/{id}/refunds", body)


def refunded(scene: Scene, count: int) -> tuple[Caller, str]:
    """An order of many lines with shipments and refunds."""
    buyer, id = scene.paid(count)
    for book in scene.lines(count):
        body = {"carrier": "DHL", "tracking": "1", "lines": [{"book": book, "quantity": 1}]}
        assert scene.admin.call("POST", f"/admin/orders/{id}/ship", json=body).status_code in (200, 201)
        assert refund(scene.admin, id, amount=money(1)).status_code == 201
    return buyer, id


def confirming(scene: Scene, lines: int = 1, method: str = "pm_card_visa"):
    buyer, made = scene.placed(lines)
    return sender(buyer, "POST", f"/sandbox/payments/{made['payment']['id']}/confirm", {"payment_method": method})


def authenticating(scene: Scene, lines: int):
    buyer, made = scene.placed(lines)
    id = made["payment"]["id"]
    assert confirm(buyer, id, "pm_card_threeDSecure2Required").json()["status"] == "requires_action"
    return sender(buyer, "POST", f"/sandbox/payments/{id}/authenticate", {"success": True})


def adjust(scene: Scene):
    return sender(scene.admin, "POST", "/admin/stock/20/adjust", {"delta": 1, "reason": "found"})


def refund_there(scene: Scene, lines: int):
    """Made by a person at the provider."""
    buyer, made = scene.placed(lines)
    assert confirm(buyer, made["payment"]["id"]).status_code == 200
    return scene.inside("payment", "POST", f"/internal/sandbox/payments/{made['payment']['id']}/refunds", {"amount": 1})


def event(payment: str = "pi_none") -> bytes:
    return json.dumps(
        {"id": f"evt_{uuid.uuid4().hex}", "object": "event", "type": "payment_intent.succeeded", "created": int(time.time()),
         "data": {"object": {"id": payment, "object": "payment_intent"}}}
    ).encode()  # fmt: skip


def ask(caller: Caller, about: dict | None = None):
    about = about or {"kind": "shop"}
    return sender(caller, "POST", "/questions", {"about": about, "subject": "Binding", "text": "Is it a hardcover?"})


def ask_about_order(scene: Scene):
    buyer = scene.customer()
    assert buyer.add(10).status_code == 200
    return ask(buyer, {"kind": "order", "id": place(buyer)["order"]["id"]})({})


def follow_up(caller: Caller, id: str):
    return sender(caller, "POST", f"/questions/{id}/messages", {"text": "And the paper?"})


def answer_question(scene: Scene, id: str, public: bool = False):
    return sender(scene.admin, "POST", f"/admin/questions/{id}/answer", {"text": "Yes.", "public": public})


def follow_up_after(scene: Scene, messages: int):
    caller, question = scene.asked(messages)
    return follow_up(caller, question["id"])


def answer_after(scene: Scene, messages: int, public: bool):
    return answer_question(scene, scene.asked(messages, about={"kind": "book", "id": 7})[1]["id"], public)


def patch_question(scene: Scene, messages: int):
    return scene.admin.call("PATCH", f"/admin/questions/{scene.asked(messages)[1]['id']}", json={"state": "closed"})


def published(scene: Scene, book: int, count: int):
    for _ in range(count):
        made = ask(scene.customer(), {"kind": "book", "id": book})({})
        assert answer_question(scene, made.json()["id"], public=True)({}).status_code == 201
    return scene.behind("question", f"/books/{book}/questions")


def questions_of(scene: Scene, count: int) -> Caller:
    caller = scene.customer()
    for _ in range(count):
        scene.asked(caller=caller)
    return caller


def frequent(scene: Scene, count: int):
    items = [{"question": f"Q{n}", "answer": "A"} for n in range(count)]
    return scene.admin.call("PUT", "/admin/faq/en", json={"items": items})


def changes(scene: Scene, count: int):
    body = {"id": uuid.uuid4().hex, "changes": [{"op": "set", "book": book, "quantity": 1} for book in scene.lines(count)]}
    return scene.inside("cart", "POST", f"/internal/carts/{scene.guest().user}/changes", body)


def merge(scene: Scene, count: int):
    guest, user = scene.buyer(count), scene.customer()
    return scene.inside("cart", "POST", "/internal/carts/merge", {"guest": guest.user, "user": user.user, "mode": "max"})


def letters(scene: Scene, service: str, count: int):
    answer = scene.inside(service, "GET", f"/internal/dead-letters?limit={count}")
    assert len(answer.json()["items"]) == count
    return answer
