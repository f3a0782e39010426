"""Holds every answer of the shop against api/openapi.yaml.

`install()` (conftest.py, once) puts a check behind httpx, so that no test has to ask for it: whatever a client of any kind gets from a
path of the API is looked up in the document by method and path, and must be what is written there: a documented status, the headers
that are required there and their form, the media type, a body that fits its schema, and for errors a problem that the response's
description names in backticks. Sockets (`api.Raw`) hand their answers in themselves.

A violation does not interrupt the test, which may be waiting in a thread: it is noted with the line that called, and conftest.py
fails the test that made it. `called` counts the answers of each operation, for the check at the end of a whole run.
"""

import collections
import json
import pathlib
import re
import sys
import threading
import urllib.parse

import httpx
import jsonschema_rs
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "api" / "openapi.yaml"
METHODS = ("get", "put", "post", "patch", "delete")
PREFIXES = ("/api/v1/", "/.well-known/")
PROBLEM = "application/problem+json"
# What comes before any route is known, for paths and methods that the document does not have.
NO_ROUTE = {400, 404, 408, 413, 414, 429, 431, 503}


class Operation:
    """One method of one path, with everything about it that is looked at often."""

    def __init__(self, document, path: str, method: str, item: dict):
        self.document = document
        self.path, self.method = path, method.upper()
        self.data = item[method]
        self.id = self.data["operationId"]
        self.callers = self.data["x-callers"]
        self.planned = self.data.get("x-planned", False)
        self.parameters = [document.resolve(p) for p in item.get("parameters", []) + self.data.get("parameters", [])]
        self.responses = {int(status): document.resolve(r) for status, r in self.data["responses"].items()}

    def __str__(self):
        return f"{self.method} {self.path}"

    @property
    def body(self) -> dict | None:
        return self.data.get("requestBody")

    def example_path(self) -> str:
        """The path with its examples in it."""
        path = self.path
        for parameter in self.parameters:
            if parameter["in"] == "path":
                path = path.replace("{" + parameter["name"] + "}", str(parameter["example"]))
        return path


class Document:
    def __init__(self, path: pathlib.Path = DOCUMENT):
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        self.data = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)
        self.validators: dict[int, jsonschema_rs.Validator] = {}
        self.any_request = {int(status): self.resolve(r) for status, r in self.data["x-any-request"].items()}
        self.operations = [
            Operation(self, path, method, item)
            for path, item in self.data["paths"].items() for method in METHODS if method in item
        ]  # fmt: skip
        self.by_id = {operation.id: operation for operation in self.operations}
        # By number of segments; literal ones go before named ones.
        self.paths = collections.defaultdict(list)
        for path, item in self.data["paths"].items():
            own = {o.method: o for o in self.operations if o.path == path}
            self.paths[path.count("/")].append((path.split("/"), own))
        for entries in self.paths.values():
            entries.sort(key=lambda entry: sum(part.startswith("{") for part in entry[0]))

    def resolve(self, item: dict) -> dict:
        while "$ref" in item:
            found = self.data
            for part in item["$ref"].removeprefix("#/").split("/"):
                found = found[part]
            item = found
        return item

    def find(self, path: str) -> dict[str, Operation] | None:
        """The operations of a path as it was sent, by method; None: the document does not have it."""
        parts = path.split("/")
        for own, operations in self.paths[path.count("/")]:
            if all(a == b or (a.startswith("{") and b != "") for a, b in zip(own, parts)):
                return operations
        return None

    def validator(self, schema: dict):
        """Compiled once. Keyed by identity: the document lives as long as its validators."""
        found = self.validators.get(id(schema))
        if found is None:
            whole = {**schema, "components": self.data["components"]}
            found = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
            self.validators[id(schema)] = found
        return found

    # --- one answer ---

    def faults(self, method: str, path: str, status: int, headers, body: bytes | None) -> list[str]:
        """What is wrong with an answer; empty: nothing. `headers` knows names in lower case; `body` None: not read."""
        operations = self.find(path)
        operation = (operations or {}).get("GET" if method == "HEAD" else method)
        if operation is None:
            return self._no_route_faults(operations, status, headers, body, method)
        called[operation.id][status] += 1
        if operation.planned and status in NO_ROUTE | {405}:
            return []  # not served yet
        response = operation.responses.get(status) or self.any_request.get(status)
        if response is None:
            return [f"status {status} is not documented: {text(body)}"]
        found = self._header_faults(response, headers)
        if body is None or method == "HEAD" or status == 304:
            return found
        return found + self._body_faults(response, status, headers, body)

    def _no_route_faults(self, operations, status, headers, body, method) -> list[str]:
        if operations is None:
            if status not in NO_ROUTE:
                return [f"a path that is not documented is answered {status}: {text(body)}"]
        elif status == 405 and method.lower() in METHODS:
            allowed = {name.strip() for name in headers.get("allow", "").split(",")}
            named = {o.method for o in operations.values() if not o.planned}
            if "GET" in named:
                named.add("HEAD")
            if not named <= allowed:
                return [f"Allow says {sorted(allowed)}, documented are {sorted(named)}"]
        elif status not in NO_ROUTE | {405}:
            return [f"a method that is not documented is answered {status}: {text(body)}"]
        if body is None or method == "HEAD":
            return []
        return self._body_faults(self.resolve({"$ref": "#/components/responses/NotFound"}), status, headers, body, named=False)

    def _header_faults(self, response: dict, headers) -> list[str]:
        found = []
        for name, header in response.get("headers", {}).items():
            header = self.resolve(header)
            value = headers.get(name.lower())
            if value is None:
                if header.get("required"):
                    found.append(f"the header {name} is missing")
                continue
            schema = header["schema"]
            if schema.get("type") == "integer":
                value = int(value) if value.isdigit() else value
            for error in self.validator(schema).iter_errors(value):
                found.append(f"header {name}: {error.message}")
        return found

    def _body_faults(self, response, status, headers, body: bytes, named=True) -> list[str]:
        content = response.get("content")
        if not content:
            return [f"a body where none is documented: {text(body)}"] if body else []
        media = headers.get("content-type", "").split(";")[0].strip().lower()
        if media not in content:
            return [f"media type {media!r}, documented are {sorted(content)}"]
        try:
            value = json.loads(body)
        except ValueError as error:
            return [f"the body is no JSON ({error}): {text(body)}"]
        schema = content[media].get("schema")
        found = []
        for error in self.validator(schema).iter_errors(value) if schema else ():
            found.append(f"at /{'/'.join(map(str, error.instance_path))}: {error.message[:300]}")
        if media == PROBLEM and not found:
            found += self._problem_faults(response, status, headers, value, named)
        return found

    @staticmethod
    def _problem_faults(response, status, headers, value, named) -> list[str]:
        found = []
        if value["status"] != status:
            found.append(f"the problem says {value['status']}, the answer {status}")
        if value["request_id"] != headers.get("request-id"):
            found.append("the problem's request_id is not the header's")
        name = value["type"].removeprefix("/problems/")
        if named and name not in re.findall(r"`([a-z0-9-]+)`", response["description"]):
            found.append(f"the problem `{name}` is not named in the description of {status}")
        return found


def text(body: bytes | None) -> str:
    return "(not read)" if body is None else body[:300].decode("utf-8", "replace")


document = Document()
called: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
violations: list[str] = []
lock = threading.Lock()


def calling_line() -> str:
    """The innermost line of a test, else of a helper beside it."""
    own = str(pathlib.Path(__file__).parent)
    found, frame = "?", sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(own) and not name.endswith("/contract.py"):
            line = f"{pathlib.Path(name).name}:{frame.f_lineno}"
            if pathlib.Path(name).name.startswith("test_"):
                return line
            found = line if found == "?" else found
        frame = frame.f_back
    return found


def check(method: str, target: str, status: int, headers, body: bytes | None) -> None:
    """Notes what is wrong with one answer. `target`: path and query as sent."""
    path = urllib.parse.urlsplit(target).path if "?" in target else target
    if method == "OPTIONS" or not path.startswith(PREFIXES):
        return
    with lock:
        for fault in document.faults(method, path, status, headers, body):
            violations.append(f"{method} {target}: {fault} (called at {calling_line()})")


def take_violations() -> list[str]:
    with lock:
        taken = violations[:]
        violations.clear()
    return taken


def check_response(response: httpx.Response) -> None:
    request = response.request
    body = response.content if response.is_closed or hasattr(response, "_content") else None
    check(request.method, request.url.raw_path.decode("ascii"), response.status_code, response.headers, body)


def install() -> None:
    """Every httpx client of this process, present and future. They share one TLS context: 57 ms of work for each would be most of a run."""
    send, init = httpx.Client.send, httpx.Client.__init__
    context = httpx.create_ssl_context()

    def shared(self, *, verify=True, **more):
        init(self, verify=context if verify is True else verify, **more)

    def checked(self, request, **more):
        response = send(self, request, **more)
        check_response(response)
        return response

    httpx.Client.send, httpx.Client.__init__ = checked, shared
