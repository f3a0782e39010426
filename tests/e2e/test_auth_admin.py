"""Administrators: who loses a role loses it everywhere; keys change under load and nobody notices."""

import concurrent.futures
import threading
import time

import httpx
import pytest

import api
from api import Caller, assert_problem
from shop import wait_for

PASSWORD = "a long enough password"
count = iter(range(1, 10_000))


def new_email() -> str:
    return f"staff{next(count)}.{time.time_ns()}@mail.example"


def refreshed(shop, caller: Caller) -> Caller:
    body = {"refresh_token": caller.tokens["refresh_token"]}
    answer = httpx.post(f"{shop.url}/api/v1/auth/refresh", json=body, timeout=20)
    assert answer.status_code == 200, answer.text
    return Caller(shop.url, answer.json())


@pytest.fixture
def admin(shop):
    return Caller(shop.url, {"access_token": shop.admin()})


def change(admin: Caller, user: str, **wish):
    return admin.call("PATCH", f"/admin/users/{user}", json=wish)


def heat(caller: Caller) -> None:
    wait_for(lambda: caller.add(7, 1).status_code == 200 and caller.cart().headers["cart-status"] == "hot", "a hot cart")


# One admin route of every service, and the edge.
PLACES = {
    "edge": ("GET", "/cart"),
    "auth": ("GET", "/admin/users"),
    "library": ("GET", "/admin/books/7"),
    "payment": ("GET", "/admin/orders"),
    "question": ("GET", "/admin/questions"),
}


def open_places(caller: Caller) -> set[str]:
    """Where the token is still taken. A service that has not such a route yet says 404 whoever asks."""
    return {name for name, (method, path) in PLACES.items() if caller.call(method, path).status_code == 200}


def wait_shut(caller: Caller) -> None:
    started = time.monotonic()
    wait_for(lambda: not open_places(caller), "the old token is refused everywhere", 5, every=0.01)
    print(f"refused everywhere after {time.monotonic() - started:.3f} s")
    for name, (method, path) in PLACES.items():
        answer = caller.call(method, path)
        assert answer.status_code in (401, 404), (name, answer.status_code, answer.text)


def test_a_demoted_administrator_is_none_anywhere(shop, admin):
    staff = api.register(shop.url, new_email())
    old = staff.token
    assert change(admin, staff.user, role="admin").status_code == 200
    wait_for(lambda: staff.cart().status_code == 401, "the customer's token has ended", 5)
    staff = refreshed(shop, staff)
    assert staff.tokens["user"]["role"] == "admin"
    heat(staff)
    assert open_places(staff) >= {"edge", "auth", "library"}
    assert change(admin, staff.user, role="customer").status_code == 200
    wait_shut(staff)
    assert_problem(Caller(shop.url).get("/admin/users", token=old), 401, "unauthorized")
    again = refreshed(shop, staff)
    assert again.tokens["user"]["role"] == "customer"
    assert again.cart().status_code == 200
    for name in ("auth", "library"):
        assert_problem(again.call(*PLACES[name]), 403, "forbidden")


def test_a_disabled_user_is_out_everywhere_until_he_is_enabled(shop, admin):
    address = new_email()
    reader = api.register(shop.url, address)
    heat(reader)
    answer = change(admin, reader.user, disabled=True)
    assert answer.json()["disabled"] is True
    started = time.monotonic()
    wait_for(lambda: reader.cart().status_code == 401, "his hot cart is refused", 5, every=0.01)
    print(f"refused at the edge after {time.monotonic() - started:.3f} s")
    assert_problem(reader.add(7, 1), 401, "unauthorized")
    body = {"email": address, "password": PASSWORD}
    assert_problem(httpx.post(f"{shop.url}/api/v1/auth/login", json=body, timeout=20), 403, "account-disabled")
    assert change(admin, reader.user, disabled=False).status_code == 200
    again = httpx.post(f"{shop.url}/api/v1/auth/login", json=body, timeout=20)
    assert Caller(shop.url, again.json()).cart().status_code == 200


def test_roles_keep_their_rules(shop, admin):
    reader = api.register(shop.url, new_email())
    own = admin.get("/me").json()["id"]
    assert_problem(change(admin, own, role="customer"), 403, "forbidden")
    assert_problem(change(admin, own, disabled=True), 409, "last-admin")
    assert_problem(change(admin, "usr_" + "0" * 26, disabled=True), 404, "not-found")
    assert_problem(change(admin, reader.user, role="emperor"), 422, "not-acceptable-value")
    assert_problem(change(reader, reader.user, role="admin"), 403, "forbidden")
    assert_problem(change(admin, reader.user, name="x"), 400, "malformed-request")


def test_users_are_listed_and_the_audit_says_why(shop, admin):
    address = new_email()
    reader = api.register(shop.url, address)
    change(admin, reader.user, disabled=True)
    page = admin.get("/admin/users", params={"email": address, "disabled": "true"}).json()
    assert [user["id"] for user in page["items"]] == [reader.user]
    assert page["next_cursor"] is None
    first = admin.get("/admin/users?limit=1").json()
    second = admin.get("/admin/users", params={"limit": 1, "cursor": first["next_cursor"]}).json()
    assert first["items"][0]["id"] != second["items"][0]["id"]
    assert_problem(admin.get("/admin/audit", params={"cursor": first["next_cursor"]}), 400, "bad-cursor")
    assert_problem(admin.get("/admin/users?limit=-1"), 400, "malformed-request")
    answer = admin.get("/admin/audit", params={"user": reader.user})
    entry = answer.json()["items"][0]
    assert (entry["action"], entry["actor"], entry["target"]) == ("user.disabled", admin.get("/me").json()["id"], reader.user)
    assert address not in answer.text


def test_the_operator_sets_a_password(make_shop):
    shop = make_shop(catalogue=False)
    token = shop.admin()
    done = shop.run("admin", "password", "admin@shop.example", "--data", str(shop.data), stdin="a new horse battery\n")
    assert done.returncode == 0, done.stderr
    assert_problem(Caller(shop.url).get("/admin/users", token=token), 401, "unauthorized")
    body = {"email": "admin@shop.example", "password": "a new horse battery"}
    assert httpx.post(f"{shop.url}/api/v1/auth/login", json=body, timeout=20).status_code == 200
    done = shop.run("admin", "password", "nobody@shop.example", "--data", str(shop.data), stdin="a new horse battery\n")
    assert done.returncode == 1


def test_keys_change_under_load_without_a_refused_request(make_shop):
    """Four readers with tokens of every age, their sessions refreshed all the while, two rotations: nobody is ever refused."""
    shop = make_shop({"BOOKCART_KEY_PUBLISH": "2s", "BOOKCART_ACCESS_TOKEN_LIFE": "10s"})
    admin_token = shop.admin()
    stop = threading.Event()
    kids, wrong, answered = set(), [], [0] * 4

    def read(number: int) -> None:
        caller = api.guest(shop.url)
        caller.add(7, 1)
        fetched = time.monotonic()
        while not stop.is_set():
            if time.monotonic() - fetched > 0.5 + number:
                caller.tokens = refreshed(shop, caller).tokens
                fetched = time.monotonic()
            kids.add(api.json.loads(api.segment(caller.token.split(".")[0]))["kid"])
            for path in ("/cart", "/me", "/cart"):
                answer = caller.get(path)
                answered[number] += 1
                if answer.status_code != 200:
                    wrong.append((path, answer.status_code, answer.text))

    def rotate() -> None:
        seen = len(kids)
        assert shop.run("keys", "rotate", "--data", str(shop.data)).returncode == 0
        wait_for(lambda: len(kids) > seen or wrong, "the new key signs", 20)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(read, number) for number in range(4)]
        try:
            wait_for(lambda: all(answered), "everybody reads")
            assert Caller(shop.url).get("/admin/books/7", token=admin_token).status_code == 200
            rotate()
            rotate()
        finally:
            stop.set()
        for reader in readers:
            reader.result()
    print(f"{sum(answered)} requests, {len(kids)} keys")
    assert wrong == []
    assert len(kids) == 3
