"""Writes an answer of scim2-server to a Twisted request."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.protocols.basic import FileSender

from synapse_scim.protocol.presentation import encoded

if TYPE_CHECKING:
    from scim2_server.responses import ScimResponse
    from twisted.web.server import Request

_AT_ONCE = 64 * 1024
"""What is written in one go, in bytes. A larger body goes as fast as the client reads: written at once, it would start
the time-out for the connection's next request while the client is still busy with this one."""

_PART = 128 * 1024
"""What is handed over of such a body in one go, in bytes: as much as the reactor sends at once."""


def write_response(request: Request, response: ScimResponse, *, at_once: bool = True) -> Deferred[None] | None:
    """Send an answer, unless the client has gone.

    Args:
        request: The request.
        response: The answer.
        at_once: Leave a small body to the reactor. Otherwise what is returned fires when it has left the process.

    Returns:
        What fires when the answer is sent, or the client has gone; `None` if that is so already.
    """
    if request._disconnected:  # noqa: SLF001 - Twisted has no public way to ask
        return None
    request.setResponseCode(int(response.status))
    for name, value in response.headers.items():
        request.setHeader(name.encode("ascii"), value.encode("utf-8"))
    # What is said of people is not for caches to keep (RFC 7644 §7.5).
    request.setHeader(b"Cache-Control", b"no-store")
    if response.body is None:
        request.finish()
        return None
    body = encoded(response.body)
    request.setHeader(b"Content-Length", str(len(body)).encode())
    if at_once and len(body) <= _AT_ONCE:
        request.write(body)
        request.finish()
        return None
    sender = FileSender()
    sender.CHUNK_SIZE = _PART
    sent: Deferred[None] = sender.beginFileTransfer(BytesIO(body), request)
    _ = sent.addCallbacks(lambda _: request.finish(), lambda failure: failure.trap(Exception, ConnectionLost))
    return sent
