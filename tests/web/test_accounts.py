"""Which accounts are Users, which of them are left alone, and how SCIM takes others over."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.configuration import scim_module
from tests.support.homeserver import StartHomeserver
from tests.web.clients import (
    ENTERPRISE,
    MATRIX,
    STABLE,
    USER,
    Admin,
    Scim,
    Synapse,
    assert_error,
    assert_scim,
    bulk_of,
    new_user,
    until,
    url_of,
    without_meta,
)

pytestmark = pytest.mark.usefixtures("owner")

LOCAL: dict[str, Any] = {
    "displayname": "Local Ann",
    "password": "correct horse",
    "avatar_url": "mxc://example.org/face",
    "threepids": [{"medium": "email", "address": "ann@x.example"}, {"medium": "msisdn", "address": "4930123456"}],
}
ANN = "@ann:example.org"


async def test_everybody_is_a_user(scim: Scim, synapse: Synapse) -> None:
    """An account that SCIM did not make is a User with its localpart as userName (the documentation)."""
    await synapse.change(ANN, **LOCAL)

    ann = await scim.read(ANN)

    assert (ann["id"], ann["userName"], ann["displayName"], ann["active"]) == (ANN, "ann", "Local Ann", True)
    assert ann["emails"] == [{"value": "ann@x.example"}]
    assert ann["phoneNumbers"] == [{"value": "+4930123456"}]
    assert ann["schemas"] == [USER, MATRIX]
    assert ann[MATRIX] == {
        "userId": ANN,
        "serverAdmin": False,
        "locked": False,
        "suspended": False,
        "deactivated": False,
        "managed": False,
    }
    assert sorted(await scim.names()) == ["admin", "ann"]
    for scim_filter in (
        'userName eq "ANN"',
        'emails.value eq "ann@x.example"',
        'displayName eq "local ann"',
        f"{MATRIX}:managed eq false and not ({MATRIX}:serverAdmin eq true)",
    ):
        assert await scim.users(filter=scim_filter) == [ann]
    await synapse.request("PUT", f"/_synapse/admin/v1/suspend/{ANN}", {"suspend": True})
    suspended = await scim.read(ANN)
    assert (suspended[MATRIX]["suspended"], suspended["active"]) == (True, True)
    assert await scim.names(f"{MATRIX}:suspended eq true") == ["ann"]


@pytest.mark.usefixtures("engine")
async def test_accounts_of_old_with_capitals(admin: Admin) -> None:
    """User IDs of old hold capitals (Matrix, historical user IDs): such an account is a User like any other.

    A new person whose localpart differs in case alone gets another one, or is refused; the server does not give up.
    """
    with admin.homeserver._context():
        store = admin.homeserver.hs.get_datastores().main
        await store.register_user(user_id="@Old:example.org", create_profile_with_displayname="Old")
    del store
    if admin.homeserver.mas is not None:
        admin.homeserver.mas.migrate("Old")
    # None is made any more, so none can appear while the server runs.
    await admin.homeserver.restart()
    scim = Scim(admin.homeserver.url, admin.token, STABLE)

    async def answers() -> bool:
        return (await scim.get("/Me")).status == 200

    await until(answers)
    old = await scim.read("@Old:example.org")
    assert (old["id"], old["userName"]) == ("@Old:example.org", "Old")
    for scim_filter in ('userName eq "Old"', 'userName eq "old"', 'id eq "@Old:example.org"', 'displayName eq "old"'):
        assert await scim.users(filter=scim_filter) == [old], scim_filter

    response = await scim.post("/Users", new_user("old@corp.example"))

    assert response.status in {201, 409}
    if response.status == 201:
        assert response.json["id"] == "@old2:example.org"
    changed = await scim.patched(old["id"], {"op": "add", "path": "title", "value": "Dr"})
    assert (changed["id"], changed["userName"], changed["title"]) == ("@Old:example.org", "Old", "Dr")


@pytest.mark.homeserver(
    config={"allow_guest_access": True, "server_notices": {"system_mxid_localpart": "notices"}},
)
async def test_programs_and_guests_are_no_users(admin: Admin) -> None:
    """Guests, bots, Synapse's own accounts and appservices' are not there for SCIM (the documentation)."""
    scim, synapse = admin.scim, admin.synapse
    guest = await synapse.request("POST", "/_matrix/client/v3/register?kind=guest", {})
    await synapse.change("@robot:example.org", user_type="bot")
    await synapse.change("@help:example.org", user_type="support")
    with admin.homeserver._context():
        store = admin.homeserver.hs.get_datastores().main
        await store.register_user(user_id="@bridged:example.org", appservice_id="bridge")
        await store.register_user(user_id="@notices:example.org")
    # MAS has no guests.
    assert (guest.status == 200) == (admin.homeserver.mas is None)
    guests = [guest.json["user_id"]] if guest.status == 200 else []
    hidden = guests + [f"@{name}:example.org" for name in ("robot", "help", "bridged", "notices")]

    assert await scim.names() == ["admin"]
    assert (await scim.get("/Users", params={"count": 0})).json["totalResults"] == 1
    for user_id in hidden:
        assert_error(await scim.get(url_of(user_id)), 404)
        assert_error(await scim.put(user_id, new_user("x")), 404)
        assert_error(await scim.patch(user_id, {"op": "replace", "path": "active", "value": False}), 404)
        assert_error(await scim.delete(user_id), 404)
        assert await scim.names(f'id eq "{user_id}"') == []
    # Nobody gets such an account by its name either.
    for name in ("robot", "bridged", "notices"):
        response = await scim.post("/Users", new_user(name))
        assert response.status in {201, 400, 409}
        assert response.json.get("id") not in hidden


@pytest.mark.parametrize("visibility", ["managed", "own"])
async def test_visibility_can_be_limited(start_homeserver: StartHomeserver, visibility: str) -> None:
    """With `visibility: managed`, or `own`, only accounts that SCIM made or adopted are there (the documentation)."""
    admin = await Admin.of(await start_homeserver(module=scim_module({"visibility": visibility})))
    scim, synapse = admin.scim, admin.synapse
    await synapse.change(ANN, **LOCAL)
    bob = await scim.create("bob")

    assert await scim.names() == ["bob"]
    assert (await scim.get("/Users", params={"count": 0})).json["totalResults"] == 1
    assert_error(await scim.get(url_of(ANN)), 404)
    assert_error(await scim.get("/Me"), 404)
    assert_error(await scim.put(ANN, new_user("ann")), 404)
    assert_error(await scim.patch(ANN, {"op": "replace", "path": "title", "value": "x"}), 404)
    assert_error(await scim.delete(ANN), 404)
    assert await scim.names('userName eq "ann"') == []
    assert await scim.read(bob["id"]) == bob


@pytest.mark.homeserver(module_config={"protected": ["@boss.*", "@ceo:example\\.org"]})
async def test_protected_accounts_are_read_only(admin: Admin) -> None:
    """Server admins, `protected` patterns and the caller's own account are read, not written (the documentation).

    A write is 403 even if it would change nothing, and nothing happens.
    """
    scim, synapse, homeserver = admin.scim, admin.synapse, admin.homeserver
    await homeserver.register("root", admin=True)
    for name in ("boss1", "ceo", "ceo2"):
        await synapse.change(f"@{name}:example.org", displayname=name)
    await scim.create("theboss")
    before = await scim.users()
    title = {"op": "replace", "path": "title", "value": "x"}

    for name in ("admin", "root", "boss1", "ceo"):
        user = await scim.read(f"@{name}:example.org")
        same = {"op": "replace", "path": "userName", "value": name}
        refused = [
            await scim.put(user["id"], user),
            await scim.put(user["id"], new_user("other")),
            await scim.patch(user["id"], same),
            await scim.patch(user["id"], title),
            await scim.patch(user["id"]),
            await scim.delete(user["id"]),
            await scim.post("/Users", new_user(name)),
        ]
        for response in refused:
            assert_error(response, 403, naming=user["id"])
        data = {"schemas": [], "Operations": [title]}
        operation = {"method": "PATCH", "path": f"/Users/{user['id']}", "data": data}
        bulk = await scim.post("/Bulk", bulk_of(operation, {"method": "DELETE", "path": f"/Users/{user['id']}"}))
        assert [result["status"] for result in bulk.json["Operations"]] == ["403", "403"]
    assert await scim.users() == before

    # A pattern means the whole user ID.
    assert (await scim.patched("@ceo2:example.org", title))["title"] == "x"
    assert (await scim.patched("@theboss:example.org", title))["title"] == "x"


@pytest.mark.parametrize("path", [MATRIX, MATRIX.upper(), f"{MATRIX}:locked"])
async def test_what_the_homeserver_says_cannot_be_removed(scim: Scim, path: str) -> None:
    """Nor can the read-only extension as a whole (RFC 7644 §3.5.2.2)."""
    ann = await scim.create("ann")

    assert_error(await scim.patch(ann["id"], {"op": "remove", "path": path}), 400, "mutability", naming=MATRIX)


async def test_made_admin_by_somebody_a_user_is_protected(scim: Scim, synapse: Synapse) -> None:
    """SCIM neither grants nor removes server admin; who becomes one is out of its reach (the documentation)."""
    ann = await scim.create("ann", **{MATRIX: {"serverAdmin": True, "locked": True}})
    assert (ann[MATRIX]["serverAdmin"], ann[MATRIX]["locked"]) == (False, False)
    assert_error(
        await scim.patch(ann["id"], {"op": "replace", "path": f"{MATRIX}:serverAdmin", "value": True}),
        400,
        "mutability",
    )

    await synapse.change(ann["id"], admin=True)

    assert (await scim.read(ann["id"]))[MATRIX]["serverAdmin"] is True
    assert_error(await scim.patch(ann["id"], {"op": "replace", "path": "active", "value": False}), 403)


@pytest.mark.homeserver(module_config={"adopt": "never"})
async def test_adoption_loses_nothing(scim: Scim, synapse: Synapse) -> None:
    """A server admin's token adopts any account, by a write that says nothing too; what it leaves out stays.

    `adopt` is for others (the documentation).
    """
    extra: dict[str, Any] = {"title": "Dr", "externalId": "7", ENTERPRISE: {"department": "Sales"}}
    for name in ("ann", "bob", "cat", "dan"):
        user_id = f"@{name}:example.org"
        number = {"medium": "msisdn", "address": f"4930{ord(name[0])}123"}
        threepids = [{"medium": "email", "address": f"{name}@x.example"}, number]
        await synapse.change(user_id, **{**LOCAL, "threepids": threepids})
        token = await synapse.token(name, LOCAL["password"])
        before, was = await synapse.account(user_id), await scim.read(user_id)
        added: dict[str, Any] = {}
        match name:
            case "ann":
                user = await scim.replaced(user_id, was)
            case "bob":
                user = await scim.patched(user_id, {"op": "replace", "path": "userName", "value": "bob"})
            case "cat":
                added = extra
                user = await scim.patched(user_id, {"op": "add", "value": extra})
            case _:
                added = {"userName": "Dan@corp.example", "externalId": "8", "title": "Dr"}
                user = assert_scim(await scim.post("/Users", new_user("", **added)), 201)

        assert user == await scim.read(user_id)
        assert user[MATRIX] == {**was[MATRIX], "managed": True}
        varies = {"schemas": None, MATRIX: None}
        assert {**without_meta(user), **varies} == {**without_meta(was), **added, **varies}
        after = await synapse.account(user_id)
        assert {**after, "last_seen_ts": None} == {**before, "last_seen_ts": None}
        assert (await synapse.whoami(token)).status == 200
        assert user["userName"] in await scim.names(f"{MATRIX}:managed eq true")


async def test_adopting_put_replaces_what_it_names(scim: Scim, synapse: Synapse) -> None:
    """A PUT that adopts writes what it names, and leaves the identifiers that SCIM did not bind (the documentation)."""
    await synapse.change(ANN, **LOCAL)

    user = await scim.replaced(ANN, new_user("a.lee", displayName="Ann Lee", emails=[{"value": "a.lee@corp.example"}]))

    assert (user["userName"], user["displayName"], user[MATRIX]["managed"]) == ("a.lee", "Ann Lee", True)
    assert await synapse.threepids(ANN) == {
        ("email", "ann@x.example"),
        ("email", "a.lee@corp.example"),
        ("msisdn", "4930123456"),
    }
    account = await synapse.account(ANN)
    assert (account["displayname"], account["avatar_url"]) == ("Ann Lee", "mxc://example.org/face")
    assert (await synapse.login("ann", "correct horse")).status == 200


@pytest.mark.homeserver(module_config={"sso": {"idp_id": "oidc-corp"}})
async def test_single_sign_on_identities_are_external_ids(admin: Admin) -> None:
    """With `sso.idp_id` externalIds open accounts by SSO, and an unmanaged one shows its own (the documentation)."""
    scim, synapse = admin.scim, admin.synapse
    await synapse.change("@local:example.org", external_ids=[{"auth_provider": "oidc-corp", "external_id": "L1"}])

    local = await scim.read("@local:example.org")
    assert local["externalId"] == "L1"
    assert await scim.names('externalId eq "L1"') == ["local"]
    assert_error(await scim.post("/Users", new_user("bob", externalId="L1")), 409, "uniqueness", "externalId")

    ann = await scim.create("ann", externalId="A1")
    assert (await synapse.account(ann["id"]))["external_ids"] == [{"auth_provider": "oidc-corp", "external_id": "A1"}]
    await scim.patched(ann["id"], {"op": "replace", "path": "externalId", "value": "A2"})
    assert (await synapse.account(ann["id"]))["external_ids"] == [{"auth_provider": "oidc-corp", "external_id": "A2"}]
    adopted = await scim.patched(local["id"], {"op": "add", "path": "title", "value": "Dr"})
    assert (adopted["externalId"], adopted[MATRIX]["managed"]) == ("L1", True)
    assert (await scim.delete(ann["id"])).status == 204
    assert (await scim.create("bob", externalId="A2"))["externalId"] == "A2"
