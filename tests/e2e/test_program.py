"""The program's commands, its settings, its data folder."""

import os
import pathlib
import shutil
import stat

import httpx
import pytest

import api
from api import lines
from shop import ADMIN_PASSWORD


@pytest.fixture
def stopped(make_shop):
    return make_shop(start=False, catalogue=False)


# --- command line ---


def test_help_and_version(stopped):
    assert stopped.run("--version").stdout.startswith("bookcart ")
    text = stopped.run("--help").stdout
    for command in ("up", "serve", "migrate", "import", "admin create", "keys rotate"):
        assert f"bookcart {command}" in text
    for command in ("up", "serve", "migrate", "import", "admin", "keys"):
        done = stopped.run(command, "--help")
        assert (done.returncode, done.stdout.startswith("usage: bookcart ")) == (0, True)


@pytest.mark.parametrize(
    "arguments",
    [[], ["fly"], ["up", "--port", "80"], ["up", "--data"], ["up", "extra"], ["serve"], ["serve", "kitchen", "--data", "DATA"],
     ["import"], ["import", "a.csv", "b.csv"], ["admin", "create"], ["admin", "paint", "x@y.example", "--data", "DATA"],
     ["keys", "melt", "--data", "DATA"], ["up", "--data", "a", "--data", "b"], ["import", "x.csv", "--listen", "127.0.0.1:1"]],
    ids=" ".join,
)  # fmt: skip
def test_unknown_things_are_refused_with_a_usage_line(stopped, arguments):
    done = stopped.run(*[str(stopped.data) if word == "DATA" else word for word in arguments])
    assert done.returncode == 2
    assert "usage" in done.stderr or "there are" in done.stderr
    assert done.stdout == ""


def test_up_needs_a_data_folder(stopped):
    done = stopped.run("up")
    assert done.returncode == 1
    assert "--data" in done.stderr


# --- settings ---


@pytest.mark.parametrize(
    "text, words",
    [
        ("BOOKCART_WORKERS = many\n", ["conf:1", "BOOKCART_WORKERS"]),
        ("# fine\n\nBOOKCART_WORKRES = 2\n", ["conf:3", "BOOKCART_WORKRES"]),
        ("BOOKCART_WORKERS 2\n", ["conf:1"]),
        ("BOOKCART_WORKERS = 2\nBOOKCART_WORKERS = 3\n", ["conf:2", "BOOKCART_WORKERS"]),
        ("BOOKCART_CART_ZONE = 1k\n", ["conf:1", "BOOKCART_CART_ZONE"]),
        ("BOOKCART_LISTEN = shop.example:80\n", ["conf:1", "BOOKCART_LISTEN"]),
        ("BOOKCART_DATABASE = mysql://root@db/shop\n", ["conf:1", "BOOKCART_DATABASE"]),
        ("BOOKCART_TLS_CERT = /tmp/cert.pem\n", ["BOOKCART_TLS"]),
        ("BOOKCART_RATE_LIMITS = off\nBOOKCART_LISTEN = 0.0.0.0:0\n", ["BOOKCART_RATE_LIMITS"]),
    ],
    ids=["value", "unknown", "no-equals", "twice", "range", "name-as-address", "engine", "half-of-a-pair", "limits-off-in-public"],
)
def test_wrong_settings_are_refused_with_their_line(stopped, text, words):
    path = stopped.folder / "conf"
    path.write_text(text, encoding="utf-8")
    stopped.settings = {}
    done = stopped.run("up", "--data", str(stopped.data), "--config", str(path))
    assert done.returncode == 1
    for word in words:
        assert word in done.stderr, done.stderr


def test_wrong_environment_is_refused(stopped):
    stopped.settings["BOOKCART_WORKERS"] = "-1"
    done = stopped.run("up", "--data", str(stopped.data))
    assert done.returncode == 1
    assert "BOOKCART_WORKERS" in done.stderr


def test_environment_wins_over_the_file_and_secrets_are_stars(stopped):
    path = stopped.folder / "conf"
    path.write_text("BOOKCART_SHOP_NAME = Filed\nBOOKCART_SERVICE_KEY = very-secret-key-of-the-shop\n", encoding="utf-8")
    stopped.settings = {"BOOKCART_SHOP_NAME": "Around"}
    done = stopped.run("settings", "--data", str(stopped.data), "--config", str(path))
    assert "BOOKCART_SHOP_NAME = Around" in done.stdout
    assert "very-secret" not in done.stdout
    assert "BOOKCART_SERVICE_KEY = ***" in done.stdout


def test_every_setting_is_documented():
    root = pathlib.Path(__file__).resolve().parents[2]
    text = (root / "docs" / "OPERATIONS.md").read_text(encoding="utf-8")
    program = root / "build" / "release" / "bookcart"
    import subprocess

    reference = subprocess.run([str(program), "settings", "--reference"], capture_output=True, text=True, check=True).stdout
    for line in reference.splitlines():
        assert line.rstrip() in text, f"docs/OPERATIONS.md lacks: {line}"


# --- the data folder ---


def test_modes(make_shop):
    shop = make_shop()
    for path in [shop.data, *shop.data.rglob("*")]:
        if path.is_symlink() or not path.exists():
            continue
        if path.name == "jwks.json":  # public by nature
            continue
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode & 0o007 == 0, f"{path} is open to others: {mode:o}"
    for path in (shop.data / "keys").iterdir():
        if path.name != "jwks.json":
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    link = shop.data / "run" / "cart-link.sock"
    assert stat.S_IMODE(link.stat().st_mode) & 0o007 == 0


def test_everything_runs_as_the_owner_of_the_data(make_shop):
    shop = make_shop()
    owner = shop.data.stat().st_uid
    for pid in shop.descendants():
        status = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
        uids = next(line for line in status.splitlines() if line.startswith("Uid:")).split()[1:]
        assert set(uids) == {str(owner)}, status.splitlines()[0]


def test_a_second_up_is_refused_at_once(make_shop):
    shop = make_shop()
    done = shop.run("up", "--data", str(shop.data), "--listen", "127.0.0.1:0", timeout=10)
    assert done.returncode == 1
    assert f"pid {shop.process.pid}" in done.stderr
    assert api.guest(shop.url).cart().status_code == 200


def test_a_taken_port_is_told(make_shop):
    one = make_shop()
    two = make_shop(start=False)
    done = two.run("up", "--data", str(two.data), "--listen", one.listen, timeout=30)
    assert done.returncode == 1
    assert one.listen in done.stdout + done.stderr


def test_carts_survive_a_restart(make_shop):
    shop = make_shop()
    guest = api.guest(shop.url)
    for n in range(1, 8):
        guest.add(n, n)
    before = guest.cart()
    assert shop.stop() == 0
    shop.start()
    after = api.Caller(shop.url, guest.tokens).cart()
    assert after.json() == before.json()
    again = api.Caller(shop.url, guest.tokens).add(1, 1)
    assert int(again.json()["version"]) == int(before.json()["version"]) + 1


def test_stop_copy_start_elsewhere_is_a_move(make_shop):
    shop = make_shop()
    guest = api.guest(shop.url)
    guest.add(7, 3)
    customer = api.register(shop.url, "mover@reader.example")
    customer.add(8, 1)
    assert shop.stop() == 0
    other = make_shop(start=False, catalogue=False)
    # cp -a: modes and owner too
    shutil.copytree(shop.data, other.data, symlinks=True)
    status = shop.data.stat()
    for path in [other.data, *other.data.rglob("*")]:
        os.chown(path, status.st_uid, status.st_gid, follow_symlinks=False)
    shutil.rmtree(shop.data)
    other.start()
    assert lines(api.Caller(other.url, guest.tokens).cart()) == [(7, 3)]
    assert lines(api.Caller(other.url, customer.tokens).cart()) == [(8, 1)]
    assert lines(api.Caller(other.url, guest.tokens).add(7, 1)) == [(7, 4)]


def test_migrate_and_import_before_the_first_start(stopped):
    done = stopped.run("migrate", "--data", str(stopped.data))
    assert done.returncode == 0, done.stderr
    for name in ("auth.db", "library.db", "carts.db"):
        assert (stopped.data / name).exists()
    again = stopped.run("migrate", "--data", str(stopped.data))
    assert again.returncode == 0, again.stderr


def test_admin_create(make_shop):
    shop = make_shop()
    token = shop.admin()
    assert api.claims(token)["role"] == "admin"
    for email, password in (("not-an-address", ADMIN_PASSWORD), ("short@shop.example", "x"), ("empty@shop.example", "")):
        done = shop.run("admin", "create", email, "--data", str(shop.data), stdin=password + "\n")
        assert done.returncode == 1
        assert done.stderr
        assert password not in done.stderr or password in ("x", "")


def test_the_program_can_be_started_from_anywhere_by_a_relative_path(make_shop, tmp_path):
    shop = make_shop(start=False)
    done = shop.run("settings", "--data", "relative")
    assert "BOOKCART_DATA = /relative" in done.stdout  # run() works in /


# --- operations ---


def test_operations_listener(make_shop):
    shop = make_shop()
    assert httpx.get(f"{shop.operations}/healthz").status_code == 200
    for name in ("", "/auth", "/library", "/cart"):
        assert httpx.get(f"{shop.operations}{name}/readyz").status_code == 200
        assert httpx.get(f"{shop.operations}{name}/healthz").status_code == 200
        metrics = httpx.get(f"{shop.operations}{name}/metrics")
        assert metrics.status_code == 200
        assert "# TYPE" in metrics.text
    assert httpx.get(f"{shop.operations}/internal/feed/books").status_code == 404
    assert httpx.get(f"{shop.operations}/auth/internal/feed/revocations").status_code == 404


def test_a_tls_shop(make_shop):
    import subprocess

    shop = make_shop(start=False)
    certificate, key = shop.folder / "cert.pem", shop.folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
         "/CN=localhost", "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    for path in (certificate, key):
        os.chown(path, shop.data.stat().st_uid, -1)
    shop.settings |= {"BOOKCART_TLS_CERT": str(certificate), "BOOKCART_TLS_KEY": str(key)}
    shop.start()
    assert shop.url.startswith("https://")
    answer = httpx.get(f"{shop.url}/api/v1/books/7", verify=False)
    assert answer.status_code == 200
    assert "strict-transport-security" in answer.headers


def test_limits_by_address(make_shop):
    shop = make_shop({"BOOKCART_RATE_LIMITS": "on"})
    answers = []
    with httpx.Client() as http:
        for _ in range(200):
            answers.append(http.post(f"{shop.url}/api/v1/auth/guest", content=b"[", headers={"Content-Type": "application/json"}))
            if answers[-1].status_code == 429:
                break
    assert answers[0].status_code == 400
    assert {answer.status_code for answer in answers} <= {400, 429}


def test_cors_is_off_unless_listed(make_shop):
    shop = make_shop({"BOOKCART_CORS_ORIGINS": "https://shop.example"})
    preflight = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "authorization"}
    url = f"{shop.url}/api/v1/cart/lines/7"
    allowed = httpx.options(url, headers={"Origin": "https://shop.example", **preflight})
    assert allowed.status_code == 204
    assert allowed.headers["access-control-allow-origin"] == "https://shop.example"
    assert "PUT" in allowed.headers["access-control-allow-methods"]
    assert "access-control-allow-credentials" not in allowed.headers
    for origin in ("https://evil.example", "null", "https://shop.example.evil"):
        answer = httpx.options(url, headers={"Origin": origin, **preflight})
        assert not [name for name in answer.headers if name.startswith("access-control-")], answer.headers


def test_a_folder_that_only_its_owner_reaches_will_do(make_shop):
    """A clone in root's home, or under a strict umask: nobody but root (or the user) can walk into it."""
    shop = make_shop(start=False, catalogue=False)
    shop.folder.chmod(0o700)
    shop.import_catalogue()
    shop.start()
    assert httpx.get(f"{shop.url}/api/v1/books/7", timeout=20).status_code == 200
    guest = api.guest(shop.url)
    assert guest.add(7, 2).status_code == 200
    for _ in range(3):
        answer = guest.cart()
    assert answer.headers["Cart-Status"] == "hot"


def test_folders_on_the_way_to_the_data_are_for_all_to_walk_through(stopped):
    stopped.data = stopped.folder / "on" / "the" / "way" / "data"
    stopped.import_catalogue()
    assert stat.S_IMODE((stopped.folder / "on" / "the").stat().st_mode) == 0o755
    assert stat.S_IMODE(stopped.data.stat().st_mode) == 0o700
    stopped.start()
    assert httpx.get(f"{stopped.url}/api/v1/books/7", timeout=20).status_code == 200
