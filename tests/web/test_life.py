"""The life of an account: one test for each row of the table in `docs/life.md`."""

from __future__ import annotations

import pytest

from synapse_scim.application import build
from synapse_scim.module import ScimModule
from tests.web.clients import MATRIX, Admin, assert_error, new_user, until, url_of, without_meta
from tests.web.life import ANN, OFF, ON, OWN_EMAIL, PERSON, Life

pytestmark = pytest.mark.usefixtures("engine", "owner")

at_once = pytest.mark.homeserver(module_config={"inactive": {"deactivate_after": 0}})


@pytest.fixture
def life(admin: Admin) -> Life:
    """Ann's life, on each engine."""
    return Life(admin)


async def test_joining(life: Life) -> None:
    """A POST makes an account with name, identifiers and password, ready for the first login."""
    ann = await life.scim.create("ann", **PERSON)

    account = await life.synapse.account(ANN)
    assert (ann["id"], account["displayname"], account["deactivated"]) == (ANN, "Ann", False)
    assert await life.synapse.threepids(ANN) == {("email", "ann@corp.example"), ("msisdn", "4930123456")}
    assert (await life.synapse.login("ann", "correct horse")).status == 200


async def test_renaming(life: Life) -> None:
    """A new userName changes what SCIM calls the person; the Matrix user ID, and all that hangs on it, stays."""
    await life.join()

    renamed = await life.scim.patched(ANN, {"op": "replace", "path": "userName", "value": "ann.lee"})

    assert (renamed["id"], renamed["userName"], renamed["displayName"]) == (ANN, "ann.lee", "Ann")
    assert (await life.synapse.login("ann", "correct horse")).status == 200


async def test_changing_the_address(life: Life) -> None:
    """SCIM's address is exchanged; an address that the person bound stays theirs."""
    await life.join()

    await life.scim.patched(ANN, {"op": "replace", "path": 'emails[type eq "work"].value', "value": "lee@corp.example"})

    assert await life.synapse.threepids(ANN) == {
        ("email", "lee@corp.example"),
        ("email", OWN_EMAIL),
        ("msisdn", "4930123456"),
    }


async def test_disabling_and_enabling_in_time(life: Life) -> None:
    """Within the time everything comes back: sessions, pushers, identifiers, password."""
    await life.join()
    token = await life.synapse.token("ann", "correct horse")
    await life.add_pusher(token)
    before, pushers = await life.scim.read(ANN), await life.pushers()

    left = await life.scim.patched(ANN, OFF)
    assert (left["active"], left[MATRIX]["locked"], await life.pushers()) == (False, True, [])
    assert (await life.synapse.whoami(token)).json["errcode"] == "M_USER_LOCKED"
    await life.pass_time(29)
    back = await life.scim.patched(ANN, ON)

    assert without_meta(back) == without_meta(before)
    assert (await life.synapse.whoami(token)).status == 200
    assert await life.pushers() == pushers
    await life.pass_time(60)
    assert (await life.scim.read(ANN))["active"] is True


async def test_enabling_after_the_time(life: Life) -> None:
    """After the time the account is deactivated; enabling reactivates it and gives back what was recorded."""
    ann = await life.join()
    token = await life.synapse.token("ann", "correct horse")
    await life.scim.patched(ANN, OFF)

    await life.pass_time(31)
    gone = await life.scim.read(ANN)
    assert (gone["active"], gone[MATRIX]["deactivated"], gone[MATRIX]["locked"]) == (False, True, False)
    assert (gone["emails"][0], gone["displayName"]) == (PERSON["emails"][0], "Ann")
    assert await life.synapse.threepids(ANN) == set()
    changed = await life.scim.patched(ANN, {"op": "replace", "path": "title", "value": "Dr"})
    assert (changed["active"], changed["emails"]) == (False, gone["emails"])
    back = await life.scim.patched(ANN, ON)

    assert {**back, "title": "Boss", "meta": None} == {**ann, "meta": None}
    assert await life.synapse.threepids(ANN) == {
        ("email", "ann@corp.example"),
        ("email", OWN_EMAIL),
        ("msisdn", "4930123456"),
    }
    assert (await life.synapse.account(ANN))["displayname"] == "Ann"
    assert (await life.synapse.whoami(token)).status == 401
    await life.scim.patched(ANN, {"op": "replace", "path": "password", "value": "battery staple"})
    assert (await life.synapse.login("ann", "battery staple")).status == 200


@at_once
async def test_disabling_can_deactivate_at_once(life: Life) -> None:
    """With `inactive.deactivate_after: 0`, `active: false` deactivates, as MSC4098 reads, and is undone as well."""
    ann = await life.join()

    gone = await life.scim.patched(ANN, OFF)
    assert (gone["active"], gone[MATRIX]["deactivated"]) == (False, True)
    back = await life.scim.patched(ANN, ON)

    assert without_meta(back) == without_meta(ann)
    assert ("email", OWN_EMAIL) in await life.synapse.threepids(ANN)


async def test_addresses_that_were_taken_meanwhile_are_not_stolen(life: Life) -> None:
    """Who returns goes without an identifier that somebody else has by then; the log says so."""
    await life.join()
    await life.scim.patched(ANN, OFF)
    await life.pass_time(31)
    bob = await life.scim.create("bob", emails=[{"value": "ann@corp.example"}, {"value": OWN_EMAIL}])

    back = await life.scim.patched(ANN, ON)

    assert back["active"] is True
    assert await life.synapse.threepids(ANN) == {("msisdn", "4930123456")}
    assert await life.synapse.threepids(bob["id"]) == {("email", "ann@corp.example"), ("email", OWN_EMAIL)}
    assert any('"give_back"' in record.getMessage() for record in life.admin.homeserver.log_records)


async def test_changes_while_somebody_is_away_do_not_bar_the_way_back(life: Life) -> None:
    """Whose address was taken returns without it, also if SCIM changed something else in the meantime."""
    await life.join()
    await life.scim.patched(ANN, OFF)
    await life.pass_time(31)
    await life.scim.create("bob", emails=[{"value": "ann@corp.example"}])
    await life.scim.patched(ANN, {"op": "replace", "path": "title", "value": "Dr"})

    back = await life.scim.patched(ANN, ON)

    assert (back["active"], back["title"]) == (True, "Dr")
    assert await life.synapse.threepids(ANN) == {("email", OWN_EMAIL), ("msisdn", "4930123456")}


async def test_deleting(life: Life) -> None:
    """DELETE ends everything at once, and frees the names."""
    await life.join()
    token = await life.synapse.token("ann", "correct horse")

    assert (await life.scim.delete(ANN)).status == 204

    for answer in (await life.scim.get(url_of(ANN)), await life.scim.patch(ANN, ON), await life.scim.delete(ANN)):
        assert_error(answer, 404)
    account = await life.synapse.account(ANN)
    assert (account["deactivated"], account["erased"], account["displayname"]) == (True, False, "Ann")
    assert await life.synapse.threepids(ANN) == set()
    assert (await life.synapse.whoami(token)).status == 401


async def test_creating_again_the_person_who_was_deleted(life: Life) -> None:
    """A POST with the same externalId brings the same account back, with what the request does not speak of."""
    ann = await life.join()
    await life.scim.delete(ANN)

    again = await life.scim.create("ann.lee", externalId="7", title="Dr")

    assert (again["id"], again["userName"], again["title"], again["active"]) == (ANN, "ann.lee", "Dr", True)
    assert again["emails"] == ann["emails"]
    assert ("email", OWN_EMAIL) in await life.synapse.threepids(ANN)
    assert (await life.synapse.account(ANN))["deactivated"] is False
    assert await life.scim.names('externalId eq "7"') == ["ann.lee"]


async def test_creating_again_somebody_who_stays_disabled(life: Life) -> None:
    """A POST with `active: false` brings the account back for SCIM, and lets nobody in until `active: true`."""
    await life.join()
    await life.scim.delete(ANN)

    again = await life.scim.create("ann", **PERSON, active=False)
    assert (again["id"], again["active"]) == (ANN, False)
    assert (await life.synapse.login("ann", "correct horse")).status == 403
    back = await life.scim.patched(ANN, ON)

    assert (back["active"], back["emails"][0]) == (True, PERSON["emails"][0])
    assert ("email", "ann@corp.example") in await life.synapse.threepids(ANN)


async def test_names_of_the_deleted_are_not_inherited(life: Life) -> None:
    """Whoever is not the same person, or comes too late, gets another account."""
    await life.join()
    await life.scim.delete(ANN)

    other = await life.scim.create("ann", externalId="8")
    assert other["id"] == "@ann2:example.org"
    await life.pass_time(91)
    late = await life.scim.create("ann.lee", externalId="7")

    assert late["id"] == "@ann.lee:example.org"
    assert (await life.synapse.account(ANN))["deactivated"] is True


LATER = {"deleted": {"deactivate_after": "7d"}}


@pytest.mark.homeserver(module_config=LATER)
async def test_deletion_can_leave_time_to_repent(life: Life) -> None:
    """With `deleted.deactivate_after` the account is locked, its sessions gone, and deactivated when the time comes."""
    await life.join()
    token = await life.synapse.token("ann", "correct horse")
    await life.scim.delete(ANN)

    account = await life.synapse.account(ANN)
    assert (account["deactivated"], account["locked"]) == (False, True)
    assert (await life.synapse.whoami(token)).status == 401
    assert await life.synapse.threepids(ANN) == set()
    await life.pass_time(8, LATER)
    assert (await life.synapse.account(ANN))["deactivated"] is True
    again = await life.scim.create("ann", **PERSON)
    assert (again["id"], again["active"]) == (ANN, True)
    assert ("email", OWN_EMAIL) in await life.synapse.threepids(ANN)


@pytest.mark.homeserver(module_config={"deleted": {"erase": True}})
async def test_erasing(life: Life) -> None:
    """With `deleted.erase` the homeserver erases the account, and nothing of the person stays recorded."""
    await life.join()

    await life.scim.delete(ANN)

    account = await life.synapse.account(ANN)
    assert (account["erased"], account["displayname"]) == (True, None)
    assert not {word for word in ("ann@corp", OWN_EMAIL, "4930123456", "Boss", "Ann") if word in await life.tables()}
    assert (await life.scim.create("ann", **PERSON))["id"] == "@ann2:example.org"


async def test_forgetting(life: Life) -> None:
    """After `deleted.forget_after` only the user ID, and a hash of the externalId, is left of somebody who left."""
    await life.join(externalId="external-7")
    await life.scim.delete(ANN)
    assert OWN_EMAIL in await life.tables()

    await life.pass_time(366)

    kept = await life.tables()
    assert not {w for w in ("ann@corp", OWN_EMAIL, "4930123456", "Boss", "Ann", "external-7") if w in kept}
    assert ANN in kept
    assert (await life.scim.create("ann", **PERSON))["id"] == "@ann2:example.org"


async def test_adopting(life: Life) -> None:
    """A POST for an account that exists takes it over, and what it does not speak of stays."""
    await life.synapse.change(ANN, password="correct horse", displayname="Ann", threepids=[])
    token = await life.synapse.token("ann", "correct horse")

    adopted = await life.scim.create("ann", externalId="7", title="Boss")

    assert (adopted["id"], adopted["displayName"], adopted[MATRIX]["managed"]) == (ANN, "Ann", True)
    assert (await life.synapse.whoami(token)).status == 200


async def test_an_administrator_who_unlocks_stops_the_deactivation(life: Life) -> None:
    """What an administrator decides in the meantime counts: the account is not deactivated behind their back."""
    await life.join()
    await life.scim.patched(ANN, OFF)
    await life.synapse.change(ANN, locked=False)

    await life.pass_time(31)

    assert (await life.scim.read(ANN))["active"] is True
    assert (await life.synapse.account(ANN))["deactivated"] is False


async def test_schedules_survive_a_restart(life: Life) -> None:
    """What is due while the homeserver is down is done when it starts."""
    await life.join()
    await life.scim.patched(ANN, OFF)
    admin = await life.admin.restart()
    life = Life(admin)
    assert (await admin.synapse.account(ANN))["deactivated"] is False

    await life.pass_time(31)

    async def deactivated() -> bool:
        return bool((await admin.synapse.account(ANN))["deactivated"])

    await until(deactivated)


@pytest.mark.homeserver(module_config={"inactive": {"deactivate_after": "never", "end_sessions": True}})
async def test_disabling_can_end_the_sessions(life: Life) -> None:
    """`inactive.end_sessions` deletes the devices; with `never` nobody is deactivated."""
    await life.join()
    token = await life.synapse.token("ann", "correct horse")

    await life.scim.patched(ANN, OFF)
    await life.pass_time(10_000, {"inactive": {"deactivate_after": "never"}})
    back = await life.scim.patched(ANN, ON)

    assert back["active"] is True
    assert (await life.synapse.whoami(token)).json["errcode"] == "M_UNKNOWN_TOKEN"
    assert (await life.synapse.login("ann", "correct horse")).status == 200


async def test_putting_back_what_was_read_changes_nothing_while_away(life: Life) -> None:
    """Nor does a sync that repeats `active: false`, or PUTs the whole User, take anything from somebody who is away."""
    ann = await life.join()
    await life.scim.patched(ANN, OFF)
    await life.pass_time(31)
    away = await life.scim.read(ANN)

    for answer in (await life.scim.replaced(ANN, away), await life.scim.patched(ANN, OFF)):
        assert without_meta(answer) == without_meta(away)
        assert answer["meta"]["version"] == away["meta"]["version"]
    await life.scim.replaced(ANN, new_user("ann", **{**PERSON, "active": False}))
    back = await life.scim.patched(ANN, ON)

    assert without_meta(back) == without_meta(ann)


ERASED_LATER = {"deleted": {"deactivate_after": "7d", "erase": True}}


@pytest.mark.homeserver(module_config=ERASED_LATER)
async def test_erasing_when_the_time_comes(life: Life) -> None:
    """Until then the person can come back; when the account is erased, what was recorded goes."""
    await life.join()
    await life.scim.delete(ANN)
    assert OWN_EMAIL in await life.tables()

    await life.pass_time(8, ERASED_LATER)

    assert (await life.synapse.account(ANN))["erased"] is True
    assert not {word for word in ("ann@corp", OWN_EMAIL, "4930123456", "Boss") if word in await life.tables()}


async def test_pushers_come_back_as_far_as_they_can(life: Life) -> None:
    """A pusher whose device is gone stays away; so does one by e-mail whose address somebody else has by then."""
    await life.join()
    token = await life.synapse.token("ann", "correct horse")
    await life.add_pusher(token)
    for address in ("ann@corp.example", OWN_EMAIL):
        await life.admin.homeserver.hs.get_pusherpool().add_or_update_pusher(
            user_id=ANN,
            kind="email",
            app_id="m.email",
            app_display_name="Email",
            device_display_name=address,
            pushkey=address,
            lang=None,
            data={},
        )
    await life.scim.patched(ANN, OFF)
    await life.pass_time(31)
    await life.scim.create("bob", emails=[{"value": OWN_EMAIL}])

    await life.scim.patched(ANN, ON)

    assert [pusher["pushkey"] for pusher in await life.pushers()] == ["ann@corp.example"]
    assert any("could not be restored" in record.getMessage() for record in life.admin.homeserver.log_records)


async def test_who_is_not_due_is_left_alone(life: Life) -> None:
    """Of two processes that see the same account due, the second finds nothing to do."""
    await life.join()
    await life.scim.patched(ANN, OFF)

    await build(ScimModule.parse_config({}), life.admin.homeserver.hs).store.leavers._deactivate(ANN)

    assert (await life.synapse.account(ANN))["deactivated"] is False
