"""The end of a process."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

if TYPE_CHECKING:
    from synapse.server import HomeServer


def finish_first(hs: HomeServer, end: Callable[[], Deferred[None]]) -> None:
    """Have a process that is told to end wait for something.

    Synapse has handlers for this, but does not wait for them.

    Args:
        hs: The homeserver.
        end: A method, called when the process is told to end. Its object is not kept alive by that: a process may have
            homeservers one after the other.
    """
    method = weakref.WeakMethod(end)

    def before_shutdown() -> Deferred[None] | None:
        alive = method()
        return alive() if alive else None

    hs.get_reactor().addSystemEventTrigger("before", "shutdown", before_shutdown)
