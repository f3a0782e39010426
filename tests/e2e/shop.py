"""A real shop for tests: `bookcart up` on a free port with a data folder of its own, and ways to hurt it."""

import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time

import httpx

START_S = 60
STOP_S = 40
ADMIN_EMAIL = "admin@shop.example"
ADMIN_PASSWORD = "correct horse battery staple"

# Books 1…300; 7 is plentiful, 8 is scarce, 9 is out of stock.
CATALOGUE = "id,title,authors,year,language,price,stock\n" + "".join(
    f"{n},Book {n},Author {n % 17};Author {n % 5 + 20},{1800 + n % 200},en,"
    f"{5 + n % 20}.{n % 100:02d},{0 if n == 9 else 1 if n == 8 else 500}\n"
    for n in range(1, 301)
)

SETTINGS = {
    "BOOKCART_RATE_LIMITS": "off",
    "BOOKCART_OPS_LISTEN": "127.0.0.1:0",
    "BOOKCART_WORKERS": "2",
    # The real hash, with little work in it: these tests are not about its cost.
    "BOOKCART_ARGON2_MEMORY": "1m",
    "BOOKCART_ARGON2_PASSES": "1",
    "BOOKCART_SANDBOX_SETTLE": "500ms",
}


def wait_for(condition, what: str, seconds: float = 20, every: float = 0.02):
    """Waits until condition() is true and returns what it returned; fails loudly when it never is."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= end:
            raise AssertionError(f"waited {seconds} s for: {what}")
        time.sleep(every)


def process_table() -> dict[int, tuple[int, str, str]]:
    """pid → (parent, state, command line) of everything that runs."""
    table = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            stat = pathlib.Path(f"/proc/{entry}/stat").read_text(encoding="utf-8", errors="replace")
            command = pathlib.Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it has just ended
        state, parent = stat.rsplit(")", 1)[1].split()[:2]
        table[int(entry)] = (int(parent), state, command.strip())
    return table


def kill(*pids: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def is_alive(pid: int) -> bool:
    entry = process_table().get(pid)
    return entry is not None and entry[1] != "Z"


class Shop:
    def __init__(self, program: str, settings: dict[str, str] | None = None, name: str = "shop"):
        self.program = str(pathlib.Path(program).resolve())
        # Under /tmp and not pytest's folder: started by root, everything runs as www-data and must reach it.
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"bookcart-{name}-"))
        self.folder.chmod(0o711)
        self.data = self.folder / "data"
        self.log = self.folder / "log"
        self.settings = {**SETTINGS, **(settings or {})}
        self.listen = "127.0.0.1:0"
        self.process: subprocess.Popen | None = None
        self.events: list[str] = []
        self.changed = threading.Condition()
        self.url = ""
        self.operations = ""
        self._admin_token = None

    # --- commands ---

    def environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("BOOKCART_")}
        # nginx is not built with sanitizers, our module may be: then their runtime is loaded first.
        if "BOOKCART_TEST_PRELOAD" in os.environ:
            kept["LD_PRELOAD"] = os.environ["BOOKCART_TEST_PRELOAD"]
        return {**kept, **self.settings}

    def run(self, *arguments: str, stdin: str = "", timeout: float = 60) -> subprocess.CompletedProcess:
        return subprocess.run(
            [self.program, *arguments], input=stdin, env=self.environment(), capture_output=True, text=True,
            timeout=timeout, cwd="/", check=False,
        )  # fmt: skip

    def import_catalogue(self, text: str = CATALOGUE) -> None:
        path = self.folder / "books.csv"
        path.write_text(text, encoding="utf-8")
        path.chmod(0o644)
        done = self.run("import", str(path), "--data", str(self.data))
        assert done.returncode == 0, done.stdout + done.stderr

    def admin(self) -> str:
        """An administrator's access token."""
        if self._admin_token is None:
            done = self.run("admin", "create", ADMIN_EMAIL, "--data", str(self.data), stdin=ADMIN_PASSWORD + "\n")
            assert done.returncode == 0, done.stdout + done.stderr
            self._admin_token = True
        answer = httpx.post(
            f"{self.url}/api/v1/auth/login", json={"email": ADMIN_EMAIL, "password": ADMIN_PASSWORD}, timeout=20
        )
        assert answer.status_code == 200, answer.text
        return answer.json()["access_token"]

    # --- life ---

    def _follow(self, process: subprocess.Popen) -> None:
        with self.log.open("a", encoding="utf-8") as log:
            for line in process.stdout:
                log.write(line)
                log.flush()
                with self.changed:
                    self.events.append(line.rstrip("\n"))
                    self.changed.notify_all()

    def launch(self, *more: str) -> subprocess.Popen:
        """Starts `up` without waiting for it to be ready."""
        self.events = []
        with self.log.open("a", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                [self.program, "up", "--data", str(self.data), "--listen", self.listen, *more],
                env=self.environment(), stdout=subprocess.PIPE, stderr=log, text=True, cwd="/",
                start_new_session=True,
            )  # fmt: skip
        threading.Thread(target=self._follow, args=(self.process,), daemon=True).start()
        return self.process

    def wait_event(self, pattern: str, seconds: float = START_S, since: int = 0) -> str:
        end = time.monotonic() + seconds
        with self.changed:
            while True:
                for line in self.events[since:]:
                    if re.search(pattern, line):
                        return line
                left = end - time.monotonic()
                if left <= 0 or (self.process.poll() is not None and left < seconds - 1):
                    raise AssertionError(f"no event {pattern!r}:\n" + self.tail())
                self.changed.wait(min(left, 0.2))

    def start(self, *more: str) -> "Shop":
        self.launch(*more)
        line = self.wait_event(r"^ready http")
        self.url = line.split(" ", 1)[1]
        self.listen = self.url.split("//", 1)[1]
        self.operations = next(e for e in self.events if e.startswith("bookcart: operations: http")).rsplit(" ", 1)[1]
        return self

    def stop(self) -> int:
        """SIGTERM, then whatever it takes. The exit code."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            kill(*self.descendants(), self.process.pid)
            self.process.wait()
            raise AssertionError(f"did not stop within {STOP_S} s:\n" + self.tail()) from None

    def kill_all(self) -> None:
        """kill -9 of the supervisor and everything below it, at once."""
        pids = [self.process.pid, *self.descendants()]
        kill(*pids)
        self.process.wait()
        wait_for(lambda: not any(is_alive(pid) for pid in pids), "all processes gone")

    def destroy(self) -> None:
        try:
            if self.process is not None and self.process.poll() is None:
                self.stop()
        finally:
            if self.process is not None:
                kill(*self.descendants(), self.process.pid)
            reports = self.sanitizer_reports()
            shutil.rmtree(self.folder, ignore_errors=True)
        assert not reports, reports

    def sanitizer_reports(self) -> str:
        """What a sanitizer said in any process of the shop (when the programs under test were built with them)."""
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        first = re.search(r"(?m)^.*(ERROR: \w+Sanitizer|: runtime error: ).*$", text)
        return "" if first is None else text[first.start() : first.start() + 6000]

    # --- processes ---

    def descendants(self) -> list[int]:
        table = process_table()
        found, front = [], [self.process.pid]
        while front:
            parent = front.pop()
            children = [pid for pid, (its, state, _) in table.items() if its == parent and state != "Z"]
            found += children
            front += children
        return found

    def service(self, name: str) -> int:
        """The pid of a service; waits while it is being started again."""

        def find():
            table = process_table()
            return [pid for pid in self.descendants() if f"bookcart serve {name} " in table.get(pid, (0, "", ""))[2] + " "]

        return wait_for(find, f"a process of {name}")[0]

    def master(self) -> int:
        def find():
            table = process_table()
            return [pid for pid in self.descendants() if table.get(pid, (0, "", ""))[2].startswith("nginx: master")]

        return wait_for(find, "nginx's master")[0]

    def workers(self) -> list[int]:
        def find():
            table = process_table()
            return [
                pid for pid in self.descendants()
                if table.get(pid, (0, "", ""))[2].startswith("nginx: worker process")
                and "shutting down" not in table[pid][2]
            ]  # fmt: skip

        return wait_for(find, "nginx's workers")

    def tail(self, lines: int = 60) -> str:
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def wait_ready(self) -> None:
        """Every part answers and the edge's link is up."""
        names = ("", "/auth", "/library", "/cart", "/payment", "/question")

        def all_ready():
            try:
                return all(httpx.get(f"{self.operations}{name}/readyz", timeout=5).status_code == 200 for name in names)
            except httpx.HTTPError:
                return False

        wait_for(all_ready, "every part ready", START_S)
