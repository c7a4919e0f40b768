"""What is announced, and that it is true."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.web.clients import ENTERPRISE, MATRIX, USER, Admin, Scim, Synapse, assert_error, assert_scim, new_user

EXAMPLES: Mapping[str, Any] = {
    "string": "something",
    "boolean": True,
    "reference": "https://example.org/somewhere",
    "binary": "AQID",
}
"""A value of each type that is announced (RFC 7643 §2.3)."""

SPECIAL: Mapping[str, Any] = {
    "userName": "somebody",
    "emails.value": "Somebody@Example.com",
    "phoneNumbers.value": "+49 30 123456",
    "locale": "de-AT",
    "preferredLanguage": "de-AT",
    "timezone": "Europe/Vienna",
    "addresses.country": "AT",
}
"""Where a value must look like what it is."""


def example(attribute: Mapping[str, Any], path: str = "") -> Any:
    """Return a value that a client may write to an announced attribute; None where it may write none."""
    path = f"{path}.{attribute['name']}" if path else attribute["name"]
    if attribute["mutability"] == "readOnly":
        return None
    if attribute["type"] == "complex":
        written = {sub["name"]: example(sub, path) for sub in attribute["subAttributes"]}
        value: Any = {name: item for name, item in written.items() if item is not None}
    else:
        value = SPECIAL.get(path, (attribute.get("canonicalValues") or [EXAMPLES[attribute["type"]]])[0])
    return [value] if attribute["multiValued"] else value


async def announced(scim: Scim) -> dict[str, dict[str, Any]]:
    """Return the schemas by their URN."""
    schemas = assert_scim(await scim.get("/Schemas"), 200)
    assert schemas["schemas"] == ["urn:ietf:params:scim:api:messages:2.0:ListResponse"]
    assert schemas["totalResults"] == len(schemas["Resources"])
    return {schema["id"]: schema for schema in schemas["Resources"]}


async def test_everything_announced_is_kept(scim: Scim, synapse: Synapse) -> None:
    """`/Schemas` lists exactly what is kept: each writable attribute of it comes back as sent (RFC 7643 §7)."""
    schemas = await announced(scim)
    sent: dict[str, Any] = {"schemas": [USER, ENTERPRISE]}
    for attribute in schemas[USER]["attributes"]:
        sent[attribute["name"]] = example(attribute)
    sent[ENTERPRISE] = {attribute["name"]: example(attribute) for attribute in schemas[ENTERPRISE]["attributes"]}
    assert {"name", "emails", "phoneNumbers", "addresses", "ims", "roles", "entitlements", "password"} <= sent.keys()

    made = assert_scim(await scim.post("/Users", sent), 201)

    assert sent.pop("password") == "something"
    assert MATRIX in made["schemas"]
    assert {*sent["schemas"], MATRIX} == set(made["schemas"])
    for user in (made, await scim.read(made["id"]), (await scim.users(filter='userName eq "somebody"'))[0]):
        for name in sent.keys() - {"schemas"}:
            assert user.get(name) == sent[name]
    assert await synapse.threepids(made["id"]) == {("email", "somebody@example.com"), ("msisdn", "4930123456")}


async def test_nothing_is_published_that_is_not_announced(scim: Scim, synapse: Synapse) -> None:
    """A User has no attribute that `/Schemas` lacks: clients build their classes from it (IdP: Canaille)."""
    schemas = await announced(scim)
    await synapse.change(
        "@ann:example.org", displayname="Ann", threepids=[{"medium": "email", "address": "a@b.example"}]
    )
    common = {"schemas", "id", "externalId", "meta"}

    for user in await scim.users():
        core = {attribute["name"] for attribute in schemas[USER]["attributes"]}
        assert user.keys() - common - schemas.keys() <= core
        for urn in user.keys() & schemas.keys():
            assert user[urn].keys() <= {attribute["name"] for attribute in schemas[urn]["attributes"]}


async def test_what_is_not_kept_is_not_announced(scim: Scim) -> None:
    """There are no Groups, and nothing of the Matrix extension can be written (the documentation)."""
    schemas = await announced(scim)
    types = assert_scim(await scim.get("/ResourceTypes"), 200)

    assert set(schemas) == {USER, ENTERPRISE, MATRIX}
    assert "groups" not in {attribute["name"] for attribute in schemas[USER]["attributes"]}
    assert {attribute["mutability"] for attribute in schemas[MATRIX]["attributes"]} == {"readOnly"}
    assert {attribute["name"] for attribute in schemas[MATRIX]["attributes"]} == {
        "userId",
        "serverAdmin",
        "locked",
        "suspended",
        "deactivated",
        "userType",
        "managed",
    }
    (user_type,) = types["Resources"]
    assert (user_type["id"], user_type["endpoint"], user_type["schema"]) == ("User", "/Users", USER)
    assert {extension["schema"]: extension["required"] for extension in user_type["schemaExtensions"]} == {
        ENTERPRISE: False,
        MATRIX: False,
    }
    assert (await scim.get("/ResourceTypes/User")).json == user_type


async def test_characteristics_are_those_of_the_rules(scim: Scim) -> None:
    """A userName is unique without case, externalId counts it, a password is never returned (RFC 7643 §4.1, §7)."""
    attributes = {attribute["name"]: attribute for attribute in (await announced(scim))[USER]["attributes"]}

    user_name = attributes["userName"]
    assert (user_name["required"], user_name["caseExact"], user_name["uniqueness"]) == (True, False, "server")
    password = attributes["password"]
    assert (password["mutability"], password["returned"]) == ("writeOnly", "never")
    assert all(attribute["description"] for attribute in attributes.values())


async def test_one_schema_by_its_urn(scim: Scim) -> None:
    """Each schema can be had alone, as it is in the list (RFC 7644 §4)."""
    for urn, schema in (await announced(scim)).items():
        assert (await scim.get(f"/Schemas/{urn}")).json == schema


@pytest.mark.homeserver(
    module_config={"limits": {"page_size": 3, "bulk_operations": 2, "bulk_body_size": 2000, "body_size": 1000}}
)
async def test_announced_limits_hold(scim: Scim) -> None:
    """The limits of `/ServiceProviderConfig` are those that are kept (RFC 7643 §5, RFC 7644 §3.7.4)."""
    config = assert_scim(await scim.get("/ServiceProviderConfig"), 200)
    assert config["bulk"] == {"supported": True, "maxOperations": 2, "maxPayloadSize": 2000}
    assert config["filter"] == {"supported": True, "maxResults": 3}
    assert config["pagination"]["maxPageSize"] == 3
    for name in ("ann", "bob", "cat"):
        await scim.create(name)

    assert len(await scim.users(count=1000)) == 3
    assert len(await scim.users()) == 3
    operations = [{"method": "DELETE", "path": f"/Users/@x{number}:example.org"} for number in range(3)]
    assert_error(await scim.post("/Bulk", {"Operations": operations}), 413, naming="2")
    assert_scim(await scim.post("/Bulk", {"Operations": operations[:2]}), 200)
    assert_error(await scim.post("/Bulk", {"Operations": [], "x": "y" * 2000}), 413, naming="2000")
    assert_error(await scim.post("/Users", new_user("dan", title="x" * 1000)), 413, naming="1000")
    assert await scim.names('userName eq "dan"') == []


async def test_capabilities(scim: Scim) -> None:
    """What a client may rely on is announced, authentication in a form that authentik can read (IdP: authentik)."""
    config = assert_scim(await scim.get("/ServiceProviderConfig"), 200)

    for name in ("patch", "bulk", "filter", "changePassword", "sort", "etag"):
        assert config[name]["supported"] is True
    assert (config["pagination"]["cursor"], config["pagination"]["index"]) == (True, True)
    (scheme,) = config["authenticationSchemes"]
    assert (scheme["type"], bool(scheme["name"]), bool(scheme["description"])) == ("oauthbearertoken", True, True)
    for link in ("specUri", "documentationUri"):
        assert scheme[link].startswith("https://")


@pytest.mark.homeserver(config={"password_config": {"localdb_enabled": False}})
async def test_passwords_are_announced_only_where_synapse_keeps_them(scim: Scim, synapse: Synapse) -> None:
    """Without local passwords the attribute is unknown, and ignored like any unknown one (the documentation)."""
    config = assert_scim(await scim.get("/ServiceProviderConfig"), 200)
    assert config["changePassword"]["supported"] is False
    assert "password" not in {attribute["name"] for attribute in (await announced(scim))[USER]["attributes"]}

    ann = await scim.create("ann", password="correct horse")

    assert (await synapse.login("ann", "correct horse")).status in {400, 403}
    replaced = await scim.replaced(ann["id"], {**ann, "password": "battery staple"})
    assert replaced["meta"] == ann["meta"]


@pytest.mark.homeserver(config={"password_config": {"enabled": False}})
async def test_canaille_can_read_what_is_announced(scim: Scim) -> None:
    """It refuses what RFC 7643 did not know, and needs each attribute of the core schema (canaille/scim/casting.py)."""
    canaille = {"User-Agent": "python-httpx/0.28.1"}

    for path in ("/ServiceProviderConfig", "/Schemas", f"/Schemas/{USER}", f"/Schemas/{ENTERPRISE}"):
        told = assert_scim(await scim.get(path, headers=canaille), 200)
        others = assert_scim(await scim.get(path), 200)
        if path == "/ServiceProviderConfig":
            assert told == {name: value for name, value in others.items() if name != "pagination"} != others
        else:
            pairs = zip(told.get("Resources", [told]), others.get("Resources", [others]), strict=True)
            for for_canaille, for_others in pairs:
                more = [item["name"] for item in for_canaille["attributes"] if item not in for_others["attributes"]]
                assert sorted(more) == (["groups", "password"] if for_others["id"] == USER else [])


async def test_discovery_has_no_filter(admin: Admin) -> None:
    """A filter on a discovery endpoint is 403 (RFC 7644 §4)."""
    for path in ("/ServiceProviderConfig", "/ResourceTypes", "/Schemas", "/Schemas/" + USER):
        assert_error(await admin.scim.get(path, params={"filter": 'name eq "User"'}), 403)
