"""Requests that nobody wrote: made from the contract, right and wrong, against a running shop.

schemathesis makes them (coverage of every keyword of every schema, then random data, both right and wrong) and judges the answers: no 5xx,
no undocumented status, header, media type or body; what is of the documented form is not called malformed; what is not is refused.
Seeded and bounded: the same requests each time; `BOOKCART_TEST_SEED` makes others, `--generated N` more.
"""

import copy
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

import api
import contract

document = contract.document
HERE = pathlib.Path(__file__).parent
SERVED = [o for o in document.operations if not o.planned]
SEED = "1"
GIVEN_OUT = {"Cursor", "IfMatch", "IfNoneMatch"}
WRONG_BODY = {400, 401, 404, 409, 412, 413, 415, 422}


def narrowed() -> dict:
    """The document without what is not served yet, and without cursors and tags: a schema cannot say which were given out. (They have
    tests of their own: test_library.py, test_cart.py, test_cart_input.py.)"""
    data = copy.deepcopy(document.data)
    for path, item in data["paths"].items():
        for method in contract.METHODS:
            operation = item.get(method)
            if operation is not None and operation.get("x-planned"):
                del item[method]
            elif operation is not None:
                kept = [p for p in operation.get("parameters", []) if p.get("$ref", "").rsplit("/", 1)[-1] not in GIVEN_OUT]
                operation["parameters"] = kept
    return data


def test_schemathesis_finds_nothing(module_shop, tmp_path, request):
    seed = os.environ.get("BOOKCART_TEST_SEED", SEED)
    path = tmp_path / "openapi.json"
    path.write_text(json.dumps(narrowed()), encoding="utf-8")
    done = subprocess.run(
        [pathlib.Path(sys.executable).parent / "st", "--config-file", HERE / "schemathesis.toml", "run", path,
         "--url", module_shop.url, "-H", f"Authorization: Bearer {module_shop.admin()}", "--seed", seed,
         "--max-examples", str(request.config.getoption("--generated")), "--phases", "examples,coverage,fuzzing",
         "--mode", "all", "--no-color"],
        cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    print(done.stdout)
    summary = re.search(r"(\d+) generated", done.stdout)
    assert done.returncode == 0, done.stdout[-20000:] + done.stderr[-2000:]
    assert summary and int(summary[1]) > 10 * len(SERVED), "it generated next to nothing"


def wrong_bodies(operation) -> list[tuple[str, bytes]]:
    """(media type, body)… that no route may take."""
    media, content = next(iter(operation.body["content"].items()))
    if not media.endswith("json") or media.endswith("ndjson"):
        return [("text/plain", b"x"), ("application/json", b"{}")]
    example = content["example"]
    found = [("text/plain", b"x"), ("application/x-www-form-urlencoded", b"a=b"), ("image/png", b"\x89PNG"), (media, b"{"), (media, b"")]
    for whole in (None, 1, "x", [], [example], True):
        found.append((media, json.dumps(whole).encode()))
    found.append((media, json.dumps({**example, "no_such_field": 1}).encode()))
    found.append((media, b'{"a":1,"a":2}'))
    found.append((media, json.dumps(example).encode() + b"}"))
    found.append((media, json.dumps(example)[:-1].encode() + b',"x":"\xff"}'))
    for name in example:
        for value in (None, [], {}, True, 1.5, "\x00", -1, [None], {"a": {}}):
            if type(value) is not type(example[name]):
                found.append((media, json.dumps({**example, name: value}).encode()))
    return found


@pytest.mark.parametrize("operation", [o for o in SERVED if o.body is not None and o.id != "paymentWebhook"], ids=str)
def test_a_body_of_the_wrong_kind(module_shop, operation):
    """Refused with a reason at every route; the form of each answer is judged behind the call."""
    admin = api.Caller(module_shop.url, {"access_token": module_shop.admin()})
    wrong = []
    required = operation.body.get("required", False)
    schema = next(iter(operation.body["content"].values()))["schema"]
    for media, body in wrong_bodies(operation):
        if body == b"" and not required:
            continue
        if media.endswith("json") and fits(schema, body):
            continue
        headers = {"Content-Type": media, "If-Match": "*", "Idempotency-Key": "wrong-body"}
        if operation.callers == "anyone":
            headers.pop("If-Match")
        answer = admin.call(operation.method, operation.example_path().removeprefix("/api/v1"), headers=headers, content=body)
        if answer.status_code not in WRONG_BODY:
            wrong.append(f"{media} {body[:120]!r}: {answer.status_code} {answer.text[:200]}")
    assert wrong == []


def fits(schema: dict, body: bytes) -> bool:
    try:
        return document.validator(schema).is_valid(json.loads(body))
    except ValueError:
        return False
