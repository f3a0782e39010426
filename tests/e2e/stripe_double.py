"""A stand-in for Stripe that keeps states, which stripe-mock does not (that one checks the form of our requests: tests/engines).
It speaks as much of the API as the shop uses, repeats answers under their idempotency keys, and can be told to be away."""

import hashlib
import hmac
import http.server
import json
import threading
import time
import urllib.parse
import uuid


KEYS_KEPT_MS = 24 * 3600 * 1000


class Stripe:
    def __init__(self, secret: str):
        self.secret = secret
        self.lock = threading.RLock()
        self.payments: dict[str, dict] = {}
        self.refunds: dict[str, dict] = {}
        self.answers: dict[str, tuple[str, int, dict]] = {}
        self.asked: list[tuple[str, str, dict]] = []
        self.trouble: list[str] = []  # what happens to the next requests; "away*" stays until cleared
        double = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                double.serve(self, {})

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
                double.serve(self, dict(urllib.parse.parse_qsl(body)))

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    # --- requests ---

    def serve(self, request, form: dict) -> None:
        url = urllib.parse.urlsplit(request.path)
        with self.lock:
            self.asked.append((request.command, url.path, dict(request.headers)))
            trouble = self.trouble[0] if self.trouble else ""
            if trouble and not trouble.endswith("*"):
                self.trouble.pop(0)
        trouble = trouble.rstrip("*")
        if trouble == "away":
            request.close_connection = True
            return
        if trouble == "busy":
            return self.send(request, 429, {"error": {"type": "rate_limit_error"}})
        if trouble == "broken":
            return self.send(request, 500, {"error": {"type": "api_error"}})
        if request.headers.get("Authorization") != "Bearer sk_test_double":
            return self.send(request, 401, {"error": {"code": "api_key_expired"}})
        status, answer = self.once(request.headers.get("Idempotency-Key"), request.command, url, form)
        if trouble == "lost":  # done, and nobody hears of it
            request.close_connection = True
            return
        self.send(request, status, answer)

    def send(self, request, status: int, answer: dict) -> None:
        data = json.dumps(answer).encode()
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)

    def once(self, key, method: str, url, form: dict) -> tuple[int, dict]:
        digest = f"{url.path} {sorted(form.items())}"
        with self.lock:
            if key is not None and key in self.answers:
                before, status, answer = self.answers[key]
                return (status, answer) if before == digest else (400, {"error": {"type": "idempotency_error"}})
            status, answer = self.answer(method, url, form)
            answer = json.loads(json.dumps(answer))  # as it is now
            if key is not None:
                self.answers[key] = (digest, status, answer)
            return status, answer

    def answer(self, method: str, url, form: dict) -> tuple[int, dict]:
        parts, query = url.path.strip("/").split("/"), dict(urllib.parse.parse_qsl(url.query))
        match (method, *parts):
            case ("POST", "v1", "payment_intents"):
                return 200, self.create(form)
            case ("GET", "v1", "payment_intents"):
                return 200, self.page(self.payments.values(), query)
            case ("GET", "v1", "payment_intents", id) if id in self.payments:
                return 200, self.payments[id]
            case ("POST", "v1", "payment_intents", id, "cancel") if id in self.payments:
                payment = self.payments[id]
                if payment["status"] not in ("requires_payment_method", "requires_action"):
                    return 400, {"error": {"code": "payment_intent_unexpected_state"}}
                payment["status"] = "canceled"
                return 200, payment
            case ("POST", "v1", "refunds"):
                return self.refund(form["payment_intent"], int(form["amount"]), form.get("metadata[refund]"))
            case ("GET", "v1", "refunds"):
                of = query.get("payment_intent")
                found = [r for r in self.refunds.values() if of in (None, r["payment_intent"])]
                return 200, self.page(found, query)
        return 404, {"error": {"code": "resource_missing"}}

    def page(self, items, query: dict) -> dict:
        start, end = int(query.get("created[gte]", 0)), int(query.get("created[lte]", 2**40))
        newest = [i for i in reversed(list(items)) if start <= i["created"] <= end]
        ids = [item["id"] for item in newest]
        start = ids.index(query["starting_after"]) + 1 if "starting_after" in query else 0
        end = start + int(query["limit"])
        return {"object": "list", "data": newest[start:end], "has_more": end < len(newest)}

    def create(self, form: dict) -> dict:
        id = f"pi_{uuid.uuid4().hex}"
        self.payments[id] = {
            "id": id, "object": "payment_intent", "livemode": False, "status": "requires_payment_method",
            "amount": int(form["amount"]), "amount_received": 0, "currency": form["currency"],
            "created": int(time.time()), "client_secret": f"{id}_secret_{uuid.uuid4().hex}", "last_payment_error": None,
            "metadata": {"order": form["metadata[order]"], "number": form["metadata[number]"]},
        }  # fmt: skip
        return self.payments[id]

    def refund(self, payment: str, amount: int, ours: str | None = None) -> tuple[int, dict]:
        paid = self.payments[payment]
        given = sum(r["amount"] for r in self.refunds.values() if r["payment_intent"] == payment and r["status"] != "failed")
        if paid["status"] != "succeeded":
            return 400, {"error": {"code": "payment_intent_unexpected_state"}}
        if amount > paid["amount"] - given:
            return 400, {"error": {"param": "amount"}}
        id = f"re_{uuid.uuid4().hex}"
        self.refunds[id] = {
            "id": id, "object": "refund", "payment_intent": payment, "status": "succeeded", "amount": amount,
            "currency": paid["currency"], "created": int(time.time()), "metadata": {"refund": ours} if ours else {},
        }  # fmt: skip
        return 200, self.refunds[id]

    # --- what happens at Stripe ---

    def pay(self, id: str) -> None:
        with self.lock:
            payment = self.payments[id]
            assert payment["status"] == "requires_payment_method", payment["status"]
            payment.update(status="succeeded", amount_received=payment["amount"], last_payment_error=None)

    def send_back(self, id: str) -> None:
        """The bank returns the refunds of a payment."""
        with self.lock:
            for refund in self.refunds.values():
                if refund["payment_intent"] == id:
                    refund["status"] = "failed"

    def grow_older(self, by_ms: int) -> None:
        """All that is there was made so much earlier; keys that are older than a day are forgotten."""
        with self.lock:
            for made in (*self.payments.values(), *self.refunds.values()):
                made["created"] -= by_ms // 1000
            if by_ms >= KEYS_KEPT_MS:
                self.answers.clear()

    def decline(self, id: str, code: str) -> None:
        with self.lock:
            self.payments[id]["last_payment_error"] = {"code": "card_declined", "decline_code": code}

    def event(self, id: str, type: str = "payment_intent.succeeded") -> tuple[bytes, dict]:
        """A signed webhook about a payment: body and headers."""
        body = json.dumps(
            {"id": f"evt_{uuid.uuid4().hex}", "object": "event", "type": type, "created": int(time.time()),
             "data": {"object": self.payments[id]}}
        ).encode()  # fmt: skip
        at = int(time.time())
        mac = hmac.new(self.secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
        return body, {"Content-Type": "application/json", "Stripe-Signature": f"t={at},v1={mac}"}
