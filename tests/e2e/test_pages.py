"""Pages that an nginx worker answers from its own memory: the same answers, right within a second, and asked for by one for all."""

import concurrent.futures
import contextlib
import http.client
import itertools
import os
import re
import signal
import threading
import time

import httpx
import pytest

from api import Caller
from shop import Shop, process_table, wait_for

PAGE = "/api/v1/books?limit=5"
VARYING = {"date", "request-id", "connection", "accept-ranges"}


@pytest.fixture(scope="module")
def paged(program):
    """One worker, so that there is one memory; answers without the header that only tests see, so that they are kept."""
    made = Shop(program, {"BOOKCART_LOG_LEVEL": "info", "BOOKCART_WORKERS": "1"}, name="pages")
    try:
        made.import_catalogue()
        yield made.start()
    finally:
        made.destroy()


looks = itertools.count()


def asked(shop: Shop) -> int:
    """Requests that the library has answered, without those of this function before."""
    text = httpx.get(f"{shop.operations}/library/metrics").text
    answered = re.findall(r'^bookcart_http_requests_total\{class="[23]xx"\} (\d+)', text, re.M)
    return sum(int(number) for number in answered) - next(looks)


def fetch(shop: Shop, path: str = PAGE, method: str = "GET", **headers) -> tuple[int, dict, bytes]:
    answer = http.client.HTTPConnection(shop.url.removeprefix("http://"), timeout=20)
    with contextlib.closing(answer) as connection:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        got = connection.getresponse()
        return got.status, {name.lower(): value for name, value in got.getheaders()}, got.read()


def told(answer: tuple[int, dict, bytes]) -> tuple[int, dict, bytes]:
    status, headers, body = answer
    return status, {name: value for name, value in headers.items() if name not in VARYING}, body


@contextlib.contextmanager
def stopped(process: int):
    """The process does nothing, not even with what has reached it already."""
    os.kill(process, signal.SIGSTOP)
    try:
        wait_for(lambda: process_table()[process][1] == "T", "the process to stop", 5)
        yield
    finally:
        os.kill(process, signal.SIGCONT)


def ended(shop: Shop, path: str) -> None:
    """The page was asked for, and its time is over."""
    fetch(shop, path)
    time.sleep(1.05)


def test_an_answer_from_memory_is_the_same_answer(paged):
    first = fetch(paged)
    assert first[0] == 200 and first[1]["content-type"] == "application/json", first
    before = asked(paged)
    begun = time.monotonic()
    again = [fetch(paged) for _ in range(50)]
    seconds = time.monotonic() - begun
    assert all(told(answer) == told(first) for answer in again)
    assert len({answer[1]["request-id"] for answer in again}) == 50
    assert asked(paged) - before <= 1 + seconds / 0.7, "the library was asked for what the worker knows"


@pytest.mark.parametrize("path", [PAGE, "/api/v1/books/3", "/api/v1/books/suggest?q=p", "/api/v1/books?q=pride&limit=3", "/api/v1/shop"])
def test_every_form_of_a_request_is_answered_as_by_the_page_cache(paged, path):
    """Each form three times: by the library, and then from wherever it is remembered."""
    _, headers, body = fetch(paged, path)
    tag = headers["etag"]
    for _ in range(3):
        assert fetch(paged, path)[2] == body
        status, headers, empty = fetch(paged, path, "HEAD")
        assert (status, empty, headers["content-length"]) == (200, b"", str(len(body)))
        status, headers, empty = fetch(paged, path, If_None_Match=tag)
        assert (status, empty, headers["etag"]) == (304, b"", tag)
        assert fetch(paged, path, If_None_Match='"another"')[2] == body
        assert fetch(paged, path, If_None_Match="*")[0] in (200, 304)
        status, headers, part = fetch(paged, path, Range="bytes=1-4")
        assert (status, part) in ((206, body[1:5]), (200, body))
        packed = httpx.get(paged.url + path, headers={"Accept-Encoding": "gzip"})
        assert packed.content == body and (len(body) < 1000 or packed.headers["content-encoding"] == "gzip")
        assert "accept-encoding" in packed.headers.get("vary", "accept-encoding").lower()


def test_what_is_not_found_is_not_remembered(paged):
    for _ in range(3):
        assert fetch(paged, "/api/v1/books/999999")[0] == 404
        assert fetch(paged, "/api/v1/books?limit=banana")[0] == 400


def test_a_page_is_right_within_a_second_of_a_change_and_never_goes_back(paged):
    """Readers without pause, so that the page is always in memory, while an administrator changes a price."""
    admin = Caller(paged.url, {"access_token": paged.admin(), "user": {}})
    path, seen, ends = "/api/v1/books/12", [], threading.Event()

    def read():
        while not ends.is_set():
            started = time.monotonic()
            seen.append((started, int(re.search(rb'"amount":(\d+)', fetch(paged, path)[2])[1])))

    thread = threading.Thread(target=read)
    thread.start()
    changes = []
    for amount in (811, 812, 813):
        tag = admin.get("/admin/books/12").headers["etag"]
        body = {"price": {"amount": amount, "currency": "EUR"}}
        assert admin.call("PATCH", "/admin/books/12", json=body, headers={"If-Match": tag}).status_code == 200
        changes.append((time.monotonic(), amount))
        time.sleep(1.3)
    ends.set()
    thread.join()
    for changed, amount in changes:
        stale = [started - changed for started, price in seen if changed < started < changed + 1.3 and price != amount]
        print(f"stale for {max(stale, default=0):.3f} s after the change")
        assert max(stale, default=0) <= 1.0, "the old page was shown for more than a second"
    prices = [price for _, price in sorted(seen)]
    assert [p for i, p in enumerate(prices) if i == 0 or prices[i - 1] != p][-3:] == [811, 812, 813]


def test_one_asks_for_all(paged):
    """Eight readers without pause for three seconds: the library hears of the page when its time is over, once each time."""
    path = "/api/v1/books?limit=6"
    fetch(paged, path)
    ends = time.monotonic() + 3
    before = asked(paged)

    def read() -> int:
        count = 0
        while time.monotonic() < ends:
            assert fetch(paged, path)[0] == 200
            count += 1
        return count

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        reads = sum(pool.map(lambda _: read(), range(8)))
    assert asked(paged) - before <= 3 / 0.7 + 2, f"for {reads} reads"


def test_those_who_wait_are_answered_when_one_is(paged):
    """A library that is slow for a moment is not asked by everyone at once."""
    path = "/api/v1/books?limit=7"
    ended(paged, path)
    before, library = asked(paged), paged.service("library")
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        with stopped(library):
            waiting = [pool.submit(fetch, paged, path) for _ in range(20)]
            time.sleep(0.5)
            assert not any(one.done() for one in waiting)
        answers = [one.result(20) for one in waiting]
    assert {answer[0] for answer in answers} == {200} and len({answer[2] for answer in answers}) == 1
    assert asked(paged) - before <= 2  # once, and again when the drawn end of that answer was over as it came


def test_when_the_one_who_asks_goes_away_the_next_asks(paged):
    path = "/api/v1/books?limit=8"
    ended(paged, path)
    library = paged.service("library")
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        with stopped(library):
            gone = http.client.HTTPConnection(paged.url.removeprefix("http://"), timeout=20)
            gone.request("GET", path)
            time.sleep(0.2)
            waiting = [pool.submit(fetch, paged, path) for _ in range(4)]
            time.sleep(0.2)
            gone.close()
            time.sleep(0.2)
        assert {one.result(20)[0] for one in waiting} == {200}


def test_while_the_library_is_away_the_last_page_is_better_than_none(make_shop):
    shop = make_shop({"BOOKCART_LOG_LEVEL": "info", "BOOKCART_WORKERS": "1"})
    known = fetch(shop)
    ended(shop, PAGE)
    ended(shop, PAGE)  # the page cache keeps what it was asked for twice
    library = shop.service("library")
    with stopped(shop.process.pid):  # nobody starts the library again
        os.kill(library, signal.SIGKILL)
        wait_for(lambda: fetch(shop, "/api/v1/books?limit=99")[0] in (502, 503, 504), "the library to be away", 10)
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: fetch(shop), range(24)))
        assert all((answer[0], answer[2]) == (200, known[2]) for answer in answers)
