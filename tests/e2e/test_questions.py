"""Conversations between customers and the shop, published answers, frequent questions."""

import contextlib
import email
import email.policy
import os
import secrets
import signal
import sqlite3

import httpx
import pytest

import api
from api import Caller, assert_problem
from buying import place, wait_stock
from shop import wait_for

SHOP = {"kind": "shop"}
BOOK = {"kind": "book", "id": 7}
NO_ORDER = "ord_00000000000000000000000001"
NO_QUESTION = "que_00000000000000000000000001"


@pytest.fixture(scope="module")
def admin(shop):
    return Caller(shop.url, {"access_token": shop.admin(), "user": {}})


def reader(shop) -> Caller:
    return api.register(shop.url, f"reader-{secrets.token_hex(6)}@mail.example")


@pytest.fixture
def customer(shop):
    caller = reader(shop)
    yield caller
    caller.close()


def ask(caller, about=SHOP, subject="Binding", text="Is it a hardcover?", key=None):
    headers = {"Idempotency-Key": key} if key else {}
    return caller.call("POST", "/questions", json={"about": about, "subject": subject, "text": text}, headers=headers)


def asked(caller, **more) -> dict:
    answer = ask(caller, **more)
    assert answer.status_code == 201, answer.text
    return answer.json()


def follow_up(caller, question, text="And the paper?", key=None):
    headers = {"Idempotency-Key": key} if key else {}
    return caller.call("POST", f"/questions/{question['id']}/messages", json={"text": text}, headers=headers)


def answer(admin, question, text="Yes, it is.", public=False, key=None, **more):
    headers = {"Idempotency-Key": key} if key else {}
    body = {"text": text, "public": public, **more}
    return admin.call("POST", f"/admin/questions/{question['id']}/answer", json=body, headers=headers)


def patch(admin, question, **fields):
    return admin.call("PATCH", f"/admin/questions/{question['id']}", json=fields)


def pages(caller, path, **parameters) -> list[dict]:
    items, cursor = [], None
    while True:
        page = caller.get(path, params={**parameters, **({"cursor": cursor} if cursor else {})})
        assert page.status_code == 200, page.text
        items += page.json()["items"]
        cursor = page.json()["next_cursor"]
        if cursor is None:
            return items


def inside(shop, path: str, **parameters) -> dict:
    """What the internal listener answers."""
    key = (shop.data / "keys" / "service.key").read_text().strip()
    transport = httpx.HTTPTransport(uds=str(shop.data / "run" / "question-internal.sock"))
    with httpx.Client(transport=transport, headers={"Authorization": f"Bearer {key}"}, timeout=20) as client:
        reply = client.get(f"http://question{path}", params=parameters)
        assert reply.status_code == 200, reply.text
        return reply.json()


def events_of(shop, question) -> list[str]:
    log = inside(shop, "/internal/events", after=0, limit=5000)["items"]
    assert all(set(event["data"]) == {"question"} for event in log)
    return [event["type"] for event in log if event["subject"] == question["id"]]


# --- a conversation ---


def test_a_conversation_from_question_to_closed_and_open_again(shop, customer, admin):
    made = ask(customer, about=BOOK)
    assert made.status_code == 201
    question = made.json()
    assert made.headers["location"] == f"/api/v1/questions/{question['id']}"
    assert question["about"] == {"kind": "book", "id": 7} and question["state"] == "open"
    assert [(m["from"], m["text"]) for m in question["messages"]] == [("customer", "Is it a hardcover?")]
    assert "user" not in question

    replied = answer(admin, question)
    assert replied.status_code == 201 and replied.json()["state"] == "answered"
    assert replied.json()["user"] == customer.user and replied.json()["waiting_s"] is None
    seen = customer.get(f"/questions/{question['id']}").json()
    assert [(m["from"], m["text"]) for m in seen["messages"]][1:] == [("shop", "Yes, it is.")]

    again = follow_up(customer, question)
    assert again.status_code == 201 and again.json()["state"] == "open"
    assert [m["from"] for m in again.json()["messages"]] == ["customer", "shop", "customer"]
    assert patch(admin, question, state="closed").json()["state"] == "closed"
    assert follow_up(customer, question, "Still there?").json()["state"] == "open"
    assert patch(admin, question, state="closed").json()["state"] == "closed"
    assert patch(admin, question, state="closed").json()["state"] == "closed"  # nothing happened
    assert patch(admin, question, state="open").json()["state"] == "open"
    assert events_of(shop, question) == [
        "question.asked", "question.answered", "question.followed-up", "question.reopened", "question.closed",
        "question.followed-up", "question.reopened", "question.closed", "question.reopened",
    ]  # fmt: skip


def test_only_the_owner_sees_it(shop, customer, guest):
    question = asked(customer)
    other = reader(shop)
    for caller in (other, guest):
        assert_problem(caller.get(f"/questions/{question['id']}"), 404, "not-found")
        assert_problem(follow_up(caller, question), 404, "not-found")
    assert other.get("/questions").json() == {"items": [], "next_cursor": None}
    assert_problem(other.get(f"/admin/questions/{question['id']}"), 403)
    assert_problem(ask(guest), 403, "registration-required")
    assert_problem(customer.get(f"/questions/{NO_QUESTION}"), 404)
    assert_problem(customer.get("/questions/que_x"), 404)
    other.close()


def test_a_question_and_a_message_count_once_under_their_keys(customer, admin):
    first, again = ask(customer, key="ask-1"), ask(customer, key="ask-1")
    assert again.status_code == 201 and again.json() == first.json()
    assert again.headers["idempotent-replayed"] == "true" and again.headers["location"] == first.headers["location"]
    assert_problem(ask(customer, key="ask-1", text="Another?"), 422, "idempotency-key-reused")
    assert len(customer.get("/questions").json()["items"]) == 1
    question = first.json()
    follow_up(customer, question, key="more-1")
    assert len(follow_up(customer, question, key="more-1").json()["messages"]) == 2
    answer(admin, question, key="answer-" + question["id"])
    assert len(answer(admin, question, key="answer-" + question["id"]).json()["messages"]) == 3


@pytest.mark.parametrize(
    ("fields", "status", "field"),
    [
        ({"subject": ""}, 422, "subject"),
        ({"subject": "  "}, 422, "subject"),
        ({"subject": "two\nlines"}, 422, "subject"),
        ({"subject": "я" * 201}, 422, "subject"),
        ({"text": ""}, 422, "text"),
        ({"text": "\n \t"}, 422, "text"),
        ({"text": "a\u0000b"}, 400, None),
        ({"text": "a\u001b[31mb"}, 422, "text"),
        ({"text": "a\u009bb"}, 422, "text"),
        ({"text": "x" * 5001}, 422, "text"),
        ({"text": 7}, 400, "text"),
        ({"about": {"kind": "author"}}, 422, "about.kind"),
        ({"about": {}}, 422, "about"),
        ({"about": {"kind": "shop", "x": 1}}, 422, "about"),
        ({"about": {"kind": "shop", "id": 7}}, 422, "about.id"),
        ({"about": {"kind": "book"}}, 422, "about.id"),
        ({"about": {"kind": "book", "id": 0}}, 422, "about.id"),
        ({"about": {"kind": "book", "id": "07"}}, 422, "about.id"),
        ({"about": {"kind": "book", "id": 4_000_000}}, 422, "about.id"),
        ({"about": {"kind": "order", "id": "7"}}, 422, "about.id"),
        ({"about": {"kind": "order", "id": NO_ORDER}}, 422, "about.id"),
    ],
)
def test_a_bad_question_is_refused_by_field(customer, fields, status, field):
    problem = assert_problem(ask(customer, **fields), status)
    if field:
        assert [error["field"] for error in problem["errors"]] == [field]


def test_texts_come_back_as_they_were_given(customer):
    text = "<script>alert(1)</script> & \"quotes\"\r\n\tтекст 👋 \u202b\u05d0\u202c " + "é" * 4900
    question = asked(customer, subject="<b>&amp;</b> ' ", text=text)
    seen = customer.get(f"/questions/{question['id']}").json()
    assert seen["messages"][0]["text"] == text and seen["subject"] == "<b>&amp;</b> ' "
    assert asked(customer, text="x" * 5000)["messages"][0]["text"] == "x" * 5000


def test_open_questions_are_limited(customer, admin):
    made = [asked(customer) for _ in range(20)]
    assert_problem(ask(customer), 409, "question-limit")
    answer(admin, made[0])
    assert ask(customer).status_code == 201


def test_a_conversation_can_be_full(customer, admin):
    question = asked(customer)
    for _ in range(98):
        assert follow_up(customer, question).status_code == 201
    assert_problem(follow_up(customer, question), 409, "message-limit")
    assert len(answer(admin, question).json()["messages"]) == 100
    assert_problem(answer(admin, question), 409, "message-limit")


def test_own_questions_are_listed_newest_first_page_by_page(shop, customer):
    made = [asked(customer, subject=f"Number {n}")["id"] for n in range(7)]
    for limit in (1, 3, 7, 100):
        listed = [item["id"] for item in pages(customer, "/questions", limit=limit)]
        assert listed == made[::-1]
    cursor = customer.get("/questions", params={"limit": 2}).json()["next_cursor"]
    other = reader(shop)
    assert_problem(other.get("/questions", params={"cursor": cursor}), 400, "bad-cursor")
    assert_problem(customer.get("/questions", params={"cursor": "x"}), 400, "bad-cursor")
    for limit in ("0", "101", "-1", "x"):
        assert_problem(customer.get("/questions", params={"limit": limit}), 400)
    other.close()


def test_only_the_buyer_asks_about_an_order(shop, customer, admin):
    wait_stock(admin, 31)
    assert customer.add(31).status_code == 200
    order = place(customer)["order"]["id"]
    question = asked(customer, about={"kind": "order", "id": order})
    assert question["about"] == {"kind": "order", "id": order}
    assert customer.call("POST", f"/orders/{order}/cancel").status_code in (200, 202)
    other = reader(shop)
    problem = assert_problem(ask(other, about={"kind": "order", "id": order}), 422)
    assert problem["errors"][0] == assert_problem(ask(other, about={"kind": "order", "id": NO_ORDER}), 422)["errors"][0]
    assert_problem(answer(admin, question, public=True), 422)  # an order is nobody else's business
    other.close()


# --- the shop's side ---


def test_the_queue_shows_oldest_first_by_state(customer, admin):
    first, second, third = (asked(customer, subject=f"Queue {n}") for n in range(3))
    answer(admin, second)
    patch(admin, third, state="closed")
    mine = {first["id"], second["id"], third["id"]}

    def listed(**parameters):
        return [item["id"] for item in pages(admin, "/admin/questions", limit=100, **parameters) if item["id"] in mine]

    assert listed(state="open") == [first["id"]]
    assert listed(state="answered") == [second["id"]]
    assert listed(state="closed") == [third["id"]]
    assert listed() == [first["id"], second["id"], third["id"]]
    follow_up(customer, second, "More")
    assert listed(state="open") == [first["id"], second["id"]]  # it waits since now
    item = next(i for i in pages(admin, "/admin/questions", state="open", limit=100) if i["id"] == second["id"])
    assert item["last_message"]["text"] == "More" and item["messages_count"] == 3
    assert item["user"] == customer.user and item["waiting_s"] >= 0
    by_two, at_once = ([i["id"] for i in pages(admin, "/admin/questions", limit=n)] for n in (2, 100))
    assert by_two == at_once
    cursor = admin.get("/admin/questions", params={"limit": 1, "state": "open"}).json()["next_cursor"]
    assert_problem(admin.get("/admin/questions", params={"cursor": cursor}), 400, "bad-cursor")
    assert_problem(admin.get("/admin/questions", params={"state": "lost"}), 400)
    assert_problem(customer.get("/admin/questions"), 403)


def test_an_answer_can_be_public_in_its_own_wording(customer, admin, anyone):
    about = {"kind": "book", "id": 11}
    question = asked(customer, about=about, text="I am Ann, 12 Elm Road. Hardcover?")
    shown = answer(admin, question, "Yes.", True, public_question="Is this edition a hardcover?")
    assert shown.json()["public"] is True and shown.json()["public_question"] == "Is this edition a hardcover?"
    page = wait_for(lambda: anyone.get("/books/11/questions").json()["items"], "it is on the book's page", 5)
    assert len(page) == 1
    assert (page[0]["subject"], page[0]["question"], page[0]["answer"]) == ("Binding", "Is this edition a hardcover?", "Yes.")
    assert set(page[0]) == {"subject", "question", "answer", "asked_at", "answered_at"}
    got = anyone.get("/books/11/questions")
    assert "Elm Road" not in got.text and customer.user not in got.text
    assert got.headers["cache-control"] == "public, no-cache"
    assert anyone.get("/books/11/questions", headers={"If-None-Match": got.headers["etag"]}).status_code == 304

    follow_up(customer, question, "Thanks!")  # what is said later changes nothing
    answer(admin, question, "You are welcome.")
    assert anyone.get("/books/11/questions").json()["items"] == page
    assert patch(admin, question, public=False).json()["public"] is False
    wait_for(lambda: anyone.get("/books/11/questions").json()["items"] == [], "it is gone within a second", 5)
    assert_problem(patch(admin, question, public=True), 422)
    assert anyone.get("/books/299/questions").json() == {"items": [], "next_cursor": None}
    assert_problem(anyone.get("/books/x/questions"), 404)


def test_public_answers_are_paged_newest_first(customer, admin, anyone):
    about = {"kind": "book", "id": 12}
    for n in range(5):
        answer(admin, asked(customer, about=about), f"Answer {n}", True)
    wait_for(lambda: len(anyone.get("/books/12/questions?limit=100").json()["items"]) == 5, "all five are shown", 5)
    listed = [item["answer"] for item in pages(anyone, "/books/12/questions", limit=2)]
    assert listed == [f"Answer {n}" for n in (4, 3, 2, 1, 0)]
    cursor = anyone.get("/books/12/questions?limit=1").json()["next_cursor"]
    assert_problem(anyone.get("/books/13/questions", params={"cursor": cursor}), 400, "bad-cursor")


def test_what_an_answer_must_not_be(customer, admin):
    question = asked(customer)
    assert_problem(answer(admin, question, public=True), 422)  # only books have a page
    assert_problem(answer(admin, question, ""), 422)
    assert_problem(answer(admin, question, public_question="Why?"), 422)
    assert_problem(answer(admin, {"id": NO_QUESTION}), 404)
    assert_problem(answer(customer, question), 403)
    assert_problem(patch(admin, question, state="answered"), 422)
    assert_problem(patch(admin, question, state="lost"), 422)
    assert_problem(patch(admin, {"id": NO_QUESTION}, state="closed"), 404)
    assert admin.get(f"/admin/questions/{question['id']}").json()["messages"] == question["messages"]


def test_the_asker_is_told_by_mail_once_per_answer(shop, customer, admin):
    question = asked(customer, subject="Mailed binding")
    answer(admin, question)
    address = customer.tokens["user"]["email"]

    def mails():
        found = []
        for path in (shop.data / "mail").glob("*.eml"):
            mail = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
            if mail["To"] and address in mail["To"] and "Mailed binding" in mail.get_content() + str(mail["Subject"]):
                found.append(mail)
        return found

    wait_for(mails, "a mail about the answer", 15)
    assert len(mails()) == 1
    assert "Yes, it is." not in mails()[0].get_content()  # the text stays in the shop


# --- frequent questions ---


def faq(admin, language, items, **headers):
    return admin.call("PUT", f"/admin/faq/{language}", json={"items": items}, headers=headers)


def test_frequent_questions_by_language(admin, anyone, customer):
    items = [{"question": "How long?", "answer": "Two days."}, {"question": "Where?", "answer": "Here."}]
    written = faq(admin, "en", items)
    assert written.status_code == 200 and written.json() == {"language": "en", "items": items}
    shown = wait_for(lambda: (a := anyone.get("/faq?language=en")).json()["items"] == items and a, "it is shown", 5)
    assert shown.headers["etag"] == written.headers["etag"]
    assert shown.headers["cache-control"] == "public, no-cache"
    assert anyone.get("/faq?language=en", headers={"If-None-Match": shown.headers["etag"]}).status_code == 304
    assert anyone.get("/faq?language=fr").json() == {"language": "fr", "items": []}
    faq(admin, "fr", [{"question": "Combien de temps ?", "answer": "Deux jours."}])
    wait_for(lambda: anyone.get("/faq?language=fr").json()["items"], "the French one", 5)
    chosen = anyone.get("/faq", headers={"Accept-Language": "fr"})
    assert chosen.json()["language"] == "fr" and "Accept-Language" in chosen.headers["vary"]
    assert anyone.get("/faq", headers={"Accept-Language": "de"}).json()["language"] == "en"

    assert_problem(faq(admin, "en", [], **{"If-Match": '"old"'}), 412, "precondition-failed")
    assert faq(admin, "en", items[:1], **{"If-Match": shown.headers["etag"]}).status_code == 200
    assert_problem(faq(admin, "en", [], **{"If-Match": shown.headers["etag"]}), 412)
    assert faq(admin, "en", []).json()["items"] == []
    assert_problem(anyone.get("/faq?language=de"), 400)
    assert_problem(faq(admin, "de", []), 404)
    assert_problem(faq(customer, "en", []), 403)


@pytest.mark.parametrize(
    ("items", "field"),
    [
        ([{"question": "Q"}], "items[0]"),
        ([{"question": "Q", "answer": "A"}, {"question": "Q", "answer": "A", "x": 1}], "items[1]"),
        ([{"question": "", "answer": "A"}], "items[0].question"),
        ([{"question": "x" * 501, "answer": "A"}], "items[0].question"),
        ([{"question": "Q", "answer": "a\u0007"}], "items[0].answer"),
        ([{"question": "Q", "answer": "A"}] * 101, "items"),
        ([1], "items[0]"),
    ],
)
def test_a_bad_list_is_refused_by_field(admin, items, field):
    assert [error["field"] for error in assert_problem(faq(admin, "bg", items), 422)["errors"]] == [field]


def test_the_greatest_list_goes_through(admin, anyone):
    items = [{"question": f"{n} " + "q" * 400, "answer": "a" * 5000} for n in range(100)]
    assert faq(admin, "bg", items).status_code == 200
    wait_for(lambda: anyone.get("/faq?language=bg").json()["items"] == items, "all hundred", 5)


# --- what auth puts into an export ---


def test_an_export_has_every_conversation_newest_first(shop, customer, admin):
    assert inside(shop, f"/internal/users/{customer.user}/export") == {"questions": [], "complete": True}
    made = [asked(customer, about=about) for about in (SHOP, BOOK, SHOP)]
    assert follow_up(customer, made[1]).status_code == 201
    assert answer(admin, made[1]).status_code == 201
    asked(reader(shop))  # another's
    exported = inside(shop, f"/internal/users/{customer.user}/export")
    assert exported["complete"] is True
    newest_first = pages(customer, "/questions")
    assert exported["questions"] == [customer.get(f"/questions/{one['id']}").json() for one in newest_first]
    assert [len(one["messages"]) for one in exported["questions"] if one["id"] == made[1]["id"]] == [3]


# --- a shop of their own ---


def test_an_export_ends_behind_four_megabytes_and_says_so(make_shop):
    shop = make_shop()
    customer = reader(shop)
    ids = [asked(customer)["id"] for _ in range(10)]
    shop.stop()
    with contextlib.closing(sqlite3.connect(shop.data / "question.db", isolation_level=None)) as store:
        # 99 more messages for each of them, of 5,000 characters.
        store.execute("""
            INSERT INTO messages(question, number, author, text, at_ms)
            WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 100)
            SELECT q.id, i, 0, printf('%.*c', 5000, 'x'), q.created_ms FROM questions q, n""")
        store.execute("UPDATE questions SET messages = 100")
    shop.start()
    exported = inside(shop, f"/internal/users/{customer.user}/export")
    assert exported["complete"] is False
    got = [one["id"] for one in exported["questions"]]
    assert got == [one["id"] for one in pages(customer, "/questions")][: len(got)]
    assert 8 <= len(got) < len(ids) and all(len(one["messages"]) == 100 for one in exported["questions"])


def test_what_it_needs_may_be_away(make_shop):
    shop = make_shop()
    customer = reader(shop)
    question = asked(customer)
    pid = shop.service("library")
    os.kill(pid, signal.SIGSTOP)
    try:
        assert_problem(ask(customer, about=BOOK, key="k"), 503, "unavailable")
        assert ask(customer).status_code == 201  # what needs nobody is served
        assert customer.get(f"/questions/{question['id']}").status_code == 200
    finally:
        os.kill(pid, signal.SIGCONT)
    assert ask(customer, about=BOOK, key="k").status_code == 201  # a 503 is not kept under the key


def test_an_erased_asker_leaves_no_trace_but_texts(make_shop):
    shop = make_shop()
    admin = Caller(shop.url, {"access_token": shop.admin(), "user": {}})
    customer = reader(shop)
    question = asked(customer, about=BOOK)
    answer(admin, question, public=True)
    erased = customer.call("POST", "/me/erase", json={"password": "a long enough password"})
    assert erased.status_code == 204, erased.text
    seen = wait_for(
        lambda: (q := admin.get(f"/admin/questions/{question['id']}").json())["user"] is None and q, "the author is gone", 10
    )
    assert seen["messages"][0]["text"] == "Is it a hardcover?" and seen["public"] is True
    assert answer(admin, question, "Anybody there?").status_code == 201
