"""What is being answered: a process that is told to end finishes it first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from synapse_scim.accounts import Unavailable

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

GRACE_S = 20.0
"""How long what is being answered may take. Whatever is cut off then is finished or undone by another process."""

LINGER_S = 0.1
"""How long the last answers, written a moment ago, have to leave the process."""


class Activity:
    """Counts the requests that are being answered, and lets none begin when the process is about to end."""

    def __init__(self, reactor: IReactorTime, *, grace_s: float = GRACE_S) -> None:
        """Count from nothing.

        Args:
            reactor: Tells when the grace is over.
            grace_s: For how many seconds to wait for what is being answered.
        """
        self._reactor = reactor
        self._grace_s = grace_s
        self._count = 0
        self._idle: Deferred[None] | None = None

    @property
    def is_ending(self) -> bool:
        """Whether the process is about to end."""
        return self._idle is not None

    def ensure_open(self) -> None:
        """Return if something new may begin.

        Raises:
            Unavailable: This process is about to end.
        """
        if self.is_ending:
            raise Unavailable("This process of the homeserver is being stopped; try again in a moment")

    @contextmanager
    def working(self) -> Iterator[None]:
        """Count what happens in the block."""
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1
            self._look()

    def until(self, sent: Deferred[None]) -> None:
        """Count an answer that is still being sent."""
        self._count += 1

        def over(_: object) -> None:
            self._count -= 1
            self._look()

        _ = sent.addBoth(over)

    def end(self) -> Deferred[None]:
        """Let nothing new begin, and return what fires when everything is answered, or the grace is over."""
        self._idle = Deferred()
        self._reactor.callLater(self._grace_s, self._stop)
        self._look()
        return self._idle

    def _look(self) -> None:
        if self.is_ending and not self._count:
            self._reactor.callLater(LINGER_S, self._stop)

    def _stop(self) -> None:
        if self._idle is not None and not self._idle.called:
            self._idle.callback(None)
