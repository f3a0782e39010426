#!/usr/bin/env python3
"""Measures bookcart beside nginx's `return 200` and beside the classic stack (nginx + Lua + Redis), in one run.

    ./dev bench                 every row, with 1,000,000 carts stored (about 25 minutes)
    ./dev bench --quick         the same rows, fewer carts, shorter rounds (a few minutes)
    ./dev bench --only read     rows whose name contains "read"

Both sides of a row run in turn (A B A B …), one nginx worker each, the same client, the same requests; a figure is the
median of its rounds with the smallest and largest beside it, a ratio is taken pair by pair. Results are printed and written
to bench/results/ as Markdown, JSON and SVG. Load goes to loopback only.
"""
import argparse
import contextlib
import csv
import http.client
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
BUILD = pathlib.Path(os.environ.get("BENCH_BUILD", ROOT / "build" / "release"))
GOODBOOKS = pathlib.Path(os.environ.get("BENCH_GOODBOOKS", ROOT.parent / "shared/data/goodbooks-10k/books.csv"))
BOOKS = 10000


def say(text):
    print(f"bench: {text}", flush=True)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(what, check, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if check():
            return
        time.sleep(0.05)
    raise SystemExit(f"bench: {what} did not come up in {seconds} s")


def listening(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
        return True
    return False


def children(pid):
    out = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout
    return [int(line) for line in out.split()]


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def request(port, method, path, token=None, body=None, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    head = dict(headers or {})
    if token:
        head["Authorization"] = f"Bearer {token}"
    if body is not None:
        body = json.dumps(body)
        head["Content-Type"] = "application/json"
    connection.request(method, path, body, head)
    answer = connection.getresponse()
    return answer.status, dict(answer.getheaders()), answer.read()


class Side:
    """Something with a port, a process to stop and an nginx worker whose CPU is counted."""

    process = None

    def stop(self):
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None


class Bookcart(Side):
    def __init__(self, folder, catalogue, settings=None):
        self.data = folder
        self.port = free_port()
        self.operations = free_port()
        self.settings = {
            "BOOKCART_OPS_LISTEN": f"127.0.0.1:{self.operations}",
            "BOOKCART_WORKERS": "1",
            "BOOKCART_RATE_LIMITS": "off",
            "BOOKCART_CART_ZONE": "136m",
            "BOOKCART_CART_MEMORY": "2g",
            "BOOKCART_CART_SEAT_TTL": "1h",
            "BOOKCART_CART_ACTIVE_TTL": "1h",
            "BOOKCART_LOG_LEVEL": "warn",
            **(settings or {}),
        }
        self.catalogue = catalogue
        self.start()
        program, begun = str(BUILD / "bookcart"), time.monotonic()
        subprocess.run([program, "import", str(catalogue), "--data", str(folder)], check=True, stdout=subprocess.DEVNULL)
        wait_for("the catalogue", self.finds_the_last_book)
        self.import_seconds = time.monotonic() - begun

    def finds_the_last_book(self):
        status, _, body = request(self.port, "GET", f"/api/v1/books/{BOOKS}")
        if status != 200:
            return False
        query = urllib.parse.urlencode({"q": json.loads(body)["title"][:100], "limit": 100})
        return any(book["id"] == BOOKS for book in json.loads(request(self.port, "GET", f"/api/v1/books?{query}")[2])["items"])

    def start(self):
        log = open(self.data.parent / "bookcart.log", "a")
        self.process = subprocess.Popen(
            [str(BUILD / "bookcart"), "up", "--data", str(self.data), "--listen", f"127.0.0.1:{self.port}"],
            env={**os.environ, **self.settings}, stdout=log, stderr=log)
        wait_for("bookcart", lambda: listening(self.operations) and request(self.operations, "GET", "/readyz")[0] == 200)

    def master(self):
        for pid in children(self.process.pid):
            with contextlib.suppress(OSError):
                if "nginx" in pathlib.Path(f"/proc/{pid}/comm").read_text():
                    return pid
        raise SystemExit("bench: no nginx below bookcart up")

    def worker(self):
        for pid in children(self.master()):
            if "worker process" in pathlib.Path(f"/proc/{pid}/cmdline").read_text():
                return pid
        raise SystemExit("bench: no nginx worker")

    def service(self, name):
        for pid in children(self.process.pid):
            if f"serve\0{name}" in pathlib.Path(f"/proc/{pid}/cmdline").read_text():
                return pid
        raise SystemExit(f"bench: no {name} service")

    def key(self):
        keys = sorted((self.data / "keys").glob("signing-*.json"))
        if not keys:
            raise SystemExit("bench: no signing key in the data folder")
        return keys[-1]

    def status(self):
        """The edge's status page, through the operations listener."""
        return json.loads(request(self.operations, "GET", "/status")[2])

    def metrics(self, service):
        text = request(self.operations, "GET", f"/{service}/metrics")[2].decode()
        return {m[1]: float(m[2]) for m in re.finditer(r"^([a-z_]+(?:\{[^}]*\})?) ([-+0-9.eE]+)$", text, re.M)}


class Classic(Side):
    def __init__(self, folder, books, public_key, fsync="always"):
        self.folder = folder
        folder.mkdir()
        os.chmod(folder, 0o755)
        self.port = free_port()
        shutil.copy(public_key, folder / "public.pem")
        shutil.copy(books, folder / "books.jsonl")
        user = "user root;" if os.geteuid() == 0 else ""
        for name in ("nginx.conf", "redis.conf"):
            text = (HERE / "classic" / f"{name}.in").read_text()
            for key, value in (("DIR", folder), ("HERE", HERE / "classic"), ("PORT", self.port), ("WORKERS", 1),
                               ("FSYNC", fsync), ("USER", user)):
                text = text.replace(f"@{key}@", str(value))
            (folder / name).write_text(text)
        self.redis = subprocess.Popen(["redis-server", str(folder / "redis.conf")], stdout=subprocess.DEVNULL)
        wait_for("redis", lambda: self.cli("PING") == "PONG")
        self.process = subprocess.Popen(["nginx", "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")])
        wait_for("the classic stack", lambda: listening(self.port))

    def cli(self, *words):
        return subprocess.run(["redis-cli", "-s", str(self.folder / "redis.sock"), *words], capture_output=True,
                              text=True).stdout.strip()

    def worker(self):
        return children(self.process.pid)[0]

    def stop(self):
        super().stop()
        self.redis.terminate()
        self.redis.wait(60)


class Plain(Side):
    """nginx alone: `return 200` with the body and headers of a hot cart."""

    def __init__(self, folder, body, headers, path="/api/v1/cart"):
        folder.mkdir()
        self.port = free_port()
        lines = "".join(f"            add_header {name} '{value}';\n" for name, value in headers.items()
                        if name.lower() not in ("server", "date", "content-type", "content-length", "connection",
                                                "request-id"))
        request_id = "            add_header Request-Id $request_id;\n" if "Request-Id" in headers else ""
        # A word of nginx's configuration has at most 4 KiB: a longer body is put together from variables that never change.
        text = body.decode()
        parts = [text[i:i + 1000].replace("\\", "\\\\").replace("'", "\\'") for i in range(0, len(text), 1000)]
        constants = "".join(f"    geo $body{'x' * i}_ {{ default '{part}'; }}\n" for i, part in enumerate(parts) if "$" not in part)
        if len(parts) == 1 or constants.count("geo") < len(parts):
            constants = ""
            escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("$", "${dollar}")
        else:
            escaped = "".join(f"${{body{'x' * i}_}}" for i in range(len(parts)))
        user = "user root;" if os.geteuid() == 0 else ""
        (folder / "nginx.conf").write_text(f"""worker_processes 1;
{user}
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    geo $dollar {{ default "$"; }}
{constants}    server {{
        listen 127.0.0.1:{self.port} backlog=4096;
        location {path} {{
            default_type application/json;
{lines}{request_id}            return 200 '{escaped}';
        }}
    }}
}}
""")
        self.process = subprocess.Popen(["nginx", "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")])
        wait_for("plain nginx", lambda: listening(self.port))

    def worker(self):
        return children(self.process.pid)[0]


WRK_SCRIPT = """
local tokens, n = {}, 0
for line in io.lines("%(tokens)s") do
  n = n + 1
  tokens[n] = "GET /api/v1/cart HTTP/1.1\\r\\nHost: shop\\r\\nAuthorization: Bearer " .. line:match(" (.+)$") .. "\\r\\n\\r\\n"
  if n == %(users)d then break end
end
local bad = 0
function request() return tokens[math.random(n)] end
"""


def wrk(side, script, connections, seconds, path="/", headers=()):
    """`script` (None: none) makes the requests, else each asks for `path` with `headers`."""
    before, start = cpu_seconds(side.worker()), time.monotonic()
    more = ["-s", str(script)] if script else [word for header in headers for word in ("-H", header)]
    out = subprocess.run(["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", *more, "--timeout", "10s",
                          f"http://127.0.0.1:{side.port}{path}"], capture_output=True, text=True).stdout
    cpu, wall = cpu_seconds(side.worker()) - before, time.monotonic() - start
    rate = re.search(r"Requests/sec:\s+([\d.]+)", out)
    count = re.search(r"(\d+) requests in", out)
    if not rate or "Non-2xx" in out or "Socket errors" in out:
        raise SystemExit(f"bench: wrk saw errors:\n{out}")
    return {"rate": float(rate[1]), "cpu_us": cpu / int(count[1]) * 1e6, "busy": cpu / wall}


def load(side, tokens, pattern, users, connections, books=BOOKS, **options):
    command = [str(BUILD / "bench_load"), "--port", str(side.port), "--tokens", str(tokens), "--pattern", pattern, "--users",
               str(users), "--connections", str(connections), "--books", str(books)]
    for name, value in options.items():
        command += [f"--{name}"] if value is True else [f"--{name}", str(value)] if value else []
    out = subprocess.run(command, capture_output=True, text=True)
    if out.returncode != 0:
        raise SystemExit(f"bench: {' '.join(command)}: {out.stderr}")
    result = json.loads(out.stdout)
    if result["errors"]:
        say(f"{pattern}: {result['errors']} answers were not 200: {result['statuses']}")
    return result


class Table:
    def __init__(self):
        self.rows = []

    def ratio(self, name, ours, theirs, goal, unit="/s", better="higher", note=""):
        ratios = [a / b for a, b in zip(ours, theirs)]
        value = statistics.median(ratios)
        reached = value >= goal if better == "higher" else value <= goal
        self.rows.append({
            "name": name, "ours": statistics.median(ours), "ours_range": [min(ours), max(ours)],
            "theirs": statistics.median(theirs), "theirs_range": [min(theirs), max(theirs)], "unit": unit, "ratio": value,
            "ratio_range": [min(ratios), max(ratios)], "goal": goal, "better": better, "reached": reached, "note": note})
        say(self.line(self.rows[-1]))

    def figure(self, name, value, unit, goal=None, better="lower", note=""):
        """`value`: a number, or those of several rounds."""
        values = value if isinstance(value, list) else [value]
        value = statistics.median(values)
        if len(values) > 1:
            note = f"{len(values)} rounds, {self.number(min(values))}…{self.number(max(values))}" + (f"; {note}" if note else "")
        reached = None if goal is None else (value <= goal if better == "lower" else value >= goal)
        self.rows.append({"name": name, "ours": value, "unit": unit, "goal": goal, "better": better, "reached": reached,
                          "note": note})
        say(self.line(self.rows[-1]))

    @staticmethod
    def number(value):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"

    def line(self, row):
        verdict = {True: "reached", False: "MISSED", None: "reported"}[row["reached"]]
        sign = "≥" if row["better"] == "higher" else "≤"
        goal = "–" if row["goal"] is None else f"{sign} {row['goal']}"
        n = self.number
        if "ratio" in row:
            return (f"{row['name']} | {n(row['ours'])} ({n(row['ours_range'][0])}…{n(row['ours_range'][1])}) {row['unit']} | "
                    f"{n(row['theirs'])} ({n(row['theirs_range'][0])}…{n(row['theirs_range'][1])}) {row['unit']} | "
                    f"**{row['ratio']:.2f}** ({row['ratio_range'][0]:.2f}…{row['ratio_range'][1]:.2f}) | {goal} | {verdict}"
                    + (f" — {row['note']}" if row["note"] else ""))
        return (f"{row['name']} | {n(row['ours'])} {row['unit']} | – | – | {goal} | {verdict}"
                + (f" — {row['note']}" if row["note"] else ""))

    def write(self, folder, head):
        folder.mkdir(parents=True, exist_ok=True)
        lines = ["# bookcart: measured", "", head, "", "what | bookcart | against | ratio | goal | verdict",
                 "--- | --- | --- | --- | --- | ---", *map(self.line, self.rows), ""]
        (folder / "latest.md").write_text("\n".join(lines))
        (folder / "latest.json").write_text(json.dumps(self.rows, indent=1, ensure_ascii=False))
        (folder / "latest.svg").write_text(self.svg())
        say(f"written to {folder}/latest.md, .json and .svg")

    def svg(self):
        rows = [row for row in self.rows if "ratio" in row]
        height, width, left = 34 * len(rows) + 40, 900, 420
        largest = max([row["ratio_range"][1] for row in rows] + [row["goal"] for row in rows] + [1])
        scale = (width - left - 80) / largest
        out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" '
               f'font-size="12"><title>ratios, bookcart ÷ other; the line is the goal</title>']
        for i, row in enumerate(rows):
            y, w = 20 + 34 * i, row["ratio"] * scale
            name = row["name"].replace("&", "&amp;").replace("<", "&lt;")
            goal = left + row["goal"] * scale
            colour = "#2e7d32" if row["reached"] else "#c62828"
            out += [f'<text x="{left - 8}" y="{y + 14}" text-anchor="end">{name}</text>',
                    f'<rect x="{left}" y="{y}" width="{w:.1f}" height="20" fill="{colour}"/>',
                    f'<line x1="{goal:.1f}" x2="{goal:.1f}" y1="{y - 3}" y2="{y + 23}" stroke="black" stroke-width="2"/>',
                    f'<text x="{left + max(w, goal - left) + 6:.1f}" y="{y + 14}">{row["ratio"]:.2f}</text>']
        return "\n".join(out + ["</svg>", ""])


def make_catalogue(folder):
    """10,000 books: the real ones where they are, else of the same shape. Also as JSON lines for the classic stack."""
    source = GOODBOOKS
    if not source.exists():
        source = folder / "books.csv"
        with source.open("w", newline="") as file:
            out = csv.writer(file)
            out.writerow(["id", "title", "authors", "year", "language"])
            for i in range(1, BOOKS + 1):
                out.writerow([i, f"The Book of Numbers, Volume {i}", f"Author {i % 977}", 1900 + i % 120, "en"])
    return source


def books_of(port, path):
    """The catalogue as the shop itself shows it: the classic stack gets the same titles and prices."""
    with path.open("w") as file:
        for book in all_books(port):
            file.write(json.dumps({"id": book["id"], "title": book["title"], "authors": book["authors"],
                                   "price": book["price"]["amount"]}) + "\n")


def mint(key, count, folder, name, pem=None):
    path = folder / name
    with path.open("w") as file:
        command = [str(BUILD / "bench_tokens"), str(key), str(count), "1", "86400"] + ([str(pem)] if pem else [])
        subprocess.run(command, stdout=file, check=True)
    return path


def paired(rounds, ours, theirs):
    a, b = [], []
    for _ in range(rounds):
        a.append(ours())
        b.append(theirs())
    return a, b


def bench_reads(table, args, shop, classic, folder, tokens):
    users = 1000
    for side in (shop, classic):
        load(side, tokens, "fill", users, 64)
        load(side, tokens, "read", users, 64, count=5 * users)
    script = folder / "read.lua"
    script.write_text(WRK_SCRIPT % {"tokens": tokens, "users": users})
    token = tokens.open().readline().split()[1]
    _, headers, body = request(shop.port, "GET", "/api/v1/cart", token)
    plain = Plain(folder / "plain", body, headers)
    try:
        ours, theirs = paired(args.rounds, lambda: wrk(shop, script, 64, args.seconds), lambda: wrk(plain, script, 64,
                                                                                                    args.seconds))
    finally:
        plain.stop()
    note = f"worker busy {statistics.median(r['busy'] for r in ours):.0%} / {statistics.median(r['busy'] for r in theirs):.0%}"
    table.ratio("hot read, 5 lines ÷ nginx return 200, requests a second", [r["rate"] for r in ours],
                [r["rate"] for r in theirs], 0.90, note=note)
    table.ratio("hot read, 5 lines ÷ nginx return 200, requests per worker CPU second", [1e6 / r["cpu_us"] for r in ours],
                [1e6 / r["cpu_us"] for r in theirs], 0.90)
    ours, theirs = paired(args.rounds, lambda: wrk(shop, script, 64, args.seconds), lambda: wrk(classic, script, 64,
                                                                                                args.seconds))
    table.ratio("hot read, 5 lines ÷ classic stack", [r["rate"] for r in ours], [r["rate"] for r in theirs], 3.0)


def bench_changes(table, args, shop, classic, tokens):
    users = args.carts
    for connections in (64, 256):
        for keyed in (False, True):
            run = lambda side: load(side, tokens, "change", min(users, args.busy), connections, seconds=args.change_seconds,
                                    keyed=keyed)["rate"]
            ours, theirs = paired(args.change_rounds, lambda: run(shop), lambda: run(classic))
            name = f"durable change{' with Idempotency-Key' if keyed else ''}, {connections} connections ÷ classic stack, always"
            table.ratio(name, ours, theirs, 2.0, note=f"{users:,} carts stored, {args.classic_carts:,} in the classic stack")


def bench_constant_rate(table, args, shop, tokens):
    users = min(args.carts, args.busy)
    top = load(shop, tokens, "change", users, 256, seconds=args.change_seconds)["rate"]
    result = load(shop, tokens, "change", users, 256, rate=int(top / 2), seconds=max(10, args.change_seconds))
    table.figure("change at half the maximum rate: p99.9, stalls counted", result["p999_us"] / 1000, "ms", 5.0,
                 note=f"{result['rate']:,.0f}/s of {top:,.0f}/s, p50 {result['p50_us'] / 1000:.2f} ms, p99 "
                      f"{result['p99_us'] / 1000:.2f} ms, max {result['max_us'] / 1000:.1f} ms")
    top = load(shop, tokens, "read", users, 64, seconds=args.seconds)["rate"]
    result = load(shop, tokens, "read", users, 64, rate=int(top / 2), seconds=max(10, args.seconds))
    table.figure("hot read at half the maximum rate: p99.9, stalls counted", result["p999_us"] / 1000, "ms",
                 note=f"{result['rate']:,.0f}/s of {top:,.0f}/s, p50 {result['p50_us'] / 1000:.2f} ms")


def bench_seats(table, args, shop, classic, folder, tokens, empty_memory):
    """Fills all carts, then memory per seat, and busy users among few and among many."""
    script = folder / "busy.lua"
    script.write_text(WRK_SCRIPT % {"tokens": tokens, "users": 1000})
    few = [wrk(shop, script, 64, args.seconds)["rate"] for _ in range(args.rounds)]
    say(f"fills {args.carts:,} carts on both sides")
    filled = load(shop, tokens, "fill", args.carts, 128)
    say(f"bookcart filled at {filled['rate']:,.0f} requests a second")
    load(shop, tokens, "read", 1000, 64, count=5000)
    many = [wrk(shop, script, 64, args.seconds)["rate"] for _ in range(args.rounds)]
    status = shop.status()
    seats, touched = status["seats"], status["zone_bytes_touched"]
    table.ratio(f"1,000 busy users among {seats:,} seats ÷ among 1,000", many, few, 0.95)
    load(classic, tokens, "fill", args.classic_carts, 128)
    keys = int(classic.cli("DBSIZE"))
    used = int(re.search(r"used_memory:(\d+)", classic.cli("INFO", "memory"))[1]) - empty_memory
    table.ratio("memory per seat of 5 lines ÷ the classic stack's keys", [touched / seats], [used / keys], 0.5, unit="bytes",
                better="lower", note=f"{seats:,} seats, {keys:,} keys; zone bytes touched, slack included; Redis used_memory")
    script.write_text(WRK_SCRIPT % {"tokens": tokens, "users": min(args.carts, 200000)})
    uniform = [wrk(shop, script, 64, args.seconds)["rate"] for _ in range(args.rounds)]
    table.ratio(f"uniform over {min(args.carts, 200000):,} of {seats:,} seats ÷ 1,000 busy among 1,000", uniform, few, 0.7,
                note="the token cache holds fewer tokens than that: verification is part of it")


def all_books(port):
    cursor = ""
    while True:
        page = json.loads(request(port, "GET", f"/api/v1/books?limit=100{cursor}")[2])
        yield from page["items"]
        if not page["next_cursor"]:
            return
        cursor = f"&cursor={page['next_cursor']}"


def catalogue_paths(port, folder, name, kinds, count=40000):
    """Requests as people make them."""
    books = list(all_books(port))
    random.seed(7)
    words = lambda text: [w for w in re.findall(r"[^\W\d_]{3,}", text)]
    slip = lambda word: word[:2] + word[3] + word[2] + word[4:] if len(word) > 4 else word
    path = folder / name
    with path.open("w") as file:
        for i in range(count):
            book = random.choice(books)
            title, author = words(book["title"]) or ["book"], words(" ".join(book["authors"])) or ["author"]
            kind, limit = kinds[i % len(kinds)], random.randint(12, 48)
            if kind == "list":
                query = random.choice([
                    {"sort": random.choice(["title", "price", "-price", "newest", "rating"])}, {"author": book["authors"][0] if book["authors"] else "x"},
                    {"language": "en", "price_max": random.randint(500, 3000)},
                    {"year_from": random.randint(1850, 2000), "year_to": random.randint(2000, 2017), "available": "true"},
                    {"ids": ",".join(str(random.randint(1, BOOKS)) for _ in range(10))}])
                target = "/api/v1/books?" + urllib.parse.urlencode({**query, "limit": limit})
            elif kind == "search":
                q = random.choice([" ".join(title[:3]), title[-1], slip(random.choice(title)), f"{author[-1]} {title[0]}", " ".join(author[:2]),
                                   title[0][:3], "the " + title[-1]])
                target = "/api/v1/books?" + urllib.parse.urlencode({"q": q[:100], "limit": limit})
            else:
                target = "/api/v1/books/suggest?" + urllib.parse.urlencode({"q": " ".join([*random.sample(title + author, 1), random.choice(title)])[:random.randint(1, 14)]})
            file.write(f"{kind} {target}\n")
    return path


def settle(shop, names=("library", "payment"), seconds=120):
    """An import publishes an event a book, which services then apply one by one: waits until they have nothing to do."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        before = sum(cpu_seconds(shop.service(name)) for name in names)
        time.sleep(2)
        if sum(cpu_seconds(shop.service(name)) for name in names) - before < 0.06:
            return
    say(f"{', '.join(names)} are still busy after {seconds} s")


def bench_catalogue(table, args, shop, folder):
    """Repeats at the edge beside nginx's `return 200`; lists, searches and suggestions that no cache has, at half their maximum rate."""
    for name, path in (("catalogue page of 24 books", "/api/v1/books?limit=24"), ("page of one book", "/api/v1/books/7")):
        status, headers, body = request(shop.port, "GET", path)
        match = f"If-None-Match: {headers['ETag']}"
        repeat = request(shop.port, "GET", path, headers={"If-None-Match": headers["ETag"]})[0]
        if status != 200 or repeat != 304:
            raise SystemExit(f"bench: {path} answers {status}, its repeat {repeat}")
        plain = Plain(folder / f"plain-{len(body)}", body, headers, "/")
        try:
            if request(plain.port, "GET", path)[2] != body:
                raise SystemExit("bench: plain nginx answers another body")
            ours, theirs = paired(args.rounds, lambda: wrk(shop, None, 64, args.seconds, path, [match]),
                                  lambda: wrk(plain, None, 64, args.seconds, path, [match]))
            whole, plainly = paired(args.rounds, lambda: wrk(shop, None, 64, args.seconds, path),
                                    lambda: wrk(plain, None, 64, args.seconds, path))
        finally:
            plain.stop()
        table.ratio(f"repeat of a {name} (304) ÷ nginx return 200, requests a second", [r["rate"] for r in ours],
                    [r["rate"] for r in theirs], 0.90,
                    note=f"{len(body):,} bytes; worker busy {statistics.median(r['busy'] for r in ours):.0%} / "
                         f"{statistics.median(r['busy'] for r in theirs):.0%}")
        table.ratio(f"repeat of a {name} (304) ÷ nginx return 200, requests per worker CPU second", [1e6 / r["cpu_us"] for r in ours],
                    [1e6 / r["cpu_us"] for r in theirs], 0.90)
        table.ratio(f"{name}, whole (200) ÷ nginx return 200, requests a second", [r["rate"] for r in whole],
                    [r["rate"] for r in plainly], 0.90)
    table.figure(f"import of {BOOKS:,} books beside a running shop, to searchable", shop.import_seconds, "s", 5.0)
    settle(shop)
    plain = Plain(folder / "plain-latency", body, headers, "/")
    try:
        bench_latencies(table, args, shop, plain, folder)
    finally:
        plain.stop()


def bench_latencies(table, args, shop, plain, folder):
    """Half of what the library can do: every request reaches it, for bench_load asks so that neither a worker's memory nor the page cache
    answers."""
    for kinds in (["list"], ["search"], ["suggest"], ["list", "search", "suggest"]):
        paths, count = catalogue_paths(shop.port, folder, f"paths-{kinds[0]}-{len(kinds)}", kinds), 40000
        top = statistics.median(load(shop, paths, "get", count, 16, seconds=args.seconds)["rate"] for _ in range(args.rounds))
        results, floors = [], []
        for _ in range(args.rounds):
            rate = max(1, int(top / 2))
            results.append(load(shop, paths, "get", count, 64, rate=rate, seconds=max(8, args.seconds)))
            floors.append(load(plain, paths, "get", count, 64, rate=rate, seconds=max(4, args.seconds))["p99_us"] / 1000)
        middle = lambda name: statistics.median(result[name] for result in results)
        table.figure(f"{', '.join(kinds)} over {BOOKS:,} books at half the maximum rate: p99", [result["p99_us"] / 1000 for result in results],
                     "ms", 20.0, note=f"{middle('rate'):,.0f}/s of {top:,.0f}/s, p50 {middle('p50_us') / 1000:.2f} ms, p99.9 "
                                      f"{middle('p999_us') / 1000:.1f} ms, max {middle('max_us') / 1000:.1f} ms; the machine's own: nginx "
                                      f"return 200 at that rate has p99 {statistics.median(floors):.1f} ms ({min(floors):.1f}…{max(floors):.1f})")


def bench_replay(table, args, shop, tokens):
    """Changes in the journal, the base away for none of them: kill -9 of the service, time to its first answer."""
    shop.stop()
    shop.settings.update({"BOOKCART_CART_DIRTY_AGE_MAX": "1d", "BOOKCART_CART_CALM_AGE": "12h",
                          "BOOKCART_CART_JOURNAL_MAX": "4g"})
    shop.start()
    load(shop, tokens, "change", min(args.carts, args.busy), 256, count=args.replay)
    pid = shop.service("cart")
    os.kill(pid, signal.SIGKILL)
    start = time.monotonic()
    token = tokens.open().readline().split()[1]
    wait_for("the cart service again", lambda: request(shop.port, "PUT", "/api/v1/cart/lines/1", token, {"quantity": 3})[0] == 200)
    whole = time.monotonic() - start
    replay = shop.metrics("cart").get("bookcart_journal_replay_seconds")
    table.figure(f"journal replay after kill -9, {args.replay:,} changes", whole if replay is None else replay, "s", 5.0,
                 note=f"{whole:.2f} s from the kill to the next confirmed change")


class SignIns:
    """Customers who sign in without pause, some at once, while something else is measured."""

    PASSWORD = "correct horse battery staple"

    def __init__(self, shop, at_once):
        self.shop, self.at_once, self.ends, self.statuses = shop, at_once, False, []

    def sign_in(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.shop.port, timeout=60)
        body = json.dumps({"email": "bench@shop.example", "password": self.PASSWORD})
        while not self.ends:
            connection.request("POST", "/api/v1/auth/login", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            self.statuses.append(answer.status)

    def __enter__(self):
        self.threads = [threading.Thread(target=self.sign_in) for _ in range(self.at_once)]
        self.start = time.monotonic()
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.rate = len(self.statuses) / (time.monotonic() - self.start)
        self.ends = True
        for thread in self.threads:
            thread.join()
        bad = [status for status in self.statuses if status != 200]
        if bad:
            raise SystemExit(f"bench: sign-ins were answered {bad[:5]}")


def bench_signins(table, args, shop, folder, tokens):
    """Hot reads while customers sign in at argon2id's stated cost, beside hot reads alone."""
    users = 1000
    body = {"email": "bench@shop.example", "password": SignIns.PASSWORD, "name": "Bench"}
    if request(shop.port, "POST", "/api/v1/auth/register", body=body)[0] not in (201, 409):
        raise SystemExit("bench: nobody can register")
    load(shop, tokens, "fill", users, 64)
    load(shop, tokens, "read", users, 64, count=5 * users)
    script = folder / "signin.lua"
    script.write_text(WRK_SCRIPT % {"tokens": tokens, "users": users})
    during = []

    def beside():
        with SignIns(shop, 4) as people:
            result = wrk(shop, script, 64, args.seconds)
        during.append(people.rate)
        return result["rate"]

    ours, theirs = paired(args.rounds, beside, lambda: wrk(shop, script, 64, args.seconds)["rate"])
    with SignIns(shop, 4) as alone:
        time.sleep(args.seconds)
    table.ratio("hot read, 5 lines, while 4 customers sign in without pause ÷ without", ours, theirs, 0.90,
                note=f"argon2id 64 MiB, 2 passes; {statistics.median(during):.1f} sign-ins/s beside reads that take both cores")
    table.figure("sign-ins, argon2id 64 MiB, 2 passes, nothing else running", alone.rate, "/s", better="higher")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="20,000 carts, short rounds")
    parser.add_argument("--only", default="", help="rows to run: read, signin, change, rate, seats, replay, catalogue")
    parser.add_argument("--carts", type=int, default=1000000)
    parser.add_argument("--classic-carts", type=int, default=0, help="carts stored in the classic stack; 0: as many")
    parser.add_argument("--busy", type=int, default=100000, help="users that change their carts in a change round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--change-rounds", type=int, default=3)
    parser.add_argument("--change-seconds", type=int, default=20)
    parser.add_argument("--replay", type=int, default=1000000)
    parser.add_argument("--keep", action="store_true", help="leave the temporary folder")
    args = parser.parse_args()
    if args.quick:
        args.carts, args.rounds, args.seconds, args.change_rounds, args.change_seconds, args.replay = 20000, 3, 3, 2, 5, 100000
    args.classic_carts = min(args.classic_carts or args.carts, args.carts)
    wanted = lambda name: args.only in ("", name)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="bookcart-bench-"))
    os.chmod(folder, 0o755)
    sides = []
    table = Table()
    try:
        shop = Bookcart(folder / "data", make_catalogue(folder))
        sides.append(shop)
        say(f"bookcart on port {shop.port}, {BOOKS:,} books")
        if wanted("catalogue"):
            bench_catalogue(table, args, shop, folder)
        if args.only != "catalogue":
            tokens = mint(shop.key(), args.carts, folder, "tokens", folder / "public.pem")
            books_of(shop.port, folder / "books.jsonl")
        if wanted("signin"):
            bench_signins(table, args, shop, folder, tokens)
        if args.only not in ("catalogue", "signin"):  # these compare bookcart with nginx, or with itself
            classic = Classic(folder / "classic", folder / "books.jsonl", folder / "public.pem")
            sides.append(classic)
            empty_memory = int(re.search(r"used_memory:(\d+)", classic.cli("INFO", "memory"))[1])
            say(f"classic stack on port {classic.port}")
        if wanted("read"):
            bench_reads(table, args, shop, classic, folder, tokens)
        if wanted("seats") or wanted("change") or wanted("rate"):
            bench_seats(table, args, shop, classic, folder, tokens, empty_memory)
        if wanted("change"):
            bench_changes(table, args, shop, classic, tokens)
        if wanted("rate"):
            bench_constant_rate(table, args, shop, tokens)
        if wanted("replay"):
            bench_replay(table, args, shop, tokens)
    finally:
        for side in reversed(sides):
            side.stop()
        if args.keep:
            say(f"kept {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    versions = subprocess.run("nginx -v 2>&1; redis-server --version", shell=True, capture_output=True, text=True).stdout
    table.write(HERE / "results", f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores ({cpu}) shared with the client, one nginx "
                f"worker a side, {args.carts:,} carts. {' '.join(versions.split())}")
    missed = sum(row["reached"] is False for row in table.rows)
    say(f"{len(table.rows)} rows, {missed} below their goal")
    return 0


if __name__ == "__main__":
    sys.exit(main())
