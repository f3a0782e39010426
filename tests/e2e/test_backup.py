"""Backup while the shop is busy, restore elsewhere: what was acknowledged before the cut is there, nothing is half there."""

import contextlib
import http.client
import json
import os
import pathlib
import shutil
import socket
import threading
import time

import httpx
import pytest

import api
import buying
from shop import Shop, wait_for

BUYERS = 4
PAYERS = 3


class Unix(http.client.HTTPConnection):
    """A service's internal listener."""

    def __init__(self, data: pathlib.Path, service: str):
        super().__init__("localhost", timeout=20)
        self.path = str(data / "run" / f"{service}-internal.sock")
        self.key = (data / "keys" / "service.key").read_text().strip()

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect(self.path)

    def ask(self, method: str, path: str, body=None):
        headers = {"Authorization": f"Bearer {self.key}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        self.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = self.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if text else None


class Buyer(threading.Thread):
    """Puts one copy after the other of his own book into his cart and notes when each was acknowledged."""

    def __init__(self, url: str, number: int, end: threading.Event):
        super().__init__(daemon=True)
        self.customer = api.register(url, f"buyer{number}@shop.example")
        self.book = 20 + number
        self.end = end
        self.sent = 0
        self.acknowledged: list[tuple[float, int]] = []  # (Unix time, how many the cart held)
        self.strange: list[str] = []

    def run(self):
        while not self.end.is_set() and self.sent < 95:
            self.sent += 1
            try:
                answer = self.customer.set(self.book, self.sent)
            except httpx.HTTPError:
                return  # the shop was killed
            if answer.status_code == 200:
                self.acknowledged.append((time.time(), self.sent))
            elif answer.status_code != 503:
                self.strange.append(f"{answer.status_code} {answer.text}")
            time.sleep(0.02)

    def at(self, moment: float) -> int:
        return max((count for when, count in self.acknowledged if when <= moment), default=0)


class Payer(threading.Thread):
    """Orders and pays one book after the other, and notes what the provider took and what the shop said."""

    def __init__(self, url: str, number: int, end: threading.Event):
        super().__init__(daemon=True)
        self.customer = api.register(url, f"payer{number}@shop.example")
        self.book = 40 + number
        self.end = end
        self.taken: list[tuple[str, str]] = []  # (order, payment): the provider has the money
        self.paid: list[tuple[float, str]] = []  # (Unix time, order): the shop has said `paid`
        self.refused: list[str] = []

    def run(self):
        while not self.end.is_set():
            try:
                self.pay_one()
            except httpx.HTTPError:
                return  # the shop was killed
            except AssertionError as error:
                # The cart may change under the checkout, when what was paid before leaves it.
                self.refused.append(str(error))

    def pay_one(self):
        assert self.customer.set(self.book, 1).status_code == 200
        placed = buying.place(self.customer, replace=True)
        order, payment = placed["order"]["id"], placed["payment"]["id"]
        assert buying.confirm(self.customer, payment).status_code == 200
        self.taken.append((order, payment))
        buying.wait_order(self.customer, order, "paid")
        self.paid.append((time.time(), order))


def remember_everything(old: Shop, new: Shop) -> None:
    """The provider is another company: a restored shop meets one that knows what came after the cut."""
    about = os.stat(new.data / "sandbox.db")
    for end in ("", "-wal"):
        source, target = old.data / f"sandbox.db{end}", new.data / f"sandbox.db{end}"
        with contextlib.suppress(FileNotFoundError):
            target.unlink()
        if source.exists():
            shutil.copy(source, target)
            os.chown(target, about.st_uid, about.st_gid)
            target.chmod(0o600)


@pytest.fixture(scope="module")
def rehearsed(program):
    """A busy shop, backed up, killed; its backup restored and started. (old shop, new shop, buyers, manifest, folder)"""
    old = Shop(program, name="backup")
    new = Shop(program, name="restored")
    end = threading.Event()
    buyers = []
    try:
        old.import_catalogue()
        old.start()
        folder = old.data / ".." / "copy"
        buyers = [Buyer(old.url, number, end) for number in range(BUYERS)]
        payers = [Payer(old.url, number, end) for number in range(PAYERS)]
        wait_for(lambda: Unix(old.data, "payment").ask("GET", "/internal/dead-letters")[0] == 200, "payment")
        for thread in (*buyers, *payers):
            thread.start()
        wait_for(lambda: all(len(buyer.acknowledged) >= 5 for buyer in buyers), "everybody has put something into his cart")
        wait_for(lambda: all(len(payer.paid) >= 2 for payer in payers), "everybody has paid something")
        # As whoever owns the data: root's shop belongs to www-data, which must be able to make the folder.
        old.folder.chmod(0o777)
        done = old.run("backup", "--to", str(folder), "--data", str(old.data))
        assert done.returncode == 0, done.stdout + done.stderr
        print(done.stdout)
        copied = time.time()
        wait_for(lambda: all(buyer.acknowledged[-1][0] > copied for buyer in buyers), "everybody goes on")
        wait_for(lambda: all(payer.paid[-1][0] > copied for payer in payers), "everybody goes on paying")
        old.kill_all()
        end.set()
        for thread in (*buyers, *payers):
            thread.join()
        manifest = json.loads((folder / "manifest.json").read_text())
        new.folder.chmod(0o777)
        done = new.run("restore", "--from", str(folder), "--data", str(new.data))
        assert done.returncode == 0, done.stdout + done.stderr
        print(done.stdout)
        note = new.data / "restored.json"
        assert json.loads(note.read_text()) == {"cut_ms": manifest["cut_ms"]}
        remember_everything(old, new)
        new.payers = payers
        new.start()
        yield old, new, buyers, manifest, folder
    finally:
        end.set()
        old.destroy()
        new.destroy()


def test_what_was_acknowledged_before_the_cut_is_there(rehearsed):
    _, new, buyers, manifest, _ = rehearsed
    cart = Unix(new.data, "cart")
    for buyer in buyers:
        status, seen = cart.ask("GET", f"/internal/carts/{buyer.customer.user}")
        assert status == 200
        kept = {line["book"]: line["quantity"] for line in seen["lines"]}.get(buyer.book, 0)
        assert buyer.at(manifest["cut_ms"] / 1000) <= kept <= buyer.sent
        # Past the cut there is nothing: what was acknowledged well after it was given up with the old shop.
        assert kept < buyer.acknowledged[-1][1]
        assert not buyer.strange, buyer.strange
        assert len(seen["lines"]) == 1
    for payer in new.payers:
        # What he had paid before the cut is not in his cart any more, or is just being ordered again.
        status, seen = cart.ask("GET", f"/internal/carts/{payer.customer.user}")
        assert [line["quantity"] for line in seen["lines"]] in ([], [1])


def test_no_order_without_stock_and_no_money_without_an_order(rehearsed):
    _, new, _, manifest, _ = rehearsed
    wait_for(lambda: not (new.data / "restored.json").exists(), "payment to have asked the provider", 30)
    buying.check_books(new)
    with contextlib.closing(buying.open_store(new)) as store:
        states = dict(store.execute("SELECT order_text(id), state FROM orders").fetchall())
    told, lost = 0, set()
    for payer in new.payers:
        assert len(payer.paid) >= 3, payer.refused
        for when, order in payer.paid:
            if when <= manifest["cut_ms"] / 1000:
                assert states[order] == 1
                told += 1
        lost |= {payment for order, payment in payer.taken if states.get(order) != 1}

    def all_went_back():
        with contextlib.closing(buying.open_store(new, "sandbox.db")) as provider:
            back = {id for (id,) in provider.execute("SELECT id FROM payments WHERE refunded = amount").fetchall()}
        return lost <= back

    wait_for(all_went_back, f"{lost} to go back", 30, 0.1)
    assert told >= PAYERS
    assert len(lost) >= PAYERS
    print(f"{told} orders paid before the cut are there, {len(lost)} payments after it went back")
    buying.check_books(new)


def test_sessions_end_and_accounts_stay(rehearsed):
    _, new, buyers, _, _ = rehearsed
    for buyer in buyers[:2]:
        headers = {"Authorization": f"Bearer {buyer.customer.token}"}
        answer = httpx.get(f"{new.url}/api/v1/cart", headers=headers, timeout=20)
        api.assert_problem(answer, 401)
        body = {"refresh_token": buyer.customer.tokens["refresh_token"]}
        api.assert_problem(httpx.post(f"{new.url}/api/v1/auth/refresh", json=body, timeout=20), 401)
        email = buyer.customer.tokens["user"]["email"]
        body = {"email": email, "password": "a long enough password"}
        answer = httpx.post(f"{new.url}/api/v1/auth/login", json=body, timeout=20)
        assert answer.status_code == 200, answer.text
        again = api.Caller(new.url, answer.json())
        assert again.user == buyer.customer.user
        kept = api.lines(again.cart())[0][1]
        assert api.lines(again.add(buyer.book, 1)) == [(buyer.book, kept + 1)]
        again.close()


def test_the_restored_carts_live_in_a_new_epoch(rehearsed):
    old, new, buyers, _, _ = rehearsed
    cart = Unix(new.data, "cart")
    status, changed = cart.ask(
        "POST", f"/internal/carts/{buyers[2].customer.user}/changes",
        {"id": "epoch", "changes": [{"op": "add", "book": 7, "quantity": 1}]},
    )  # fmt: skip
    assert status == 200
    assert int(changed["epoch"]) == 2
    assert old.data.exists()


def test_logs_have_other_names_after_a_restore(rehearsed):
    _, new, _, _, folder = rehearsed
    for service in ("auth", "library", "payment", "question"):
        status, seen = Unix(new.data, service).ask("GET", "/internal/dead-letters")
        assert status == 200
        assert seen["log"]["generation"]
        assert seen["log"]["generation"].encode() not in (folder / "data" / f"{service}.db").read_bytes()


def test_a_backup_holds_no_keys_and_no_locks(rehearsed):
    _, _, _, manifest, folder = rehearsed
    names = [entry["path"] for entry in manifest["files"]]
    assert {"auth.db", "library.db", "payment.db", "question.db", "carts.db", "cart-events.db"} <= set(names)
    assert any(name.startswith("journal/") for name in names)
    assert not [name for name in names if name.split("/")[0] in ("keys", "run", "nginx") or name.endswith("lock")]
    assert (folder / "manifest.json").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("hurt", ["byte", "missing", "unfinished", "outside"])
def test_a_damaged_backup_is_refused_and_leaves_nothing(rehearsed, tmp_path_factory, hurt):
    old, new, _, _, folder = rehearsed
    target = new.folder / f"from-{hurt}"
    manifest, database = folder / "manifest.json", folder / "data" / "library.db"
    kept, bytes_ = manifest.read_text(), database.read_bytes()
    try:
        if hurt == "byte":
            database.write_bytes(bytes_[:5000] + bytes([bytes_[5000] ^ 1]) + bytes_[5001:])
        elif hurt == "missing":
            database.unlink()
        elif hurt == "unfinished":
            manifest.unlink()
        else:
            manifest.write_text(kept.replace('"library.db"', '"../library.db"'))
        done = new.run("restore", "--from", str(folder), "--data", str(target))
        assert done.returncode == 1
        assert done.stderr
        assert not target.exists()
    finally:
        database.write_bytes(bytes_)
        manifest.write_text(kept)


def test_a_folder_that_is_in_use_is_refused(rehearsed):
    old, new, _, _, folder = rehearsed
    done = new.run("restore", "--from", str(folder), "--data", str(new.data))
    assert done.returncode == 1
    assert "not empty" in done.stderr
    done = new.run("backup", "--to", str(folder), "--data", str(new.data))
    assert done.returncode == 1
    assert "not empty" in done.stderr
    done = new.run("backup", "--to", str(new.data / "copy"), "--data", str(new.data))
    assert done.returncode == 1


def test_nothing_starts_on_half_a_restore(rehearsed):
    _, new, _, _, folder = rehearsed
    target = new.folder / "half"
    done = new.run("restore", "--from", str(folder), "--data", str(target))
    assert done.returncode == 0, done.stderr
    (target / "restoring").write_text("{}")
    done = new.run("migrate", "--data", str(target))
    assert done.returncode == 1
    assert "restore" in done.stderr


def test_a_shop_that_is_down_is_backed_up_the_same_way(rehearsed):
    old, _, _, _, _ = rehearsed
    done = old.run("backup", "--to", str(old.folder / "cold"), "--data", str(old.data))
    assert done.returncode == 0, done.stderr


def test_a_hold_ends_by_itself_and_says_so(shop):
    caller = api.guest(shop.url)
    try:
        assert caller.add(7).status_code == 200
        holds = {service: Unix(shop.data, service) for service in ("cart", "auth")}
        for hold in holds.values():
            assert hold.ask("POST", "/internal/hold", {"id": "test", "ms": 1000})[0] == 200
            assert hold.ask("POST", "/internal/hold", {"id": "another", "ms": 1000})[0] == 409
        begun = time.monotonic()
        assert caller.cart().status_code == 200  # reads go on
        assert time.monotonic() - begun < 0.9
        answer = caller.add(7, key="held")
        assert answer.status_code == 200, answer.text
        assert 0.5 < time.monotonic() - begun < 5
        time.sleep(1)  # the other's time is over too
        for hold in holds.values():
            assert hold.ask("POST", "/internal/hold/release", {"id": "test"}) == (200, {"held": False})
        for hold in holds.values():
            assert hold.ask("POST", "/internal/hold", {"id": "test", "ms": 10000})[0] == 200
            assert hold.ask("POST", "/internal/hold/release", {"id": "test"}) == (200, {"held": True})
        begun = time.monotonic()
        assert caller.add(7).status_code == 200
        assert time.monotonic() - begun < 5
    finally:
        caller.close()


def test_a_backup_that_dies_lets_the_shop_go_on(shop):
    """Killed while it holds everybody: what waits is done when the lease is over, and the next backup is taken."""
    shop.folder.chmod(0o777)
    caller = api.guest(shop.url)
    shop.settings["BOOKCART_FAULTS"] = "backup.held=kill"
    try:
        assert caller.add(7).status_code == 200
        died = shop.run("backup", "--to", str(shop.folder / "copy-1"), "--data", str(shop.data))
        assert died.returncode == -9
        begun = time.monotonic()
        # Usually the first one waits and is done; on a machine that crawls it may run out of its time first.
        wait_for(lambda: caller.add(7, key="waits").status_code == 200, "the change to be accepted", 15)
        assert time.monotonic() - begun < 10  # not the minute that a living backup may take
        assert api.lines(caller.cart()) == [(7, 2)]
        assert not (shop.folder / "copy-1" / "manifest.json").exists()
        del shop.settings["BOOKCART_FAULTS"]
        done = shop.run("backup", "--to", str(shop.folder / "copy-2"), "--data", str(shop.data))
        assert done.returncode == 0, done.stderr
    finally:
        shop.settings.pop("BOOKCART_FAULTS", None)
        caller.close()


def test_one_backup_at_a_time(shop):
    shop.folder.chmod(0o777)
    service = Unix(shop.data, "payment")
    assert service.ask("POST", "/internal/hold", {"id": "other", "ms": 20000})[0] == 200
    done = shop.run("backup", "--to", str(shop.folder / "copy-3"), "--data", str(shop.data))
    assert service.ask("POST", "/internal/hold/release", {"id": "other"}) == (200, {"held": True})
    assert done.returncode == 1
    assert "another backup" in done.stderr
