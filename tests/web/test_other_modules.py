"""Other modules of the homeserver, and its own limits, have their say."""

from __future__ import annotations

from typing import Any

import pytest
from synapse.module_api.errors import SynapseError
from synapse.spam_checker_api import RegistrationBehaviour

from tests.conftest import Owner
from tests.web.clients import Admin, assert_error, new_user, url_of, without_meta

EMAIL = {"value": "ann@corp.example", "type": "work"}


@pytest.mark.usefixtures("engine", "owner")
async def test_a_spam_checker_may_refuse_an_account(admin: Admin) -> None:
    """A registration that a module denies is 403, and leaves nothing behind; the next one is the module's to judge."""
    denied = {"ann"}

    async def check(_threepid: Any, localpart: str | None, *_more: Any) -> RegistrationBehaviour:
        return RegistrationBehaviour.DENY if localpart in denied else RegistrationBehaviour.ALLOW

    admin.homeserver.hs.get_module_api().register_spam_checker_callbacks(check_registration_for_spam=check)

    assert_error(await admin.scim.post("/Users", new_user("ann", externalId="7", emails=[EMAIL])), 403, naming="refuse")
    bob = await admin.scim.create("bob", externalId="7", emails=[EMAIL])

    assert await admin.scim.names() == ["admin", "bob"]
    assert bob["emails"] == [EMAIL]
    denied.clear()
    assert (await admin.scim.create("ann"))["id"] == "@ann:example.org"


@pytest.mark.usefixtures("engine", "owner")
async def test_a_module_may_forbid_a_deactivation(admin: Admin) -> None:
    """A DELETE that a module forbids is 403, and nothing has changed."""
    asked: list[tuple[str, bool]] = []

    async def check(user_id: str, by_admin: bool) -> bool:  # noqa: FBT001 - Synapse's signature
        asked.append((user_id, by_admin))
        return user_id != "@ann:example.org"

    admin.homeserver.hs.get_module_api().register_third_party_rules_callbacks(check_can_deactivate_user=check)
    ann = await admin.scim.create("ann", externalId="7", emails=[EMAIL])
    bob = await admin.scim.create("bob")
    before = await admin.synapse.account(ann["id"])

    assert_error(await admin.scim.delete(ann["id"]), 403, naming="forbids the deactivation of @ann:example.org")
    assert (await admin.scim.delete(bob["id"])).status == 204

    assert asked[0] == ("@ann:example.org", True)
    assert await admin.scim.read(ann["id"]) == ann
    assert await admin.synapse.account(ann["id"]) == before
    assert (await admin.scim.get(url_of(bob["id"]))).status == 404


async def test_modules_hear_of_identifiers(owner: Owner, admin: Admin) -> None:
    """Modules that follow third-party identifiers hear of those that SCIM binds and unbinds.

    Where the accounts are MAS's, they may hear it from both.
    """
    heard: list[tuple[str, ...]] = []

    async def added(user_id: str, medium: str, address: str) -> None:
        heard.append(("added", user_id, medium, address))

    async def removed(user_id: str, medium: str, address: str) -> None:
        heard.append(("removed", user_id, medium, address))

    admin.homeserver.hs.get_module_api().register_third_party_rules_callbacks(
        on_add_user_third_party_identifier=added, on_remove_user_third_party_identifier=removed
    )

    ann = await admin.scim.create("ann", emails=[EMAIL])
    await admin.scim.patched(ann["id"], {"op": "replace", "path": "emails", "value": [{"value": "lee@corp.example"}]})

    told = [
        ("added", ann["id"], "email", "ann@corp.example"),
        ("removed", ann["id"], "email", "ann@corp.example"),
        ("added", ann["id"], "email", "lee@corp.example"),
    ]
    assert heard == told if owner == "synapse" else set(heard) == set(told)


async def test_a_module_that_fails_after_the_account_was_made(admin: Admin) -> None:
    """An error of a module after the registration does not leave half an account: it is completed."""

    async def fail(user_id: str) -> None:
        raise SynapseError(500, f"no room for {user_id}")

    admin.homeserver.hs.get_module_api().register_account_validity_callbacks(on_user_registration=fail)

    ann = await admin.scim.create("ann", externalId="7", emails=[EMAIL])

    assert await admin.scim.read(ann["id"]) == ann
    assert await admin.synapse.threepids(ann["id"]) == {("email", "ann@corp.example")}


@pytest.mark.homeserver(config={"rc_message": {"per_second": 0.001, "burst_count": 2}})
@pytest.mark.usefixtures("owner")
async def test_the_limit_of_messages_does_not_hold_a_name_up(admin: Admin) -> None:
    """A display name is stored even where the person's limit keeps it from the rooms, which the log says."""
    ann = await admin.scim.create("ann", displayName="Ann", password="correct horse")
    token = await admin.synapse.token("ann", "correct horse")
    headers = {"Authorization": f"Bearer {token}"}
    room = await admin.synapse.request(
        "POST", "/_matrix/client/v3/createRoom", {"preset": "private_chat"}, headers=headers
    )
    assert room.status == 200, room.body

    for name in ("Anna", "Anne", "Hannah"):
        user = await admin.scim.patched(ann["id"], {"op": "replace", "path": "displayName", "value": name})
        assert user["displayName"] == name
        assert (await admin.synapse.account(ann["id"]))["displayname"] == name

    assert without_meta(await admin.scim.read(ann["id"])) == {**without_meta(ann), "displayName": "Hannah"}
    assert any(
        record.name.startswith("synapse_scim") and "The rooms of @ann:example.org" in record.getMessage()
        for record in admin.homeserver.log_records
    )
