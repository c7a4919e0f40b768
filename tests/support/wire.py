"""A connection on which bytes are sent as they stand: for what no client would send."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self, cast
from urllib.parse import urlsplit

import attrs
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

_WITHOUT_BODY = frozenset({204, 304})


@attrs.frozen(kw_only=True)
class Answer:
    """An answer, whose body is as long as its head says."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case; of a name that came more than once, the last value."""

    body: bytes


class ConnectionEnded(Exception):
    """The server ended the connection before the answer was whole."""


class Wire(Protocol):
    """One connection to a homeserver."""

    def __init__(self) -> None:
        """Wait to be connected."""
        self._heard = b""
        self._waiting: Deferred[None] | None = None
        self.lost: Deferred[None] = Deferred()
        """Fires when the connection has ended."""

    @classmethod
    async def to(cls, url: str) -> Self:
        """Connect to where a URL leads."""
        parts = urlsplit(url)
        endpoint = TCP4ClientEndpoint(reactor, cast("str", parts.hostname), cast("int", parts.port))
        return cast("Self", await connectProtocol(endpoint, cls()))

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """Keep what comes."""
        self._heard += data
        self._wake()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002, N802 - Twisted's names
        """Tell that it is over."""
        self.lost.callback(None)
        self._wake()

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self.transport.write(data)  # type: ignore[union-attr]

    async def answer(self, *, to_head: bool = False) -> Answer:
        """Return the next answer; a `100 Continue` is one.

        Args:
            to_head: Whether a HEAD is answered: its answer has no body, whatever its head says.

        Raises:
            ConnectionEnded: There is none, or half of one.
        """
        head = await self._until(b"\r\n\r\n")
        status_line, *lines = head.decode("latin-1").split("\r\n")
        status = int(status_line.split()[1])
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        if to_head or status < 200 or status in _WITHOUT_BODY:
            return Answer(status=status, headers=headers, body=b"")
        if headers.get("transfer-encoding") == "chunked":
            return Answer(status=status, headers=headers, body=await self._chunks())
        return Answer(status=status, headers=headers, body=await self._take(int(headers.get("content-length", 0))))

    async def heard(self) -> None:
        """Return when anything came."""
        while not self._heard:
            await self._more()

    def leave(self) -> None:
        """End the connection at once."""
        self.transport.abortConnection()  # type: ignore[union-attr]

    async def _until(self, end: bytes) -> bytes:
        while end not in self._heard:
            await self._more()
        found, _, self._heard = self._heard.partition(end)
        return found

    async def _take(self, length: int) -> bytes:
        while len(self._heard) < length:
            await self._more()
        taken, self._heard = self._heard[:length], self._heard[length:]
        return taken

    async def _chunks(self) -> bytes:
        body = b""
        while size := int(await self._until(b"\r\n"), 16):
            body += await self._take(size)
            await self._until(b"\r\n")
        await self._until(b"\r\n")
        return body

    async def _more(self) -> None:
        if self.lost.called:
            raise ConnectionEnded(self._heard[:200])
        self._waiting = Deferred()
        await self._waiting

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)
