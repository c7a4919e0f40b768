"""The requests of Microsoft Entra ID.

As its documentation (MicrosoftDocs/entra-docs), its reference collections (AzureAD/SCIMReferenceCode) and its validator
have them.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.web.clients import ENTERPRISE, USER, Scim, assert_error, assert_scim, url_of

pytestmark = pytest.mark.usefixtures("owner")

ENTRA_USER: dict[str, Any] = {
    "schemas": [USER, ENTERPRISE],
    "externalId": "0a21f0f2-8d2a-4f8e-bf98-7363c4aed4ef",
    "userName": "Test_User_ab6490ee@testuser.com",
    "active": True,
    "displayName": "Test User",
    "emails": [{"primary": True, "type": "work", "value": "Test_User_fd0ea19b@testuser.com"}],
    "meta": {"resourceType": "User"},
    "name": {"formatted": "givenName familyName", "familyName": "familyName", "givenName": "givenName"},
    "roles": [],
}
ENTRA_ID = "@test_user_ab6490ee:example.org"


def replace(path: str, value: Any) -> dict[str, Any]:
    """Return an operation as Entra ID writes it."""
    return {"op": "Replace", "path": path, "value": value}


async def test_entra_provisioning_cycle(scim: Scim) -> None:
    """Entra ID tests the connection, looks up, creates, disables, restores and deletes (entra-docs)."""
    probe = 'userName eq "e3ad6f0c-6ddb-4d61-9e0d-ea3b2b7c9b73"'
    page = assert_scim(await scim.get("/Users", params={"filter": probe}, headers={"User-Agent": None}), 200)
    assert (page["totalResults"], page["Resources"]) == (0, [])

    made = await scim.post("/Users", ENTRA_USER)
    user = assert_scim(made, 201)
    assert user["id"] == ENTRA_ID
    assert {name: user.get(name) for name in ("externalId", "userName", "emails", "name", "displayName")} == {
        name: ENTRA_USER[name] for name in ("externalId", "userName", "emails", "name", "displayName")
    }
    for scim_filter in (
        f'userName eq "{ENTRA_USER["userName"].upper()}"',
        f'externalId eq "{ENTRA_USER["externalId"]}"',
        f'externalId eq "{ENTRA_USER["externalId"]}" and active eq true',
    ):
        assert await scim.users(filter=scim_filter) == [user]
    assert_error(await scim.post("/Users", ENTRA_USER), 409, "uniqueness")

    disabled = await scim.patched(ENTRA_ID, replace("active", "False"))
    assert disabled["active"] is False
    assert await scim.names(f'userName eq "{ENTRA_USER["userName"]}"') == [ENTRA_USER["userName"]]
    assert (await scim.patched(ENTRA_ID, replace("active", "True")))["active"] is True
    assert (await scim.delete(ENTRA_ID)).status == 204
    assert (await scim.delete(ENTRA_ID)).status == 404


async def test_entra_lookup_by_filtered_value(scim: Scim) -> None:
    """Entra ID looks people up by `emails[type eq "work"].value eq "x"` (entra-docs)."""
    user = assert_scim(await scim.post("/Users", ENTRA_USER), 201)

    for value, found in (("test_user_fd0ea19b@testuser.com", [user]), ("nobody@testuser.com", [])):
        assert await scim.users(filter=f'emails[type eq "work"].value eq "{value}"') == found


async def test_entra_legacy_patch(scim: Scim) -> None:
    """One PATCH with a path for each attribute, capital operations and strings for booleans (entra-docs)."""
    assert_scim(await scim.post("/Users", ENTRA_USER), 201)

    user = await scim.patched(
        ENTRA_ID,
        replace("userName", "renamed@testuser.com"),
        replace("displayName", "Renamed"),
        replace("name.givenName", "Re"),
        replace("name.familyName", "Named"),
        {"op": "Add", "path": 'emails[type eq "work"].value', "value": "renamed@testuser.com"},
        {"op": "Add", "path": 'emails[type eq "home"].value', "value": "home@testuser.com"},
        {"op": "Add", "path": 'phoneNumbers[type eq "mobile"].value', "value": "+1 201-555-0123"},
        {"op": "Add", "path": 'addresses[type eq "work"].formatted', "value": "10-040-1308"},
        replace('addresses[type eq "work"].country', "AT"),
        {"op": "Add", "path": f"{ENTERPRISE}:department", "value": "Sales"},
        {"op": "Add", "path": f"{ENTERPRISE}:employeeNumber", "value": "7"},
        {"op": "Add", "path": 'roles[primary eq "True"].value', "value": "r1"},
        {"op": "Add", "path": "title", "value": "Dr"},
        {"op": "Remove", "path": "name.formatted"},
        replace("active", "FALSE"),
    )

    assert (user["userName"], user["displayName"], user["title"], user["active"]) == (
        "renamed@testuser.com",
        "Renamed",
        "Dr",
        False,
    )
    assert user["name"] == {"givenName": "Re", "familyName": "Named"}
    assert user["emails"] == [
        {"primary": True, "type": "work", "value": "renamed@testuser.com"},
        {"type": "home", "value": "home@testuser.com"},
    ]
    assert user["phoneNumbers"] == [{"type": "mobile", "value": "+1 201-555-0123"}]
    assert user["addresses"] == [{"type": "work", "formatted": "10-040-1308", "country": "AT"}]
    assert user[ENTERPRISE] == {"department": "Sales", "employeeNumber": "7"}
    assert user["roles"] == [{"value": "r1", "primary": True}]


async def test_entra_compliant_patch(scim: Scim) -> None:
    """With `aadOptscim062020`: one operation without path, its keys paths and URNs (entra-docs)."""
    assert_scim(await scim.post("/Users", ENTRA_USER), 201)
    changes = {
        "displayName": "Renamed",
        "active": False,
        "name.givenName": "Re",
        "name.familyName": "Named",
        f"{ENTERPRISE}:employeeNumber": "7",
        f"{ENTERPRISE}:department": "Sales",
    }

    user = await scim.patched(
        ENTRA_ID,
        {"op": "replace", "path": 'emails[type eq "work"].value', "value": "renamed@testuser.com"},
        {"op": "replace", "value": changes},
    )

    assert (user["displayName"], user["active"]) == ("Renamed", False)
    assert user["name"] == {"formatted": "givenName familyName", "givenName": "Re", "familyName": "Named"}
    assert user["emails"] == [{"primary": True, "type": "work", "value": "renamed@testuser.com"}]
    assert user[ENTERPRISE] == {"employeeNumber": "7", "department": "Sales"}
    added = await scim.patched(ENTRA_ID, {"op": "add", "value": {"title": "Dr", f"{ENTERPRISE}:division": "West"}})
    assert (added["title"], added[ENTERPRISE]["division"]) == ("Dr", "West")


async def test_entra_managers(scim: Scim) -> None:
    """A manager comes as string, object or list, and goes by an empty value or `remove` (entra-docs)."""
    assert_scim(await scim.post("/Users", ENTRA_USER), 201)
    boss = await scim.create("boss")
    path = f"{ENTERPRISE}:manager"
    shapes: list[Any] = [
        boss["id"],
        {"value": boss["id"]},
        {"Value": boss["id"]},
        [{"value": boss["id"]}],
        [{"$ref": "../Users/boss", "value": boss["id"]}],
        {"$ref": None, "value": boss["id"], "displayName": "The Boss"},
    ]
    removals: list[dict[str, Any]] = [
        replace(path, ""),
        replace(path, {"value": ""}),
        replace(path, [{"value": ""}]),
        replace(path, None),
        {"op": "Remove", "path": path},
        {"op": "remove", "path": path, "value": boss["id"]},
        replace(f"{path}.value", ""),
        replace(path, []),
        {"op": "replace", "value": {path: ""}},
        {"op": "replace", "value": {ENTERPRISE: {"manager": {"value": ""}}}},
    ]
    wanted = {"value": boss["id"], "$ref": boss["meta"]["location"]}
    wrong: list[Any] = []
    for shape in shapes:
        for operation in (
            replace(path, shape),
            {"op": "add", "path": path, "value": shape},
            {"op": "add", "value": {path: shape}},
            {"op": "add", "value": {ENTERPRISE: {"manager": shape}}},
        ):
            response = await scim.patch(ENTRA_ID, operation)
            if response.json.get(ENTERPRISE) != {"manager": wanted}:
                wrong.append((operation, response.json))
            await scim.patched(ENTRA_ID, {"op": "Remove", "path": path})
        replaced = await scim.replaced(ENTRA_ID, {**ENTRA_USER, ENTERPRISE: {"manager": shape}})
        assert replaced[ENTERPRISE]["manager"] == wanted
    for removal in removals:
        await scim.patched(ENTRA_ID, replace(path, boss["id"]))
        response = await scim.patch(ENTRA_ID, removal)
        if response.status != 200 or ENTERPRISE in response.json:
            wrong.append((removal, response.json))
    assert wrong == []
    assert (await scim.patched(ENTRA_ID, replace(f"{path}.value", boss["id"])))[ENTERPRISE]["manager"] == wanted
    for nothing in ("", {"value": ""}, [], [{"value": ""}], None, {}):
        replaced = await scim.replaced(ENTRA_ID, {**ENTRA_USER, ENTERPRISE: {"manager": nothing, "department": "x"}})
        assert replaced[ENTERPRISE] == {"department": "x"}, nothing


async def test_microsofts_validator_sends_random_strings(scim: Scim) -> None:
    """Random strings in optional attributes are taken and kept (scim-validator-tutorial, pranems/SCIMServer)."""
    sent = {
        "nickName": "QJVNQFZTNKTL",
        "profileUrl": "MGTEZZZVOVQG",
        "title": "OFEWBXEKNHLI",
        "userType": "KQFGXMNPZQNN",
        "preferredLanguage": "fil",
        "locale": "QZODFBKDNCLZ",
        "timezone": "America/Recife",
        "phoneNumbers": [
            {"type": "work", "value": "10-040-1308", "primary": True},
            {"type": "fax", "value": "70-040-1308"},
        ],
        "addresses": [
            {"type": "work", "formatted": "x", "postalCode": "zo4 0uf", "primary": True, "country": "Norfolk Island"}
        ],
    }
    roles = [{"primary": "True", "display": "BTDXNRAGFAOI", "value": "YIMGTWHLBTJL", "type": "THGGQBQUOPBW"}]

    user = await scim.create("random@testuser.com", **sent, roles=roles)

    assert {name: user.get(name) for name in sent} == sent
    assert user["roles"] == [{**roles[0], "primary": True}]
    changes = [replace(name, f"{value}2") for name, value in sent.items() if isinstance(value, str)]
    changed = await scim.patched(user["id"], *changes, replace('roles[primary eq "True"].display', "x"))
    assert {name: changed[name] for name in sent if isinstance(sent[name], str)} == {
        name: f"{value}2" for name, value in sent.items() if isinstance(value, str)
    }
    assert changed["roles"][0]["display"] == "x"


async def test_entra_odds_and_ends(scim: Scim) -> None:
    """The misprinted URN of the documentation, an empty PATCH, wrong capitals (scimmy#59, SCIMReferenceCode)."""
    misprint = "urn:ietf:params:scim:schemas:extension:enterprise:2.0User"
    body = {**ENTRA_USER, "schemas": [USER, misprint], misprint: {"Department": "Sales", "Manager": {"Value": "4711"}}}
    user = assert_scim(await scim.post("/Users", body), 201)
    assert user[ENTERPRISE] == {"department": "Sales", "manager": {"value": "4711"}}
    assert misprint not in user["schemas"]
    assert_error(await scim.post("/Users", {"schemas": [USER], "junk": True}), 400, "invalidValue", "userName")

    assert await scim.patched(ENTRA_ID) == user
    assert assert_scim(await scim.request("PATCH", url_of(ENTRA_ID), {"Operations": []}), 200) == user
    for path in (f"{misprint}:department", f"{ENTERPRISE}:Department".upper()):
        assert (await scim.patched(ENTRA_ID, replace(path, path[:40])))[ENTERPRISE]["department"] == path[:40]
    page = assert_scim(await scim.get("/Users/?filter=DisplayName+eq+%22test+user%22"), 200)
    assert page["totalResults"] == 1
    since = 'active eq true and (meta.lastModified ge "2020-01-01T00:00:00Z")'
    assert ENTRA_USER["userName"] in await scim.names(since, startindex=0, count=100)


async def test_entra_paths_as_names(scim: Scim) -> None:
    """Several paths come as the members of one value, with filters in them (SCIMReferenceCode)."""
    assert_scim(await scim.post("/Users", ENTRA_USER), 201)

    changed = await scim.patched(
        ENTRA_ID,
        {
            "op": "Add",
            "value": {
                'emails[type eq "work"].value': "new@testuser.com",
                'phoneNumbers[type eq "mobile"].value': "+49 151 2345678",
                "name.familyName": "Meyer",
            },
        },
    )

    assert [email["value"] for email in changed["emails"]] == ["new@testuser.com"]
    assert changed["phoneNumbers"] == [{"type": "mobile", "value": "+49 151 2345678"}]
    assert changed["name"]["familyName"] == "Meyer"
