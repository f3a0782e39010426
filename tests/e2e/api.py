"""A small client of the public API. Every answer is held against the contract (contract.py)."""

import base64
import json
import re
import socket

import httpx

import contract


def segment(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def unsegment(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def claims(token: str) -> dict:
    return json.loads(segment(token.split(".")[1]))


class Caller:
    """One user with his own connections."""

    def __init__(self, url: str, tokens: dict | None = None):
        self.url = url
        self.tokens = tokens
        self.http = httpx.Client(base_url=url + "/api/v1", timeout=20)

    @property
    def token(self) -> str | None:
        return self.tokens["access_token"] if self.tokens else None

    @property
    def user(self) -> str:
        return self.tokens["user"]["id"]

    def call(self, method: str, path: str, *, token: str | None = "own", headers: dict | None = None, **more):
        all_headers = dict(headers or {})
        token = self.token if token == "own" else token
        if token is not None:
            all_headers.setdefault("Authorization", f"Bearer {token}")
        return self.http.request(method, path, headers=all_headers, **more)

    def get(self, path: str, **more):
        return self.call("GET", path, **more)

    def cart(self, **more):
        return self.call("GET", "/cart", **more)

    def add(self, book: int, quantity: int = 1, key: str | None = None, **more):
        headers = dict(more.pop("headers", {}))
        if key is not None:
            headers["Idempotency-Key"] = key
        return self.call("POST", "/cart/lines", json={"book": book, "quantity": quantity}, headers=headers, **more)

    def set(self, book: int, quantity: int, **more):
        return self.call("PUT", f"/cart/lines/{book}", json={"quantity": quantity}, **more)

    def remove(self, book: int, **more):
        return self.call("DELETE", f"/cart/lines/{book}", **more)

    def change(self, changes: list, **more):
        return self.call("PATCH", "/cart", json={"changes": changes}, **more)

    def clear(self, **more):
        return self.call("DELETE", "/cart", **more)

    def close(self) -> None:
        self.http.close()


def guest(url: str) -> Caller:
    answer = httpx.post(f"{url}/api/v1/auth/guest", json={}, timeout=20)
    assert answer.status_code == 201, f"{answer.status_code} {answer.text}"
    return Caller(url, answer.json())


def register(url: str, email: str, password: str = "a long enough password", name: str = "Reader") -> Caller:
    body = {"email": email, "password": password, "name": name}
    answer = httpx.post(f"{url}/api/v1/auth/register", json=body, timeout=20)
    assert answer.status_code == 201, f"{answer.status_code} {answer.text}"
    return Caller(url, answer.json())


def login(url: str, email: str, password: str = "a long enough password", guest: Caller | None = None, **more) -> Caller:
    """Signed in; with `guest` on the device where that guest was."""
    headers = {"Authorization": f"Bearer {guest.token}"} if guest else {}
    body = {"email": email, "password": password, **more}
    answer = httpx.post(f"{url}/api/v1/auth/login", json=body, headers=headers, timeout=20)
    assert answer.status_code == 200, f"{answer.status_code} {answer.text}"
    return Caller(url, answer.json())


def lines(answer) -> list[tuple[int, int]]:
    """(book, quantity)… of a cart's answer, in order."""
    assert answer.status_code == 200, f"{answer.status_code} {answer.text}"
    return [(line["book"], line["quantity"]) for line in answer.json()["lines"]]


def version(answer) -> int:
    assert answer.status_code == 200, f"{answer.status_code} {answer.text}"
    return int(answer.json()["version"])


def assert_problem(answer, status: int, name: str | None = None) -> dict:
    """The answer is problem+json in the form of API.md; returns its body."""
    assert answer.status_code == status, f"{answer.status_code} {answer.text}"
    assert answer.headers["content-type"].split(";")[0] == "application/problem+json", answer.headers
    assert answer.headers.get("request-id"), answer.headers
    body = answer.json()
    assert body["status"] == status
    assert body["type"].startswith("/problems/")
    assert body["title"]
    assert body["request_id"] == answer.headers["request-id"]
    if name is not None:
        assert body["type"] == f"/problems/{name}", body
    if status == 401:
        assert answer.headers["www-authenticate"].startswith("Bearer")
    if status == 405:
        assert answer.headers["allow"]
    if status in (429, 503):
        assert int(answer.headers["retry-after"]) >= 1
    return body


class Raw:
    """Bytes on a socket, for what an HTTP library would not send."""

    def __init__(self, url: str):
        host, port = url.split("//", 1)[1].rsplit(":", 1)
        self.socket = socket.create_connection((host.strip("[]"), int(port)), timeout=20)
        self.asked: list[tuple[str, str]] = []  # method and target of what was sent in one piece and is not answered yet

    def send(self, data: bytes | str) -> "Raw":
        data = data if isinstance(data, bytes) else data.encode()
        first = re.match(rb"([A-Z]+) (/[!-~]*) HTTP/1\.[01]\r\n", data)
        if first is not None and b"\r\n\r\n" in data and data.count(b" HTTP/1.") == 1:
            self.asked.append((first[1].decode(), first[2].decode()))
        self.socket.sendall(data)
        return self

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """(status, headers, body) of one response."""
        data = b""
        while b"\r\n\r\n" not in data:
            got = self.socket.recv(65536)
            if not got:
                raise ConnectionError(f"closed after {data!r}")
            data += got
        head, body = data.split(b"\r\n\r\n", 1)
        first, *rest = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in rest)}
        if "content-length" in headers:
            while len(body) < int(headers["content-length"]):
                got = self.socket.recv(65536)
                if not got:
                    break
                body += got
        else:
            while got := self.socket.recv(65536):
                body += got
        status = int(first.split()[1])
        if self.asked:
            contract.check(*self.asked.pop(0), status, headers, body)
        return status, headers, body

    def close(self) -> None:
        self.socket.close()
