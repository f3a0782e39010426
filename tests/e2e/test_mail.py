"""Mail by SMTP, to a real server (aiosmtpd): with and without TLS and login, away and back, refusing for now and for good."""

import contextlib
import datetime
import email
import email.policy
import ipaddress
import socket
import ssl
import threading
import time

import httpx
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import api
from api import assert_problem
from buying import open_store
from shop import wait_for

USER, PASSWORD = "shop@mail.example", "a secret of the mail server's"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Post:
    """A mail server that says to each recipient what `script` has for him, and keeps what it took."""

    def __init__(self, port: int | None = None, **options):
        self.port = port or free_port()
        self.options = options
        self.lock = threading.Lock()
        self.mails: list[tuple[str, email.message.EmailMessage]] = []
        self.script: dict[str, list[str]] = {}  # answers to RCPT, one a try; none left: 250
        self.tries: dict[str, int] = {}
        self.encrypted: list[bool] = []
        self.controller = None

    async def handle_RCPT(self, server, session, envelope, address, options):  # noqa: N802
        with self.lock:
            self.tries[address] = self.tries.get(address, 0) + 1
            answers = self.script.get(address)
            answer = answers.pop(0) if answers else "250 OK"
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server, session, envelope):  # noqa: N802
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        with self.lock:
            self.encrypted.append(session.ssl is not None)
            self.mails += [(to, mail) for to in envelope.rcpt_tos]
        return "250 taken"

    def start(self) -> "Post":
        self.controller = Controller(self, hostname="127.0.0.1", port=self.port, **self.options)
        self.controller.start()
        return self

    def stop(self) -> None:
        if self.controller is not None:
            self.controller.stop()
        self.controller = None

    def to(self, address: str) -> list[email.message.EmailMessage]:
        with self.lock:
            return [mail for to, mail in self.mails if to == address]

    def one(self, address: str):
        return wait_for(lambda: self.to(address), f"a mail to {address}")[0]


def join(shop, address: str, language: str = "en"):
    body = {"email": address, "password": "a long enough password", "name": "Zoë"}
    begin = time.monotonic()
    answer = httpx.post(
        f"{shop.url}/api/v1/auth/register", json=body, timeout=20, headers={"Accept-Language": language}
    )
    assert answer.status_code == 201, answer.text
    assert time.monotonic() - begin < 3  # whatever the mail server does
    return answer.json()


@pytest.fixture(scope="module")
def post():
    server = Post().start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def mailing(program, post):
    from shop import Shop

    made = Shop(program, {
        "BOOKCART_MAIL": f"smtp://127.0.0.1:{post.port}",
        "BOOKCART_MAIL_FROM": "books@shop.example",
        "BOOKCART_MAIL_RETRY": "50ms",
        "BOOKCART_PUBLIC_URL": "https://shop.example",
        "BOOKCART_SHOP_NAME": "Bücher & Co",
    }, name="mail")  # fmt: skip
    try:
        yield made.start()
    finally:
        made.destroy()


def test_a_mail_arrives_whole(mailing, post):
    join(mailing, "reader@example.org", "fr")
    mail = post.one("reader@example.org")
    assert mail["from"].addresses[0].addr_spec == "books@shop.example"
    assert mail["from"].addresses[0].display_name == "Bücher & Co"
    assert mail["to"].addresses[0].addr_spec == "reader@example.org"
    assert mail["subject"] == "Veuillez confirmer votre adresse électronique"
    assert mail["auto-submitted"] == "auto-generated"
    assert mail["content-language"] == "fr"
    assert mail["message-id"].endswith("@shop.example>")
    assert abs(mail["date"].datetime - datetime.datetime.now(datetime.UTC)) < datetime.timedelta(minutes=1)
    text = mail.get_content()
    assert "Bienvenue chez Bücher & Co" in text
    assert "https://shop.example/account/verify#token=" in text
    assert not mail.defects
    token = text.split("#token=")[1].split()[0]
    done = httpx.post(f"{mailing.url}/api/v1/auth/email/verify", json={"token": token}, timeout=20)
    assert done.status_code == 204, done.text
    # What was sent is not kept, and neither address nor token is in a log.
    log = mailing.log.read_text(encoding="utf-8")
    assert "reader@example.org" not in log and token not in log


def test_each_language_arrives_in_its_letters(mailing, post):
    join(mailing, "bg@example.org", "bg")
    join(mailing, "en@example.org", "en")
    assert post.one("bg@example.org")["subject"] == "Моля, потвърдете имейл адреса си"
    assert "Добре дошли" in post.one("bg@example.org").get_content()
    assert post.one("en@example.org")["subject"] == "Please confirm your e-mail address"


def test_a_refusal_for_now_is_tried_again(mailing, post):
    post.script["later@example.org"] = ["450 greylisted", "451 local trouble", "452 full"]
    join(mailing, "later@example.org")
    post.one("later@example.org")
    assert post.tries["later@example.org"] == 4


def test_a_refusal_for_good_is_not(mailing, post):
    post.script["never@example.org"] = ["550 no such user"] * 5
    join(mailing, "never@example.org")
    wait_for(lambda: post.tries.get("never@example.org"), "the refusal")
    join(mailing, "after-never@example.org")
    post.one("after-never@example.org")  # nobody is held up
    time.sleep(0.5)  # ten pauses
    assert post.tries["never@example.org"] == 1
    assert post.to("never@example.org") == []
    assert '"event":"mail-failed"' in mailing.log.read_text(encoding="utf-8")


def test_a_server_that_is_away_is_waited_for(mailing, post):
    post.stop()
    before = len(post.mails)
    for n in range(5):
        join(mailing, f"away-{n}@example.org")
    wait_for(lambda: '"event":"mail-away"' in mailing.log.read_text(encoding="utf-8"), "it is noticed")
    metrics = httpx.get(f"{mailing.operations}/auth/metrics", timeout=5).text
    assert "bookcart_mails_waiting 5" in metrics
    post.start()
    wait_for(lambda: len(post.mails) == before + 5, "all five")
    assert all(len(post.to(f"away-{n}@example.org")) == 1 for n in range(5))
    wait_for(lambda: '"event":"mail-back"' in mailing.log.read_text(encoding="utf-8"), "it is said")


def test_what_was_not_sent_to_somebody_erased_is_not_sent(mailing, post):
    post.stop()
    tokens = join(mailing, "erased@example.org")
    join(mailing, "stays@example.org")
    gone = api.Caller(mailing.url, tokens).call("POST", "/me/erase", json={"password": "a long enough password"})
    assert gone.status_code == 204, gone.text
    post.start()
    post.one("stays@example.org")
    assert post.to("erased@example.org") == []
    with contextlib.closing(open_store(mailing, "auth.db", "auth")) as db:
        assert db.execute("SELECT COUNT(*) FROM mails WHERE address = 'erased@example.org'").fetchone() == (0,)


def test_mail_that_waits_survives_a_kill(mailing, post):
    post.stop()
    join(mailing, "kept@example.org")
    mailing.kill_all()
    post.start()
    mailing.start()
    post.one("kept@example.org")


def test_a_kill_between_the_servers_word_and_ours_makes_the_same_mail_again(make_shop):
    post = Post().start()
    settings = {"BOOKCART_MAIL": f"smtp://127.0.0.1:{post.port}", "BOOKCART_FAULTS": "mail.sent=kill"}
    try:
        shop = make_shop(settings, catalogue=False)
        join(shop, "twice@example.org")
        post.one("twice@example.org")
        shop.kill_all()
        del shop.settings["BOOKCART_FAULTS"]
        before = len(post.to("twice@example.org"))
        shop.start()
        wait_for(lambda: len(post.to("twice@example.org")) > before, "once more")
        join(shop, "behind@example.org")
        post.one("behind@example.org")
        again = post.to("twice@example.org")
        assert len(again) == before + 1  # noted this time
        assert len({mail["message-id"] for mail in again}) == 1
        assert len({mail.get_content() for mail in again}) == 1
    finally:
        post.stop()


# --- TLS and login ---


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """(file with authority, server context) of a server at 127.0.0.1 that only its own authority vouches for."""
    folder = tmp_path_factory.mktemp("tls")
    folder.chmod(0o755)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    public, private = folder / "ca.pem", folder / "key.pem"
    public.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    public.chmod(0o644)
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(public, private)
    # Away from pytest's folder, which is root's alone: the shop may run as another user.
    return public.read_text(), context


def login(server, session, envelope, mechanism, data):
    good = isinstance(data, LoginPassword) and (data.login, data.password) == (USER.encode(), PASSWORD.encode())
    return AuthResult(success=good)


class StrictSMTP(Controller):
    def factory(self):
        return SMTP(self.handler, require_starttls=True, auth_required=True, authenticator=login, **self.SMTP_kwargs)


def write_beside(shop, name: str, text: str) -> str:
    path = shop.folder / name
    path.write_text(text, encoding="utf-8")
    path.chmod(0o644)
    return str(path)


def test_starttls_and_login(make_shop, certificate):
    authority, context = certificate
    post = Post()
    post.controller = StrictSMTP(post, hostname="127.0.0.1", port=post.port, tls_context=context)
    post.controller.start()
    try:
        shop = make_shop({"BOOKCART_MAIL": f"smtp://127.0.0.1:{post.port}"}, start=False, catalogue=False)
        shop.settings["BOOKCART_MAIL_CA"] = write_beside(shop, "ca.pem", authority)
        shop.settings["BOOKCART_MAIL_USER"] = USER
        shop.settings["BOOKCART_MAIL_PASSWORD_FILE"] = write_beside(shop, "password", PASSWORD + "\n")
        shop.start()
        join(shop, "secret@example.org")
        post.one("secret@example.org")
        assert post.encrypted == [True]
        assert PASSWORD not in shop.log.read_text(encoding="utf-8")
        shown = shop.run("settings", "--data", str(shop.data)).stdout
        assert "BOOKCART_MAIL_PASSWORD = ***" in shown and PASSWORD not in shown
    finally:
        post.stop()


def test_a_certificate_that_nobody_vouches_for_gets_no_mail(make_shop, certificate):
    post = Post(tls_context=certificate[1], require_starttls=False).start()
    try:
        shop = make_shop({"BOOKCART_MAIL": f"smtp://127.0.0.1:{post.port}"}, catalogue=False)
        join(shop, "unsure@example.org")
        wait_for(lambda: '"reason":"tls"' in shop.log.read_text(encoding="utf-8"), "the refusal")
        assert post.mails == []
    finally:
        post.stop()


@pytest.mark.parametrize("value", ["smtp://user:secret@mail.example:25", "smtp://", "http://mail.example", "smtp://mail.example:0"])
def test_settings_that_cannot_be_are_refused_without_showing_them(make_shop, value):
    shop = make_shop({"BOOKCART_MAIL": value}, start=False, catalogue=False)
    done = shop.run("settings", "--data", str(shop.data))
    assert done.returncode == 1
    assert "BOOKCART_MAIL: " in done.stderr and "secret" not in done.stderr


def test_nobody_hears_by_mail_whether_an_address_is_known(mailing, post):
    for address in ("reader@example.org", "unknown@example.org"):
        answer = httpx.post(f"{mailing.url}/api/v1/auth/password/forgot", json={"email": address}, timeout=20)
        assert answer.status_code == 202
    wait_for(lambda: len(post.to("reader@example.org")) == 2, "the link")
    assert post.to("unknown@example.org") == []
    assert_problem(api.Caller(mailing.url).call("POST", "/auth/password/reset", json={"token": "x", "password": "a new long one"}), 422)
