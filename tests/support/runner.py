"""Coroutines run from code that is none."""

from __future__ import annotations

from collections.abc import Coroutine
from contextvars import copy_context
from typing import Any, TypeVar, cast

from pytest_twisted import blockon
from twisted.internet.defer import ensureDeferred

T = TypeVar("T")


class BlockingRunner:
    """Runs coroutines in the reactor, one after the other, and waits for each: `asyncio.Runner`, for Twisted.

    Like there, what one coroutine sets in its context (`contextvars`) the next one finds.

    Only for code outside the reactor: synchronous fixtures, and tests marked `blocking`.
    """

    def __init__(self) -> None:
        """Begin with a copy of the present context."""
        self._context = copy_context()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Return what the coroutine returns, or raise what it raises."""
        return cast("T", blockon(self._context.run(ensureDeferred, self._run(coroutine))))

    async def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        try:
            return await coroutine
        finally:
            self._context = copy_context()
