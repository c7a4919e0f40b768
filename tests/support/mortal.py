"""The module, on a homeserver that can be told to die at a chosen step of a request."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import attrs
from synapse.module_api import SynapseRequest
from twisted.internet.defer import Deferred

from synapse_scim.application import Application, account_gateway, build
from synapse_scim.config import Config
from synapse_scim.homeserver import HomeServer
from synapse_scim.homeserver.database import HomeserverDatabase
from synapse_scim.mapping.identifiers import fold
from synapse_scim.module import ScimModule
from synapse_scim.resources.endpoint import Endpoint
from tests.support.failing import FailingDatabase, FailingGateway, Steps

WATCHED = "X-Watched"
"""The header of a request whose steps are wanted: the file to which their names are written, each on a line."""

FATAL = "X-Fatal"
"""The header of a request that is to be cut off: before which step, and in how many requests at once.

Each of them stops there, and when the last one has come that far, the process kills itself.
"""

CHANGES = "changes"
"""The file to which the names of all changes are written that are parts of transactions."""


class Watched:
    """The steps of one request."""

    def __init__(self, taken: Path | None, fatal: str | None) -> None:
        """Write down what is taken, or die, as the headers say."""
        self._taken = taken
        self._count = 0
        self._last: int | None = None
        self._together = 0
        if fatal:
            self._last, self._together = map(int, fatal.split())

    async def take(self, name: str, step: Callable[[], Any]) -> Any:
        """Take a step, unless it is the one to die before."""
        if self._count == self._last:
            await _die(self._together)
        self._count += 1
        if self._taken is not None:
            _write_down(self._taken, name)
        return await step()


_present: ContextVar[Watched | None] = ContextVar("present", default=None)
_waiting: list[Deferred[None]] = []


async def _die(together: int) -> None:
    """Stop for ever; with the last one to do so the process ends."""
    _waiting.append(Deferred())
    if len(_waiting) == together:
        os.kill(os.getpid(), signal.SIGKILL)
    await _waiting[-1]


def _write_down(path: Path, name: str) -> None:
    with path.open("a") as file:
        file.write(f"{name}\n")


class MortalSteps(Steps):
    """The steps of each request that is watched; nothing else counts."""

    async def take(self, name: str, step: Callable[[], Any]) -> Any:
        """Take a step of the present request."""
        watched = _present.get()
        return await (step() if watched is None else watched.take(name, step))


class MortalGateway(FailingGateway):
    """The real gateway, whose changes within transactions are written down too."""

    def apply(self, txn: Any, user_id: str, change: Any) -> None:
        """Make a change, and write down its name."""
        self._gateway.apply(txn, user_id, change)
        _write_down(Path(CHANGES), type(change).__name__)


class MortalEndpoint(Endpoint):
    """The real endpoint, which looks whether a request is watched."""

    async def serve(self, request: SynapseRequest, prefix: str) -> None:
        """Answer a request, or die on the way."""
        taken, fatal = request.getHeader(WATCHED), request.getHeader(FATAL)
        _present.set(Watched(Path(taken) if taken else None, fatal) if taken or fatal else None)
        await super().serve(request, prefix)


class MortalScimModule(ScimModule):
    """SCIM whose steps can be watched and cut off."""

    def _build(self, config: Config, hs: HomeServer) -> Application:
        steps = MortalSteps()
        application = build(
            config,
            hs,
            gateway=MortalGateway(account_gateway(config, hs), steps),
            database=FailingDatabase(HomeserverDatabase(hs, fold), steps),
        )
        parts = {field.name: getattr(application.endpoint, field.name) for field in attrs.fields(Endpoint)}
        return attrs.evolve(application, endpoint=MortalEndpoint(**parts))
