"""PUT replaces, PATCH changes, and each happens whole."""

from __future__ import annotations

from typing import Any

import pytest

from tests.web.clients import ENTERPRISE, USER, Scim, Synapse, assert_error, assert_scim, new_user, without_meta

pytestmark = pytest.mark.usefixtures("owner")

FULL: dict[str, Any] = {
    "externalId": "7",
    "displayName": "Ann Lee",
    "title": "Dr",
    "name": {"givenName": "Ann", "familyName": "Lee"},
    "emails": [{"value": "Ann@corp.example", "type": "work", "primary": True}, {"value": "ann@home.example"}],
    "phoneNumbers": [{"value": "+49 30 123456", "type": "work"}, {"value": "12", "type": "fax"}],
    "addresses": [{"type": "work", "country": "AT"}],
    "roles": [{"value": "r1"}, {"value": "r2"}],
    ENTERPRISE: {"department": "Sales", "manager": {"value": "4711"}},
}


async def test_writing_back_what_was_read_changes_nothing(scim: Scim, synapse: Synapse) -> None:
    """GET, then PUT of the same body, leaves version and lastModified (the documentation, RFC 7644 §3.5.1)."""
    token = None
    for name, attributes in (("ann", {**FULL, "password": "correct horse"}), ("bob", {}), ("cat", {"active": False})):
        user = await scim.create(name, **attributes)
        token = token or await synapse.token("ann", "correct horse")
        before = await synapse.account(user["id"])
        assert await scim.replaced(user["id"], user) == user
        assert await scim.replaced(user["id"], without_meta(user)) == user
        assert await scim.patched(user["id"], {"op": "replace", "value": without_meta(user)}) == user
        assert await scim.patched(user["id"], {"op": "add", "value": {"userName": name}}) == user
        assert await scim.read(user["id"]) == user
        assert await synapse.account(user["id"]) == before
    assert token is not None
    assert (await synapse.whoami(token)).status == 200


async def test_put_replaces(scim: Scim, synapse: Synapse) -> None:
    """What a PUT does not name goes (RFC 7644 §3.5.1), but for password, `active`, `externalId` (the documentation)."""
    ann = await scim.create("ann", **FULL, password="correct horse")

    replaced = await scim.replaced(ann["id"], new_user("ann", displayName="Anna", nickName="A"))

    gone = FULL.keys() - {"externalId", "displayName"}
    assert not gone & replaced.keys()
    assert (replaced["externalId"], replaced["active"], replaced["nickName"]) == ("7", True, "A")
    assert replaced["meta"]["created"] == ann["meta"]["created"]
    assert replaced["meta"]["lastModified"] > ann["meta"]["lastModified"]
    assert await scim.read(ann["id"]) == replaced
    assert await synapse.threepids(ann["id"]) == set()
    assert (await synapse.account(ann["id"]))["displayname"] == "Anna"
    assert (await synapse.login("ann", "correct horse")).status == 200

    await scim.patched(ann["id"], {"op": "replace", "path": "active", "value": False})
    assert (await scim.replaced(ann["id"], new_user("ann")))["active"] is False


async def test_put_takes_its_id_from_the_url(scim: Scim) -> None:
    """`id` and `meta` in the body mean nothing (RFC 7644 §3.5.1), and the body may lack them (IdP: Canaille)."""
    await scim.create("ann")
    await scim.create("bob")

    replaced = await scim.replaced("@ann:example.org", {**new_user("ann", title="Dr"), "id": "@bob:example.org"})

    assert (replaced["id"], replaced["title"]) == ("@ann:example.org", "Dr")
    assert "title" not in await scim.read("@bob:example.org")
    assert_error(
        await scim.put("@ann:example.org", {"schemas": [USER], "title": "Dr"}), 400, "invalidValue", "userName"
    )


async def test_put_leaves_what_scim_did_not_put_there(scim: Scim, synapse: Synapse) -> None:
    """A PUT leaves avatars and identifiers that somebody other than SCIM set (the documentation)."""
    ann = await scim.create("ann", emails=[{"value": "ann@corp.example", "type": "work"}])
    own = [{"medium": "email", "address": "ann@corp.example"}]
    added = [{"medium": "email", "address": "private@x.example"}, {"medium": "msisdn", "address": "4930123456"}]
    await synapse.change(ann["id"], threepids=own + added, avatar_url="mxc://example.org/face")

    shown = await scim.read(ann["id"])
    assert shown["emails"] == [{"value": "ann@corp.example", "type": "work"}, {"value": "private@x.example"}]
    assert shown["phoneNumbers"] == [{"value": "+4930123456"}]
    replaced = await scim.replaced(ann["id"], new_user("ann", emails=[{"value": "new@corp.example"}]))

    assert [email["value"] for email in replaced["emails"]] == ["new@corp.example", "private@x.example"]
    assert await synapse.threepids(ann["id"]) == {
        ("email", "new@corp.example"),
        ("email", "private@x.example"),
        ("msisdn", "4930123456"),
    }
    assert (await synapse.account(ann["id"]))["avatar_url"] == "mxc://example.org/face"
    assert (await scim.replaced(ann["id"], new_user("ann")))["emails"] == [{"value": "private@x.example"}]


async def test_patch_answers_with_the_resource(scim: Scim) -> None:
    """A PATCH is answered 200 with the whole User and its version (the documentation, RFC 7644 §3.5.2)."""
    ann = await scim.create("ann", **FULL)

    response = await scim.patch(ann["id"], {"op": "replace", "path": "title", "value": "Prof"})

    changed = assert_scim(response, 200)
    assert {**changed, "meta": {}, "title": "Dr"} == {**ann, "meta": {}}
    assert response.headers["etag"] == changed["meta"]["version"] != ann["meta"]["version"]
    assert changed == await scim.read(ann["id"])


async def test_patch_operations(scim: Scim, synapse: Synapse) -> None:
    """add, replace and remove, with and without path and filter (RFC 7644 §3.5.2)."""
    ann = (await scim.create("ann", **FULL))["id"]
    work = 'emails[type eq "work"]'

    async def after(*operations: dict[str, Any]) -> dict[str, Any]:
        return await scim.patched(ann, *operations)

    assert (await after({"op": "add", "path": "nickName", "value": "A"}))["nickName"] == "A"
    assert "nickName" not in await after({"op": "remove", "path": "nickName"})
    assert "nickName" not in await after({"op": "remove", "path": "nickName"})
    named = await after(
        {"op": "replace", "path": "name.familyName", "value": "Doe"}, {"op": "remove", "path": "name.givenName"}
    )
    assert named["name"] == {"familyName": "Doe"}
    assert "name" not in await after({"op": "remove", "path": "name"})
    roles = await after({"op": "add", "path": "roles", "value": [{"value": "r2"}, {"value": "r3"}]})
    assert [role["value"] for role in roles["roles"]] == ["r1", "r2", "r3"]
    fewer = await after({"op": "remove", "path": 'roles[value eq "r1" or value eq "r3"]'})
    assert fewer["roles"] == [{"value": "r2"}]
    replaced = await after({"op": "replace", "path": f"{work}.value", "value": "lee@corp.example"})
    assert replaced["emails"][0] == {"value": "lee@corp.example", "type": "work", "primary": True}
    assert ("email", "lee@corp.example") in await synapse.threepids(ann)
    assert ("email", "ann@corp.example") not in await synapse.threepids(ann)
    primary = await after({"op": "add", "path": "emails", "value": [{"value": "ann@new.example", "primary": True}]})
    assert [email["value"] for email in primary["emails"] if email.get("primary")] == ["ann@new.example"]
    assert [email["value"] for email in (await after({"op": "remove", "path": work}))["emails"]] == [
        "ann@home.example",
        "ann@new.example",
    ]
    extended = await after(
        {"op": "replace", "path": f"{ENTERPRISE}:department", "value": "IT"},
        {"op": "add", "value": {"title": "Prof", ENTERPRISE: {"division": "West"}}},
        {"op": "remove", "path": f"{ENTERPRISE}:manager"},
    )
    assert (extended["title"], extended[ENTERPRISE]) == ("Prof", {"department": "IT", "division": "West"})
    assert ENTERPRISE not in await after({"op": "remove", "path": ENTERPRISE})
    assert "emails" not in await after({"op": "remove", "path": "emails"})
    assert await synapse.threepids(ann) == {("msisdn", "4930123456")}


@pytest.mark.usefixtures("engine")
async def test_a_refused_change_changes_nothing(scim: Scim, synapse: Synapse) -> None:
    """A PUT or PATCH that cannot happen whole does not happen: all operations or none (RFC 7644 §3.5.2)."""
    await synapse.change("@other:example.org", threepids=[{"medium": "email", "address": "taken@corp.example"}])
    await scim.create("bob", externalId="8")
    ann = await scim.create("ann", **FULL, password="correct horse")
    before, token = await synapse.account(ann["id"]), await synapse.token("ann", "correct horse")
    title = {"op": "replace", "path": "title", "value": "Prof"}
    more = {
        "displayName": "Another",
        "password": "battery staple",
        "active": False,
        "emails": [{"value": "x@y.example"}],
    }
    refused: list[tuple[dict[str, Any], int, str, str]] = [
        ({"userName": "BOB"}, 409, "uniqueness", "userName"),
        ({"externalId": "8"}, 409, "uniqueness", "externalId"),
        ({"emails": [{"value": "TAKEN@corp.example"}]}, 409, "uniqueness", "emails"),
        ({"emails": [{"value": "no address"}]}, 400, "invalidValue", "emails"),
        ({"displayName": "x" * 257}, 400, "invalidValue", "displayName"),
        ({"active": "perhaps"}, 400, "invalidValue", "active"),
        ({"userName": " "}, 400, "invalidValue", "userName"),
    ]
    for wrong, status, scim_type, naming in refused:
        assert_error(await scim.put(ann["id"], {**ann, **more, **wrong}), status, scim_type, naming)
        assert_error(
            await scim.patch(ann["id"], title, {"op": "replace", "value": {**more, **wrong}}), status, scim_type, naming
        )
    for operation, scim_type in (
        ({"op": "replace", "path": "id", "value": "@x:example.org"}, "mutability"),
        ({"op": "remove", "path": "userName"}, "mutability"),
        ({"op": "replace", "path": 'emails[type eq "work" or type eq "x"].value[', "value": "x"}, "invalidPath"),
        ({"op": "remove"}, "noTarget"),
        ({"op": "add", "path": "nickName"}, "invalidValue"),
    ):
        assert_error(await scim.patch(ann["id"], title, operation), 400, scim_type)

    assert await scim.read(ann["id"]) == ann
    after = await synapse.account(ann["id"])
    assert {**after, "last_seen_ts": None} == {**before, "last_seen_ts": None}
    assert (await synapse.whoami(token)).status == 200


async def test_writes_can_ask_for_a_version(scim: Scim) -> None:
    """`If-Match` with another version is 412, and nothing happens (RFC 7644 §3.14, RFC 9110 §13.1.1)."""
    ann = await scim.create("ann")
    old = ann["meta"]["version"]
    title = {"op": "replace", "path": "title", "value": "Dr"}
    new = (await scim.patched(ann["id"], title))["meta"]["version"]

    for tag in (old, '"other"', f'{old}, "other"'):
        headers = {"If-Match": tag}
        assert_error(await scim.put(ann["id"], new_user("ann", title="Prof"), headers=headers), 412)
        assert_error(await scim.patch(ann["id"], {**title, "value": "Prof"}, headers=headers), 412)
        assert_error(await scim.patch(ann["id"], title, headers=headers), 412)
        assert_error(await scim.delete(ann["id"], headers=headers), 412)
    assert_error(await scim.put(ann["id"], new_user("ann"), headers={"If-None-Match": "*"}), 412)
    assert (await scim.read(ann["id"]))["title"] == "Dr"

    assert (await scim.patch(ann["id"], {**title, "value": "Prof"}, headers={"If-Match": f'"x", {new}'})).status == 200
    assert (await scim.put(ann["id"], new_user("ann"), headers={"If-Match": "*"})).status == 200
    version = (await scim.read(ann["id"]))["meta"]["version"]
    assert (await scim.delete(ann["id"], headers={"If-Match": version})).status == 204
