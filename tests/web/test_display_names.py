"""The display name of the Matrix profile, and `displayName`."""

from __future__ import annotations

from typing import Any

import pytest

from tests.web.clients import Scim, Synapse, assert_error, new_user

pytestmark = pytest.mark.usefixtures("owner")


async def test_first_that_says_something(scim: Scim, synapse: Synapse) -> None:
    """The profile shows displayName, else name.formatted, else given and family name, else userName.

    The answer holds what was sent, and no more (the documentation).
    """
    name = {"givenName": "Ann", "familyName": "Lee"}
    cases: dict[str, tuple[dict[str, Any], str]] = {
        "u1": ({"displayName": "A. Lee", "name": {**name, "formatted": "Ms. Lee"}}, "A. Lee"),
        "u2": ({"name": {**name, "formatted": "Ms. Lee"}}, "Ms. Lee"),
        "u3": ({"name": name}, "Ann Lee"),
        "u4": ({"name": {"familyName": "Lee"}}, "Lee"),
        "u5": ({}, "u5"),
        "U6@corp.example": ({"name": {"honorificPrefix": "Dr"}}, "U6@corp.example"),
        "u7": ({"displayName": "", "name": {"formatted": " ", "givenName": "Ann"}}, "Ann"),
        "u8": ({"displayName": " Ann  Lee \n"}, "Ann  Lee"),
    }
    for user_name, (attributes, shown) in cases.items():
        made = await scim.create(user_name, **attributes)
        assert (await synapse.account(made["id"]))["displayname"] == shown
        assert made.get("displayName") == attributes.get("displayName")
        assert made.get("name", {}).items() <= attributes.get("name", {}).items()


async def test_profile_follows_what_it_is_made_of(scim: Scim, synapse: Synapse) -> None:
    """A change of any part changes the profile; a change of anything else does not touch it (the documentation)."""
    ann = (await scim.create("ann", name={"givenName": "Ann", "familyName": "Lee"}))["id"]

    async def after(*operations: dict[str, Any]) -> Any:
        await scim.patched(ann, *operations)
        return (await synapse.account(ann))["displayname"]

    assert await after({"op": "replace", "path": "name.familyName", "value": "Doe"}) == "Ann Doe"
    assert await after({"op": "add", "path": "displayName", "value": "Ms. Doe"}) == "Ms. Doe"
    assert await after({"op": "replace", "path": "name.familyName", "value": "Lee"}) == "Ms. Doe"
    assert await after({"op": "remove", "path": "displayName"}) == "Ann Lee"
    await synapse.change(ann, displayname="Annie")
    assert await after({"op": "add", "path": "title", "value": "Dr"}) == "Annie"
    assert await after({"op": "replace", "path": "displayName", "value": "Ann Lee"}) == "Ann Lee"


async def test_profile_changed_elsewhere_is_shown(scim: Scim, synapse: Synapse) -> None:
    """The answer holds what was sent until somebody changes the profile elsewhere; then that (the documentation)."""
    ann = await scim.create("ann", displayName=" Ann Lee ")
    assert ann["displayName"] == " Ann Lee "

    await synapse.change(ann["id"], displayname="Annie")

    changed = await scim.read(ann["id"])
    assert changed["displayName"] == "Annie"
    assert changed["meta"]["version"] != ann["meta"]["version"]
    assert await scim.names('displayName eq "ANNIE"') == ["ann"]
    assert await scim.names('displayName co "Lee"') == []
    # A sync that still says what it said before has the last word.
    assert (await scim.replaced(ann["id"], new_user("ann", displayName=" Ann Lee ")))["displayName"] == " Ann Lee "
    assert (await synapse.account(ann["id"]))["displayname"] == "Ann Lee"


async def test_display_names_are_bounded(scim: Scim, synapse: Synapse) -> None:
    """256 characters are what Matrix takes; more is 400, wherever they come from (the documentation)."""
    ann = await scim.create("ann", displayName="é" * 256)
    assert (await synapse.account(ann["id"]))["displayname"] == "é" * 256

    too_long = {"op": "replace", "path": "displayName", "value": "x" * 257}
    assert_error(await scim.patch(ann["id"], too_long), 400, "invalidValue", "displayName")
    assert_error(await scim.post("/Users", new_user("bob", displayName="x" * 257)), 400, "invalidValue", "displayName")
    name = {"formatted": "x" * 257}
    assert_error(await scim.post("/Users", new_user("bob", name=name)), 400, "invalidValue", "name")

    assert await scim.read(ann["id"]) == ann
    assert await scim.names('userName eq "bob"') == []


@pytest.mark.homeserver(module_config={"display_name": "{{ user.name.familyName | upper }} ({{ user.title }})"})
async def test_display_name_by_template(scim: Scim, synapse: Synapse) -> None:
    """A template decides the profile, and the answer still holds what was sent (the documentation)."""
    ann = await scim.create("ann", displayName="Ann", title="Dr", name={"familyName": "Lee"})

    assert (await synapse.account(ann["id"]))["displayname"] == "LEE (Dr)"
    assert ann["displayName"] == "Ann"
    await scim.patched(ann["id"], {"op": "replace", "path": "title", "value": "Prof"})
    assert (await synapse.account(ann["id"]))["displayname"] == "LEE (Prof)"
    assert (await scim.read(ann["id"]))["displayName"] == "Ann"
    # An attribute that is not there is nothing, as in Synapse's own templates.
    assert (await scim.post("/Users", new_user("bob", title="Dr"))).status in {201, 400}
