"""The contract is sound, and the program serves exactly what it says."""

import re
import subprocess
import sys

import httpx
import pytest

import contract

document = contract.document
OPERATIONS = document.operations
REFUSALS = {"guest": {401}, "owner": {401}, "customer": {401, 403}, "admin": {401, 403}, "anyone": set()}


def table(program: str, *command: str) -> list[list[str]]:
    done = subprocess.run([program, *command], capture_output=True, text=True, check=True, timeout=20)
    return [line.split("\t") for line in done.stdout.splitlines()]


def test_route_tables_and_document_are_equal(program):
    served = {(method, path): callers for _, method, path, callers in table(program, "routes")}
    written = {(o.method, o.path): o.callers for o in OPERATIONS if not o.planned}
    assert sorted(served.keys() - written.keys()) == [], "served, but not documented (or still x-planned)"
    assert sorted(written.keys() - served.keys()) == [], "documented, but not served"
    assert {key: served[key] for key in served if served[key] != written[key]} == {}, "other callers than documented"


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_operation_is_whole(operation):
    """Who may call and what everybody may be answered agree with each other."""
    secured = {"anyone": ([], [{}, {"bearer": []}])}.get(operation.callers, ([{"bearer": []}],))
    assert operation.data["security"] in secured
    needed = {400, 429, 503} | REFUSALS[operation.callers]
    if operation.callers == "owner" and "{" in operation.path:
        needed.add(404)
    if operation.body is not None:
        needed |= {413, 415}
        assert all("example" in media or "image/" in name or "ndjson" in name for name, media in operation.body["content"].items())
    assert needed <= operation.responses.keys()
    assert any(200 <= status < 300 for status in operation.responses)
    assert operation.data["summary"]
    for status, response in operation.responses.items():
        assert response["headers"]["Request-Id"], status
        if status >= 400:
            assert list(response["content"]) == [contract.PROBLEM], status
    in_path = {parameter["name"] for parameter in operation.parameters if parameter["in"] == "path"}
    assert in_path == set(re.findall(r"{(\w+)}", operation.path))


def examples():
    for operation in OPERATIONS:
        places = [(f"{status}", response.get("content", {})) for status, response in operation.responses.items()]
        places.append(("body", (operation.body or {}).get("content", {})))
        for where, content in places:
            for media, value in content.items():
                found = [value["example"]] if "example" in value else []
                found += [document.resolve(e)["value"] for e in value.get("examples", {}).values()]
                for example in found:
                    yield pytest.param(value["schema"], example, id=f"{operation} {where} {media}")


@pytest.mark.parametrize("schema, example", examples())
def test_example_is_of_its_schema(schema, example):
    faults = [f"{list(error.instance_path)}: {error.message}" for error in document.validator(schema).iter_errors(example)]
    assert faults == []


def test_problems_and_document_name_each_other(program):
    statuses = {name: int(status) for name, status, *_ in table(program, "problems")}
    named = {}
    for operation in OPERATIONS:
        responses = {**document.any_request, **operation.responses}
        for status, response in responses.items():
            for name in re.findall(r"`([a-z0-9-]+)`", response["description"]) if status >= 400 else ():
                if name in statuses or "-" in name:
                    named.setdefault(name, set()).add(status)
    assert {name for name in named if name not in statuses and not any(o.planned for o in OPERATIONS)} == set()
    # The same problem with another status would be two problems.
    assert {n: s for n, s in named.items() if n in statuses and s - {statuses[n], 408, 413, 414, 431}} == {}
    assert set(document.data["x-problems"]) >= set(statuses), "a problem without its sentence in x-problems"


def test_a_problems_type_leads_to_its_page(program, shop):
    with httpx.Client(base_url=shop.url) as http:
        for name, status, *titles in table(program, "problems"):
            page = http.get(f"/problems/{name}")
            assert page.status_code == 200 and page.headers["content-type"] == "text/plain; charset=utf-8"
            assert page.text.startswith(f"{name} ({status})\n") and all(title in page.text for title in titles)
        assert http.get("/problems/none").status_code == 404


def test_pages_for_people_are_current(program):
    command = [sys.executable, contract.ROOT / "tools" / "api-pages", "--check", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr + "run build/venv/bin/python tools/api-pages"


def test_nothing_is_planned_any_more():
    assert [str(operation) for operation in OPERATIONS if operation.planned] == []


class TestTheCheckItself:
    """What it would not notice, it does not prove."""

    HEADERS = {
        "content-type": "application/json", "request-id": "1", "etag": '"a"', "cache-control": "private, no-cache",
        "cart-status": "hot",
    }  # fmt: skip
    CART = b'{"version":"1","lines":[],"count":0,"subtotal":{"amount":0,"currency":"EUR"},"warnings":[]}'
    PROBLEM = b'{"type":"/problems/unauthorized","title":"x","status":401,"request_id":"1"}'
    REFUSED = {"content-type": contract.PROBLEM, "request-id": "1", "www-authenticate": "Bearer"}

    def faults(self, status=200, headers=None, body=CART, path="/api/v1/cart", method="GET"):
        return document.faults(method, path, status, self.HEADERS if headers is None else headers, body)

    def test_what_is_right_passes(self):
        assert self.faults() == []
        assert self.faults(401, self.REFUSED, self.PROBLEM) == []
        assert self.faults(method="HEAD", body=b"") == []

    @pytest.mark.parametrize("name", [*HEADERS])
    def test_a_missing_header(self, name):
        assert len(self.faults(headers={k: v for k, v in self.HEADERS.items() if k != name})) == 1

    def test_a_header_of_another_form(self):
        assert self.faults(headers={**self.HEADERS, "cart-status": "warm"})
        assert self.faults(headers={**self.HEADERS, "etag": "bare"})

    @pytest.mark.parametrize("status", [201, 402, 500, 502])
    def test_an_undocumented_status(self, status):
        assert "not documented" in self.faults(status)[0]

    @pytest.mark.parametrize(
        "body",
        [b"", b"{", b"[]", CART.replace(b'"1"', b"1"), CART[:-1] + b',"more":1}', CART.replace(b'"EUR"', b'"eur"')],
    )
    def test_a_body_of_another_form(self, body):
        assert self.faults(body=body)

    def test_a_body_where_none_belongs(self):
        headers = {"request-id": "1"}
        assert self.faults(204, headers, b"", "/api/v1/auth/logout", "POST") == []
        assert self.faults(204, headers, b"x", "/api/v1/auth/logout", "POST")

    @pytest.mark.parametrize("other", [b'"request_id":"2"', b'"request_id":"1","more":1'])
    def test_a_problem_that_is_not_in_order(self, other):
        assert self.faults(401, self.REFUSED, self.PROBLEM.replace(b'"request_id":"1"', other))
        assert self.faults(401, self.REFUSED, self.PROBLEM.replace(b"401", b"403"))

    def test_a_problem_that_is_not_named(self):
        assert "not named" in self.faults(401, self.REFUSED, self.PROBLEM.replace(b"unauthorized", b"bad-cursor"))[0]

    def test_what_is_not_documented_is_not_answered(self):
        assert self.faults(path="/api/v1/secret")
        assert self.faults(method="PUT")
        assert self.faults(405, {**self.REFUSED, "allow": "GET"}, self.PROBLEM.replace(b"401", b"405"), method="PUT")


@pytest.mark.whole_run
def test_every_route_was_called():
    """Last of all (conftest.py puts it there, and leaves it out unless every test runs): a success of each route was seen."""
    never = [str(o) for o in OPERATIONS if not o.planned and not any(status < 400 for status in contract.called[o.id])]
    assert never == []
