"""A reverse proxy, and what administrators set wrong in theirs."""

from __future__ import annotations

from io import BytesIO
from typing import Any
from urllib.parse import unquote_to_bytes

import attrs
import treq
from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred, maybeDeferred
from twisted.web.client import Agent, FileBodyProducer, HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from tests.support.https import Answer

_FORWARDED = "X-Forwarded-For"


@attrs.frozen(kw_only=True)
class Habits:
    """What a reverse proxy does to requests and answers, beside passing them on.

    Attributes:
        strips_authorization: It takes the credential out.
        decodes_paths: It percent-decodes the path.
        appends_address: It appends the caller's address to `X-Forwarded-For`, where it should replace it.
        passes: How paths begin that it passes on; it answers others itself.
        methods: The methods that it passes on.
        date: The date of its answers, in place of the server's.
    """

    strips_authorization: bool = False
    decodes_paths: bool = False
    appends_address: bool = False
    passes: tuple[bytes, ...] = (b"/",)
    methods: frozenset[bytes] = frozenset({b"GET", b"POST", b"PUT", b"PATCH", b"DELETE"})
    date: str | None = None


class ReverseProxy(Resource):
    """A reverse proxy on a loopback port, from construction to `stop`. Its habits can be changed while it runs."""

    isLeaf = True

    def __init__(self, habits: Habits, interface: str = "127.0.0.1") -> None:
        """Start it on a free port of an interface."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.habits = habits
        self.target = 0
        """The port that requests are passed on to."""
        self.own: dict[bytes, Answer] = {}
        """What answers in the server's place, by path."""
        self.renames: tuple[bytes, bytes] = (b"", b"")
        """How a path begins here, and at the server."""
        self._agent = Agent(reactor, pool=HTTPConnectionPool(reactor, persistent=False))
        self._port = reactor.listenTCP(0, Site(self), interface=interface)  # type: ignore[arg-type]

    @property
    def url(self) -> str:
        """Its address, without a slash at its end."""
        address: Any = self._port.getHost()
        return f"http://{address.host}:{address.port}"

    def render(self, request: Request) -> int:
        """Pass a request on, and its answer back."""
        _ = ensureDeferred(self._pass_on(request)).addErrback(request.processingFailed)
        return NOT_DONE_YET

    async def stop(self) -> None:
        """Stop listening."""
        await maybeDeferred(self._port.stopListening)

    async def _pass_on(self, request: Request) -> None:
        habits = self.habits
        if request.path in self.own:
            self.own[request.path](request)
            return
        if request.method not in habits.methods or not request.uri.startswith(habits.passes):
            request.setResponseCode(405 if request.uri.startswith(habits.passes) else 404)
            request.setHeader("Content-Type", "text/html")
            request.write(b"<h1>Not here</h1>")
            request.finish()
            return
        headers = request.requestHeaders.copy()
        for of_this_connection in ("Content-Length", "Connection"):
            headers.removeHeader(of_this_connection)
        if habits.strips_authorization:
            headers.removeHeader("Authorization")
        caller: Any = request.getClientAddress()
        known = headers.getRawHeaders(_FORWARDED, []) if habits.appends_address else []
        headers.setRawHeaders(_FORWARDED, [", ".join([*known, caller.host])])
        path, mark, query = request.uri.replace(*self.renames, 1).partition(b"?")
        answer = await self._agent.request(
            request.method,
            f"http://127.0.0.1:{self.target}".encode()
            + (unquote_to_bytes(path) if habits.decodes_paths else path)
            + mark
            + query,
            headers,
            FileBodyProducer(BytesIO(request.content.read())) if request.content else None,
        )
        parts: list[bytes] = []
        await treq.collect(answer, parts.append)
        self._answer(request, answer.code, answer.headers, b"".join(parts))

    def _answer(self, request: Request, code: int, headers: Headers, body: bytes) -> None:
        request.setResponseCode(code)
        for name, values in headers.getAllRawHeaders():
            request.responseHeaders.setRawHeaders(name, values)
        if self.habits.date is not None:
            request.setHeader("Date", self.habits.date)
        request.setHeader("Content-Length", str(len(body)))
        request.write(body)
        request.finish()
