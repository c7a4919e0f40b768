"""People and rooms on a homeserver."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from synapse.api.constants import EventTypes
from synapse.storage.database import LoggingTransaction
from synapse.types import Requester, UserID, create_requester

from synapse_scim.accounts import LostRoom, Membership
from synapse_scim.homeserver.rooms import Rooms
from tests.support.homeserver import LocalHomeserver
from tests.web.clients import until

T = TypeVar("T")


class Town:
    """What people of a homeserver do with rooms, and what this module does for them."""

    def __init__(self, homeserver: LocalHomeserver) -> None:
        """Act on a homeserver."""
        self.homeserver = homeserver
        self.hs = homeserver.hs
        self.store = homeserver.hs.get_datastores().main
        self.rooms = Rooms(homeserver.hs)

    async def people(self, *localparts: str) -> tuple[str, ...]:
        """Register accounts; return their user IDs."""
        return tuple([await self.homeserver.register(localpart) for localpart in localparts])

    async def room(self, creator: str, *members: str, **config: Any) -> str:
        """Make a room, by default of version 11 and one that only the invited may join, and let others join it."""
        config = {"preset": "private_chat", "room_version": "11", "invite": list(members), **config}
        handler = self.hs.get_room_creation_handler()
        room_id, _, _ = await handler.create_room(self._by(creator), config, ratelimit=False)
        for member in members:
            await self.change(member, member, room_id, "join")
        return room_id

    async def change(self, sender: str, user_id: str, room_id: str, action: str) -> None:
        """Let somebody change a membership: `join`, `leave`, `invite`, `kick`, `ban`."""
        await self.hs.get_room_member_handler().update_membership(
            self._by(sender), UserID.from_string(user_id), room_id, action, ratelimit=False
        )

    async def membership(self, user_id: str, room_id: str) -> str | None:
        """Return what somebody is to a room."""
        membership, _ = await self.store.get_local_current_membership_for_user_in_room(user_id, room_id)
        return membership

    async def power_levels(self, room_id: str) -> dict[str, Any]:
        """Return the power levels of a room."""
        state = self.hs.get_storage_controllers().state
        event = await state.get_current_state_event(room_id, EventTypes.PowerLevels, "")
        assert event is not None
        return dict(event.content)

    async def set_power(self, sender: str, user_id: str, room_id: str, level: int) -> None:
        """Let somebody change a power level."""
        content = await self.power_levels(room_id)
        content["users"] = {**content["users"], user_id: level}
        await self.hs.get_event_creation_handler().create_and_send_nonmember_event(
            self._by(sender),
            {"type": EventTypes.PowerLevels, "state_key": "", "room_id": room_id, "sender": sender, "content": content},
            ratelimit=False,
        )

    async def memberships(self, user_id: str) -> tuple[Membership, ...]:
        """Return somebody's rooms as the module records them."""
        return await self.run(lambda txn: self.rooms.memberships(txn, user_id))

    async def run(self, function: Callable[[LoggingTransaction], T]) -> T:
        """Run a function in a transaction."""
        return await self.store.db_pool.runInteraction("test", function)

    async def deactivate(self, user_id: str) -> None:
        """Deactivate an account, as an administrator."""
        await self.hs.get_deactivate_account_handler().deactivate_account(
            user_id, erase_data=False, requester=self._by(user_id), by_admin=True
        )

    async def parted(self, user_id: str) -> None:
        """Wait until Synapse has taken an account out of its rooms."""

        async def is_over() -> bool:
            return not await self.rooms.is_parting(user_id)

        await until(is_over)

    async def leave(self, user_id: str) -> tuple[Membership, ...]:
        """Off-board somebody; return what was recorded of their rooms."""
        recorded = await self.memberships(user_id)
        await self.deactivate(user_id)
        await self.parted(user_id)
        return recorded

    async def come_back(self, user_id: str, recorded: tuple[Membership, ...]) -> tuple[LostRoom, ...]:
        """Bring somebody back; return the rooms that could not be given back."""
        await self.hs.get_deactivate_account_handler().activate_account(user_id)
        return await self.rooms.give_back(user_id, recorded)

    def _by(self, user_id: str) -> Requester:
        return create_requester(user_id)
