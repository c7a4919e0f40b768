"""Other modules of the homeserver, and its own limits, have their say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from synapse.module_api import ModuleApi
from synapse.module_api.errors import SynapseError
from synapse.spam_checker_api import RegistrationBehaviour

from tests.conftest import Owner
from tests.support.configuration import scim_module
from tests.support.homeserver import StartHomeserver
from tests.web.clients import Admin, assert_error, new_user, url_of, without_meta

EMAIL = {"value": "ann@corp.example", "type": "work"}


class Bouncer:
    """A module of Synapse, such as anybody may write, that deactivates a new account at once."""

    def __init__(self, _: None, api: ModuleApi) -> None:
        """Be told of registrations."""
        self._store = api._store
        api.register_account_validity_callbacks(on_user_registration=self._registered)

    @staticmethod
    def parse_config(_: Mapping[str, Any]) -> None:
        """Take any configuration."""

    async def _registered(self, user_id: str) -> None:
        if user_id == "@unwanted:example.org":
            await self._store.set_user_deactivated_status(user_id, deactivated=True)


async def _found_by_name(admin: Admin, text: str) -> list[str]:
    """Return whom the directory of users finds."""
    path = "/_matrix/client/v3/user_directory/search"
    response = await admin.synapse.request("POST", path, {"search_term": text})
    assert response.status == 200, response.body
    return [user["user_id"] for user in response.json["results"]]


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


@pytest.mark.parametrize("is_first", [True, False], ids=["before", "after"])
async def test_what_a_module_does_with_a_new_account_counts(start_homeserver: StartHomeserver, is_first: bool) -> None:  # noqa: FBT001
    """An account that another module deactivates while SCIM makes it is inactive, and in no directory.

    Synapse does not ask its database how an account is that SCIM registers, but whatever changes it is heard of.
    """
    bouncer = {"module": f"{__name__}.Bouncer", "config": {}}
    modules = [bouncer, scim_module()] if is_first else [scim_module(), bouncer]
    config = {"modules": modules, "user_directory": {"search_all_users": True}}
    admin = await Admin.of(await start_homeserver(config=config))

    made = {name: await admin.scim.create(name, displayName=f"Dr {name}") for name in ("unwanted", "wanted")}

    assert {name: user["active"] for name, user in made.items()} == {"unwanted": False, "wanted": True}
    assert await _found_by_name(admin, "Dr") == [made["wanted"]["id"]]
    store: Any = admin.homeserver.hs.get_datastores().main
    for name, is_deactivated in (("unwanted", True), ("wanted", False)):
        assert await store.get_user_deactivated_status(made[name]["id"]) is is_deactivated


async def test_accounts_for_support_are_in_no_directory(start_homeserver: StartHomeserver) -> None:
    """Where the homeserver registers everybody as its own support, SCIM's accounts are no exception."""
    config = {"user_types": {"default_user_type": "support"}, "user_directory": {"search_all_users": True}}
    admin = await Admin.of(await start_homeserver(config=config))

    await admin.scim.post("/Users", new_user("ann", displayName="Dr Ann"))

    store: Any = admin.homeserver.hs.get_datastores().main
    assert await store.is_support_user("@ann:example.org")
    assert await _found_by_name(admin, "Dr") == []
