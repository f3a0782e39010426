"""What administrators do to the catalogue: new books, changes, deleting many, and imports as jobs."""

import csv
import io
import subprocess

import httpx
import pytest

from api import Caller, assert_problem
from shop import wait_for

CSV = {"Content-Type": "text/csv"}
NDJSON = {"Content-Type": "application/x-ndjson"}
EMMA = {"title": "Emma", "authors": ["Jane Austen"], "year": 1815, "language": "en", "price": {"amount": 1299, "currency": "EUR"}}


def admin_of(shop) -> Caller:
    return Caller(shop.url, {"access_token": shop.admin(), "user": {}})


@pytest.fixture
def admin(shop):
    caller = admin_of(shop)
    yield caller
    caller.close()


def create(admin, key=None, **fields):
    headers = {"Idempotency-Key": key} if key else {}
    return admin.call("POST", "/admin/books", json={**EMMA, **fields}, headers=headers)


def upload(admin, body, kind=CSV, key=None, **parameters):
    headers = {**kind, **({"Idempotency-Key": key} if key else {})}
    body = body.encode() if isinstance(body, str) else body
    return admin.call("POST", "/admin/books/import", content=body, headers=headers, params=parameters)


def job_of(admin, answer, seconds=30) -> dict:
    """The job when it has ended."""
    assert answer.status_code == 202, answer.text
    path = f"/admin/jobs/{answer.json()['id']}"
    assert answer.headers["location"] == "/api/v1" + path

    def ended():
        job = admin.get(path)
        assert job.status_code == 200, job.text
        return job.json() if job.json()["state"] != "running" else None

    return wait_for(ended, "the job has ended", seconds)


def counts(job) -> tuple:
    return tuple(job[name] for name in ("rows", "added", "changed", "unchanged", "rejected_count"))


# --- books one by one ---


def test_a_new_book_is_created_shown_and_can_be_sold(admin, anyone, guest):
    made = create(admin, stock=3)
    assert made.status_code == 201, made.text
    book = made.json()
    assert made.headers["location"] == f"/api/v1/admin/books/{book['id']}"
    assert book["title"] == "Emma" and book["state"] == "live" and book["availability"] == "low"
    again = admin.get(f"/admin/books/{book['id']}")
    assert again.headers["etag"] == made.headers["etag"]
    assert again.json() == book
    assert anyone.get(f"/books/{book['id']}").json()["price"] == {"amount": 1299, "currency": "EUR"}
    wait_for(lambda: guest.add(book["id"], 1).status_code == 200, "the edge knows it", 5)


def test_a_new_book_counts_once_under_its_key(admin):
    first = create(admin, key="new-book-1")
    again = create(admin, key="new-book-1")
    assert first.status_code == again.status_code == 201
    assert again.json() == first.json()
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["location"] == first.headers["location"]
    assert_problem(create(admin, key="new-book-1", title="Other"), 422, "idempotency-key-reused")


def test_an_id_is_never_given_twice(admin):
    made = create(admin, id=5_000_001)
    assert made.status_code == 201 and made.json()["id"] == 5_000_001
    assert_problem(create(admin, id=5_000_001), 409, "conflict")
    tag = {"If-Match": made.headers["etag"]}
    assert admin.call("DELETE", "/admin/books/5000001", headers=tag).status_code == 204
    assert_problem(create(admin, id=5_000_001), 409, "conflict")


@pytest.mark.parametrize(
    ("fields", "status", "field"),
    [
        ({"title": ""}, 422, "title"),
        ({"title": None}, 400, "title"),
        ({"title": "a\x07b"}, 422, "title"),
        ({"price": {"amount": 1299, "currency": "USD"}}, 422, "price"),
        ({"price": {"amount": 12.99, "currency": "EUR"}}, 422, "price"),
        ({"price": {"amount": -1, "currency": "EUR"}}, 422, "price"),
        ({"stock": -1}, 422, "stock"),
        ({"stock": 1_000_001}, 422, "stock"),
        ({"id": 0}, 422, "id"),
        ({"id": 2**53}, 422, "id"),
        ({"isbn": "9780306406158"}, 422, "isbn"),
        ({"authors": "Jane"}, 400, "authors"),
        ({"availability": "low"}, 400, "availability"),
    ],
)
def test_a_bad_new_book_is_refused_by_field(admin, fields, status, field):
    problem = assert_problem(create(admin, **fields), status)
    assert [error["field"] for error in problem["errors"]] == [field]


def test_stock_is_not_changed_here(admin):
    made = create(admin)
    answer = admin.call(
        "PATCH", f"/admin/books/{made.json()['id']}", json={"stock": 5}, headers={"If-Match": made.headers["etag"]}
    )
    assert_problem(answer, 400)
    assert "stock" not in made.json()


def test_many_are_deleted_at_once_and_each_is_reported(admin, anyone):
    ids = [create(admin).json()["id"] for _ in range(3)]
    first = admin.call("POST", "/admin/books/delete", json={"ids": ids[:1]})
    assert first.json() == {"items": [{"id": ids[0], "result": "hidden"}]}
    answer = admin.call("POST", "/admin/books/delete", json={"ids": [*ids, 4_999_999]}, headers={"Idempotency-Key": "many"})
    assert answer.status_code == 200, answer.text
    wanted = ["already-hidden", "hidden", "hidden", "absent"]
    assert answer.json()["items"] == [{"id": i, "result": r} for i, r in zip([*ids, 4_999_999], wanted)]
    for book in ids:
        wait_for(lambda: anyone.get(f"/books/{book}").status_code == 404, "its page is gone", 5)
    replay = admin.call("POST", "/admin/books/delete", json={"ids": [*ids, 4_999_999]}, headers={"Idempotency-Key": "many"})
    assert replay.json() == answer.json() and replay.headers["idempotent-replayed"] == "true"
    for wrong in ([], [1, 1], [0], ["1"], [2**53], list(range(1, 102))):
        assert_problem(admin.call("POST", "/admin/books/delete", json={"ids": wrong}), 422, "not-acceptable-value")


# --- imports ---


def test_an_import_adds_changes_and_repeats_without_effect(admin, anyone):
    text = "id,title,price,stock\n600001,One,1.00,5\n600002,Two,2.00,0\n"
    assert counts(job_of(admin, upload(admin, text))) == (2, 2, 0, 0, 0)
    assert anyone.get("/books/600001").json()["availability"] == "low"
    tag = admin.get("/admin/books/600001").headers["etag"]
    assert counts(job_of(admin, upload(admin, text))) == (2, 0, 0, 2, 0)
    assert admin.get("/admin/books/600001").headers["etag"] == tag
    changed = job_of(admin, upload(admin, text.replace("Two,2.00,0", "Second,2.00,99")))
    assert counts(changed) == (2, 0, 1, 1, 0)
    shown = admin.get("/admin/books/600002").json()
    assert shown["title"] == "Second" and shown["availability"] == "out_of_stock"  # live stock is not touched


def test_a_dry_run_judges_and_changes_nothing(admin):
    text = "id,title,price\n600011,One,1.00\n600012,,1.00\n"
    job = job_of(admin, upload(admin, text, dry_run="true"))
    assert job["dry_run"] is True and counts(job) == (2, 1, 0, 0, 1)
    assert admin.get("/admin/books/600011").status_code == 404
    assert counts(job_of(admin, upload(admin, text))) == (2, 1, 0, 0, 1)


def test_stock_can_be_ignored(admin):
    job = job_of(admin, upload(admin, "id,title,stock\n600021,One,50\n600022,Two,\n", stock="ignore"))
    assert job["stock"] == "ignore" and job["added"] == 2
    for book in (600021, 600022):
        assert admin.get(f"/admin/books/{book}").json()["availability"] == "out_of_stock"


def test_an_import_counts_once_under_its_key(admin):
    first = upload(admin, "id,title\n600031,One\n", key="import-1")
    again = upload(admin, "id,title\n600031,One\n", key="import-1")
    assert first.status_code == again.status_code == 202
    assert again.json() == first.json() and again.headers["idempotent-replayed"] == "true"
    assert_problem(upload(admin, "id,title\n600032,Two\n", key="import-1"), 422, "idempotency-key-reused")


BAD_ROWS = [
    (b"610001,Good,1.00,1", None),
    (b"610002,Bad \xff\xfe,1.00,1", "row: not UTF-8"),
    (b"610003,No price or stock", "row: 2 columns where the header has 4"),
    (b"610001,Twice,1.00,1", "id stands in an earlier row"),
    (b"610005,Three decimals,1.005,1", "price has more fraction digits than the currency"),
    (b"610006,Negative,1.00,-1", "stock is negative"),
    (b"610007," + b"x" * 1_000_000 + b",1.00,1", "row: a field longer than 64 KiB"),
    (b'610008,"Lost" quote,1.00,1', "row: text after a closing quote"),
    (b"610009,Control \x07,1.00,1", "row: a control character"),
    (b"abc,No number,1.00,1", "id is not a whole number"),
    (b"9007199254740992,Too great,1.00,1", "id is not a number from 1 to 2^53 - 1"),
    (b"610012,,1.00,1", "title is missing"),
    (b"610013,Word,free,1", "price is not a decimal number"),
    (b"610014,Minus,-1.00,1", "price is negative"),
    (b"610015,Also good,1.00,1", None),
]


def test_each_bad_csv_row_is_named_with_line_and_reason(admin):
    body = b"id,title,price,stock\n" + b"\n".join(row for row, _ in BAD_ROWS) + b"\n"
    job = job_of(admin, upload(admin, body))
    assert job["state"] == "done" and job["added"] == 2
    wanted = [(line, reason) for line, (_, reason) in enumerate(BAD_ROWS, 2) if reason]
    assert [(row["line"], row["reason"]) for row in job["rejected"]] == wanted


BAD_LINES = [
    (b'{"id":620001,"title":"Good","price":{"amount":100},"stock":1,"genres":["novel"],"year":-750}', None),
    (b'{"id":620002,"title":"Bad \xff"}', "row: not UTF-8"),
    (b'{"id":620003}', "title is missing"),
    (b'{"title":"No id"}', "id is missing"),
    (b'{"id":620001,"title":"Twice"}', "id stands in an earlier row"),
    (b'{"id":620006,"title":"T","price":{"amount":1.005}}', "price is not"),
    (b'{"id":620007,"title":"T","price":"1.00"}', "price is not"),
    (b'{"id":620008,"title":"T","stock":-1}', "stock is negative"),
    (b'{"id":620009,"title":"' + b"x" * 1_000_000 + b'"}', "row: longer than 256 KiB"),
    (b'{"id":620010,"title":"T"', "row: not JSON at column"),
    (b"[1,2]", "row: not an object"),
    (b'{"id":620012,"title":"T","title":"U"}', "row: a field stands there twice"),
    (b'{"id":620013,"title":"T","colour":"red"}', 'field "colour" is not known'),
    (b'{"id":"620014","title":"T"}', "id is of the wrong kind"),
    (b'{"id":620015,"title":"T","authors":"A"}', "authors are too many, or not all texts"),
    (b'{"id":620016,"title":"T\\u0000"}', "row: not JSON at column"),
    (b'{"id":620017,"title":"Good","isbn":"0-306-40615-2","language":"eng","description":null}', None),
]


def test_each_bad_ndjson_line_is_named_with_line_and_reason(admin):
    body = b"\xef\xbb\xbf" + b"\r\n".join(line for line, _ in BAD_LINES)  # the last line without its end
    job = job_of(admin, upload(admin, body, NDJSON))
    assert job["state"] == "done" and job["added"] == 2, job
    wanted = [(line, reason) for line, (_, reason) in enumerate(BAD_LINES, 1) if reason]
    assert [row["line"] for row in job["rejected"]] == [line for line, _ in wanted]
    for row, (_, reason) in zip(job["rejected"], wanted):
        assert row["reason"].startswith(reason), row
    book = admin.get("/admin/books/620017").json()
    assert book["isbn"] == "9780306406157" and book["language"] == "en"


def test_rejected_rows_are_paged(admin):
    body = "id,title\n" + "".join(f"{630000 + n},\n" for n in range(1, 61))
    job = job_of(admin, upload(admin, body))
    path, cursor, lines = f"/admin/jobs/{job['id']}", None, []
    for _ in range(10):
        page = admin.get(path, params={"limit": 25, **({"cursor": cursor} if cursor else {})}).json()
        lines += [row["line"] for row in page["rejected"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert lines == list(range(2, 62))
    other = job_of(admin, upload(admin, body))
    first = admin.get(path, params={"limit": 1}).json()["next_cursor"]
    assert_problem(admin.get(f"/admin/jobs/{other['id']}", params={"cursor": first}), 400, "bad-cursor")
    for limit in ("0", "101", "-1", "x"):
        assert_problem(admin.get(path, params={"limit": limit}), 400)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("id,name\n1,T\n", 'column "name" is not known'),
        ("title\nT\n", 'column "id" is missing'),
        ("id,id,title\n1,1,T\n", 'column "id" stands there twice'),
        ("\n\n", "the file is empty"),
    ],
)
def test_what_is_no_catalogue_fails_as_a_whole(admin, body, reason):
    job = job_of(admin, upload(admin, body))
    assert (job["state"], job["reason"]) == ("failed", reason)


def test_an_import_is_refused_before_it_is_a_job(admin, guest):
    text = "id,title\n1,T\n"
    assert_problem(upload(admin, text, {"Content-Type": "application/json"}), 415)
    assert_problem(upload(admin, text, stock="reset"), 400)
    assert_problem(upload(admin, text, dry_run="maybe"), 400)
    assert_problem(upload(admin, ""), 400)
    assert_problem(upload(guest, text), 403)
    assert_problem(admin.get("/admin/jobs/job_nothing"), 404)
    assert_problem(admin.get("/admin/jobs/job_00000000000000000000000001"), 404)


def test_one_byte_over_the_limit_is_413(admin):
    assert upload(admin, b"id,title\n" + b"\n" * (64 * 1024 * 1024 - 8)).status_code == 413


# --- a shop of their own: kills, the time it takes ---


def catalogue(rows: int, first: int = 700_001) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["id", "title", "authors", "year", "genres", "price", "stock"])
    for n in range(rows):
        title = "" if n % 1000 == 999 else f"The {n}th of many"
        writer.writerow([first + n, title, f"Author {n % 97};Author {n % 89}", 1900 + n % 100, f"genre {n % 7}", "5.00", n % 40])
    return out.getvalue()


@pytest.mark.parametrize("point", ["library.import-stored=kill@3", "library.import-unstored=kill@3"])
def test_a_job_goes_on_after_a_kill_and_counts_no_row_twice(make_shop, point):
    shop = make_shop({"BOOKCART_FAULTS": point}, catalogue=False)
    admin = admin_of(shop)
    pid = shop.service("library")
    began = upload(admin, catalogue(2600))
    wait_for(lambda: shop.service("library") != pid, "the service was killed and is back", 20)
    shop_admin = admin_of(shop)

    def ended():
        answer = shop_admin.get(f"/admin/jobs/{began.json()['id']}")
        return answer.json() if answer.status_code == 200 and answer.json()["state"] == "done" else None

    # The fault strikes at the third batch of every life: the first life stores up to three batches, so does each one after it.
    job = wait_for(ended, "the job has ended", 40)
    assert counts(job) == (2600, 2598, 0, 0, 2)
    assert [row["line"] for row in job["rejected"]] == [1001, 2001]
    events = shop_events(shop)
    created = [event["data"]["book"] for event in events if event["type"] == "book.created"]
    assert len(created) == len(set(created)) == 2598
    assert not list((shop.data / "spool").iterdir())


@pytest.mark.parametrize("point", ["library.import-stored=kill@3", "library.import-unstored=kill@3"])
def test_the_import_command_waits_for_a_service_that_was_killed(make_shop, point):
    shop = make_shop({"BOOKCART_FAULTS": point}, catalogue=False)
    path = shop.folder / "many.csv"
    path.write_text(catalogue(2600), encoding="utf-8")
    path.chmod(0o644)
    done = shop.run("import", str(path), "--data", str(shop.data))
    assert done.returncode == 1, done.stdout + done.stderr  # two rows were rejected
    job, *said = done.stdout.splitlines()
    assert [line for line in said if not line.endswith(" of 2600 rows")] == [
        "line 1001: title is missing", "line 2001: title is missing", "2600 rows: 2598 new, 0 changed, 0 unchanged, 2 rejected",
    ]  # fmt: skip
    assert shop.log.read_text().count("killed by signal 9") >= 1
    assert counts(admin_of(shop).get(f"/admin/jobs/{job}").json()) == (2600, 2598, 0, 0, 2)


def test_an_import_goes_on_without_the_command(make_shop):
    """The fault makes every batch wait to be tried again, so that the command is killed while the job runs."""
    shop = make_shop({"BOOKCART_FAULTS": "library.import-stored=fail"}, catalogue=False)
    path = shop.folder / "many.csv"
    path.write_text(catalogue(1500), encoding="utf-8")
    path.chmod(0o644)
    with subprocess.Popen(
        [shop.program, "import", str(path), "--data", str(shop.data)], env=shop.environment(), stdout=subprocess.PIPE, text=True
    ) as command:
        job = command.stdout.readline().strip()
        command.kill()
    admin = admin_of(shop)
    assert admin.get(f"/admin/jobs/{job}").json()["state"] == "running"
    ended = wait_for(lambda: (seen := admin.get(f"/admin/jobs/{job}").json())["state"] == "done" and seen, "the job has ended", 30)
    assert counts(ended) == (1500, 1499, 0, 0, 1)


def shop_events(shop) -> list[dict]:
    key = (shop.data / "keys" / "service.key").read_text().strip()
    transport = httpx.HTTPTransport(uds=str(shop.data / "run" / "library-internal.sock"))
    events, after = [], 0
    with httpx.Client(transport=transport, headers={"Authorization": f"Bearer {key}"}, timeout=20) as client:
        while True:
            page = client.get("http://library/internal/events", params={"after": after, "limit": 5000}).json()
            events += page["items"]
            if not page["more"]:
                return events
            after = page["position"]


def test_what_the_ledger_counts_becomes_availability(admin, anyone, guest):
    made = create(admin, stock=3)
    book = made.json()["id"]
    wait_for(lambda: admin.get(f"/admin/stock/{book}").status_code == 200, "payment has opened its ledger", 10)

    def count(copies):
        answer = admin.call("POST", f"/admin/stock/{book}/adjust", json={"counted": copies, "reason": "stocktaking"})
        assert answer.status_code in (200, 201), answer.text

    def shown(word):
        return wait_for(lambda: anyone.get(f"/books/{book}").json()["availability"] == word, word, 10)

    assert shown("low")
    wait_for(lambda: guest.set(book, 2).status_code == 200, "the edge knows it", 5)
    count(0)
    assert shown("out_of_stock")
    wait_for(lambda: [w["code"] for w in guest.cart().json()["warnings"]] == ["out-of-stock"], "the cart says so", 10)
    count(500)
    assert shown("in_stock")
    wait_for(lambda: guest.cart().json()["warnings"] == [], "the cart is content", 10)
    tag = admin.get(f"/admin/books/{book}").headers["etag"]
    count(499)  # a sale, as it were: what an admin holds stays the newest
    count(498)
    wait_for(lambda: admin.get(f"/admin/stock/{book}").json()["free"] == 498, "it is counted", 5)
    changed = admin.call("PATCH", f"/admin/books/{book}", json={"description": "New"}, headers={"If-Match": tag})
    assert changed.status_code == 200, changed.text
