"""DELETE takes an account out of SCIM and ends its use."""

from __future__ import annotations

from typing import Any

import pytest

from tests.web.clients import Scim, Synapse, assert_error, new_user

pytestmark = pytest.mark.usefixtures("owner")

PERSON: dict[str, Any] = {
    "externalId": "7",
    "displayName": "Jane Doe",
    "password": "correct horse",
    "emails": [{"value": "jdoe@corp.example"}],
    "phoneNumbers": [{"value": "+49 30 123456"}],
}


@pytest.mark.usefixtures("engine")
async def test_deleted_user_is_gone(scim: Scim) -> None:
    """DELETE is 204 without a body, and then the User is 404 for every method (RFC 7644 §3.6, IdP)."""
    jdoe = await scim.create("jdoe", **PERSON)

    response = await scim.delete(jdoe["id"])

    assert (response.status, response.body) == (204, b"")
    assert_error(await scim.get(f"/Users/{jdoe['id']}"), 404)
    assert_error(await scim.put(jdoe["id"], jdoe), 404)
    assert_error(await scim.patch(jdoe["id"], {"op": "replace", "path": "active", "value": True}), 404)
    assert_error(await scim.delete(jdoe["id"]), 404)
    assert await scim.names() == ["admin"]
    for scim_filter in ('userName eq "jdoe"', 'externalId eq "7"', 'id eq "@jdoe:example.org"', 'emails co "jdoe"'):
        assert await scim.names(scim_filter) == []


async def test_deleted_account_is_of_no_use(scim: Scim, synapse: Synapse) -> None:
    """The sessions end and the account is deactivated, and not erased (the documentation)."""
    jdoe = await scim.create("jdoe", **PERSON)
    token = await synapse.token("jdoe", "correct horse")

    assert (await scim.delete(jdoe["id"])).status == 204

    assert (await synapse.whoami(token)).status == 401
    assert (await synapse.login("jdoe", "correct horse")).status == 403
    account = await synapse.account(jdoe["id"])
    assert (account["deactivated"], account["erased"], account["threepids"]) == (True, False, [])
    assert account["displayname"] == "Jane Doe"


async def test_names_of_the_deleted_are_free(scim: Scim, synapse: Synapse) -> None:
    """Somebody else may have userName, externalId and addresses, and never the account (the documentation)."""
    await scim.delete((await scim.create("jdoe", **PERSON))["id"])

    second = await scim.create("jdoe", externalId="8", emails=PERSON["emails"], phoneNumbers=PERSON["phoneNumbers"])
    third = await scim.create("jdoe@other.example", externalId="9")

    assert (second["id"], second["userName"]) == ("@jdoe2:example.org", "jdoe")
    assert third["id"] == "@jdoe3:example.org"
    assert await synapse.threepids(second["id"]) == {("email", "jdoe@corp.example"), ("msisdn", "4930123456")}
    assert_error(await scim.get("/Users/@jdoe:example.org"), 404)


@pytest.mark.homeserver(module_config={"localpart_taken": "refuse"})
async def test_names_of_the_deleted_can_be_refused(scim: Scim) -> None:
    """With `localpart_taken: refuse` nobody gets a localpart that was another person's (the documentation)."""
    await scim.delete((await scim.create("jdoe", **PERSON))["id"])

    assert_error(await scim.post("/Users", new_user("jdoe", externalId="8")), 409, "uniqueness", "localpart_taken")
    assert_error(await scim.post("/Users", new_user("jdoe@other.example")), 409, "uniqueness")

    assert await scim.names() == ["admin"]


async def test_an_account_that_scim_did_not_make_can_be_deleted(scim: Scim, synapse: Synapse) -> None:
    """A server admin's token may take over any account, to delete it too (the documentation)."""
    await synapse.change("@ann:example.org", displayname="Ann", password="correct horse")

    assert (await scim.delete("@ann:example.org")).status == 204

    assert_error(await scim.get("/Users/@ann:example.org"), 404)
    assert await scim.names() == ["admin"]
    assert (await synapse.account("@ann:example.org"))["deactivated"] is True
