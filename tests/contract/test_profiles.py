"""The rooms of an account show its profile, and nothing is done for those of an account that has none."""

from __future__ import annotations

from typing import Any

import pytest
from synapse.api.constants import EventTypes
from synapse.api.errors import SynapseError
from synapse.logging.context import make_deferred_yieldable, run_in_background
from synapse.storage.database import LoggingTransaction
from twisted.internet.defer import Deferred

from synapse_scim.homeserver.profiles import Profiles
from synapse_scim.steps import SetProfileField
from tests.support.homeserver import LocalHomeserver
from tests.support.rooms import Town
from tests.web.clients import until

pytestmark = pytest.mark.usefixtures("engine")


@pytest.fixture
def town(homeserver: LocalHomeserver) -> Town:
    """A homeserver on which people have rooms."""
    return Town(homeserver)


async def change(town: Town, user_id: str, field: str, value: str, *, shared: bool = False) -> None:
    """Change a field of a profile."""
    await Profiles(town.hs, shared=shared).change(user_id, SetProfileField(field=field, value=value, former=None))


async def shown(town: Town, user_id: str, room_id: str) -> dict[str, Any]:
    """Return what a room shows of a member."""
    state = town.hs.get_storage_controllers().state
    event = await state.get_current_state_event(room_id, EventTypes.Member, user_id)
    assert event is not None
    return {name: value for name, value in event.content.items() if name != "membership"}


async def tasks(town: Town) -> int:
    """Return how many tasks Synapse was given to tell rooms of profiles."""

    def count(txn: LoggingTransaction) -> Any:
        txn.execute("SELECT COUNT(*) FROM scheduled_tasks WHERE action = 'update_join_states'")
        return txn.fetchall()[0][0]

    return int(await town.run(count))


@pytest.mark.parametrize("field", ["displayname", "avatar_url"])
async def test_rooms_are_told(town: Town, field: str) -> None:
    """Each room that somebody is in shows the new profile."""
    ann, bob = await town.people("ann", "bob")
    rooms = [await town.room(ann), await town.room(bob, ann)]

    await change(town, ann, field, "mxc://example.org/new")

    for room_id in rooms:

        async def is_told(room_id: str = room_id) -> bool:
            return (await shown(town, ann, room_id)).get(field) == "mxc://example.org/new"

        await until(is_told)
    assert await tasks(town) == 1


@pytest.mark.parametrize("field", ["displayname", "avatar_url"])
async def test_who_is_in_no_room_has_none_told(town: Town, field: str) -> None:
    """Neither one that was left nor one that somebody is only invited to."""
    ann, bob = await town.people("ann", "bob")
    left = await town.room(bob, ann)
    await town.change(ann, ann, left, "leave")
    await town.room(bob, invite=[ann])

    await change(town, ann, field, "mxc://example.org/new")

    assert await tasks(town) == 0
    profile: Any = await town.hs.get_profile_handler().get_profile(ann)
    assert profile[field] == "mxc://example.org/new"
    room_id = await town.room(ann)
    assert (await shown(town, ann, room_id))[field] == "mxc://example.org/new"


@pytest.mark.parametrize("is_in_room", [True, False])
async def test_what_synapse_refuses_is_not_taken_for_a_limit(town: Town, is_in_room: bool) -> None:  # noqa: FBT001
    """Whether there are rooms to tell or not."""
    (ann,) = await town.people("ann")
    if is_in_room:
        await town.room(ann)

    with pytest.raises(SynapseError, match="too long"):
        await change(town, ann, "displayname", "x" * 257)


async def test_a_room_that_is_joined_meanwhile_is_told(town: Town) -> None:
    """It was joined with the former name, after it was seen that there are no rooms to tell."""
    ann, bob = await town.people("ann", "bob")
    room_id = await town.room(bob, invite=[ann])
    is_drawn_up: Deferred[None] = Deferred()
    is_stored: Deferred[None] = Deferred()
    is_joined: Deferred[None] = Deferred()
    names: list[str | None] = []

    async def hold_up(event: Any, _state: Any) -> tuple[bool, None]:
        if event.membership == "join" and not is_drawn_up.called:
            is_drawn_up.callback(None)
            await make_deferred_yieldable(is_stored)
        return True, None

    async def let_it_happen(_user_id: str, *_more: Any) -> None:
        if not is_stored.called:
            is_stored.callback(None)
            await make_deferred_yieldable(is_joined)
            names.append((await shown(town, ann, room_id)).get("displayname"))

    async def join() -> None:
        await town.change(ann, ann, room_id, "join")
        is_joined.callback(None)

    town.hs.get_module_api().register_third_party_rules_callbacks(
        check_event_allowed=hold_up, on_profile_update=let_it_happen
    )
    joining = run_in_background(join)
    await make_deferred_yieldable(is_drawn_up)

    await change(town, ann, "displayname", "Dr Ann")
    await make_deferred_yieldable(joining)

    assert names == ["ann"]

    async def is_told() -> bool:
        return (await shown(town, ann, room_id)).get("displayname") == "Dr Ann"

    await until(is_told)


async def test_a_room_that_was_joined_through_another_process_is_told(town: Town) -> None:
    """What this process knows of the rooms may be a moment old."""
    ann, bob = await town.people("ann", "bob")
    room_id = await town.room(bob, ann)
    rooms: Any = town.store.get_rooms_for_user
    rooms.prefill((ann,), frozenset())

    await change(town, ann, "displayname", "Dr Ann", shared=True)

    async def is_told() -> bool:
        return (await shown(town, ann, room_id)).get("displayname") == "Dr Ann"

    await until(is_told)
