"""Clients that do not give up: what a process refuses for now, or dies of, is sent again to another one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence

import attrs
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.defer import TimeoutError as Late
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.internet.task import deferLater
from twisted.web.client import ResponseFailed

from tests.support.client import Response
from tests.web.clients import Scim, assert_error

REQUEST_S = 45
"""How long a request may take before it counts as hung."""

_ATTEMPTS = 600
_PAUSE_S = 0.1

Send = Callable[[Scim], Awaitable[Response]]


@attrs.define
class Load:
    """Requests that are sent again until they are answered for good.

    Attributes:
        scims: The processes, asked in turn.
        answers: How often each status was answered; 0 stands for a connection that was refused or cut.
        repeated: How often a request was sent again.
    """

    scims: Sequence[Scim]
    answers: Counter[int] = attrs.field(factory=Counter, init=False)
    _turn: int = attrs.field(default=0, init=False)

    async def insist(self, send: Send) -> Response:
        """Send a request until it is answered for good; a 503 must say when to ask again.

        Raises:
            TimeoutError: A request hung.
        """
        for _ in range(_ATTEMPTS):
            self._turn += 1
            scim = self.scims[self._turn % len(self.scims)]
            try:
                answered = await Deferred.fromCoroutine(_answer(send(scim))).addTimeout(REQUEST_S, reactor)
            except (ConnectError, ConnectionClosed, ResponseFailed):
                self.answers[0] += 1
            except Late:
                raise TimeoutError("a request hung") from None
            else:
                self.answers[answered.status] += 1
                if answered.status != 503:
                    return answered
                assert_error(answered, 503)
                assert int(answered.headers["retry-after"]) > 0
            await deferLater(reactor, _PAUSE_S)
        raise AssertionError(f"never answered for good: {self.answers}")

    async def run(self, jobs: Iterable[Callable[[], Awaitable[None]]], *, at_once: int) -> None:
        """Do jobs, several at once, in order."""
        queue = iter(list(jobs))

        async def work() -> None:
            for job in queue:
                await job()

        await gatherResults([Deferred.fromCoroutine(work()) for _ in range(at_once)])


async def _answer(request: Awaitable[Response]) -> Response:
    return await request
