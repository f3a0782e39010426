"""Covers, banners and customers' pictures: what is taken, what is refused, where it shows, what is left of what hides in it."""

import base64
import http.client
import os
import struct
import time
import zlib

import httpx
import pytest

import api
from api import assert_problem
from shop import wait_for

MIB = 1024 * 1024

# 16 × 8, left half red, right half blue, EXIF orientation 6 (so upright it is 8 × 16), and a comment that nobody should see.
JPEG = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/4QAiRXhpZgAATU0AKgAAAAgAAQESAAMAAAABAAYAAAAAAAD//gAOc2VjcmV0IHBsYWNl/9sAQwANCQoLCggN"
    "CwoLDg4NDxMgFRMSEhMnHB4XIC4pMTAuKS0sMzpKPjM2RjcsLUBXQUZMTlJTUjI+WmFaUGBKUVJP/9sAQwEODg4TERMmFRUmTzUtNU9PT09PT09P"
    "T09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09P/8AAEQgACAAQAwEiAAIRAQMRAf/EABYAAQEBAAAAAAAAAAAAAAAAAAAF"
    "Bv/EABQQAQAAAAAAAAAAAAAAAAAAAAD/xAAUAQEAAAAAAAAAAAAAAAAAAAAF/8QAGREAAgMBAAAAAAAAAAAAAAAAAAZDgsHC/9oADAMBAAIRAxEA"
    "PwDPIQGFSavQ8zRWw//Z"
)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, colour: tuple = (200, 30, 30), depth: int = 8, rows: int | None = None) -> bytes:
    """One colour; with `rows` it holds fewer or more of them than it says."""
    pixel = b"".join(struct.pack(">B" if depth == 8 else ">H", c if depth == 8 else c * 257) for c in colour)
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(b"\0" + pixel * width) for _ in range(height if rows is None else rows))
    head = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data + packer.flush()) + chunk(b"IEND", b"")
    )  # fmt: skip


def webp_size(data: bytes) -> tuple[int, int]:
    assert data[:4] == b"RIFF" and data[8:12] == b"WEBP", data[:16]
    kind = data[12:16]
    if kind == b"VP8 ":
        width, height = struct.unpack("<HH", data[26:30])
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L":
        bits = struct.unpack("<I", data[21:25])[0]
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    raise AssertionError(f"an unexpected form: {kind}")


@pytest.fixture(scope="module")
def admin(shop):
    caller = api.Caller(shop.url, {"access_token": shop.admin()})
    yield caller
    caller.close()


@pytest.fixture(scope="module")
def customer(shop):
    caller = api.register(shop.url, "pictured@reader.example")
    yield caller
    caller.close()


def put(caller, path: str, data: bytes, media: str = "image/png", **more):
    return caller.call("PUT", path, content=data, headers={"Content-Type": media, **more.pop("headers", {})}, **more)


def version(url: str, size: str) -> str:
    return url.replace("large.webp", f"{size}.webp")


def test_a_cover_shows_on_the_book_in_lists_and_in_the_cart(shop, admin):
    before = admin.get("/admin/books/31")
    guest = api.guest(shop.url)
    guest.add(31)
    answer = put(admin, "/admin/books/31/cover", png(900, 1400))
    assert answer.status_code == 200, answer.text
    url = answer.json()["cover_url"]
    assert url.startswith("/media/books/") and url.endswith("/large.webp")
    assert answer.headers["etag"] != before.headers["etag"]
    assert answer.json()["updated_at"] != before.json()["updated_at"]
    assert admin.get("/admin/books/31").headers["etag"] == answer.headers["etag"]
    for size, expected in (("large", (900, 1400)), ("medium", (386, 600)), ("small", (154, 240))):
        picture = httpx.get(shop.url + version(url, size))
        assert picture.status_code == 200
        assert picture.headers["content-type"] == "image/webp"
        assert picture.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert picture.headers["x-content-type-options"] == "nosniff"
        assert picture.headers["content-security-policy"] == "default-src 'none'; sandbox"
        assert webp_size(picture.content) == expected
    public = lambda: guest.get("/books/31").json()["cover_url"] == url  # noqa: E731
    wait_for(public, "the page shows the cover", 2)
    assert url in [book["cover_url"] for book in guest.get("/books?ids=31").json()["items"]]
    wait_for(lambda: guest.cart().json()["lines"][0]["cover_url"] == url, "the cart shows the cover")
    guest.close()


def test_the_same_picture_again_changes_nothing_and_another_one_does(shop, admin):
    first = put(admin, "/admin/books/32/cover", png(50, 60, (1, 2, 3)))
    again = put(admin, "/admin/books/32/cover", png(50, 60, (1, 2, 3)))
    other = put(admin, "/admin/books/32/cover", png(50, 60, (3, 2, 1)))
    assert [a.status_code for a in (first, again, other)] == [200, 200, 200]
    assert again.json() == first.json() and again.headers["etag"] == first.headers["etag"]
    assert other.json()["cover_url"] != first.json()["cover_url"]
    # The old one still shows on pages that were cached.
    assert httpx.get(shop.url + first.json()["cover_url"]).status_code == 200


def test_cover_and_banner_are_two_things(shop, admin):
    data = png(2000, 1000)
    cover = put(admin, "/admin/books/33/cover", data).json()
    both = put(admin, "/admin/books/33/banner", data).json()
    assert both["cover_url"] == cover["cover_url"] != both["banner_url"]
    assert webp_size(httpx.get(shop.url + both["cover_url"]).content) == (1000, 500)
    assert webp_size(httpx.get(shop.url + both["banner_url"]).content) == (1920, 960)
    assert webp_size(httpx.get(shop.url + version(both["banner_url"], "small")).content) == (480, 240)
    # A patch of something else keeps both; of the cover takes it away.
    tag = admin.get("/admin/books/33").headers["etag"]
    patched = admin.call("PATCH", "/admin/books/33", json={"title": "Pictured"}, headers={"If-Match": tag})
    assert patched.status_code == 200, patched.text
    assert (patched.json()["cover_url"], patched.json()["banner_url"]) == (both["cover_url"], both["banner_url"])
    tag = patched.headers["etag"]
    bare = admin.call("PATCH", "/admin/books/33", json={"cover_url": None}, headers={"If-Match": tag})
    assert (bare.json()["cover_url"], bare.json()["banner_url"]) == (None, both["banner_url"])


def test_a_customer_has_a_picture(shop, customer):
    assert customer.get("/me").json()["picture_url"] is None
    answer = put(customer, "/me/picture", JPEG, "image/jpeg")
    assert answer.status_code == 200, answer.text
    url = answer.json()["picture_url"]
    assert url.startswith("/media/users/")
    assert customer.get("/me").json() == answer.json()
    picture = httpx.get(shop.url + url).content
    assert webp_size(picture) == (8, 16)  # turned upright
    assert b"secret" not in picture and b"Exif" not in picture


def test_what_a_picture_is_its_bytes_say_not_its_header(shop, customer):
    for media in ("image/png", "image/webp", "image/jpeg"):
        assert put(customer, "/me/picture", JPEG, media).status_code == 200
    assert_problem(put(customer, "/me/picture", JPEG, "image/svg+xml"), 415, "unsupported-media-type")
    assert_problem(put(customer, "/me/picture", JPEG, "application/json"), 415, "unsupported-media-type")


REFUSED = {
    "svg with a script": (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", 415),
    "gif that is a script": (b"GIF89a/*" + b"." * 60 + b"*/=1;alert(document.domain)//", 415),
    "html": (b"<!doctype html><script>alert(1)</script>", 415),
    "nothing": (b"", 415),
    "zip": (b"PK\3\4" + bytes(60), 415),
    "zip-bomb png": (png(30000, 30000, rows=3000), 422),
    "30,000 px wide": (png(30000, 1), 422),
    "26 megapixels": (png(5200, 5001, rows=1), 422),
    "fewer rows than it says": (png(400, 400, rows=10), 422),
    "half a png": (png(400, 400)[:-30], 422),
    "half a jpeg": (JPEG[:250], 422),
    "a jpeg in name": (b"\xff\xd8\xff\xe0" + b"<script>" * 40, 422),
    "animated webp": (
        b"RIFF" + struct.pack("<I", 40) + b"WEBPVP8X" + struct.pack("<I", 10) + b"\2\0\0\0\x09\0\0\x09\0\0"
        b"ANIM" + struct.pack("<I", 6) + bytes(6),
        422,
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_bad_pictures_are_refused(customer, what):
    data, status = REFUSED[what]
    before = customer.get("/me").json()
    answer = put(customer, "/me/picture", data)
    assert_problem(answer, status, "unsupported-media-type" if status == 415 else "not-acceptable-value")
    assert customer.get("/me").json() == before


def test_five_mebibytes_and_not_a_byte_more(customer):
    whole = png(100, 100)
    largest = whole + bytes(5 * MIB - len(whole))
    assert put(customer, "/me/picture", largest).status_code == 200
    assert_problem(put(customer, "/me/picture", largest + b"\0"), 413, "body-too-large")


def test_polyglots_lose_their_other_half(shop, customer):
    script = b"<html><script>fetch('//evil.example')</script>"
    for data in (JPEG + script, JPEG[:20] + JPEG[20:] + b"PK\3\4" + script, png(9, 9) + script):
        url = put(customer, "/me/picture", data).json()["picture_url"]
        for size in ("large", "medium", "small"):
            assert b"script" not in httpx.get(shop.url + version(url, size)).content


def test_a_16_bit_png_is_taken(shop, customer):
    url = put(customer, "/me/picture", png(600, 300, (10, 200, 10), depth=16)).json()["picture_url"]
    assert webp_size(httpx.get(shop.url + url).content) == (512, 256)


def test_books_that_are_not_there_take_no_picture(admin):
    assert_problem(put(admin, "/admin/books/999999/cover", png(9, 9)), 404, "not-found")
    assert_problem(put(admin, "/admin/books/nonsense/banner", png(9, 9)), 404, "not-found")
    tag = admin.get("/admin/books/34").headers["etag"]
    assert admin.call("DELETE", "/admin/books/34", headers={"If-Match": tag}).status_code == 204
    assert_problem(put(admin, "/admin/books/34/cover", png(9, 9)), 409, "conflict")


def test_who_may_send_pictures(shop, customer, guest):
    assert_problem(put(customer, "/admin/books/31/cover", png(9, 9)), 403, "forbidden")
    assert_problem(put(guest, "/me/picture", png(9, 9)), 403, "registration-required")
    assert_problem(put(guest, "/me/picture", png(9, 9), token=None), 401, "unauthorized")


def test_media_shows_pictures_and_nothing_else(shop, customer):
    url = put(customer, "/me/picture", png(20, 20)).json()["picture_url"]
    folder = url.rsplit("/", 1)[0]
    connection = http.client.HTTPConnection(shop.url.split("//", 1)[1], timeout=20)
    bad = [
        "/media/", "/media/users", "/media/users/", f"{folder}", f"{folder}/", f"{folder}/huge.webp", f"{folder}/large.png",
        f"{folder}/../../../auth.db", "/media/../auth.db", "/media/%2e%2e/auth.db", "/media/users/..%2f..%2fkeys/service.key",
        f"{folder}/large.webp%00.html", "/media/keys/service.key", folder.upper() + "/large.webp",
        "/media/users/00000000000000000000000000000000/large.webp",
    ]  # fmt: skip
    for path in bad:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status in (400, 404), (path, answer.status)
        assert answer.headers["content-type"] == "application/problem+json", path
        assert b"SQLite" not in body
    connection.close()
    assert_problem(httpx.post(shop.url + url), 405)
    tag = httpx.get(shop.url + url).headers["etag"]
    assert httpx.get(shop.url + url, headers={"If-None-Match": tag}).status_code == 304
    assert httpx.head(shop.url + url).status_code == 200


def test_an_import_keeps_a_cover_that_was_uploaded(make_shop):
    shop = make_shop({"BOOKCART_LOG_LEVEL": "debug"})
    admin = api.Caller(shop.url, {"access_token": shop.admin()})
    answer = put(admin, "/admin/books/7/cover", png(90, 140))
    assert int(answer.headers["bookcart-statements"]) == 4  # the book, the reference, its event, the book as it is then
    url = answer.json()["cover_url"]
    shop.import_catalogue("id,title,authors,year,language,price,stock\n7,Emma,Jane Austen,1815,en,9.00,5\n")
    book = admin.get("/admin/books/7").json()
    assert (book["title"], book["cover_url"]) == ("Emma", url)
    # What a kill leaves behind is as it was before or after, and the picture with it.
    shop.kill_all()
    shop.start()
    admin = api.Caller(shop.url, {"access_token": shop.admin()})
    assert admin.get("/admin/books/7").json()["cover_url"] == url
    assert httpx.get(shop.url + url).status_code == 200
    assert oct((shop.data / url.lstrip("/")).stat().st_mode & 0o777) == "0o600"
    admin.close()


def grow_old(shop, url: str) -> None:
    """As if it had been sent two days ago."""
    then = time.time() - 2 * 24 * 3600
    os.utime(shop.data / url.lstrip("/").rsplit("/", 1)[0], (then, then))


def test_pictures_that_nothing_refers_to_go_by_themselves(make_shop):
    """By the timers of library and auth; what is referred to stays, and so does what is young."""
    shop = make_shop({"BOOKCART_IMAGES_SWEEP": "100ms"})
    admin = api.Caller(shop.url, {"access_token": shop.admin()})
    customers = [api.register(shop.url, f"swept-{n}@reader.example") for n in range(3)]

    def is_there(url: str) -> bool:
        return (shop.data / url.lstrip("/")).exists()

    def cover(book: int) -> str:
        return put(admin, f"/admin/books/{book}/cover", png(30, 40, (book, next(shade), 0))).json()["cover_url"]

    def portrait(who) -> str:
        return put(who, "/me/picture", png(30, 30, (0, next(shade), 9))).json()["picture_url"]

    shade = iter(range(256))
    kept = [cover(31), portrait(customers[0])]
    banner = put(admin, "/admin/books/33/banner", png(90, 30)).json()["banner_url"]
    young = [cover(32), portrait(customers[1])]
    cover(32), portrait(customers[1])  # nothing refers to the young ones any more
    for url in (*kept, banner):
        grow_old(shop, url)
    for _ in range(2):  # so that the second round comes after a whole sweep that has left the others
        left = [cover(34), portrait(customers[2])]
        cover(34), portrait(customers[2])
        for url in left:
            grow_old(shop, url)
        wait_for(lambda: not any(is_there(url) for url in left), "the sweeps of library and auth")  # noqa: B023
    assert all(is_there(url) for url in (*kept, banner, *young))
    assert customers[2].call("POST", "/me/erase", json={"password": "a long enough password"}).status_code == 204
    portraits = shop.data / "media" / "users"
    for folder in portraits.iterdir():
        grow_old(shop, f"/media/users/{folder.name}/large.webp")
    # The erased one's and the young one go, the two that are shown stay.
    wait_for(lambda: len(list(portraits.iterdir())) == 2, "the erased customer's picture to go")
    assert is_there(kept[1]) and is_there(customers[1].get("/me").json()["picture_url"])
    for caller in (admin, *customers):
        caller.close()


def test_many_at_once_are_all_answered(shop, customer):
    """More than workers there are: they take turns."""
    import concurrent.futures

    data = [png(1500, 1500, (n, 0, 0)) for n in range(6)]
    begin = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda one: put(customer, "/me/picture", one).status_code, data))
    assert answers == [200] * 6, answers
    assert time.monotonic() - begin < 30
