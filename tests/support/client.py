"""An HTTP client for tests that sends what it is told to, and nothing else."""

from __future__ import annotations

import json as json_module
from collections.abc import Mapping
from io import BytesIO
from typing import Any
from urllib.parse import urlencode

import attrs
import treq
from twisted.internet import reactor
from twisted.web.client import Agent, FileBodyProducer, HTTPConnectionPool
from twisted.web.http_headers import Headers

from tests.support.confidential import keep_request_secret


@attrs.frozen(kw_only=True)
class Response:
    """An answer."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case; the values of a name that came more than once are joined by a comma."""

    body: bytes

    @property
    def json(self) -> Any:
        """The body, which must be JSON."""
        return json_module.loads(self.body)


class ScimClient:
    """Sends SCIM requests to a homeserver, each on a connection of its own, which ends with it.

    It asks Twisted's `Agent` and not treq, which encodes a URL anew and hides that an answer came compressed.
    """

    def __init__(self, base_url: str, token: str | None, prefix: str = "/_scim") -> None:
        """Send requests to the paths under a prefix.

        Args:
            base_url: The address of a listener, without a slash at its end.
            token: The bearer token; None to send none.
            prefix: What every path begins with.
        """
        self._root = base_url + prefix
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._agent = Agent(reactor, pool=HTTPConnectionPool(reactor, persistent=False))

    async def request(
        self,
        method: str,
        path: str,
        json: Any = None,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str | None] | None = None,
        params: Mapping[str, str | int] | None = None,
    ) -> Response:
        """Send a request and return the whole answer. Redirects are not followed.

        Args:
            method: The method.
            path: What follows the prefix, sent exactly as it stands: it is percent-encoded already.
            json: The body, as a value; sent as `application/scim+json`.
            body: The body, as bytes; sent without a `Content-Type` unless `headers` has one.
            headers: More headers, which stand in place of the client's own; None takes one away.
            params: The query, not encoded yet.
        """
        sent: dict[str, str | None] = {"Accept": "application/scim+json", **self._headers}
        if json is not None:
            body = json_module.dumps(json).encode()
            sent["Content-Type"] = "application/scim+json"
        sent |= headers or {}
        keep_request_secret(sent, body)
        query = f"?{urlencode(params)}" if params else ""
        answer = await self._agent.request(
            method.encode(),
            f"{self._root}{path}{query}".encode(),
            Headers({name: [value] for name, value in sent.items() if value is not None}),
            None if body is None else FileBodyProducer(BytesIO(body)),
        )
        parts: list[bytes] = []
        await treq.collect(answer, parts.append)
        return Response(
            status=answer.code,
            headers={
                name.decode().lower(): b", ".join(values).decode() for name, values in answer.headers.getAllRawHeaders()
            },
            body=b"".join(parts),
        )
