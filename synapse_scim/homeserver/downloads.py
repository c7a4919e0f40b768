"""Receives what other servers answer: a body up to a limit, and words for what went wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from synapse.logging.context import PreserveLoggingContext
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.error import ConnectError, ConnectingCancelledError, ConnectionClosed, DNSLookupError
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.python.reflect import fullyQualifiedName
from twisted.web.client import RequestTransmissionFailed, ResponseDone, ResponseFailed
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import UNKNOWN_LENGTH

if TYPE_CHECKING:
    from twisted.internet.interfaces import IPushProducer
    from twisted.web.iweb import IResponse

_TOO_LATE = (DeferredTimeoutError, CancelledError, ConnectingCancelledError)

DOWNLOAD_ERRORS = (
    *_TOO_LATE,
    ConnectError,
    ConnectionClosed,
    DNSLookupError,
    RequestTransmissionFailed,
    ResponseFailed,
)
"""What Twisted raises where another server does not answer, or not to the end."""


def reason(error: Exception) -> str:
    """Return what happened, in words that name no URL."""
    reasons = getattr(error, "reasons", None)
    if reasons:
        return reason(reasons[0].value)
    return "it did not arrive in time" if isinstance(error, _TOO_LATE) else fullyQualifiedName(type(error))


def read_body(response: IResponse, limit: int, too_large: Exception) -> Deferred[bytes]:
    """Return a body.

    Args:
        response: The answer.
        limit: How many bytes it may have.
        too_large: What is raised if it has more; the rest is not received.
    """
    body = _Body(limit, too_large)
    response.deliverBody(body)
    if response.length != UNKNOWN_LENGTH and response.length > limit:
        body.refuse()
    return body.received


def hang_up(response: IResponse) -> None:
    """End the connection of an answer whose body nobody wants."""
    response.deliverBody(_HangUp())


class _HangUp(Protocol):
    """Receives a body that nobody wants."""

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        """End the connection, which would else wait for somebody to take the body."""
        _end(self)


class _Body(Protocol):
    """Receives a body, and nothing beyond a limit."""

    def __init__(self, limit: int, too_large: Exception) -> None:
        self.received: Deferred[bytes] = Deferred(lambda _: _end(self))
        self._limit = limit
        self._too_large = too_large
        self._content = bytearray()

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """Keep what arrives."""
        if self.received.called:
            return
        self._content += data
        if len(self._content) > self._limit:
            self.refuse()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802 - Twisted's name
        """Pass on the body, or what cut it off."""
        # A body without a length ends with its connection.
        whole = reason.check(ResponseDone, PotentialDataLoss)
        self._finish(bytes(self._content) if whole else reason)

    def refuse(self) -> None:
        """End the connection: there is too much."""
        self._finish(Failure(self._too_large))
        _end(self)

    def _finish(self, result: bytes | Failure) -> None:
        if not self.received.called:
            with PreserveLoggingContext():
                self.received.callback(result)


def _end(protocol: Protocol) -> None:
    # The transport of a body can neither abort nor, while the other side goes on sending, lose the connection.
    cast("IPushProducer", protocol.transport).stopProducing()
