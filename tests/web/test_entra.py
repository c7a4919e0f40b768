"""The requests of Microsoft Entra ID.

As its documentation (MicrosoftDocs/entra-docs), its reference collections (AzureAD/SCIMReferenceCode) and its validator
have them.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.web.clients import ENTERPRISE, USER, Scim, assert_scim

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
