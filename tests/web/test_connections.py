"""Connections: kept, left, and filled with large answers."""

from __future__ import annotations

import json
from typing import Any, cast
from urllib.parse import urlsplit

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from tests.web.clients import STABLE, UNSTABLE, Admin, Scim, assert_scim, new_user, until


class Connection(Protocol):
    """One connection, on which requests are sent as they stand."""

    def __init__(self, token: str) -> None:
        """Call with an access token."""
        self._token = token
        self._heard = b""
        self._waiting: Deferred[None] | None = None
        self.lost: Deferred[None] = Deferred()

    @classmethod
    async def to(cls, admin: Admin) -> Connection:
        """Connect to a homeserver."""
        url = urlsplit(admin.homeserver.url)
        endpoint = TCP4ClientEndpoint(reactor, cast("str", url.hostname), cast("int", url.port))
        return cast("Connection", await connectProtocol(endpoint, cls(admin.token)))

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """Keep what comes."""
        self._heard += data
        self._wake()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002, N802 - Twisted's names
        """Tell that it is over."""
        self.lost.callback(None)
        self._wake()

    def send(self, method: str, path: str, body: bytes = b"", expect: str = "") -> None:
        """Send a request."""
        lines = [
            f"{method} {path} HTTP/1.1",
            "Host: matrix.example.org",
            f"Authorization: Bearer {self._token}",
            "Content-Type: application/scim+json",
            f"Content-Length: {len(body)}",
            f"Expect: {expect}",
        ]
        self.transport.write("\r\n".join([*lines, "", ""]).encode() + body)  # type: ignore[union-attr]

    async def exchange(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """Send a request, and return status and body of its answer."""
        self.send(method, path, body)
        while b"\r\n\r\n" not in self._heard:
            await self._more()
        head, _, rest = self._heard.partition(b"\r\n\r\n")
        names = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        length = 0 if method == "HEAD" else int(names.get(b"content-length", b"0"))
        while len(rest) < length:
            await self._more()
            rest = self._heard.partition(b"\r\n\r\n")[2]
        self._heard = rest[length:]
        return int(head.split()[1]), rest[:length]

    async def heard(self) -> None:
        """Return when anything came."""
        while not self._heard:
            await self._more()

    def leave(self) -> None:
        """End the connection at once."""
        self.transport.abortConnection()  # type: ignore[union-attr]

    async def _more(self) -> None:
        assert not self.lost.called, "the server ended the connection"
        self._waiting = Deferred()
        await self._waiting

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)


async def test_connections_survive_errors(admin: Admin) -> None:
    """A connection is good for further requests after any error (RFC 9112 §9.3, IdP)."""
    connection = await Connection.to(admin)
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
            answer, told = await connection.exchange(method, prefix + path, body)
            assert answer == status
            if method != "HEAD":
                assert json.loads(told)["schemas"]
    connection.leave()
    await connection.lost


async def test_large_answers_arrive_whole(admin: Admin) -> None:
    """An answer of megabytes arrives as it was meant, under both prefixes (the documentation)."""
    scim = admin.scim
    for name in ("ann", "bob", "cat"):
        await scim.create(name, roles=[{"value": f"{name}{number:04}" * 600} for number in range(100)])

    for prefix in (STABLE, UNSTABLE):
        connection = await Connection.to(admin)
        for _ in range(2):
            status, body = await connection.exchange("GET", f"{prefix}/Users")
            assert (status, len(body) > 1_000_000) == (200, True)
            assert len(json.loads(body)["Resources"]) == 4
        connection.leave()
        await connection.lost
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
        connection = await Connection.to(admin)
        # The server says that it goes on when it has the request.
        connection.send(method, STABLE + path, b"" if body is None else json.dumps(body).encode(), "100-continue")
        await connection.heard()
        connection.leave()
        await connection.lost

    async def made() -> bool:
        return sorted(await admin.scim.names('userName eq "ann" or userName eq "bob"')) == ["ann", "bob"]

    await until(made)
    assert (await admin.scim.read("@ann:example.org"))["emails"] == [{"value": "ann@corp.example"}]
    assert (await admin.synapse.login("bob", "correct horse")).status == 200
