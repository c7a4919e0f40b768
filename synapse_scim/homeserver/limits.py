"""Synapse's own limiter of requests, as the module uses it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synapse.api.ratelimiting import Ratelimiter
from synapse.config.ratelimiting import RatelimitSettings

from synapse_scim.config import Rate

if TYPE_CHECKING:
    from synapse.server import HomeServer

_MOST = 100_000
_THE_OTHERS = ""
_SLOWEST = 0.01
"""Actions a second. Synapse's timer keeps an entry for every few seconds until what was counted is over."""


class Buckets:
    """Counts what is done, in this process alone. Implements `resources.limits.Buckets`.

    It is kept of at most so many who are counted; all further ones share one count.
    """

    def __init__(self, hs: HomeServer, *, most: int = _MOST) -> None:
        """Use a homeserver's clock.

        Args:
            hs: The homeserver.
            most: How many are told apart.
        """
        self._most = most
        self._clock = hs.get_clock()
        self._limiter = Ratelimiter(
            store=hs.get_datastores().main,
            clock=self._clock,
            cfg=RatelimitSettings(key="synapse_scim", per_second=1, burst_count=1),
        )

    async def take(self, key: str, rate: Rate) -> float:
        """Count an action, and return 0; or after how many seconds there is room for it."""
        return await self._take(self._told_apart(key), rate, 1)

    async def add(self, key: str, rate: Rate, actions: int) -> float:
        """Count further actions of one that was counted: they may go beyond the rate, but nothing more comes then.

        Returns:
            0 if they are counted; if others went beyond it before, after how many seconds they would be.
        """
        key = self._told_apart(key)
        wait_s = await self._take(key, rate, 0)
        if not wait_s:
            self._limiter.record_action(None, key, n_actions=actions)
        return wait_s

    def give_back(self, key: str) -> None:
        """Take back an action that was counted."""
        self._limiter.record_action(None, self._told_apart(key), n_actions=-1)

    async def _take(self, key: str, rate: Rate, actions: int) -> float:
        per_second = max(rate.per_second, _SLOWEST)
        allowed, _ = await self._limiter.can_do_action(
            None, key, rate_hz=per_second, burst_count=rate.burst_count, n_actions=actions
        )
        if allowed:
            return 0
        counted, since_s, _ = self._limiter.actions[key]
        present = counted - (self._clock.time() - since_s) * per_second
        return (present + actions - rate.burst_count) / per_second

    def _told_apart(self, key: str) -> str:
        return key if key in self._limiter.actions or len(self._limiter.actions) < self._most else _THE_OTHERS
