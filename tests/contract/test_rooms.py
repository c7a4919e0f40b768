"""A leaver who comes back is in the rooms they were in, with the power they had, and in no others."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from synapse.api.constants import CREATOR_POWER_LEVEL
from synapse.api.errors import Codes, SynapseError
from synapse.storage.database import LoggingTransaction

from synapse_scim.accounts import Membership, Unavailable
from synapse_scim.homeserver.rooms import Rooms
from tests.support.homeserver import LocalHomeserver
from tests.support.rooms import Town

pytestmark = pytest.mark.usefixtures("engine")

SPACE = {"creation_content": {"type": "m.space"}}


def restricted_to(room_id: str) -> dict[str, Any]:
    """Return what makes a room that the members of another one may join."""
    content = {"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": room_id}]}
    return {"initial_state": [{"type": "m.room.join_rules", "state_key": "", "content": content}]}


@pytest.fixture
def town(homeserver: LocalHomeserver) -> Town:
    """A homeserver on which people have rooms."""
    return Town(homeserver)


# -- What is recorded ---------------------------------------------------------


async def test_the_rooms_of_an_account_are_recorded_with_its_power(town: Town) -> None:
    """Rooms that the account has left, or is only invited to, are not among them."""
    ann, bob = await town.people("ann", "bob")
    own = await town.room(ann, bob)
    as_moderator = await town.room(bob, ann, power_level_content_override={"users": {bob: 100, ann: 50}})
    as_member = await town.room(bob, ann)
    await town.room(bob, invite=[ann])
    left = await town.room(bob, ann)
    await town.change(ann, ann, left, "leave")
    assert {(m.room_id, m.power_level) for m in await town.memberships(ann)} == {
        (own, 100),
        (as_moderator, 50),
        (as_member, 0),
    }


@pytest.mark.parametrize("version", ["1", "5", "9", "10", "11", "12"])
async def test_power_is_read_in_every_room_version(town: Town, version: str) -> None:
    """A creator has 100, or from version 12 on more than a number can say."""
    ann, bob = await town.people("ann", "bob")
    room_id = await town.room(ann, bob, room_version=version)
    power = CREATOR_POWER_LEVEL if version == "12" else 100
    assert await town.memberships(ann) == (Membership(room_id=room_id, power_level=power),)
    assert await town.memberships(bob) == (Membership(room_id=room_id, power_level=0),)


async def test_a_room_with_senseless_power_levels_is_recorded(town: Town) -> None:
    """Old rooms of other servers have anything for a level; that must not keep anybody from being off-boarded."""
    ann, bob = await town.people("ann", "bob")
    room_id = await town.room(bob, ann, room_version="9")

    def spoil(txn: LoggingTransaction) -> None:
        txn.execute("UPDATE event_json SET json = REPLACE(json, ?, ?)", ('"users_default":0', '"users_default":"much"'))

    await town.run(spoil)
    assert await town.memberships(ann) == (Membership(room_id=room_id, power_level=0),)


async def test_a_room_of_a_version_that_is_not_known_any_more_is_recorded(town: Town) -> None:
    """Synapse drops room versions; the rooms stay in the database."""
    ann, bob = await town.people("ann", "bob")
    room_id = await town.room(bob, ann)
    await town.store.db_pool.simple_update_one("rooms", {"room_id": room_id}, {"room_version": "old"}, desc="test")
    assert await town.memberships(ann) == (Membership(room_id=room_id, power_level=0),)


@attrs.define
class CountingTransaction:
    """A transaction that counts its statements."""

    txn: LoggingTransaction
    statements: int = 0

    def execute(self, sql: str, parameters: Any = ()) -> None:
        """Run a statement and count it."""
        self.statements += 1
        self.txn.execute(sql, parameters)

    def __getattr__(self, name: str) -> Any:
        """Return what else a transaction has."""
        return getattr(self.txn, name)


async def test_recording_many_rooms_takes_few_queries(town: Town) -> None:
    """The number of queries does not grow with the number of rooms."""
    ann, bob = await town.people("ann", "bob")
    template = await town.room(bob, ann)
    await town.run(lambda txn: copy_room(txn, template, 199))

    def record(txn: LoggingTransaction) -> tuple[int, int]:
        counting = CountingTransaction(txn)
        return len(town.rooms.memberships(counting, ann)), counting.statements

    assert await town.run(record) == (200, 2)


def copy_room(txn: LoggingTransaction, room_id: str, copies: int) -> None:
    """Write into the database as many rooms that are like one."""
    for number in range(copies):
        new = f"!copy{number}:example.org"
        txn.execute(
            "INSERT INTO rooms (room_id, is_public, creator, room_version)"
            " SELECT ?, is_public, creator, room_version FROM rooms WHERE room_id = ?",
            (new, room_id),
        )
        for table, columns in (
            ("current_state_events", "type, state_key, membership"),
            ("event_json", "internal_metadata, json, format_version"),
        ):
            txn.execute(
                f"INSERT INTO {table} (event_id, room_id, {columns})"  # noqa: S608 - the names stand above
                f" SELECT event_id || ?, ?, {columns} FROM {table} WHERE room_id = ?",
                (str(number), new, room_id),
            )


# -- What is given back -------------------------------------------------------


async def test_private_and_public_rooms_are_given_back(town: Town) -> None:
    """By invitation where one is needed."""
    ann, bob = await town.people("ann", "bob")
    private = await town.room(bob, ann)
    public = await town.room(bob, ann, preset="public_chat")
    recorded = await town.leave(ann)
    assert await town.membership(ann, private) == "leave"
    assert await town.membership(ann, public) == "leave"
    assert await town.come_back(ann, recorded) == ()
    assert await town.membership(ann, private) == "join"
    assert await town.membership(ann, public) == "join"


async def test_a_space_is_given_back_with_its_rooms(town: Town) -> None:
    """A room that the members of a space may join is joined after the space, where nobody could invite."""
    ann, bob = await town.people("ann", "bob")
    space = await town.room(bob, ann, **SPACE)
    rooms = [await town.room(bob, ann, **restricted_to(space)) for _ in range(3)]
    recorded = await town.leave(ann)
    # Nobody invites, yet Bob's power lets the homeserver vouch for members of the space.
    await town.store.set_user_locked_status(bob, locked=True)
    carl = (await town.people("carl"))[0]
    await town.change(bob, carl, space, "invite")
    await town.change(carl, carl, space, "join")
    assert await town.come_back(ann, recorded) == ()
    for room_id in [space, *rooms]:
        assert await town.membership(ann, room_id) == "join"


async def test_a_room_of_a_space_that_the_leaver_was_not_in_is_given_back(town: Town) -> None:
    """Who may not join as a member of the space is invited."""
    ann, bob = await town.people("ann", "bob")
    space = await town.room(bob, **SPACE)
    room_id = await town.room(bob, ann, **restricted_to(space))
    assert await town.come_back(ann, await town.leave(ann)) == ()
    assert await town.membership(ann, room_id) == "join"


async def test_giving_back_twice_changes_nothing(town: Town) -> None:
    """An interrupted return is repeated from the start."""
    ann, bob = await town.people("ann", "bob")
    room_id = await town.room(bob, ann)
    recorded = await town.leave(ann)
    await town.come_back(ann, recorded)
    member = await town.hs.get_storage_controllers().state.get_current_state_event(room_id, "m.room.member", ann)
    assert await town.rooms.give_back(ann, recorded) == ()
    assert member == await town.hs.get_storage_controllers().state.get_current_state_event(
        room_id, "m.room.member", ann
    )


async def test_the_only_administrator_gets_the_power_back(town: Town) -> None:
    """A member without power, who may invite, brings them back."""
    ann, bob = await town.people("ann", "bob")
    room_id = await town.room(ann, bob, power_level_content_override={"invite": 0})
    recorded = await town.leave(ann)
    assert await town.come_back(ann, recorded) == ()
    assert await town.memberships(ann) == recorded == (Membership(room_id=room_id, power_level=100),)


async def test_a_creator_of_a_room_of_version_12_gets_the_power_back(town: Town) -> None:
    """They keep it for ever, and must not be named among the power levels."""
    ann, bob = await town.people("ann", "bob")
    room_id = await town.room(ann, bob, room_version="12", power_level_content_override={"invite": 0})
    recorded = await town.leave(ann)
    assert await town.come_back(ann, recorded) == ()
    assert await town.memberships(ann) == (Membership(room_id=room_id, power_level=CREATOR_POWER_LEVEL),)
    assert ann not in (await town.power_levels(room_id))["users"]


@pytest.mark.parametrize("version", ["11", "12"])
async def test_power_taken_away_meanwhile_is_restored(town: Town, version: str) -> None:
    """By a member who has as much."""
    ann, bob = await town.people("ann", "bob")
    users = {bob: 100, ann: 50} if version == "11" else {ann: 50}
    room_id = await town.room(bob, ann, room_version=version, power_level_content_override={"users": users})
    recorded = await town.leave(ann)
    await town.set_power(bob, ann, room_id, 0)
    assert await town.come_back(ann, recorded) == ()
    assert await town.memberships(ann) == (Membership(room_id=room_id, power_level=50),)
    assert (await town.power_levels(room_id))["users"] == users


async def test_power_that_nobody_may_restore_is_reported(town: Town) -> None:
    """The room is given back all the same."""
    ann, bob, carl = await town.people("ann", "bob", "carl")
    users = {ann: 100, bob: 101, carl: 50}
    room_id = await town.room(ann, bob, carl, power_level_content_override={"users": users})
    recorded = await town.leave(ann)
    await town.set_power(bob, ann, room_id, 0)
    await town.set_power(bob, bob, room_id, 99)
    (lost,) = await town.come_back(ann, recorded)
    assert (lost.room_id, lost.reason) == (
        room_id,
        "Nobody on this server may give the account its power level 100 back",
    )
    assert await town.memberships(ann) == (Membership(room_id=room_id, power_level=0),)


async def test_an_invitation_is_accepted(town: Town) -> None:
    """Somebody was quicker."""
    ann, bob = await town.people("ann", "bob")
    room_id = await town.room(bob, ann)
    recorded = await town.leave(ann)
    await town.change(bob, ann, room_id, "invite")
    assert await town.come_back(ann, recorded) == ()
    assert await town.membership(ann, room_id) == "join"


# -- What is not given back ---------------------------------------------------


@pytest.mark.parametrize(
    ("action", "reason", "membership"),
    [
        ("kick", "The account was removed from the room", "leave"),
        ("ban", "The account was banned from the room", "ban"),
    ],
)
async def test_who_was_removed_from_a_room_stays_out(town: Town, action: str, reason: str, membership: str) -> None:
    """Even out of a public room; the other rooms are given back."""
    ann, bob = await town.people("ann", "bob")
    room_id = await town.room(bob, ann, preset="public_chat")
    other = await town.room(bob, ann)
    recorded = await town.memberships(ann)
    await town.change(bob, ann, room_id, action)
    await town.leave(ann)
    (lost,) = await town.come_back(ann, recorded)
    assert (lost.room_id, lost.reason) == (room_id, reason)
    assert await town.membership(ann, room_id) == membership
    assert await town.membership(ann, other) == "join"


async def test_who_was_banned_while_away_stays_out(town: Town) -> None:
    """A ban of somebody who is not there counts."""
    ann, bob = await town.people("ann", "bob")
    room_id = await town.room(bob, ann)
    recorded = await town.leave(ann)
    await town.change(bob, ann, room_id, "ban")
    (lost,) = await town.come_back(ann, recorded)
    assert lost.reason == "The account was banned from the room"


async def test_who_has_asked_to_be_let_in_has_to_wait(town: Town) -> None:
    """Somebody did that on purpose, after the return."""
    ann, bob = await town.people("ann", "bob")
    knock = {"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}
    room_id = await town.room(bob, ann, initial_state=[knock])
    recorded = await town.leave(ann)
    await town.change(ann, ann, room_id, "knock")
    (lost,) = await town.come_back(ann, recorded)
    assert lost.reason == "The account has asked to be let into the room"


@pytest.mark.parametrize("preset", ["private_chat", "public_chat"])
async def test_a_room_that_everybody_has_left_is_lost(town: Town, preset: str) -> None:
    """There is nobody to invite, and no state that says who may join."""
    ann, bob = await town.people("ann", "bob")
    room_id = await town.room(bob, ann, preset=preset)
    recorded = await town.leave(ann)
    await town.change(bob, bob, room_id, "leave")
    (lost,) = await town.come_back(ann, recorded)
    assert (lost.room_id, lost.reason) == (room_id, "Nobody on this server is in the room any more")


@pytest.mark.parametrize("status", ["locked", "suspended", "shadow-banned", "deactivated"])
async def test_nobody_who_is_restricted_invites(town: Town, status: str) -> None:
    """Nor does anybody without the power."""
    ann, bob, carl = await town.people("ann", "bob", "carl")
    room_id = await town.room(bob, ann, carl, power_level_content_override={"invite": 50})
    recorded = await town.leave(ann)
    column = {"shadow-banned": "shadow_banned"}.get(status, status)
    value = 1 if status == "deactivated" else True
    await town.store.db_pool.simple_update_one("users", {"name": bob}, {column: value}, desc="test")
    (lost,) = await town.come_back(ann, recorded)
    assert (lost.room_id, lost.reason) == (room_id, "Nobody on this server may invite the account into the room")


async def test_a_refusal_of_another_module_costs_one_room(town: Town) -> None:
    """No invitation is left behind."""
    ann, bob = await town.people("ann", "bob")
    refused = await town.room(bob, ann)
    other = await town.room(bob, ann)

    async def may_join(_user_id: str, room_id: str, _is_invited: bool) -> Any:  # noqa: FBT001 - Synapse's signature
        return Codes.FORBIDDEN if room_id == refused else "NOT_SPAM"

    recorded = await town.leave(ann)
    town.hs.get_module_api().register_spam_checker_callbacks(user_may_join_room=may_join)
    (lost,) = await town.come_back(ann, recorded)
    assert (lost.room_id, lost.reason) == (refused, "The homeserver refuses it (M_FORBIDDEN)")
    assert await town.membership(ann, refused) == "leave"
    assert await town.membership(ann, other) == "join"


@pytest.mark.expected_errors("A failure in !.*; the other rooms are gone on with")
async def test_a_failure_of_another_module_costs_one_room(town: Town) -> None:
    """It must not keep anybody out of the other rooms."""
    ann, bob = await town.people("ann", "bob")
    failing = await town.room(bob, ann)
    other = await town.room(bob, ann)

    async def may_invite(_inviter: str, _invitee: str, room_id: str) -> Any:
        if room_id == failing:
            raise RuntimeError("a bug")
        return "NOT_SPAM"

    recorded = await town.leave(ann)
    town.hs.get_module_api().register_spam_checker_callbacks(user_may_invite=may_invite)
    (lost,) = await town.come_back(ann, recorded)
    assert (lost.room_id, lost.reason) == (failing, "The homeserver failed; its log says more")
    assert await town.membership(ann, other) == "join"


@pytest.mark.parametrize("preset", ["private_chat", "public_chat"])
async def test_a_process_that_does_not_answer_is_asked_again(town: Town, preset: str) -> None:
    """The other rooms are given back before that is said, and repeating it gives back the rest."""
    ann, bob = await town.people("ann", "bob")
    waiting = await town.room(bob, ann, preset=preset)
    other = await town.room(bob, ann)
    down = True

    async def may_join(_user_id: str, room_id: str, _is_invited: bool) -> Any:  # noqa: FBT001 - Synapse's signature
        if down and room_id == waiting:
            raise SynapseError(502, "Failed to talk to a process")
        return "NOT_SPAM"

    recorded = await town.leave(ann)
    town.hs.get_module_api().register_spam_checker_callbacks(user_may_join_room=may_join)
    with pytest.raises(Unavailable):
        await town.come_back(ann, recorded)
    assert await town.membership(ann, other) == "join"
    down = False
    assert await town.rooms.give_back(ann, recorded) == ()
    assert await town.membership(ann, waiting) == "join"


async def test_a_quick_return_loses_nothing(town: Town) -> None:
    """Synapse goes on taking an account out of its rooms when it is active again: that is waited for."""
    ann, bob = await town.people("ann", "bob")
    for _ in range(8):
        await town.room(bob, ann)
    recorded = await town.memberships(ann)
    await town.deactivate(ann)
    assert await town.rooms.is_parting(ann)
    with pytest.raises(Unavailable):
        await town.come_back(ann, recorded)
    await town.parted(ann)
    assert await town.memberships(ann) == ()
    assert await town.rooms.give_back(ann, recorded) == ()
    assert await town.memberships(ann) == recorded


async def test_somebody_who_is_in_rooms_is_not_parting(town: Town) -> None:
    """Nor is anybody unknown."""
    (ann,) = await town.people("ann")
    assert not await Rooms(town.hs).is_parting(ann)
    assert not await Rooms(town.hs).is_parting("@nobody:example.org")
