"""Carries out a plan."""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from itertools import takewhile
from threading import current_thread, main_thread

import attrs

from synapse_scim.client.ledger import Ledger, Step, Verdict
from synapse_scim.client.plans import LEAVING
from synapse_scim.client.server import LATER, Refused, Server
from synapse_scim.client.trouble import Trouble

SLICE = 100
"""How many changes go into one request: as fast as more of them, and an interruption has less to wait for."""

_ORDER = (Verdict.adopted, Verdict.created, Verdict.changed, Verdict.disabled, Verdict.off_boarded)
"""Who is adopted may have what others need; whom the guard may hold back comes last."""

_OVERHEAD = 200
"""How many bytes surround the changes in a request, at most, for each of them."""


@attrs.frozen(kw_only=True)
class Limits:
    """What one request may hold.

    Attributes:
        operations: How many changes; 0 for a server without bulk requests.
        size: How many bytes.
    """

    operations: int
    size: int

    @classmethod
    def of(cls, server: Server) -> Limits:
        """Return those of a server, as it announces them."""
        bulk = server.get("/ServiceProviderConfig").get("bulk") or {}
        if not bulk.get("supported"):
            return cls(operations=0, size=0)
        return cls(operations=min(SLICE, bulk["maxOperations"]), size=bulk["maxPayloadSize"])


@attrs.define
class Import:
    """A plan on its way.

    Attributes:
        done: How many steps are done, by verdict.
        refused: What the server refused, and why.
        held_back: How many the guard keeps from leaving.
        stopped: Somebody wants it to end after the request that is under way: what the server has begun, it finishes.
    """

    _ledger: Ledger
    _server: Server
    _limits: Limits
    done: Counter[Verdict] = attrs.field(factory=Counter, init=False)
    refused: list[Step] = attrs.field(factory=list, init=False)
    held_back: int = attrs.field(default=0, init=False)
    stopped: bool = attrs.field(default=False, init=False)

    def run(self, tell: Callable[[int], None]) -> None:
        """Do what there is to do, until it is stopped.

        Args:
            tell: Told how many more steps are done, for a progress bar.

        Raises:
            Trouble: The server answers no longer. What is done is done, and the next run does the rest.
        """
        slices = _slices(self._ledger.steps(_ORDER), self._limits)
        for steps in takewhile(lambda _: not self.stopped, slices):
            going = self._without_leavers(steps) if self.held_back else steps
            for step, refusal in zip(going, self._send(going), strict=True):
                self._note(step, refusal)
            tell(len(steps))

    def _without_leavers(self, steps: list[Step]) -> list[Step]:
        """Take those out whom the guard would hold back: it has said so of others."""
        staying = [step for step in steps if step.verdict not in LEAVING]
        self.held_back += len(steps) - len(staying)
        return staying

    def _send(self, steps: Sequence[Step]) -> Iterator[Refused | None]:
        """Ask for some steps, and yield what the server says against each."""
        if self._limits.operations == 0 or len(steps) <= 1:
            yield from map(self._send_one, steps)
            return
        try:
            outcomes = self._server.bulk([step.operation for step in steps])
        except Refused as error:
            raise Trouble(f"The server refuses the changes (HTTP {error.status}): {error}") from None
        for step, outcome in zip(steps, outcomes, strict=True):
            # A bulk request does not tell how long to wait; one of its own waits, or learns that it is too long.
            yield self._send_one(step) if outcome is not None and outcome.status in LATER else outcome

    def _send_one(self, step: Step) -> Refused | None:
        if self.held_back and step.verdict in LEAVING:
            return Refused(HTTPStatus.TOO_MANY_REQUESTS, "", too_long=True)
        try:
            self._server.request(step.operation)
        except Refused as error:
            return error
        return None

    def _note(self, step: Step, refusal: Refused | None) -> None:
        if refusal is None:
            self.done[step.verdict] += 1
        elif refusal.too_long and step.verdict in LEAVING:
            self.held_back += 1
        else:
            self.refused.append(attrs.evolve(step, why=f"{refusal} (HTTP {refusal.status})"))


@contextmanager
def stopping(importing: Import, tell: Callable[[], None]) -> Iterator[None]:
    """Let Ctrl-C stop an import in good order, and at once if it is pressed again.

    Args:
        importing: The import that runs in the block.
        tell: Called at the first Ctrl-C.
    """

    def stop(_number: int, _frame: object) -> None:
        importing.stopped = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        tell()

    if current_thread() is not main_thread():
        # Signals are for the main thread alone.
        yield
        return
    former = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)


def _slices(steps: Iterable[Step], limits: Limits) -> Iterator[list[Step]]:
    """Cut steps into what fits into one request each."""
    part: list[Step] = []
    size = 0
    for step in steps:
        added = len(json.dumps(attrs.asdict(step.operation))) + _OVERHEAD
        if part and (len(part) >= limits.operations or size + added > limits.size):
            yield part
            part, size = [], 0
        part.append(step)
        size += added
    if part:
        yield part
