"""The rooms of an account that is off-boarded, and how it comes back into them."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING

from synapse import event_auth
from synapse.api.constants import EventTypes, JoinRules, RoomTypes
from synapse.api.constants import Membership as MembershipState
from synapse.api.errors import HttpResponseException, SynapseError
from synapse.api.room_versions import KNOWN_ROOM_VERSIONS
from synapse.events import EventBase, make_event_from_dict
from synapse.storage.database import make_in_list_sql_clause
from synapse.types import StateMap, UserID, create_requester
from synapse.types.state import StateFilter
from synapse.util.iterutils import batch_iter

from synapse_scim.accounts import LostRoom, Membership, Unavailable
from synapse_scim.database import Transaction

if TYPE_CHECKING:
    from synapse.server import HomeServer

logger = logging.getLogger(__name__)

_ADMIN_LEVEL = 100
"""The power level that Synapse gives to whoever makes a room."""

_CREATE = (EventTypes.Create, "")
_POWER_LEVELS = (EventTypes.PowerLevels, "")
_JOIN_RULES = (EventTypes.JoinRules, "")

_OPEN_JOIN_RULES = frozenset({JoinRules.PUBLIC, JoinRules.RESTRICTED, JoinRules.KNOCK_RESTRICTED})
"""The join rules that may let somebody in without an invitation."""

_ROOMS_PER_QUERY = 1000

_State = StateMap[EventBase]


class _Lost(Exception):
    """The room at hand cannot be given back; the text says why, and is safe to log."""


class Rooms:
    """Reads, gives back and hands over the rooms of accounts, through Synapse's own handlers."""

    def __init__(self, hs: HomeServer) -> None:
        """Use a homeserver."""
        self._hs = hs
        self._store = hs.get_datastores().main
        self._pool = self._store.db_pool
        self._current_state = hs.get_storage_controllers().state
        self._members = hs.get_room_member_handler()
        self._events = hs.get_event_creation_handler()

    def memberships(self, txn: Transaction, user_id: str) -> tuple[Membership, ...]:
        """Return the rooms that an account is joined to, with its power levels.

        These are the rooms that Synapse takes a deactivated account out of, read by a few queries, however many they
        are. A creator of a room of version 12 or later has power without limit, for which Synapse has a number.
        """
        txn.execute(
            "SELECT room_id FROM current_state_events WHERE type = ? AND state_key = ? AND membership = ?"
            " ORDER BY room_id",
            (EventTypes.Member, user_id, MembershipState.JOIN),
        )
        room_ids = [room_id for (room_id,) in txn.fetchall()]
        states = self._states(txn, room_ids, (EventTypes.Create, EventTypes.PowerLevels))
        return tuple(
            Membership(room_id=room_id, power_level=_power_level(states[room_id], user_id)) for room_id in room_ids
        )

    async def is_parting(self, user_id: str) -> bool:
        """Tell whether Synapse is still taking a deactivated account out of its rooms.

        It does so even if the account is activated in the meantime.
        """
        pending = await self._pool.simple_select_onecol(
            "users_pending_deactivation", {"user_id": user_id}, "user_id", desc="synapse_scim_parting"
        )
        return bool(pending)

    async def give_back(self, user_id: str, memberships: Iterable[Membership]) -> tuple[LostRoom, ...]:
        """Bring an account, active again, back into the rooms that it was in, with its power level.

        Somebody on this server who may do so invites the account where it cannot simply join, and restores its power
        level where that was lowered meanwhile. Rooms that it is in already are fine: repeating this does no harm. A
        room is lost if the account was removed or banned since, if nobody on this server may invite, or if the
        homeserver or one of its modules refuses. The failure of one room never stops the others.

        Args:
            user_id: The account.
            memberships: The rooms, as they were recorded before the account was deactivated.

        Returns:
            The rooms that the account is not in, or in which it has less power than it had.

        Raises:
            Unavailable: A part of the homeserver does not answer, or the account is still being taken out of its rooms.
        """
        if await self.is_parting(user_id):
            raise Unavailable(f"{user_id} is still being taken out of its rooms; try again later")
        wanted = {membership.room_id: membership.power_level for membership in memberships}
        present, states = await self._pool.runInteraction("synapse_scim_rooms", self._situation, user_id, wanted)

        async def bring_back(room_id: str) -> None:
            await self._bring_back(user_id, room_id, present.get(room_id), states[room_id])

        async def restore(room_id: str) -> None:
            await self._restore(user_id, room_id, wanted[room_id])

        # Who is in a space may join its rooms.
        lost, unavailable = await _each(sorted(wanted, key=lambda room_id: not _is_space(states[room_id])), bring_back)
        now = await self._pool.runInteraction("synapse_scim_memberships", self.memberships, user_id)
        lowered = [m.room_id for m in now if m.power_level < wanted.get(m.room_id, m.power_level)]
        powerless, unavailable_too = await _each(lowered, restore)
        if error := unavailable or unavailable_too:
            raise Unavailable("A process of the homeserver does not answer") from error
        return (*lost, *powerless)

    async def hand_over(self, user_id: str, successor: str) -> tuple[str, ...]:
        """Make a successor an administrator of the rooms that would have none without an account.

        These are the rooms in which the account, still in them, is the last member with a power level of 100 or more,
        and the successor is a member with less. The account itself gives the successor the power level 100; in a room
        of version 12 or later that is so for a creator as well, whose own power, which has no limit, nobody can get.
        Repeating this does no harm.

        Returns:
            The rooms in which the successor is an administrator now and was none before.

        Raises:
            Unavailable: A part of the homeserver does not answer.
        """
        room_ids = await self._pool.runInteraction("synapse_scim_hand_over", self._orphans, user_id, successor)

        async def promote(room_id: str) -> None:
            await self._give_power(user_id, successor, room_id, _ADMIN_LEVEL)

        lost, unavailable = await _each(room_ids, promote)
        for room in lost:
            logger.warning("%s gets no successor in %s: %s", user_id, room.room_id, room.reason)
        if unavailable:
            raise Unavailable("A process of the homeserver does not answer") from unavailable
        failed = {room.room_id for room in lost}
        return tuple(room_id for room_id in room_ids if room_id not in failed)

    # -- Reading --------------------------------------------------------------

    def _states(self, txn: Transaction, room_ids: Collection[str], types: Collection[str]) -> dict[str, _State]:
        """Return the present events of some types, with an empty state key, of each of these rooms.

        There are none of a room that nobody on this server is in.
        """
        states: dict[str, dict[tuple[str, str], EventBase]] = {room_id: {} for room_id in room_ids}
        of_types, types_wanted = make_in_list_sql_clause(self._pool.engine, "c.type", types)
        for batch in batch_iter(room_ids, _ROOMS_PER_QUERY):
            in_rooms, rooms_wanted = make_in_list_sql_clause(self._pool.engine, "c.room_id", batch)
            txn.execute(
                "SELECT c.room_id, c.type, r.room_version, j.json FROM current_state_events c"  # noqa: S608 - Synapse's clauses
                " JOIN rooms r ON r.room_id = c.room_id JOIN event_json j ON j.event_id = c.event_id"
                f" WHERE c.state_key = ? AND {of_types} AND {in_rooms}",
                ("", *types_wanted, *rooms_wanted),
            )
            for room_id, event_type, version, text in txn.fetchall():
                if version in KNOWN_ROOM_VERSIONS:
                    event = make_event_from_dict(json.loads(text), KNOWN_ROOM_VERSIONS[version])
                    states[room_id][event_type, ""] = event
        return dict(states)

    def _situation(
        self, txn: Transaction, user_id: str, room_ids: Collection[str]
    ) -> tuple[dict[str, tuple[str, str]], dict[str, _State]]:
        """Return what an account is to rooms (its membership, and by whose doing), and what says how to get in."""
        present: dict[str, tuple[str, str]] = {}
        for batch in batch_iter(room_ids, _ROOMS_PER_QUERY):
            in_rooms, rooms_wanted = make_in_list_sql_clause(self._pool.engine, "m.room_id", batch)
            # Unlike the state of a room, this stays when nobody on this server is in the room any more.
            txn.execute(
                "SELECT m.room_id, m.membership, e.sender FROM local_current_membership m"  # noqa: S608 - Synapse's clause
                " JOIN room_memberships e ON e.event_id = m.event_id"
                f" WHERE m.user_id = ? AND {in_rooms}",
                (user_id, *rooms_wanted),
            )
            present |= {room_id: (membership, sender) for room_id, membership, sender in txn.fetchall()}
        return present, self._states(txn, room_ids, (EventTypes.Create, EventTypes.JoinRules))

    def _orphans(self, txn: Transaction, user_id: str, successor: str) -> list[str]:
        """Return the rooms of an account that a successor has to take over."""
        txn.execute(
            "SELECT a.room_id FROM current_state_events a JOIN current_state_events b"
            " ON b.room_id = a.room_id AND b.type = a.type AND b.membership = a.membership AND b.state_key = ?"
            " WHERE a.type = ? AND a.membership = ? AND a.state_key = ? ORDER BY a.room_id",
            (successor, EventTypes.Member, MembershipState.JOIN, user_id),
        )
        room_ids = [room_id for (room_id,) in txn.fetchall()]
        states = self._states(txn, room_ids, (EventTypes.Create, EventTypes.PowerLevels))
        others = {
            room_id: _powerful(state, _ADMIN_LEVEL) - {user_id}
            for room_id, state in states.items()
            if _power_level(state, user_id) >= _ADMIN_LEVEL > _power_level(state, successor)
            # Else every member who is not named is an administrator.
            and _power_level(state) < _ADMIN_LEVEL
        }
        with_another: set[str] = set()
        for batch in batch_iter(others, _ROOMS_PER_QUERY):
            in_rooms, rooms_wanted = make_in_list_sql_clause(self._pool.engine, "room_id", batch)
            named = frozenset[str]().union(*(others[room_id] for room_id in batch))
            among, members_wanted = make_in_list_sql_clause(self._pool.engine, "state_key", named)
            txn.execute(
                "SELECT room_id, state_key FROM current_state_events"  # noqa: S608 - Synapse's clauses
                f" WHERE type = ? AND membership = ? AND {in_rooms} AND {among}",
                (EventTypes.Member, MembershipState.JOIN, *rooms_wanted, *members_wanted),
            )
            with_another |= {room_id for room_id, member in txn.fetchall() if member in others[room_id]}
        return [room_id for room_id in others if room_id not in with_another]

    def _actor(self, txn: Transaction, room_id: str, state: _State, level: int) -> str | None:
        """Return a member of a room, of this server and able to act, who has at least a power level.

        A server administrator if there is one: they may invite even where the homeserver lets nobody else do so.
        """
        able = _powerful(state, level)
        among, named = make_in_list_sql_clause(self._pool.engine, "u.name", able)
        if _power_level(state) >= level:
            among, named = make_in_list_sql_clause(self._pool.engine, "u.name", _named(state) - able, negative=True)
        txn.execute(
            "SELECT u.name FROM current_state_events c JOIN users u ON u.name = c.state_key"  # noqa: S608 - Synapse's clause
            " WHERE c.type = ? AND c.room_id = ? AND c.membership = ?"
            " AND u.deactivated = 0 AND u.is_guest = 0 AND u.appservice_id IS NULL"
            " AND NOT u.locked AND NOT u.suspended AND NOT COALESCE(u.shadow_banned, FALSE)"
            f" AND {among} ORDER BY u.admin DESC, u.name LIMIT 1",
            (EventTypes.Member, room_id, MembershipState.JOIN, *named),
        )
        row = txn.fetchone()
        return None if row is None else row[0]

    async def _find_actor(self, room_id: str, needed: Callable[[_State], int]) -> str | None:
        keys = [_CREATE, _POWER_LEVELS]
        state = await self._current_state.get_current_state(room_id, StateFilter.from_types(keys))
        if _CREATE not in state:
            raise _Lost("Nobody on this server is in the room any more")
        return await self._pool.runInteraction("synapse_scim_actor", self._actor, room_id, state, needed(state))

    # -- Acting ---------------------------------------------------------------

    async def _bring_back(self, user_id: str, room_id: str, present: tuple[str, str] | None, state: _State) -> None:
        """Let an account join a room, by invitation if need be."""
        match present:
            case (MembershipState.JOIN, _):
                return
            case (MembershipState.INVITE, _):
                await self._change_membership(user_id, user_id, room_id, MembershipState.JOIN)
                return
            case (MembershipState.BAN, _):
                raise _Lost("The account was banned from the room")
            case (MembershipState.LEAVE, sender) if sender != user_id:
                raise _Lost("The account was removed from the room")
            case (MembershipState.KNOCK, _):
                raise _Lost("The account has asked to be let into the room")
        if _JOIN_RULES in state and state[_JOIN_RULES].content.get("join_rule") in _OPEN_JOIN_RULES:
            try:
                await self._change_membership(user_id, user_id, room_id, MembershipState.JOIN)
            except SynapseError:
                # Whatever it is: a restricted room may ask a server that is gone for good. An invitation asks nobody.
                logger.debug("%s cannot join %s without an invitation", user_id, room_id)
            else:
                return
        await self._invite(user_id, room_id)

    async def _invite(self, user_id: str, room_id: str) -> None:
        """Let a member invite an account that then joins."""
        inviter = await self._find_actor(room_id, lambda state: event_auth.get_named_level(state, "invite", 0))
        if inviter is None:
            raise _Lost("Nobody on this server may invite the account into the room")
        await self._change_membership(inviter, user_id, room_id, MembershipState.INVITE)
        try:
            await self._change_membership(user_id, user_id, room_id, MembershipState.JOIN)
        except SynapseError as error:
            if error.code < HTTPStatus.INTERNAL_SERVER_ERROR:
                # An invitation that cannot be followed is not left behind.
                await self._change_membership(user_id, user_id, room_id, MembershipState.LEAVE)
            raise

    async def _change_membership(self, sender: str, user_id: str, room_id: str, action: str) -> None:
        await self._members.update_membership(
            create_requester(sender, authenticated_entity=self._hs.hostname),
            UserID.from_string(user_id),
            room_id,
            action,
            ratelimit=False,
            require_consent=False,
        )

    async def _restore(self, user_id: str, room_id: str, level: int) -> None:
        """Let a member give an account a power level that it had."""

        def needed(state: _State) -> int:
            # Nobody can give more than they have.
            return max(level, event_auth.get_send_level(*_POWER_LEVELS, state.get(_POWER_LEVELS)))

        actor = await self._find_actor(room_id, needed)
        if actor is None:
            raise _Lost(f"Nobody on this server may give the account its power level {level} back")
        await self._give_power(actor, user_id, room_id, level)

    async def _give_power(self, actor: str, user_id: str, room_id: str, level: int) -> None:
        """Change a member's power level, on behalf of one who may."""
        present = await self._current_state.get_current_state_event(room_id, *_POWER_LEVELS)
        content = dict(present.content) if present else {"users": {actor: _ADMIN_LEVEL}}
        await self._events.create_and_send_nonmember_event(
            create_requester(actor, authenticated_entity=self._hs.hostname),
            {
                "type": EventTypes.PowerLevels,
                "state_key": "",
                "room_id": room_id,
                "sender": actor,
                "content": {**content, "users": {**content.get("users", {}), user_id: level}},
            },
            ratelimit=False,
        )


async def _each(
    room_ids: Iterable[str], act: Callable[[str], Awaitable[None]]
) -> tuple[list[LostRoom], Exception | None]:
    """Do something in each of these rooms; return those where it failed, and an error after which to try again."""
    lost: list[LostRoom] = []
    unavailable: Exception | None = None
    for room_id in room_ids:
        try:
            await act(room_id)
        except _Lost as error:
            lost.append(LostRoom(room_id=room_id, reason=str(error)))
        except HttpResponseException as error:
            unavailable = error
        except SynapseError as error:
            if error.code >= HTTPStatus.INTERNAL_SERVER_ERROR:
                unavailable = error
            else:
                # Not the message: another module may have written it.
                code = getattr(error.errcode, "value", error.errcode)
                lost.append(LostRoom(room_id=room_id, reason=f"The homeserver refuses it ({code})"))
        except Exception:
            # Other modules have a say here, and the events of a room may come from anywhere.
            logger.exception("A failure in %s; the other rooms are gone on with", room_id)
            lost.append(LostRoom(room_id=room_id, reason="The homeserver failed; its log says more"))
    return lost, unavailable


def _power_level(state: _State, user_id: str = "") -> int:
    """Return somebody's power level; that of a member whom the room does not name, if nobody is asked for."""
    try:
        return event_auth.get_user_power_level(user_id, state) if _CREATE in state else 0
    except (TypeError, ValueError):  # In rooms of old versions, a level may be anything.
        return 0


def _named(state: _State) -> frozenset[str]:
    """Return those to whom a room gives a power level of their own."""
    create = state[_CREATE]
    more = create.content.get("additional_creators", ()) if create.room_version.msc4289_creator_power_enabled else ()
    levels = state[_POWER_LEVELS].content.get("users", {}) if _POWER_LEVELS in state else {}
    return frozenset({create.sender, *more, *levels})


def _powerful(state: _State, level: int) -> frozenset[str]:
    """Return those to whom a room gives at least a power level, members or not."""
    return frozenset(user_id for user_id in _named(state) if _power_level(state, user_id) >= level)


def _is_space(state: _State) -> bool:
    return _CREATE in state and state[_CREATE].content.get("type") == RoomTypes.SPACE
