"""Searching, narrowing and suggesting, by the API alone."""

import itertools
import threading
import time

import pytest

from api import Caller, assert_problem
from shop import wait_for

CATALOGUE = '''id,title,authors,year,language,genres,description,price,stock
1,Pride and Prejudice,Jane Austen,1813,en,novel;romance,A proud man and a prejudiced woman.,9.99,50
2,Emma,Jane Austen,1815,en,novel,"Emma Woodhouse, handsome, clever, and rich, plays with other people's lives.",7.50,3
3,Émile,Jean-Jacques Rousseau,1762,fr,philosophy,,12.00,0
4,Les Misérables,Victor Hugo,1862,fr,novel,The bishop's candlesticks and a long chase.,15.00,9
5,The C++ Programming Language,Bjarne Stroustrup,1985,en,computing,,49.00,20
6,Who's Who,Anonymous Editors,1849,en,reference,,30.00,20
7,AND,Nobody,1999,en,,,5.00,20
8,Ἰλιάς,Ὅμηρος,-750,grc,epic,,12.00,20
9,紅樓夢,曹雪芹,1791,zh,novel,,12.00,20
10,Под игото,Иван Вазов,1894,bg,novel,,7.50,20
11,Candles and How to Make Them,Ann Wax,2001,en,craft,,4.00,20
12,The Prejudice of Crowds,Carl Crowd,1950,en,essay,,4.99,20
13,"<b>Bold</b> & ""Quoted""",Tag Author,2020,en,essay,,6.00,20
14,Emma and Emma,Emma Writer,2015,en,novel,,8.00,20
'''


@pytest.fixture(scope="module")
def searched(program):
    from shop import Shop

    made = Shop(program, {"BOOKCART_LOG_LEVEL": "debug"}, name="search")
    try:
        made.import_catalogue(CATALOGUE)
        yield made.start()
    finally:
        made.destroy()


@pytest.fixture(scope="module")
def reader(searched):
    caller = Caller(searched.url)
    yield caller
    caller.close()


@pytest.fixture(scope="module")
def admin(searched):
    return Caller(searched.url, {"access_token": searched.admin(), "user": {}})


fresh = itertools.count()


def find(reader, q: str | None = None, **more) -> dict:
    """A list that no cache has: a name that means nothing to the library would be refused, so the limit varies instead."""
    query = {**({"q": q} if q is not None else {}), **more}
    query.setdefault("limit", 30 + next(fresh) % 70)
    answer = reader.get("/books", params=query)
    assert answer.status_code == 200, f"{query}: {answer.text}"
    return answer.json()


def ids(page: dict) -> list[int]:
    return [item["id"] for item in page["items"]]


# --- what is found ---


@pytest.mark.parametrize(
    ("q", "first"),
    [
        ("pride and prejudice", 1), ("PREJUDICE pride", 1), ("austen prejudice", 1), ("predjudice", 1), ("emile", 3), ("ÉMILE", 3),
        ("les miserables", 4), ("miserabels", 4), ("Victor Hugo", 4), ("hugo mis", 4), ("c++", 5), ("C++ programming", 5), ("who's", 6),
        ("whos who", 6), ("AND", 7), ("ιλιας", 8), ("Ομηρος", 8), ("紅樓", 9), ("夢", 9), ("под игот", 10), ("вазов", 10), ("ваззов", 10),
        ("emma", 2), ("emmma", 2), ("woodhouse", 2), ("candlesticks", 4), ("prideandprejudice", 1), ("<b>bold", 13), ('"quoted"', 13),
    ],
)  # fmt: skip
def test_finds(reader, q, first):
    assert ids(find(reader, q))[0] == first


def test_title_before_author_before_description(reader):
    assert ids(find(reader, "emma"))[:2] == [2, 14]
    assert ids(find(reader, "candle")) == [11, 4]


@pytest.mark.parametrize("q", ['"', "*:*", "''", "(((", "- -", "%", "_", "\\", "   ", "…", "*", "^", "💥"])
def test_signs_alone_find_nothing(reader, q):
    page = find(reader, q)
    assert page["items"] == [] and page["total_estimate"] == 0 and page["next_cursor"] is None
    assert all(facet == [] for facet in page["facets"].values())


@pytest.mark.parametrize(
    "q",
    ["NEAR(", "NEAR(emma, 2)", "title:emma", "emma*", "emma OR", "NOT emma", 'emma "', "emma' --", "{title}:emma", "emma AND NOT x", "^emma",
     "emma; DROP TABLE books", "-emma", "+emma", "emma~2", "/emma/", "whole:emma", "emma%", "em_a", "rowid:1"],
)  # fmt: skip
def test_a_query_is_text_and_never_an_operator(reader, q):
    page = find(reader, q)
    if "emma" in q:
        assert 2 in ids(page), f"{q!r} hid Emma"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("q=", "q"), ("q=" + "x" * 101, "q"), ("q=" + "x" * 7000, "q"), ("q=%00", None), ("q=%ff", None), ("q=a&q=b", None),
        ("sort=relevance", "sort"), ("q=a&sort=best", "sort"), ("limit=-1", "limit"), ("q=a&limit=0", "limit"), ("limit=101", "limit"),
        ("limit=1e3", "limit"), ("genre=", "genre"), ("author=" + "x" * 257, "author"), ("language=klingon", "language"),
        ("available=maybe", "available"), ("price_max=-1", "price_max"), ("price_max=1.5", "price_max"), ("year_from=MCM", "year_from"),
        ("year_to=10000", "year_to"), ("ids=1,,2", "ids"), ("fuzzy=yes", "fuzzy"), ("cursor=AAAA", "cursor"), ("q=a&cursor=%21", "cursor"),
    ],
)  # fmt: skip
def test_bad_input_names_its_field(reader, query, field):
    body = assert_problem(reader.get("/books?" + query), 400)
    if field is not None:
        assert body["errors"][0]["field"] == field


def test_ten_thousand_characters_are_refused(reader):
    assert_problem(reader.get("/books", params={"q": "x" * 10000}), 414)
    assert_problem(reader.get("/books", params={"q": "я" * 101}), 400)
    assert find(reader, "я" * 100)["items"] == []


def test_highlights_say_where_in_code_points(reader):
    def marks(q: str, book: int) -> list:
        item = next(item for item in find(reader, q)["items"] if item["id"] == book)
        return [(h["field"], [h["text"][a:b] for a, b in h["ranges"]]) for h in item["highlights"]]

    assert marks("emma", 14) == [("title", ["Emma", "Emma"]), ("authors", ["Emma"])]
    assert marks("miserables hugo", 4) == [("title", ["Misérables"]), ("authors", ["Hugo"])]
    assert marks("predjudice", 1) == [("title", ["Prejudice"])]
    assert marks("ιλιας", 8) == [("title", ["Ἰλιάς"])]
    assert marks("紅樓夢", 9) == [("title", ["紅樓夢"])]
    assert marks("whos", 6) == [("title", ["Who's"])]
    assert marks("woodhouse", 2) == [("description", ["Woodhouse"])]
    assert marks("bold", 13) == [("title", ["Bold"])]  # as text: what is markup to a browser is nothing here
    assert "highlights" not in find(reader)["items"][0]


# --- narrowing, ordering, paging ---


def test_facets_count_the_list_they_are_of(reader):
    page = find(reader)
    assert page["total_estimate"] == 14
    facets = page["facets"]
    assert facets["genre"][0] == {"value": "novel", "count": 6}
    assert {"value": "Jane Austen", "count": 2} == facets["author"][0]
    assert {f["value"]: f["count"] for f in facets["language"]} == {"en": 9, "fr": 2, "grc": 1, "zh": 1, "bg": 1}
    assert {f["value"]: f["count"] for f in facets["availability"]} == {"in_stock": 12, "low": 1, "out_of_stock": 1}
    assert facets["year"][0] == {"from": -800, "to": -701, "count": 1}
    assert sum(f["count"] for f in facets["year"]) == sum(f["count"] for f in facets["price"]) == 14
    narrowed = find(reader, genre="novel", language="en", price_max=999)
    assert ids(narrowed) == [2, 14, 1]
    assert narrowed["total_estimate"] == 3
    assert narrowed["facets"]["language"] == [{"value": "en", "count": 3}]


def test_every_facet_value_leads_to_as_many_books(reader):
    facets = find(reader)["facets"]
    for name in ("genre", "author", "language"):
        for value in facets[name]:
            page = find(reader, **{name: value["value"]})
            assert len(page["items"]) == page["total_estimate"] == value["count"], value
    for years in facets["year"]:
        assert find(reader, year_from=years["from"], year_to=years["to"])["total_estimate"] == years["count"]
    free = sum(f["count"] for f in facets["availability"] if f["value"] != "out_of_stock")
    assert find(reader, available="true")["total_estimate"] == free


def test_filters_narrow_a_search(reader):
    assert ids(find(reader, "emma", author="emma writer")) == [14]
    assert ids(find(reader, "austen", available="true", genre="romance")) == [1]
    assert ids(find(reader, "prejudice", ids="12,3")) == [12]
    assert ids(find(reader, "emma", year_to=1900)) == [2]
    assert find(reader, "emma", genre="no such genre")["total_estimate"] == 0


def test_a_search_is_ordered_as_asked(reader):
    everything = "emma OR austen prejudice"
    found = sorted(ids(find(reader, everything)))
    prices = [item["price"]["amount"] for item in find(reader, everything, sort="price")["items"]]
    assert prices == sorted(prices) and len(prices) == len(found)
    assert [i["price"]["amount"] for i in find(reader, everything, sort="-price")["items"]] == sorted(prices, reverse=True)
    years = [item["year"] for item in find(reader, everything, sort="newest")["items"]]
    assert years == sorted(years, reverse=True)
    assert len(find(reader, everything, sort="title")["items"]) == len(found)


@pytest.mark.parametrize("sort", ["relevance", "title", "price", "newest"])
def test_pages_of_a_search_hold_every_book_once(reader, sort):
    whole = ids(find(reader, "novel emma prejudice jane", sort=sort))
    assert len(whole) > 3
    for limit in (1, 2, 3):
        seen, cursor = [], None
        while True:
            page = find(reader, "novel emma prejudice jane", sort=sort, limit=limit, **({"cursor": cursor} if cursor else {}))
            seen += ids(page)
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert seen == whole


def test_a_cursor_is_of_its_list_alone(reader):
    cursor = find(reader, "emma prejudice", limit=1)["next_cursor"]
    assert cursor
    for other in ({"q": "emma"}, {"q": "emma prejudice", "sort": "title"}, {"q": "emma prejudice", "genre": "novel"}, {}):
        assert_problem(reader.get("/books", params={**other, "cursor": cursor}), 400, "bad-cursor")


RATED = """book_id,title,authors,average_rating,ratings_count
501,The Lantern,Ada Pale,3.10,12
502,The Lantern,Bea Bright,3.00,90000
503,The Lantern,Cid Dim,4.90,700
504,Lanterns and Lamplighters of the Northern Provinces,Dee Long,5.00,3
"""


def test_popularity_decides_between_equals(searched, reader):
    path = searched.folder / "rated.csv"
    path.write_text(RATED, encoding="utf-8")
    path.chmod(0o644)
    done = searched.run("import", str(path), "--data", str(searched.data))
    assert done.returncode == 0, done.stdout + done.stderr
    assert ids(find(reader, "the lantern"))[:3] == [502, 503, 501]
    suggested = reader.get("/books/suggest", params={"q": "lant"}).json()["items"]
    assert [s["book"] for s in suggested] == [502, 503, 501, 504]
    assert [s["kind"] for s in reader.get("/books/suggest", params={"q": "bea"}).json()["items"]][0] == "author"


# --- suggestions ---


def test_suggestions_begin_with_what_was_typed(reader):
    def suggest(q: str) -> list:
        answer = reader.get("/books/suggest", params={"q": q})
        assert answer.status_code == 200, answer.text
        return [(s["kind"], s["text"]) for s in answer.json()["items"]]

    assert suggest("prej") == [("title", "Pride and Prejudice"), ("title", "The Prejudice of Crowds")]
    assert suggest("ja au") == [("author", "Jane Austen")]
    assert ("title", "Les Misérables") in suggest("misera")
    assert suggest("emm")[:1] == [("title", "Emma")]
    assert ("author", "Emma Writer") in suggest("emm")
    assert suggest("вазо") == [("author", "Иван Вазов")]
    assert suggest("紅") == [("title", "紅樓夢")]
    assert suggest("c++") == [("title", "The C++ Programming Language")]
    assert suggest("zzz") == [] and suggest('"') == []
    assert len(suggest("a")) <= 10


@pytest.mark.parametrize("query", ["", "q=", "q=" + "x" * 101, "q=a&limit=3"])
def test_bad_suggestions(reader, query):
    assert_problem(reader.get("/books/suggest?" + query), 400, "malformed-request")


# --- what changes is found, what is hidden is not ---


def test_search_follows_every_change(reader, admin):
    made = admin.call("POST", "/admin/books", json={"title": "Zweisamkeit", "authors": ["Quirin Neu"], "stock": 3,
                                                    "price": {"amount": 500, "currency": "EUR"}})  # fmt: skip
    assert made.status_code == 201, made.text
    book = made.json()["id"]
    assert ids(find(reader, "zweisamkeit")) == [book]  # in the very next request: the index is of the same transaction
    assert ids(find(reader, "zweisamkiet")) == [book]
    assert find(reader, author="Quirin Neu")["total_estimate"] == 1
    changed = admin.call("PATCH", f"/admin/books/{book}", json={"title": "Einsamkeit"}, headers={"If-Match": made.headers["etag"]})
    assert changed.status_code == 200, changed.text
    assert find(reader, "zweisamkeit")["items"] == [] or ids(find(reader, "zweisamkeit")) == [book]  # two edits away
    assert ids(find(reader, "einsamkeit")) == [book]
    hidden = admin.call("DELETE", f"/admin/books/{book}", headers={"If-Match": changed.headers["etag"]})
    assert hidden.status_code == 204
    assert find(reader, "einsamkeit")["items"] == []
    assert find(reader, author="Quirin Neu")["total_estimate"] == 0
    assert reader.get("/books/suggest", params={"q": "einsamk"}).json()["items"] == []


def test_statements_are_fixed(reader):
    def statements(path: str) -> int:
        answer = reader.get(path)
        assert answer.status_code == 200, answer.text
        return int(answer.headers["bookcart-statements"])

    def fresh_limit() -> int:
        return 20 + next(fresh) % 70

    for query in ("", "&genre=novel", "&author=jane%20austen&available=true", "&ids=1,2,3", "&sort=price&price_max=900", "&year_from=1800"):
        assert statements(f"/books?limit={fresh_limit()}{query}") == 2, query
    for q in ("emma", "emmma", "zzzzz", "pride and predjudice", "a b c d e f g h", "emma&genre=novel", "emma&sort=price", "emma&limit=1"):
        more = "" if "limit" in q else f"&limit={fresh_limit()}"
        assert statements(f"/books?q={q}{more}") == 6, q
    for q in ("e", "emm", "jane au", "zz"):
        assert statements(f"/books/suggest?q={q}") == 3, q
    assert statements("/books/3") == 1


def test_no_search_text_in_logs(searched, reader):
    find(reader, "a very private wish")
    assert "private" not in searched.tail(1000) and "predjudice" not in searched.log.read_text(encoding="utf-8")


# --- the edge answers repeats ---


def test_repeats_are_304_without_the_library(searched, reader):
    """While a page is fresh, its repeat costs the library nothing; a second later it is asked again."""
    path = "/books?q=candle&limit=7"

    def asked() -> int:
        return searched.log.read_text(encoding="utf-8").count('"route":"/api/v1/books"')

    tag = reader.get(path, headers={"Accept-Encoding": "identity"}).headers["etag"]
    assert tag.startswith('"')  # compressed by the edge it would be weak, and compare all the same
    time.sleep(1.2)  # into a fresh second
    wait_for(lambda: time.time() % 1 < 0.2, "the beginning of a second", 5)
    assert reader.get(path, headers={"If-None-Match": tag}).status_code == 304
    time.sleep(0.05)
    before = asked()
    for _ in range(20):
        answer = reader.get(path, headers={"If-None-Match": tag})
        assert answer.status_code == 304 and answer.headers["etag"] == tag and answer.content == b""
    assert asked() - before <= 1  # a second may have ended
    for language in ("fr", "bg, en;q=0.5"):
        again = reader.get(path, headers={"If-None-Match": tag, "Accept-Language": language})
        assert again.status_code == 304, "the page is one in every language"


def test_a_page_is_right_within_a_second_of_a_change(searched, reader, admin):
    path = "/books/12"
    for amount in (711, 712, 713):
        tag = admin.get("/admin/books/12").headers["etag"]
        reading, late = True, []

        def read():
            while reading:
                started = time.monotonic()
                seen = reader.http.get(path).json()["price"]["amount"]
                late.append((started, seen))

        thread = threading.Thread(target=read)
        thread.start()
        time.sleep(0.3)
        body = {"price": {"amount": amount, "currency": "EUR"}}
        assert admin.call("PATCH", "/admin/books/12", json=body, headers={"If-Match": tag}).status_code == 200
        changed = time.monotonic()
        time.sleep(1.6)
        reading = False
        thread.join()
        stale = [started - changed for started, seen in late if started > changed and seen != amount]
        print(f"stale for {max(stale, default=0):.3f} s after the change")
        assert max(stale, default=0) <= 1.0, "the old page was shown for more than a second"
