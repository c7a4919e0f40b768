"""Remembers what an issuer publishes, so that it is asked seldom, and need not always be there."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from synapse_scim.accounts import Unavailable
from synapse_scim.web import WebClient, WebUnavailable

T = TypeVar("T")

FRESH_FOR = timedelta(minutes=10)
"""How long it is used without another look: what an issuer withdraws is good for as long."""

STALE_FOR = timedelta(days=1)
"""How long it is used while the issuer does not answer."""

RENEWED_AFTER = timedelta(seconds=10)
"""How much time is between two looks that tokens with an unknown key make: anybody can write such a token."""

RETRIED_AFTER = timedelta(seconds=5)
"""How much time is between two tries after a failure that leaves nothing to use."""

RETRIED_WHEN_STALE_AFTER = timedelta(minutes=1)
"""How much time is between two tries after a failure that leaves something older to use: requests wait for each."""

logger = logging.getLogger(__name__)


class Remembered(Generic[T]):
    """Something that an issuer publishes. It is fetched when it is first needed, not at the start."""

    def __init__(
        self, what: str, fetch: Callable[[], Awaitable[T]], web: WebClient, now: Callable[[], datetime]
    ) -> None:
        """Remember nothing yet.

        Args:
            what: What it is, for the log.
            fetch: Fetches it; may raise `WebUnavailable`.
            web: Sees to it that it is fetched once at a time.
            now: Returns the time.
        """
        self._what = what
        self._fetch = fetch
        self._web = web
        self._now = now
        self._last: tuple[datetime, T] | None = None
        self._is_being_fetched = False
        self._next_try: datetime | None = None
        self._next_renewal: datetime | None = None
        self._failed = False

    async def get(self) -> T:
        """Return it, as it is or was not long ago.

        Raises:
            Unavailable: It cannot be fetched, and nothing is remembered that is young enough.
        """
        if self._last is not None and self._age(self._last) <= FRESH_FOR:
            return self._last[1]
        if not self._waits(self._next_try):
            try:
                return await self._fetched()
            except WebUnavailable:
                pass
        if self._last is not None and self._age(self._last) <= STALE_FOR:
            return self._last[1]
        raise self._unavailable()

    async def renewed(self) -> T:
        """Return it as it is, since what is remembered will not do; or what is remembered, if that was tried just now.

        Raises:
            Unavailable: It cannot be fetched.
        """
        if not self._is_being_fetched:
            if self._waits(self._next_renewal) and not self._failed:
                return await self.get()
            if self._waits(self._next_renewal):
                raise self._unavailable()
            self._next_renewal = self._now() + RENEWED_AFTER
        try:
            return await self._fetched()
        except WebUnavailable:
            raise self._unavailable() from None

    async def _fetched(self) -> T:
        return await self._web.once(self, self._fetch_and_remember)

    async def _fetch_and_remember(self) -> T:
        self._is_being_fetched = True
        try:
            value = await self._fetch()
        except WebUnavailable as error:
            logger.warning("%s cannot be fetched: %s", self._what, error)
            self._failed = True
            self._next_try = self._now() + (RETRIED_AFTER if self._last is None else RETRIED_WHEN_STALE_AFTER)
            raise
        finally:
            self._is_being_fetched = False
        self._last = self._now(), value
        self._next_try, self._failed = None, False
        return value

    def _unavailable(self) -> Unavailable:
        return Unavailable(f"{self._what} cannot be fetched at the moment")

    def _age(self, last: tuple[datetime, T]) -> timedelta:
        return self._now() - last[0]

    def _waits(self, until: datetime | None) -> bool:
        return until is not None and self._now() < until
