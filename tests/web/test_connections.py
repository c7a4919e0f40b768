"""Connections: kept, left, and filled with large answers."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest

from tests.support.wire import Answer, ConnectionEnded, Wire
from tests.web.clients import STABLE, UNSTABLE, Admin, Scim, assert_scim, bulk_of, new_user, until, url_of


class Connection(Wire):
    """One connection to a homeserver, on which an administrator sends requests."""

    admin: Admin

    @classmethod
    async def of(cls, admin: Admin) -> Connection:
        """Connect to an administrator's homeserver."""
        connection = await cls.to(admin.homeserver.url)
        connection.admin = admin
        return connection

    def request(self, method: str, path: str, body: bytes = b"", *headers: str, length: int | None = None) -> None:
        """Send a request.

        Args:
            method: The method.
            path: The path, with the prefix.
            body: The body.
            headers: More headers, as lines.
            length: The `Content-Length`; by default that of the body.
        """
        lines = [
            f"{method} {path} HTTP/1.1",
            "Host: matrix.example.org",
            f"Authorization: Bearer {self.admin.token}",
            "Content-Type: application/scim+json",
            f"Content-Length: {len(body) if length is None else length}",
            *headers,
        ]
        self.send("\r\n".join([*lines, "", ""]).encode() + body)

    async def exchange(self, method: str, path: str, body: bytes = b"") -> Answer:
        """Send a request and return its answer."""
        self.request(method, path, body)
        return await self.answer(to_head=method == "HEAD")

    async def end(self) -> None:
        """End the connection at once, and wait until it has ended."""
        self.leave()
        await self.lost


async def test_connections_survive_errors(admin: Admin) -> None:
    """A connection is good for further requests after any error (RFC 9112 §9.3, IdP)."""
    connection = await Connection.of(admin)
    for prefix in (STABLE, UNSTABLE):
        for method, path, body, status in (
            ("GET", "/Users", b"", 200),
            ("GET", "/Nothing", b"", 404),
            ("POST", "/Users", b"{", 400),
            ("POST", "/Users", b'{"userName": "x", "title": "' + b"y" * 1_200_000 + b'"}', 413),
            ("PUT", "/Users", b"{}", 405),
            ("DELETE", "/Users/@nobody:example.org", b"", 404),
            ("HEAD", "/Users", b"", 200),
            ("DELETE", "/Users/@admin:example.org", b"", 403),
            ("GET", "/Me?access_token=x", b"", 401),
            ("GET", "/Users", b"", 200),
        ):
            answer = await connection.exchange(method, prefix + path, body)
            assert answer.status == status
            if method != "HEAD":
                assert json.loads(answer.body)["schemas"]
    await connection.end()


async def test_large_answers_arrive_whole(admin: Admin) -> None:
    """An answer of megabytes arrives as it was meant, under both prefixes (the documentation)."""
    scim = admin.scim
    for name in ("ann", "bob", "cat"):
        await scim.create(name, roles=[{"value": f"{name}{number:04}" * 600} for number in range(100)])

    for prefix in (STABLE, UNSTABLE):
        connection = await Connection.of(admin)
        for _ in range(2):
            answer = await connection.exchange("GET", f"{prefix}/Users")
            assert (answer.status, len(answer.body) > 1_000_000) == (200, True)
            assert len(json.loads(answer.body)["Resources"]) == 4
        await connection.end()
    assert_scim(await Scim(admin.homeserver.url, admin.token, UNSTABLE).get("/Users"), 200)


async def test_clients_may_leave(admin: Admin) -> None:
    """Who leaves before the end of the answer disturbs nobody, and the request happens (the documentation)."""
    await admin.scim.create("big", roles=[{"value": f"r{number:04}" * 1000} for number in range(100)])
    requests: list[tuple[str, str, Any]] = [
        ("GET", "/Users", None),
        ("GET", "/Users/@big:example.org", None),
        ("POST", "/Users", new_user("ann", emails=[{"value": "ann@corp.example"}])),
        ("POST", "/Users", new_user("bob", password="correct horse")),
    ]
    for method, path, body in requests:
        connection = await Connection.of(admin)
        # The server says that it goes on when it has the request.
        content = b"" if body is None else json.dumps(body).encode()
        connection.request(method, STABLE + path, content, "Expect: 100-continue")
        await connection.heard()
        await connection.end()

    async def made() -> bool:
        return sorted(await admin.scim.names('userName eq "ann" or userName eq "bob"')) == ["ann", "bob"]

    await until(made)
    assert (await admin.scim.read("@ann:example.org"))["emails"] == [{"value": "ann@corp.example"}]
    assert (await admin.synapse.login("bob", "correct horse")).status == 200


async def test_a_bulk_request_goes_on_without_its_client(admin: Admin) -> None:
    """Who leaves while the operations of a bulk request run finds all of them done (the documentation)."""
    names = [f"user{number}" for number in range(8)]
    operations = [
        {"method": "POST", "path": "/Users", "bulkId": name, "data": new_user(name, active=True)} for name in names
    ]
    connection = await Connection.of(admin)
    connection.request("POST", f"{STABLE}/Bulk", json.dumps(bulk_of(*operations)).encode())

    async def begun() -> bool:
        return bool(await admin.scim.names('userName sw "user"'))

    await until(begun)
    assert len(await admin.scim.names('userName sw "user"')) < len(names)
    await connection.end()

    async def done() -> bool:
        return sorted(await admin.scim.names('userName sw "user"')) == names

    await until(done)


async def test_half_a_request_does_nothing_and_holds_nothing(admin: Admin) -> None:
    """A request whose body does not come is not begun: others go on, the account is free, and nothing has changed."""
    before = await admin.scim.create("ann")
    body = json.dumps(new_user("ann", title="Dr")).encode()
    path = STABLE + url_of("@ann:example.org")
    waiting = [await Connection.of(admin) for _ in range(20)]
    for number, connection in enumerate(waiting):
        connection.request("PUT", path, body[: number * len(body) // 20], length=len(body))
    head = await Connection.of(admin)
    head.send(f"PUT {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bea".encode())

    assert await admin.scim.read("@ann:example.org") == before
    slow = waiting.pop()
    for connection in (*waiting, head):
        await connection.end()
    assert await admin.scim.read("@ann:example.org") == before

    # It may come a byte at a time.
    for byte in body[19 * len(body) // 20 :]:
        slow.send(bytes([byte]))
        await admin.scim.get("/Me")
    assert (await slow.answer()).status == 200
    assert (await admin.scim.read("@ann:example.org"))["title"] == "Dr"
    await slow.end()


async def test_requests_sent_at_once_are_answered_in_order(admin: Admin) -> None:
    """Requests may be sent without waiting for answers (RFC 9112 §9.3.2)."""
    for prefix in (STABLE, UNSTABLE):
        connection = await Connection.of(admin)
        body = json.dumps(new_user(f"ann{len(prefix)}")).encode()
        connection.request("POST", f"{prefix}/Users", body)
        connection.request("POST", f"{prefix}/Users", body)
        connection.request("GET", f"{prefix}/Nothing")
        connection.request("GET", f"{prefix}/Users")

        assert [(await connection.answer()).status for _ in range(4)] == [201, 409, 404, 200]
        await connection.end()


async def test_who_asks_first_may_send_the_body(admin: Admin) -> None:
    """`Expect: 100-continue` is answered before the body comes (RFC 9110 §10.1.1)."""
    connection = await Connection.of(admin)
    body = json.dumps(new_user("ann")).encode()
    connection.request("POST", f"{STABLE}/Users", b"", "Expect: 100-continue", length=len(body))

    assert (await connection.answer()).status == 100
    connection.send(body)
    assert (await connection.answer()).status == 201
    await connection.end()


def chunked(admin: Admin, path: str, *chunks: bytes, more: str = "") -> bytes:
    """Return a POST whose body comes in chunks (RFC 9112 §7.1)."""
    head = (
        f"POST {STABLE}{path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {admin.token}\r\n"
        f"Content-Type: application/scim+json\r\nTransfer-Encoding: chunked\r\n{more}\r\n"
    )
    return head.encode() + b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


async def test_bodies_may_come_in_chunks(admin: Admin) -> None:
    """A body may come in chunks, and the limit of bodies counts all of them."""
    connection = await Connection.of(admin)
    body = json.dumps(new_user("ann")).encode()
    connection.send(chunked(admin, "/Users", body[:10], body[10:11], body[11:]))
    assert (await connection.answer()).status == 201
    connection.send(chunked(admin, "/Users", b'{"userName": "bob", "x": "', *[b"y" * 100_000] * 12, b'"}'))
    assert (await connection.answer()).status == 413
    assert (await connection.exchange("GET", f"{STABLE}/Me")).status == 200
    await connection.end()


async def test_requests_that_end_in_two_ways_are_refused(admin: Admin) -> None:
    """What one server takes for one request and another for two is refused (RFC 9112 §6.3, §11.2); nothing changes."""
    before = await admin.scim.users()
    body = json.dumps(new_user("ann")).encode()
    hidden = f"DELETE {STABLE}/Me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {admin.token}\r\n\r\n"
    head = f"POST {STABLE}/Users HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {admin.token}\r\n".encode()
    for sent in (
        chunked(admin, "/Users", body, more="Content-Length: 3\r\n"),
        head + b"Content-Length: 3\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body),
        head + b"Content-Length: -1\r\n\r\n" + body,
        head + b"Content-Length: 0x10\r\n\r\n" + body,
        head + b"Content-Length: +5\r\n\r\n" + body,
        head + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + body,
        head + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + hidden.encode(),
        head + b"X-A: 1\r\nno colon\r\nContent-Length: 0\r\n\r\n",
        head + b"".join(b"X-%d: 1\r\n" % number for number in range(5000)) + b"\r\n",
        head + b"X: " + b"x" * 200_000 + b"\r\n\r\n",
    ):
        wire = await Wire.to(admin.homeserver.url)
        wire.send(sent)
        with suppress(ConnectionEnded):
            assert (await wire.answer()).status == 400, sent[:300]
        await wire.lost
    assert await admin.scim.users() == before


async def test_a_body_shorter_than_what_follows_it(admin: Admin) -> None:
    """What follows the end of a body is another request, refused if it is none."""
    connection = await Connection.of(admin)
    body = json.dumps(new_user("ann")).encode()
    connection.request("POST", f"{STABLE}/Users", body + b"\r\n\r\n", length=len(body) - 1)

    assert (await connection.answer()).status == 400
    assert (await connection.answer()).status == 400
    await connection.lost
    assert await admin.scim.names('userName eq "ann"') == []


@pytest.mark.parametrize("prefix", [STABLE, UNSTABLE])
async def test_headers_may_hold_any_bytes(admin: Admin, prefix: str) -> None:
    """A header that is no UTF-8 is one that means nothing (RFC 9110 §5.5), and no error of the server."""
    body = json.dumps(new_user("ann")).encode()
    await admin.scim.create("bob")
    for method, path, header, status in (
        ("POST", "/Users", b"Content-Type: \xff\xfe", 415),
        ("GET", "/Users/@bob:example.org", b"If-None-Match: \xff", 200),
        ("DELETE", "/Users/@bob:example.org", b"If-Match: \xff", 412),
        ("GET", "/Users/@bob:example.org", b"Accept: \xff", 200),
        ("GET", "/Users/@bob:example.org", b"X-Forwarded-For: \xff", 200),
        ("GET", "/Users", b"Authorization: Bearer \xff", 401),
    ):
        wire = await Wire.to(admin.homeserver.url)
        authorization = b"" if header.startswith(b"Auth") else f"Authorization: Bearer {admin.token}\r\n".encode()
        wire.send(
            f"{method} {prefix}{path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n".encode()
            + authorization
            + header
            + b"\r\n\r\n"
            + body
        )
        answer = await wire.answer()
        assert answer.status == status, (header, answer.body)
        assert answer.headers["content-type"] == "application/scim+json"
        wire.leave()
