"""How often search finds what was meant: the queries of tests/relevance against a running shop."""

import collections
import csv
import os
import pathlib

import httpx
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
QUERIES = ROOT / "tests" / "relevance"
CLASSICS = ROOT / "data" / "sample" / "classics.csv"
GOODBOOKS = pathlib.Path(os.environ.get("BOOKCART_TEST_GOODBOOKS", ROOT.parent / "shared/data/goodbooks-10k/books.csv"))
FIRST = 3
SHARE = 0.95


def read_queries(name: str) -> list[tuple[str, str, set[int]]]:
    with (QUERIES / name).open(encoding="utf-8", newline="") as file:
        return [(row["kind"], row["query"], {int(i) for i in row["expected"].split(";")}) for row in csv.DictReader(file)]


def score(url: str, name: str) -> float:
    """Prints the share of answered queries by kind, and those that are not; returns the share of all."""
    asked, answered, missed = collections.Counter(), collections.Counter(), []
    queries = read_queries(name)
    with httpx.Client(base_url=url + "/api/v1", timeout=20) as http:
        for kind, query, expected in queries:
            answer = http.get("/books", params={"q": query, "limit": FIRST})
            assert answer.status_code == 200, f"{query!r}: {answer.status_code} {answer.text}"
            found = [item["id"] for item in answer.json()["items"]]
            asked[kind] += 1
            if expected & set(found):
                answered[kind] += 1
            else:
                missed.append(f"  {kind}: {query!r} found {[item['title'] for item in answer.json()['items']]}")
    share = sum(answered.values()) / len(queries)
    print(f"\nrelevance, {name}: {sum(answered.values())} of {len(queries)} queries in the first {FIRST} ({share:.1%})")
    print("\n".join([f"  {kind}: {answered[kind]} of {asked[kind]}" for kind in asked] + missed))
    return share


def test_relevance_of_the_sample_catalogue(make_shop, capsys):
    shop = make_shop(start=False, catalogue=False)
    shop.import_catalogue(CLASSICS.read_text(encoding="utf-8"))
    shop.start()
    with capsys.disabled():
        share = score(shop.url, "classics.csv")
    assert len(read_queries("classics.csv")) >= 60
    assert share >= SHARE


@pytest.mark.skipif(not GOODBOOKS.exists(), reason="goodbooks-10k is not here")
def test_relevance_of_ten_thousand_books(make_shop, capsys):
    shop = make_shop(start=False, catalogue=False)
    shop.import_catalogue(GOODBOOKS.read_text(encoding="utf-8"))
    shop.start()
    with capsys.disabled():
        share = score(shop.url, "goodbooks.csv")
    assert share >= SHARE
