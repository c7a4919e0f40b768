"""E-mail addresses and phone numbers as third-party identifiers."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.homeserver import LocalHomeserver
from tests.web.clients import Scim, Synapse, assert_error, new_user, without_meta

pytestmark = pytest.mark.usefixtures("owner")

WORK = {"value": "Ann.Lee@Corp.Example", "type": "work", "primary": True}


async def test_addresses_are_canonical_in_matrix_and_as_sent_in_scim(scim: Scim, synapse: Synapse) -> None:
    """Each address is bound in Synapse's canonical form, and comes back as sent (the documentation)."""
    emails = [WORK, {"value": "Straße@x.example", "type": "home", "display": "Home"}, {"value": "ANN@y.example"}]

    ann = await scim.create("ann", emails=emails)

    assert ann["emails"] == emails
    assert await synapse.threepids(ann["id"]) == {
        ("email", "ann.lee@corp.example"),
        ("email", "strasse@x.example"),
        ("email", "ann@y.example"),
    }
    for value in ("ann.lee@corp.example", "ANN.LEE@CORP.EXAMPLE"):
        assert await scim.names(f'emails.value eq "{value}"') == ["ann"]


async def test_one_address_twice(scim: Scim, synapse: Synapse) -> None:
    """The same address for two purposes is one identifier, and stays until the last entry goes (the documentation)."""
    ann = await scim.create("ann", emails=[WORK, {"value": "ann.lee@corp.example", "type": "home"}])
    assert len(ann["emails"]) == 2

    await scim.patched(ann["id"], {"op": "remove", "path": 'emails[type eq "work"]'})
    assert await synapse.threepids(ann["id"]) == {("email", "ann.lee@corp.example")}
    await scim.patched(ann["id"], {"op": "remove", "path": 'emails[type eq "home"]'})
    assert await synapse.threepids(ann["id"]) == set()


async def test_what_is_no_address_is_refused(scim: Scim) -> None:
    """An e-mail address that is none is 400 (RFC 7643 §4.1.2), and the detail names `emails`."""
    for wrong in ("ann", "ann@", "@corp.example", "a@b@c", "ann lee@corp.example", "Ann <ann@corp.example>", "@"):
        response = await scim.post("/Users", new_user("ann", emails=[{"value": wrong}]))
        assert_error(response, 400, "invalidValue", "emails")
    assert_error(
        await scim.post("/Users", new_user("ann", emails=[{"value": "x" * 500 + "@y.example"}])),
        400,
        "invalidValue",
        "emails",
    )
    two = [{"value": "a@x.example", "primary": True}, {"value": "b@x.example", "primary": True}]
    assert_error(await scim.post("/Users", new_user("ann", emails=two)), 400, "invalidValue", "primary")

    assert await scim.names() == ["admin"]


@pytest.mark.usefixtures("engine")
async def test_an_address_of_another_account_is_refused(scim: Scim, synapse: Synapse) -> None:
    """An address is never moved: another account's is 409, made by SCIM or not, in any spelling (the documentation)."""
    await synapse.change("@local:example.org", threepids=[{"medium": "email", "address": "local@corp.example"}])
    await scim.create("bob", emails=[{"value": "bob@corp.example"}])
    ann = await scim.create("ann", emails=[WORK])
    before = await scim.users()

    for taken in ("local@corp.example", "LOCAL@corp.Example", "Bob@corp.example"):
        emails = [WORK, {"value": taken}]
        assert_error(await scim.post("/Users", new_user("cat", emails=[{"value": taken}])), 409, "uniqueness", "emails")
        assert_error(await scim.put(ann["id"], {**ann, "emails": emails}), 409, "uniqueness", "emails")
        add = {"op": "add", "path": "emails", "value": [{"value": taken}]}
        assert_error(await scim.patch(ann["id"], add), 409, "uniqueness", "emails")

    assert await scim.users() == before
    assert await synapse.threepids("@local:example.org") == {("email", "local@corp.example")}


async def test_numbers_that_can_be_bound(scim: Scim, synapse: Synapse) -> None:
    """A valid number in international form is bound, no fax or pager; everything comes back (the documentation)."""
    bound = {
        "+49 (30) 123456": "4930123456",
        "+1 201-555-0123": "12015550123",
        "tel:+43-1-5860000": "4315860000",
        "+44 20 7946 0958": "442079460958",
    }
    unbound = [
        {"value": "030 123457", "type": "work"},
        {"value": "10-040-1308"},
        {"value": "+49 30 123458", "type": "fax"},
        {"value": "+49 30 123459", "type": "pager"},
        {"value": "+1 2"},
        {"value": "+1 201-555-0124;ext=12"},
        {"value": "call me"},
        {"value": "+" + "1" * 300},
    ]
    numbers = [{"value": value, "type": "mobile"} for value in bound] + unbound

    ann = await scim.create("ann", phoneNumbers=numbers)

    assert ann["phoneNumbers"] == numbers
    assert await synapse.threepids(ann["id"]) == {("msisdn", address) for address in bound.values()}
    assert await scim.read(ann["id"]) == ann
    assert await scim.names('phoneNumbers.value eq "10-040-1308"') == ["ann"]
    assert await scim.names('phoneNumbers.value eq "+49 (30) 123456"') == ["ann"]
    bob = await scim.create("bob", phoneNumbers=[{"value": "+49 30 123457", "type": "FAX"}])
    assert await synapse.threepids(bob["id"]) == set()


@pytest.mark.usefixtures("engine")
async def test_a_shared_number_is_kept_unbound(homeserver: LocalHomeserver, scim: Scim, synapse: Synapse) -> None:
    """A number that another account has is kept as an attribute, unbound, and logged without it (the documentation)."""
    desk = [{"value": "+49 30 123456", "type": "work"}]
    await synapse.change("@local:example.org", threepids=[{"medium": "msisdn", "address": "4930123456"}])

    ann = await scim.create("ann", phoneNumbers=desk)
    bob = await scim.create("bob")
    patched = await scim.patched(bob["id"], {"op": "add", "path": "phoneNumbers", "value": desk})

    for user in (ann, patched):
        assert user["phoneNumbers"] == desk
        assert await scim.read(user["id"]) == user
        assert await synapse.threepids(user["id"]) == set()
        assert await scim.replaced(user["id"], user) == user
    assert await synapse.threepids("@local:example.org") == {("msisdn", "4930123456")}
    assert sorted(await scim.names('phoneNumbers.value eq "+49 30 123456"')) == ["ann", "bob"]
    told = [r.getMessage() for r in homeserver.log_records if r.name.startswith("synapse_scim")]
    for user_id in (ann["id"], bob["id"]):
        assert any("phone" in message.lower() and user_id in message for message in told)
    assert not any("123456" in message.replace(" ", "") for message in told)


@pytest.mark.homeserver(module_config={"threepids": {"phone_region": "DE"}})
async def test_national_numbers_with_a_region(scim: Scim, synapse: Synapse) -> None:
    """With `phone_region` national numbers are those of that country (the documentation)."""
    numbers = [{"value": "030 123456"}, {"value": "+43 1 5860000"}, {"value": "12"}]

    ann = await scim.create("ann", phoneNumbers=numbers)

    assert ann["phoneNumbers"] == numbers
    assert await synapse.threepids(ann["id"]) == {("msisdn", "4930123456"), ("msisdn", "4315860000")}


@pytest.mark.homeserver(module_config={"threepids": {"email": False, "msisdn": False}})
async def test_binding_can_be_turned_off(scim: Scim, synapse: Synapse) -> None:
    """Without binding, addresses and numbers are mere attributes, and Synapse's stay alone (the documentation)."""
    same: dict[str, Any] = {"emails": [{"value": "a@x.example"}], "phoneNumbers": [{"value": "+49 30 123456"}]}
    await synapse.change("@local:example.org", threepids=[{"medium": "email", "address": "a@x.example"}])

    ann, bob = await scim.create("ann", **same), await scim.create("bob", **same)

    for user in (ann, bob):
        assert {name: user[name] for name in same} == same
        assert await synapse.threepids(user["id"]) == set()
    await synapse.change(ann["id"], threepids=[{"medium": "email", "address": "own@x.example"}])
    assert without_meta(await scim.read(ann["id"])) == without_meta(ann)
    await scim.patched(ann["id"], {"op": "remove", "path": "emails"})
    assert await synapse.threepids(ann["id"]) == {("email", "own@x.example")}
    assert await scim.names('emails eq "a@x.example"') == ["bob"]


@pytest.mark.usefixtures("engine")
async def test_identifiers_changed_elsewhere_are_shown(scim: Scim, synapse: Synapse) -> None:
    """What somebody binds or unbinds elsewhere shows at once, in filters too (the documentation)."""
    home = {"value": "home@x.example", "type": "home"}
    fax = {"value": "+49 30 999999", "type": "fax"}
    ann = await scim.create("ann", emails=[WORK, home], phoneNumbers=[{"value": "+49 30 123456"}, fax])
    elsewhere = [{"medium": "email", "address": "home@x.example"}, {"medium": "email", "address": "new@x.example"}]

    await synapse.change(ann["id"], threepids=elsewhere)

    changed = await scim.read(ann["id"])
    assert changed["emails"] == [home, {"value": "new@x.example"}]
    assert changed["phoneNumbers"] == [fax]
    assert changed["meta"]["version"] != ann["meta"]["version"]
    assert await scim.users(filter='userName eq "ann"') == [changed]
    for scim_filter, found in {
        'emails.value eq "ann.lee@corp.example"': [],
        'emails[type eq "work"]': [],
        'emails.value eq "NEW@x.example"': ["ann"],
        'emails[type eq "home" and value co "home"]': ["ann"],
        'phoneNumbers.value eq "+49 30 123456"': [],
        'phoneNumbers[type eq "fax"]': ["ann"],
    }.items():
        assert await scim.names(scim_filter) == found, scim_filter
    await synapse.change(ann["id"], threepids=[*elsewhere, {"medium": "msisdn", "address": "43123456789"}])
    assert (await scim.read(ann["id"]))["phoneNumbers"] == [fax, {"value": "+43123456789"}]
    assert await scim.names('phoneNumbers.value eq "+43123456789"') == ["ann"]


async def test_an_odd_address_that_somebody_else_binds_is_shown(scim: Scim, synapse: Synapse) -> None:
    """An address may hold what JSON escapes, as long as Synapse takes it; it is shown alone and in a list."""
    ann = await scim.create("ann", emails=[WORK, {"value": "ann@y.example"}])
    odd = 'o"lee@x.example'

    await synapse.change(ann["id"], threepids=[{"medium": "email", "address": odd}])

    expected = [{"value": address} for _, address in sorted(await synapse.threepids(ann["id"]))]
    assert (await scim.read(ann["id"]))["emails"] == expected
    (listed,) = await scim.users(filter='userName eq "ann"')
    assert listed["emails"] == expected


@pytest.mark.homeserver(
    config={
        "email": {
            "smtp_host": "localhost",
            "notif_from": "Matrix <noreply@example.org>",
            "enable_notifs": True,
            "notif_for_new_users": True,
        }
    }
)
async def test_new_people_are_notified_by_mail(scim: Scim, synapse: Synapse) -> None:
    """Where the server notifies new people by e-mail, those made by SCIM are too (the documentation)."""
    ann = await scim.create("ann", emails=[{"value": "ann@corp.example"}])

    pushers = await synapse.request("GET", f"/_synapse/admin/v1/users/{ann['id']}/pushers")

    assert [(pusher["kind"], pusher["pushkey"]) for pusher in pushers.json["pushers"]] == [
        ("email", "ann@corp.example")
    ]
    await scim.patched(ann["id"], {"op": "remove", "path": "emails"})
    pushers = await synapse.request("GET", f"/_synapse/admin/v1/users/{ann['id']}/pushers")
    assert pushers.json["pushers"] == []
