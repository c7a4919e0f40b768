"""What leaving takes away from Synapse's accounts, and how it is given back."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from synapse.api.errors import SynapseError
from synapse.util.duration import Duration

from synapse_scim.accounts import Belongings, ExternalId, Pusher, Threepid, Unavailable
from synapse_scim.database import Transaction
from synapse_scim.homeserver.pushers import Pushers
from synapse_scim.homeserver.rooms import Rooms
from synapse_scim.steps import HandOver, Reactivate, Rejoin, RemovePushers, RestorePushers

if TYPE_CHECKING:
    from synapse.server import HomeServer

logger = logging.getLogger(__name__)

_PARTING_S = 20.0
_PARTING_POLL_S = 0.1

_PUSHER_SETTINGS = (
    "kind",
    "app_id",
    "app_display_name",
    "device_display_name",
    "pushkey",
    "lang",
    "data",
    "profile_tag",
    "enabled",
)
"""The columns of Synapse's table of pushers, by the names that `PusherPool.add_or_update_pusher` gives them."""


class Departures:
    """Takes belongings away, and gives them back."""

    def __init__(self, hs: HomeServer) -> None:
        """Use a homeserver."""
        self._hs = hs
        self._store = hs.get_datastores().main
        self._rooms = Rooms(hs)
        self._pushers = Pushers(hs)
        self._parting_s = _PARTING_S

    def belongings(self, txn: Transaction, user_id: str) -> Belongings:
        """Return what an account has that off-boarding takes away."""
        txn.execute("SELECT medium, address FROM user_threepids WHERE user_id = ?", (user_id,))
        threepids = frozenset(Threepid(*row) for row in txn.fetchall())
        txn.execute("SELECT auth_provider, external_id FROM user_external_ids WHERE user_id = ?", (user_id,))
        external_ids = frozenset(ExternalId(*row) for row in txn.fetchall())
        txn.execute(
            f"SELECT device_id, {', '.join(_PUSHER_SETTINGS)} FROM pushers WHERE user_name = ? ORDER BY id",  # noqa: S608
            (user_id,),
        )
        return Belongings(
            threepids=threepids,
            external_ids=external_ids,
            pushers=tuple(_pusher(row) for row in txn.fetchall()),
            memberships=self._rooms.memberships(txn, user_id),
        )

    async def wait_until_parted(self, user_id: str) -> None:
        """Wait for Synapse to take a deactivated account out of its rooms, as it does in the background.

        Raises:
            Unavailable: That takes longer than a client would wait.
        """
        clock = self._hs.get_clock()
        deadline = clock.time() + self._parting_s
        while await self._rooms.is_parting(user_id):
            if clock.time() > deadline:
                raise Unavailable(f"{user_id} is still being taken out of its rooms; try again later", retry_after_s=60)
            await clock.sleep(Duration(seconds=_PARTING_POLL_S))

    async def finish(
        self, user_id: str, change: RemovePushers | RestorePushers | Reactivate | Rejoin | HandOver
    ) -> tuple[str, ...]:
        """Make a change that nothing undoes, and return the kinds of belongings that could not be given back."""
        lost: tuple[str, ...] = ()
        match change:
            case RemovePushers():
                await self._remove_pushers(user_id)
            case RestorePushers(pushers):
                lost = await self._restore_pushers(user_id, pushers)
            case Reactivate():
                await self._hs.get_deactivate_account_handler().activate_account(user_id)
            case Rejoin(memberships):
                for room in await self._rooms.give_back(user_id, memberships):
                    logger.warning("%s could not be brought back into %s: %s", user_id, room.room_id, room.reason)
                    lost = ("rooms",)
            case _:
                for successor in change.successors:
                    for room_id in await self._rooms.hand_over(user_id, successor):
                        logger.info("%s is an administrator of %s now, as %s leaves", successor, room_id, user_id)
        return lost

    async def _remove_pushers(self, user_id: str) -> None:
        # One by one: what removes them all leaves those running that run in this process.
        for pusher in await self._store.get_pushers_by_user_id(user_id):
            await self._hs.get_pusherpool().remove_pusher(pusher.app_id, pusher.pushkey, user_id)

    async def _restore_pushers(self, user_id: str, pushers: Iterable[Pusher]) -> tuple[str, ...]:
        """Restore the pushers whose devices are still there; those of e-mail have none."""
        lost: tuple[str, ...] = ()
        devices = await self._store.get_devices_by_user(user_id)
        for pusher in pushers:
            if pusher.device_id is not None and pusher.device_id not in devices:
                continue
            try:
                await self._pushers.add(user_id, {"device_id": pusher.device_id, **pusher.settings})
            except SynapseError as error:
                # Somebody else may have the address of one that sends e-mail.
                logger.warning("A pusher of %s could not be restored: %s", user_id, error)
                lost = ("pushers",)
        return lost


def _pusher(row: tuple[Any, ...]) -> Pusher:
    device_id, *values = row
    settings = dict(zip(_PUSHER_SETTINGS, values, strict=True))
    settings["data"] = json.loads(settings["data"]) if settings["data"] else {}
    settings["enabled"] = bool(settings["enabled"])
    return Pusher(device_id=device_id, settings=settings)
