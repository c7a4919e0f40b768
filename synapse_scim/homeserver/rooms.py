"""The rooms of those who leave, and of those who come back."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from synapse.api.constants import EventTypes
from synapse.api.constants import Membership as RoomMembership
from synapse.api.errors import HttpResponseException, SynapseError
from synapse.event_auth import (
    get_named_level,
    get_power_level_event,
    get_send_level,
    get_user_power_level,
    is_creator,
)
from synapse.types import UserID, create_requester
from synapse.types.state import StateFilter

from synapse_scim.accounts import LostRoom, Membership, Unavailable
from synapse_scim.database import Transaction

if TYPE_CHECKING:
    from synapse.events import EventBase
    from synapse.server import HomeServer
    from synapse.types import Requester, StateMap

ADMINISTRATOR = 100
"""The power level of those who may do everything in a room."""

_SERVER_ERROR = 500

_POWERS = StateFilter.from_types([(EventTypes.Create, ""), (EventTypes.PowerLevels, "")])


class Rooms:
    """Takes people back into rooms, and hands rooms over, through Synapse's own handlers."""

    def __init__(self, hs: HomeServer) -> None:
        """Use a homeserver."""
        self._hs = hs
        # mypy does not understand the methods that Synapse caches.
        self._store: Any = hs.get_datastores().main
        self._state = hs.get_storage_controllers().state

    # -- Recording ------------------------------------------------------------

    def memberships(self, txn: Transaction, user_id: str) -> tuple[Membership, ...]:
        """Return the rooms that an account is joined to, with its power levels, by one query.

        The power of a room's creators in rooms of version 12 and later is not among the levels: it cannot be lost.
        """
        txn.execute(
            "SELECT m.room_id, e.json FROM local_current_membership m"
            " LEFT JOIN current_state_events s"
            " ON s.room_id = m.room_id AND s.type = 'm.room.power_levels' AND s.state_key = ''"
            " LEFT JOIN event_json e ON e.event_id = s.event_id"
            " WHERE m.user_id = ? AND m.membership = 'join' ORDER BY m.room_id",
            (user_id,),
        )
        return tuple(
            Membership(room_id=room_id, power_level=_level_in(json.loads(event)["content"], user_id) if event else 0)
            for room_id, event in txn.fetchall()
        )

    async def is_parting(self, user_id: str) -> bool:
        """Tell whether Synapse is still taking a deactivated account out of its rooms, in the background."""
        return (
            await self._store.db_pool.simple_select_one_onecol(
                "users_pending_deactivation", {"user_id": user_id}, "1", allow_none=True, desc="synapse_scim_parting"
            )
            is not None
        )

    # -- Coming back ----------------------------------------------------------

    async def give_back(self, user_id: str, memberships: Iterable[Membership]) -> tuple[LostRoom, ...]:
        """Bring an account that is active again back into its rooms, and restore its power levels.

        A room from which somebody removed or banned the person is not one of them any more. Where they may not join by
        themselves, somebody of the room on this server invites them. Repeating this does no harm.

        Returns:
            What could not be given back, and why.

        Raises:
            Unavailable: A process of the homeserver did not answer; everything else was given back.
        """
        lost: list[LostRoom] = []
        unavailable: Exception | None = None
        for membership in memberships:
            try:
                reason = await self._give_back(user_id, membership)
            except HttpResponseException as error:
                unavailable = error
                continue
            except SynapseError as error:
                if error.code >= _SERVER_ERROR:
                    unavailable = error
                    continue
                reason = error.msg
            if reason is not None:
                lost.append(LostRoom(room_id=membership.room_id, reason=reason))
        if unavailable is not None:
            raise Unavailable("A process of the homeserver does not answer") from unavailable
        return tuple(lost)

    async def _give_back(self, user_id: str, membership: Membership) -> str | None:
        """Bring an account back into one room, or return why that cannot be."""
        room_id = membership.room_id
        present, event_id = await self._store.get_local_current_membership_for_user_in_room(user_id, room_id)
        if present == RoomMembership.BAN:
            return "the person was banned"
        if present == RoomMembership.LEAVE and event_id is not None:
            left = await self._store.get_event(event_id, allow_none=True)
            if left is not None and left.sender != user_id:
                return "the person was removed from it"
        if present != RoomMembership.JOIN and not await self._join(user_id, room_id):
            return "nobody on this server can let the person in"
        return await self._restore_power(user_id, membership)

    async def _join(self, user_id: str, room_id: str) -> bool:
        """Join a room, by invitation if need be."""
        try:
            await self._set_membership(user_id, user_id, room_id, RoomMembership.JOIN)
        except SynapseError as error:
            if error.code >= _SERVER_ERROR:
                raise
        else:
            return True
        powers = await self._powers(room_id)
        for inviter in await self._able(room_id, powers, get_named_level(powers, "invite", 0)) if powers else ():
            try:
                await self._set_membership(inviter, user_id, room_id, RoomMembership.INVITE)
                await self._set_membership(user_id, user_id, room_id, RoomMembership.JOIN)
            except SynapseError as error:
                if error.code >= _SERVER_ERROR:
                    raise
            else:
                return True
        return False

    async def _restore_power(self, user_id: str, membership: Membership) -> str | None:
        """Give an account its power level in a room again, or return why that cannot be."""
        room_id = membership.room_id
        powers = await self._powers(room_id)
        if get_user_power_level(user_id, powers) >= membership.power_level:
            return None
        needed = max(membership.power_level, _level_to_change_powers(powers))
        for giver in await self._able(room_id, powers, needed):
            await self._set_power(giver, user_id, room_id, powers, membership.power_level)
            return None
        return f"its power level {membership.power_level} could not be restored: nobody on this server may"

    # -- Handing over ---------------------------------------------------------

    async def hand_over(self, user_id: str, successor: str) -> tuple[str, ...]:
        """Make a successor an administrator of the rooms whose last one the account is. Repeating this does no harm.

        Args:
            user_id: The account; what happens to the rooms is its doing.
            successor: Another account of this server, which takes over where it is a member.

        Returns:
            The rooms that were handed over.

        Raises:
            Unavailable: A process of the homeserver did not answer.
        """
        handed_over = []
        for room_id in await self._store.get_rooms_for_user(user_id):
            members = frozenset(await self._store.get_users_in_room(room_id))
            powers = await self._powers(room_id)
            if successor not in members or not _is_last_administrator(user_id, members, powers):
                continue
            try:
                await self._set_power(user_id, successor, room_id, powers, ADMINISTRATOR)
            except SynapseError as error:
                if error.code >= _SERVER_ERROR:
                    raise Unavailable("A process of the homeserver does not answer") from error
                continue
            handed_over.append(room_id)
        return tuple(handed_over)

    # -- Steps ----------------------------------------------------------------

    async def _powers(self, room_id: str) -> StateMap[EventBase]:
        """Return the state of a room that says who may do what; empty if the server does not know the room any more."""
        return await self._state.get_current_state(room_id, _POWERS)

    async def _able(self, room_id: str, powers: StateMap[EventBase], level: int) -> list[str]:
        """Return the people of this server, in a room, who have a power level and can use it; the mightiest first."""
        able = [
            (power, user_id)
            for user_id in await self._store.get_local_users_in_room(room_id)
            if (power := get_user_power_level(user_id, powers)) >= level
        ]
        found = []
        for _, user_id in sorted(able, reverse=True):
            account = await self._store.get_user_by_id(user_id)
            if account is not None and not (account.is_deactivated or account.locked or account.suspended):
                found.append(user_id)
        return found

    async def _set_membership(self, sender: str, user_id: str, room_id: str, membership: str) -> None:
        await self._hs.get_room_member_handler().update_membership(
            self._requester(sender),
            UserID.from_string(user_id),
            room_id,
            membership,
            ratelimit=False,
            require_consent=False,
        )

    async def _set_power(
        self, sender: str, user_id: str, room_id: str, powers: StateMap[EventBase], level: int
    ) -> None:
        event = get_power_level_event(powers)
        content: dict[str, Any] = dict(event.content) if event else {}
        content["users"] = {**content.get("users", {}), user_id: level}
        await self._hs.get_event_creation_handler().create_and_send_nonmember_event(
            self._requester(sender),
            {
                "type": EventTypes.PowerLevels,
                "room_id": room_id,
                "sender": sender,
                "state_key": "",
                "content": content,
            },
            ratelimit=False,
        )

    def _requester(self, user_id: str) -> Requester:
        return create_requester(user_id, authenticated_entity=self._hs.hostname)


def _level_in(content: dict[str, Any], user_id: str) -> int:
    """Return the power level that an event gives to somebody. Old rooms write levels as text."""
    try:
        return int(content.get("users", {}).get(user_id, content.get("users_default", 0)))
    except (AttributeError, TypeError, ValueError):
        return 0


def _level_to_change_powers(powers: StateMap[EventBase]) -> int:
    return get_send_level(EventTypes.PowerLevels, "", get_power_level_event(powers))


def _is_last_administrator(user_id: str, members: frozenset[str], powers: StateMap[EventBase]) -> bool:
    create = powers.get((EventTypes.Create, ""))
    if create is None or get_user_power_level(user_id, powers) < ADMINISTRATOR:
        return False
    event = get_power_level_event(powers)
    named = event.content.get("users", {}) if event else {}
    if event is not None and _level_in(dict(event.content), "") >= ADMINISTRATOR:
        return members == {user_id}
    mighty = {member for member in members if member in named or is_creator(create, member)}
    return not any(get_user_power_level(member, powers) >= ADMINISTRATOR for member in mighty - {user_id})
