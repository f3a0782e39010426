"""What the shop has mailed: the .eml files of its data folder, read as a person would."""

import email
import email.policy
import pathlib
import re

from shop import Shop, wait_for


class Mail:
    def __init__(self, path: pathlib.Path):
        parsed = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
        self.path = path
        self.to = parsed["To"].addresses[0].addr_spec
        self.subject = str(parsed["Subject"])
        self.language = str(parsed["Content-Language"])
        self.text = parsed.get_content()

    def token(self, page: str) -> str | None:
        """The token of a link to /account/<page>."""
        found = re.search(rf"/account/{page}#token=(\S+)", self.text)
        return found and found.group(1)


def mails(shop: Shop, to: str) -> list[Mail]:
    """Every mail to that address, in no order."""
    found = [Mail(path) for path in (shop.data / "mail").glob("*.eml")]
    return [mail for mail in found if mail.to == to]


def take(shop: Shop, to: str, what) -> Mail:
    """Waits for the one mail to `to` for which what(mail) is true, and takes it out of the box."""

    def find():
        return next((mail for mail in mails(shop, to) if what(mail)), None)

    mail = wait_for(find, f"a mail to {to}")
    mail.path.unlink()
    return mail


def take_token(shop: Shop, to: str, page: str) -> str:
    return take(shop, to, lambda mail: mail.token(page)).token(page)
