"""No room is left without an administrator because its last one leaves, if somebody takes over."""

from __future__ import annotations

from typing import Any

import pytest
from synapse.api.constants import CREATOR_POWER_LEVEL
from synapse.api.errors import HttpResponseException, SynapseError

from synapse_scim.accounts import Membership, Unavailable
from tests.support.homeserver import LocalHomeserver
from tests.support.rooms import Town

pytestmark = pytest.mark.usefixtures("engine")


@pytest.fixture
def town(homeserver: LocalHomeserver) -> Town:
    """A homeserver on which people have rooms."""
    return Town(homeserver)


async def test_the_last_administrator_hands_over(town: Town) -> None:
    """The leaver keeps the power for a return, which the successor can bring about; repeating it does no harm."""
    ann, bob, carl = await town.people("ann", "bob", "carl")
    room_id = await town.room(ann, bob, carl)
    recorded = await town.memberships(ann)
    assert await town.rooms.hand_over(ann, bob) == (room_id,)
    assert (await town.power_levels(room_id))["users"] == {ann: 100, bob: 100}
    assert await town.rooms.hand_over(ann, bob) == ()
    await town.leave(ann)
    assert await town.come_back(ann, recorded) == ()
    assert await town.memberships(ann) == recorded


async def test_an_administrator_who_left_does_not_count(town: Town) -> None:
    """Nor do they keep the successor from being needed."""
    ann, bob, carl = await town.people("ann", "bob", "carl")
    room_id = await town.room(ann, bob, carl, power_level_content_override={"users": {ann: 100, carl: 100}})
    assert await town.rooms.hand_over(ann, bob) == ()
    await town.change(carl, carl, room_id, "leave")
    assert await town.rooms.hand_over(ann, bob) == (room_id,)


async def test_rooms_that_need_no_successor_are_left_alone(town: Town) -> None:
    """And rooms in which the account or the successor has no say."""
    ann, bob = await town.people("ann", "bob")
    users = {ann: 100, bob: 100}
    await town.room(ann, bob, power_level_content_override={"users": users})  # The successor is an administrator.
    await town.room(ann)  # The successor is not there,
    await town.room(ann, invite=[bob])  # or not yet.
    await town.room(bob, ann, power_level_content_override={"users": {ann: 99, bob: 100}})  # The account is none.
    everybody = {"users": {ann: 100, bob: 0}, "users_default": 100}
    await town.room(ann, bob, power_level_content_override=everybody)  # Everybody is one.
    assert await town.rooms.hand_over(ann, bob) == ()


async def test_a_creator_of_a_room_of_version_12_hands_over_what_can_be_had(town: Town) -> None:
    """The power of a creator has no limit and stays theirs; the successor gets 100."""
    ann, bob = await town.people("ann", "bob")
    room_id = await town.room(ann, bob, room_version="12")
    assert await town.rooms.hand_over(ann, bob) == (room_id,)
    assert (await town.power_levels(room_id))["users"] == {bob: 100}


async def test_another_creator_of_a_room_of_version_12_is_an_administrator(town: Town) -> None:
    """Though the power levels do not name them."""
    ann, bob, carl = await town.people("ann", "bob", "carl")
    creators = {"creation_content": {"additional_creators": [carl]}}
    room_id = await town.room(ann, bob, carl, room_version="12", **creators)
    assert await town.memberships(carl) == (Membership(room_id=room_id, power_level=CREATOR_POWER_LEVEL),)
    assert await town.rooms.hand_over(ann, bob) == ()
    assert await town.rooms.hand_over(ann, carl) == ()
    await town.change(carl, carl, room_id, "leave")
    assert await town.rooms.hand_over(ann, bob) == (room_id,)


async def test_a_room_that_refuses_keeps_no_other_from_its_successor(town: Town) -> None:
    """It is not among those that were handed over."""
    ann, bob = await town.people("ann", "bob")
    await town.room(ann, bob, power_level_content_override={"events": {"m.room.power_levels": 101}})
    room_id = await town.room(ann, bob)
    assert await town.rooms.hand_over(ann, bob) == (room_id,)


@pytest.mark.parametrize(
    "error", [SynapseError(502, "Failed to talk to a process"), HttpResponseException(500, "Failed", b"")]
)
async def test_a_process_that_does_not_answer_is_asked_again(town: Town, error: Exception) -> None:
    """Repeating it hands over the rest."""
    ann, bob = await town.people("ann", "bob")
    room_id = await town.room(ann, bob)
    down = True

    async def check(_event: Any) -> Any:
        if down:
            raise error
        return "NOT_SPAM"

    town.hs.get_module_api().register_spam_checker_callbacks(check_event_for_spam=check)
    with pytest.raises(Unavailable):
        await town.rooms.hand_over(ann, bob)
    down = False
    assert await town.rooms.hand_over(ann, bob) == (room_id,)
