"""Rooms are given back to those who return, and handed over by those who leave (SPEC, off-boarding)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

import pytest

from synapse_scim.accounts import Unavailable
from synapse_scim.homeserver.gateway import SynapseAccounts
from tests.web.clients import ENTERPRISE, Admin, until

pytestmark = [pytest.mark.usefixtures("engine", "owner"), pytest.mark.mas_on_sqlite]

OFF = {"op": "replace", "path": "active", "value": False}
ON = {"op": "replace", "path": "active", "value": True}
ANN, BOB, CAT = "@ann:example.org", "@bob:example.org", "@cat:example.org"

at_once = pytest.mark.homeserver(module_config={"inactive": {"deactivate_after": 0}})


class House:
    """Ann, Bob and Cat, and their rooms."""

    def __init__(self, admin: Admin) -> None:
        """Use a homeserver."""
        self.admin = admin
        self.tokens: dict[str, str] = {}

    async def move_in(self, **attributes: Any) -> None:
        """Make the three of them; the attributes are Ann's."""
        for name in ("ann", "bob", "cat"):
            user_id = (await self.admin.scim.create(name, **(attributes if name == "ann" else {})))["id"]
            self.tokens[user_id] = await self.admin.homeserver.access_token(user_id)

    async def call(self, user_id: str, method: str, path: str, body: Any = None) -> Any:
        """Call the client-server API as somebody."""
        headers = {"Authorization": f"Bearer {self.tokens[user_id]}"}
        answer = await self.admin.synapse.request(method, f"/_matrix/client/v3{path}", body, headers=headers)
        assert answer.status == 200, answer.body
        return answer.json

    async def room(self, creator: str, members: Iterable[str] = (), **options: Any) -> str:
        """Make a room, which others join."""
        body = {"invite": list(members), "preset": "private_chat", **options}
        room_id: str = (await self.call(creator, "POST", "/createRoom", body))["room_id"]
        for member in members:
            await self.call(member, "POST", f"/join/{quote(room_id)}", {})
        return room_id

    async def state(self, user_id: str, room_id: str, kind: str, key: str = "") -> Any:
        """Return a state of a room as somebody sees it."""
        return await self.call(user_id, "GET", f"/rooms/{quote(room_id)}/state/{kind}/{quote(key)}")

    async def set_power(self, user_id: str, room_id: str, **users: int) -> None:
        """Set power levels, by the names of people."""
        content = await self.state(user_id, room_id, "m.room.power_levels")
        content["users"] |= {f"@{name}:example.org": level for name, level in users.items()}
        await self.call(user_id, "PUT", f"/rooms/{quote(room_id)}/state/m.room.power_levels/", content)

    async def membership(self, room_id: str, user_id: str = ANN) -> str | None:
        """Return what somebody is in a room."""
        store = self.admin.homeserver.hs.get_datastores().main
        membership: str | None = (await store.get_local_current_membership_for_user_in_room(user_id, room_id))[0]
        return membership

    async def leave_and_return(self, *meanwhile: Any) -> None:
        """Disable Ann, have something happen when she has been taken out of her rooms, and enable her."""
        await self.admin.scim.patched(ANN, OFF)
        await until(self.has_parted)
        for happening in meanwhile:
            await happening
        assert (await self.admin.scim.patched(ANN, ON))["active"] is True
        self.tokens[ANN] = await self.admin.homeserver.access_token(ANN)

    async def has_parted(self) -> bool:
        """Tell whether Synapse has taken Ann out of her rooms."""
        pool = self.admin.homeserver.hs.get_datastores().main.db_pool
        return await pool.simple_select_list("users_pending_deactivation", None, ["user_id"]) == []

    def said(self, text: str) -> list[str]:
        """Return what was logged that has a text in it."""
        return [m for r in self.admin.homeserver.log_records if text in (m := r.getMessage())]


@pytest.fixture
def house(admin: Admin) -> House:
    """Three people."""
    return House(admin)


@at_once
async def test_rooms_are_given_back(house: House) -> None:
    """A private room, a public one, a space, a room of the space, and one whose only administrator left."""
    await house.move_in()
    private = await house.room(BOB, [ANN, CAT])
    public = await house.room(BOB, [ANN], preset="public_chat")
    space = await house.room(BOB, [ANN], creation_content={"type": "m.space"})
    rule = {
        "type": "m.room.join_rules",
        "state_key": "",
        "content": {"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": space}]},
    }
    inside = await house.room(BOB, [ANN], initial_state=[rule])
    governed = await house.room(ANN, [BOB], room_version="11", power_level_content_override={"invite": 0})
    creator = await house.room(ANN, [BOB], room_version="12", power_level_content_override={"invite": 0})
    rooms = [private, public, space, inside, governed, creator]

    await house.leave_and_return()

    assert [await house.membership(room_id) for room_id in rooms] == ["join"] * 6
    await house.set_power(ANN, governed, cat=7)
    await house.set_power(ANN, creator, cat=7)
    assert house.said("could not be brought back") == []


@at_once
async def test_power_that_was_taken_away_is_restored(house: House) -> None:
    """Whoever may gives the power level back; where nobody may, the log says so."""
    await house.move_in()
    restored = await house.room(BOB, [ANN], room_version="11")
    await house.set_power(BOB, restored, ann=50)
    impossible = await house.room(ANN, [BOB], room_version="11", power_level_content_override={"invite": 0})
    await house.set_power(ANN, impossible, bob=100)

    async def take_away() -> None:
        await house.set_power(BOB, restored, ann=0)
        await house.set_power(BOB, impossible, bob=50)

    await house.leave_and_return(take_away())

    assert (await house.state(ANN, restored, "m.room.power_levels"))["users"][ANN] == 50
    assert await house.membership(impossible) == "join"
    assert (await house.state(ANN, impossible, "m.room.power_levels"))["users"][ANN] == 100


@at_once
async def test_rooms_that_are_not_the_persons_any_more(house: House) -> None:
    """Neither a room they had left, nor one from which they were removed or banned, nor one that nobody can open."""
    await house.move_in()
    left, kicked, banned, empty = [await house.room(BOB, [ANN]) for _ in range(4)]
    await house.call(ANN, "POST", f"/rooms/{quote(left)}/leave", {})

    async def remove() -> None:
        # She has left by then: to remove somebody who is not there, ban and unban.
        for room_id in (kicked, banned):
            await house.call(BOB, "POST", f"/rooms/{quote(room_id)}/ban", {"user_id": ANN})
        await house.call(BOB, "POST", f"/rooms/{quote(kicked)}/unban", {"user_id": ANN})
        await house.call(BOB, "POST", f"/rooms/{quote(empty)}/leave", {})

    await house.leave_and_return(remove())

    assert await house.membership(left) == "leave"
    assert [await house.membership(room_id) for room_id in (kicked, banned, empty)] == ["leave", "ban", "leave"]
    reasons = " ".join(house.said("could not be brought back"))
    assert all(word in reasons for word in ("was removed", "was banned", "Nobody on this server"))
    (event,) = (await house.admin.scim.get("/AuditEvents", params={"client": "synapse-scim"})).json["Resources"]
    assert (event["operation"], event["account"], event["attributes"]) == ("give_back", ANN, ["rooms"])


@pytest.mark.homeserver(
    module_config={"inactive": {"deactivate_after": 0}},
    config={"rc_room_creation": {"per_second": 1000, "burst_count": 1000}},
)
async def test_quick_return_waits_for_the_parting(house: House) -> None:
    """Somebody who is enabled while Synapse still takes them out of their rooms is in all of them afterwards."""
    await house.move_in()
    rooms = [await house.room(BOB, [ANN]) for _ in range(8)]

    await house.admin.scim.patched(ANN, OFF)
    assert not await house.has_parted()
    await house.admin.scim.patched(ANN, ON)

    assert await house.has_parted()
    assert [await house.membership(room_id) for room_id in rooms] == ["join"] * 8


@at_once
async def test_a_parting_without_end_is_not_waited_for(house: House) -> None:
    """Where Synapse does not finish in time, the client is told to come back, and nothing has changed."""
    await house.move_in()
    await house.admin.scim.patched(ANN, OFF)
    await until(house.has_parted)
    hs = house.admin.homeserver.hs
    await hs.get_datastores().main.add_user_pending_deactivation(ANN)
    accounts = SynapseAccounts(hs)
    accounts._departures._parting_s = 0.01

    with pytest.raises(Unavailable, match="still being taken out") as told:
        await accounts.wait_until_parted(ANN)

    assert told.value.retry_after_s == 60


@pytest.mark.homeserver(module_config={"deleted": {"revive_within": "1d"}})
async def test_rooms_come_back_with_a_deleted_person(house: House) -> None:
    """A person who is created again is in their rooms again."""
    await house.move_in(externalId="7")
    room_id = await house.room(BOB, [ANN])
    await house.admin.scim.delete(ANN)
    await until(house.has_parted)
    assert await house.membership(room_id) == "leave"

    await house.admin.scim.create("ann", externalId="7")

    assert await house.membership(room_id) == "join"


def handing_over(**settings: Any) -> pytest.MarkDecorator:
    """Return the configuration of a homeserver where rooms are handed over at once."""
    return pytest.mark.homeserver(
        module_config={"inactive": {"deactivate_after": 0}, "room_succession": {"enabled": True, **settings}}
    )


async def let_a_day_pass(house: House) -> None:
    """Make everybody's manager one for longer than a day."""
    pool = house.admin.homeserver.hs.get_datastores().main.db_pool
    sql = "UPDATE synapse_scim_users SET manager_since_ts = manager_since_ts - 90000000"
    await pool.runInteraction("earlier", lambda txn: txn.execute(sql))


async def power(house: House, room_id: str, user_id: str, seen_by: str = CAT) -> int:
    """Return the power level that a room gives to somebody."""
    level: int = (await house.state(seen_by, room_id, "m.room.power_levels"))["users"].get(user_id, 0)
    return level


@handing_over()
async def test_managers_take_over(house: House) -> None:
    """The manager becomes an administrator where the leaver was the last one, and a member is the manager."""
    await house.move_in(**{ENTERPRISE: {"manager": {"value": BOB}}})
    last = await house.room(ANN, [BOB, CAT], room_version="11")
    not_last = await house.room(ANN, [BOB, CAT], room_version="11")
    await house.set_power(ANN, not_last, cat=100)
    without = await house.room(ANN, [CAT], room_version="11")
    newer = await house.room(ANN, [BOB, CAT], room_version="12")
    await let_a_day_pass(house)

    await house.admin.scim.patched(ANN, OFF)

    assert [await power(house, room_id, BOB) for room_id in (last, not_last, without, newer)] == [100, 0, 0, 100]


@handing_over()
async def test_new_managers_take_over_nothing(house: House) -> None:
    """Who has been the manager for less than a day gets no room: a client could name anybody."""
    await house.move_in(**{ENTERPRISE: {"manager": {"value": BOB}}})
    room_id = await house.room(ANN, [BOB, CAT], room_version="11")

    await house.admin.scim.patched(ANN, OFF)

    assert await power(house, room_id, BOB) == 0


@handing_over(successor=BOB)
async def test_successors_take_over_without_a_manager(house: House) -> None:
    """A leaver who has no manager leaves the rooms to the successor."""
    await house.move_in()
    room_id = await house.room(ANN, [BOB, CAT], room_version="11")

    await house.admin.scim.delete(ANN)

    assert await power(house, room_id, BOB) == 100


@handing_over(successor=BOB)
async def test_successors_take_over(house: House) -> None:
    """Where there is no manager who can, the configured successor takes over; a locked manager cannot."""
    await house.move_in(**{ENTERPRISE: {"manager": {"value": CAT}}})
    with_both = await house.room(ANN, [BOB, CAT], room_version="11")
    await let_a_day_pass(house)
    await house.admin.synapse.change(CAT, locked=True)

    await house.admin.scim.delete(ANN)

    assert await power(house, with_both, BOB, seen_by=BOB) == 100
    assert await power(house, with_both, CAT, seen_by=BOB) == 0


@at_once
async def test_nobody_takes_over_by_default(house: House) -> None:
    """`room_succession` is off by default."""
    await house.move_in(**{ENTERPRISE: {"manager": {"value": BOB}}})
    room_id = await house.room(ANN, [BOB, CAT], room_version="11")
    await let_a_day_pass(house)

    await house.admin.scim.patched(ANN, OFF)

    assert await power(house, room_id, BOB) == 0
