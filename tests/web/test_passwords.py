"""Passwords are set, never shown, and end sessions when they change."""

from __future__ import annotations

import json

import pytest

from tests.support.homeserver import LocalHomeserver
from tests.web.clients import Scim, Synapse, assert_error, bulk_of, new_user

pytestmark = pytest.mark.usefixtures("owner")

OLD, NEW, OTHER = "correct horse", "battery staple", "pä\u0308sswörd 2"


async def test_password_opens_the_account_and_is_never_shown(
    homeserver: LocalHomeserver, scim: Scim, synapse: Synapse
) -> None:
    """A password works for login, and is in no answer, filter, order or log (RFC 7643 §4.1.1, RFC 7644 §7.5)."""
    ann = await scim.create("ann", password=OLD)
    answers = [
        await scim.get("/Users/@ann:example.org", params={"attributes": "password,userName"}),
        await scim.put(ann["id"], {**ann, "password": NEW}),
        await scim.patch(ann["id"], {"op": "replace", "path": "password", "value": OTHER}),
        await scim.post(
            "/Bulk", bulk_of({"method": "PUT", "path": "/Users/@ann:example.org", "data": {**ann, "password": OLD}})
        ),
        await scim.post("/Users", new_user("ann", password=OTHER)),
        await scim.post("/Users", new_user("bob", password=OTHER, active="perhaps")),
        await scim.post("/Users", new_user("bob", password={"secret": OTHER})),
        await scim.get("/Users", params={"attributes": "password"}),
    ]

    assert (await synapse.login("ann", OLD)).status == 200
    told = [answer.body.decode() for answer in answers]
    told += [record.getMessage() for record in homeserver.log_records]
    for password in (OLD, NEW, OTHER, json.dumps(OTHER)):
        assert not any(password in text for text in told)
    assert "password" not in ann
    for scim_filter in (f'password eq "{OLD}"', 'password sw "c"', "password pr"):
        found = await scim.get("/Users", params={"filter": scim_filter})
        assert found.status == 400 or found.json["totalResults"] == 0
    assert_error(await scim.get("/Users", params={"sortBy": "password"}), 400, "invalidPath")


async def test_new_password_ends_the_sessions(scim: Scim, synapse: Synapse) -> None:
    """A new password replaces the old one, and whoever was logged in is not any more (the documentation)."""
    ann = await scim.create("ann", password=OLD)
    current = OLD
    for new in (NEW, OTHER):
        token = await synapse.token("ann", current)
        if new == NEW:
            await scim.patched(ann["id"], {"op": "add", "path": "password", "value": new})
        else:
            await scim.replaced(ann["id"], {**ann, "password": new})
        assert (await synapse.whoami(token)).status == 401
        assert (await synapse.login("ann", current)).status == 403
        assert (await synapse.login("ann", new)).status == 200
        current = new


async def test_same_password_changes_nothing(scim: Scim, synapse: Synapse) -> None:
    """A password equal to the stored one changes nothing: Canaille sends it with every PUT (the documentation, IdP)."""
    ann = await scim.create("ann", password=OLD)
    token = await synapse.token("ann", OLD)

    assert await scim.replaced(ann["id"], {**ann, "password": OLD}) == ann
    assert await scim.patched(ann["id"], {"op": "replace", "path": "password", "value": OLD}) == ann

    assert (await synapse.whoami(token)).status == 200
    assert await scim.read(ann["id"]) == ann


@pytest.mark.homeserver(module_config={"password": {"end_sessions": False}})
async def test_sessions_can_outlive_a_new_password(scim: Scim, synapse: Synapse) -> None:
    """With `password.end_sessions: false` nobody is logged out (the documentation)."""
    ann = await scim.create("ann", password=OLD)
    token = await synapse.token("ann", OLD)

    await scim.patched(ann["id"], {"op": "replace", "path": "password", "value": NEW})

    assert (await synapse.whoami(token)).status == 200
    assert (await synapse.login("ann", NEW)).status == 200
    assert (await synapse.login("ann", OLD)).status == 403


@pytest.mark.homeserver(config={"password_config": {"policy": {"enabled": True, "minimum_length": 12}}})
async def test_passwords_that_the_server_refuses(scim: Scim, synapse: Synapse) -> None:
    """What the server's policy refuses, or is too long, is 400 that names `password` and not its value."""
    ann = await scim.create("ann", password=OLD)
    token = await synapse.token("ann", OLD)

    for refused in ("short", "x" * 513):
        responses = [
            await scim.post("/Users", new_user("bob", password=refused)),
            await scim.put(ann["id"], {**ann, "title": "Dr", "password": refused}),
            await scim.patch(ann["id"], {"op": "replace", "value": {"title": "Dr", "password": refused}}),
        ]
        for response in responses:
            assert_error(response, 400, "invalidValue", "password")
            assert refused not in response.body.decode()

    assert await scim.read(ann["id"]) == ann
    assert (await synapse.whoami(token)).status == 200
    assert await scim.names('userName eq "bob"') == []


async def test_a_removed_password_opens_nothing(scim: Scim, synapse: Synapse) -> None:
    """Removing the password leaves none, or is refused; never is it a silent 200 (RFC 7644 §3.5.2.2)."""
    ann = await scim.create("ann", password=OLD)

    response = await scim.patch(ann["id"], {"op": "remove", "path": "password"})

    for guess in ("", "password", "None", "null"):
        assert (await synapse.login("ann", guess)).status in {400, 403}
    assert response.status in {200, 400}
    assert (await synapse.login("ann", OLD)).status == (403 if response.status == 200 else 200)
