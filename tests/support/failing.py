"""A homeserver that fails at a chosen step of a write, or dies there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal

from synapse_scim.accounts import Unavailable
from synapse_scim.database import Database

When = Literal["before", "after"]


class Crash(BaseException):
    """The process is gone: nothing that it would still do happens."""


class Steps:
    """Counts the steps of a write, and fails at one of them.

    A step is a transaction, or a call of the homeserver that is not part of one.
    """

    def __init__(self, *, fail_at: int | None = None, when: When = "before", crash: bool = False) -> None:
        """Choose where to fail.

        Args:
            fail_at: The number of the step, from 0; None to fail nowhere.
            when: Before the step has any effect, or after it had all.
            crash: Die there, instead of failing once.
        """
        self.taken: list[str] = []
        self._fail_at = fail_at
        self._when = when
        self._crash = crash
        self._dead = False

    async def take(self, name: str, step: Callable[[], Any]) -> Any:
        """Take a step, or fail."""
        if self._dead:
            raise Crash
        number = len(self.taken)
        self.taken.append(name)
        if number == self._fail_at and self._when == "before":
            self._fail()
        try:
            return await step()
        finally:
            # Whatever came of it: a step may refuse as well.
            if number == self._fail_at:
                self._fail()

    def _fail(self) -> None:
        if self._crash:
            self._dead = True
            raise Crash
        raise Unavailable("A step failed on purpose")


class FailingGateway:
    """The real gateway, whose coroutines are steps."""

    _STEPS = frozenset(
        {
            "register",
            "change_elsewhere",
            "change_profile",
            "check_deactivation",
            "finish",
            "give_up",
            "wait_until_parted",
        }
    )

    def __init__(self, gateway: Any, steps: Steps) -> None:
        """Wrap a gateway."""
        self._gateway = gateway
        self._steps = steps

    def __getattr__(self, name: str) -> Any:
        """Return what the gateway has, its steps counted."""
        attribute = getattr(self._gateway, name)
        if name not in self._STEPS:
            return attribute

        async def step(*arguments: Any) -> Any:
            label = type(arguments[-1]).__name__ if name in {"change_elsewhere", "change_profile", "finish"} else name
            return await self._steps.take(label, lambda: attribute(*arguments))

        return step


class FailingDatabase:
    """The real database, whose transactions are steps."""

    def __init__(self, database: Database, steps: Steps) -> None:
        """Wrap a database."""
        self._database = database
        self._steps = steps

    def __getattr__(self, name: str) -> Any:
        """Return what the database has."""
        return getattr(self._database, name)

    async def run(self, name: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run a transaction as a step."""
        return await self._steps.take(name, lambda: self._database.run(name, function, *args, **kwargs))

    def lock(self, user_id: str) -> AbstractAsyncContextManager[None]:
        """Hold the real lock."""
        return self._database.lock(user_id)
