"""Asks other servers, through Synapse's own HTTP client: with its proxy, and the certificates that it trusts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Mapping
from http import HTTPStatus
from io import BytesIO
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode

from synapse.http.client import QuieterFileBodyProducer
from synapse.logging.context import make_deferred_yieldable, run_in_background
from synapse.util.async_helpers import ObservableDeferred, timeout_deferred
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse

from synapse_scim.homeserver.downloads import DOWNLOAD_ERRORS, hang_up, read_body, reason
from synapse_scim.web import WebUnavailable

if TYPE_CHECKING:
    from synapse.server import HomeServer

T = TypeVar("T")

_Headers = dict[bytes, list[bytes]]

MAX_SIZE = 256 * 1024
"""How large an answer may be, in bytes."""


class HomeserverWebClient:
    """Asks the servers that the configuration names, which may be in the homeserver's own network."""

    def __init__(self, hs: HomeServer, *, deadline_s: float = 10.0) -> None:
        """Use a homeserver's client.

        Args:
            hs: The homeserver.
            deadline_s: How long an answer may take, connecting included.
        """
        client = hs.get_proxied_http_client()
        # The agent below it: the client itself logs URLs, follows redirects, and takes bodies of any size.
        self._agent = client.agent
        self._headers = {b"User-Agent": [client.user_agent], b"Accept": [b"application/json"]}
        self._clock = hs.get_clock()
        self._deadline_s = deadline_s
        self._running: dict[Hashable, ObservableDeferred[Any]] = {}

    async def get(self, url: str) -> bytes:
        """Return the body of the answer to a GET.

        Raises:
            WebUnavailable: There is no answer, or another one than 200, or a large one.
        """
        return await self._request(b"GET", url, {}, None)

    async def post(self, url: str, form: Mapping[str, str], authorization: str) -> bytes:
        """Return the body of the answer to a POST of a form.

        Raises:
            WebUnavailable: There is no answer, or another one than 200, or a large one.
        """
        headers = {
            b"Authorization": [authorization.encode("ascii")],
            b"Content-Type": [b"application/x-www-form-urlencoded"],
        }
        return await self._request(b"POST", url, headers, urlencode(form).encode("ascii"))

    async def once(self, key: Hashable, function: Callable[[], Awaitable[T]]) -> T:
        """Call a function, or wait for the call with the same key that is under way, and return what it returned."""
        running = self._running.get(key)
        if running is None:

            def forget(result: object) -> object:
                self._running.pop(key, None)
                return result

            called = run_in_background(function).addBoth(forget)
            running = ObservableDeferred(called, consumeErrors=True)
            if not called.called:
                self._running[key] = running
        result: T = await make_deferred_yieldable(running.observe())
        return result

    async def exchange(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> tuple[int, bytes]:
        """Return the status and the body of the answer to a request, whatever it is.

        Raises:
            WebUnavailable: There is no answer, or a large one.
        """
        given = {name.encode("ascii"): [value.encode("ascii")] for name, value in headers.items()}
        return await self._in_time(self._whole, method.encode("ascii"), url, given, body)

    async def _request(self, method: bytes, url: str, headers: _Headers, body: bytes | None) -> bytes:
        return await self._in_time(self._content, method, url, headers, body)

    async def _in_time(self, ask: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        asking = timeout_deferred(
            deferred=run_in_background(ask, *arguments), timeout=self._deadline_s, clock=self._clock
        )
        try:
            return await make_deferred_yieldable(asking)
        except DOWNLOAD_ERRORS as error:
            raise WebUnavailable(f"it does not answer: {reason(error)}") from error

    async def _content(self, method: bytes, url: str, headers: _Headers, body: bytes | None) -> bytes:
        response = await self._answer(method, url, headers, body)
        if response.code != HTTPStatus.OK:
            hang_up(response)
            raise WebUnavailable(f"it answers {response.code}", is_missing=response.code == HTTPStatus.NOT_FOUND)
        return await _body_of(response)

    async def _whole(self, method: bytes, url: str, headers: _Headers, body: bytes | None) -> tuple[int, bytes]:
        response = await self._answer(method, url, headers, body)
        return response.code, await _body_of(response)

    async def _answer(self, method: bytes, url: str, headers: _Headers, body: bytes | None) -> IResponse:
        response: IResponse = await make_deferred_yieldable(
            self._agent.request(
                method,
                url.encode("ascii"),
                Headers({**self._headers, **headers}),
                None if body is None else QuieterFileBodyProducer(BytesIO(body)),  # type: ignore[no-untyped-call]
            )
        )
        return response


async def _body_of(response: IResponse) -> bytes:
    too_large = WebUnavailable(f"it answers with more than {MAX_SIZE} bytes")
    return await make_deferred_yieldable(read_body(response, MAX_SIZE, too_large))
