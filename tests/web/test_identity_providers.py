"""The requests of other identity providers, from their source code and documentation."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import Owner
from tests.support.homeserver import LocalHomeserver
from tests.web.clients import (
    ENTERPRISE,
    MATRIX,
    SEARCH,
    USER,
    Scim,
    Synapse,
    assert_error,
    assert_scim,
    patch_of,
    url_of,
    without_meta,
)

pytestmark = pytest.mark.usefixtures("owner")


def replace(path: str, value: Any) -> dict[str, Any]:
    """Return an operation of a PATCH."""
    return {"op": "replace", "path": path, "value": value}


async def test_false_in_words_is_false(scim: Scim, synapse: Synapse) -> None:
    """`active` comes as a string in any case, or in a list of one, in every write (IdP: Entra, Keycloak)."""
    words: dict[str, tuple[Any, Any]] = {
        "a": ("False", "True"),
        "b": ("false", "true"),
        "c": ("FALSE", "TRUE"),
        "d": (["False"], ["True"]),
        "e": ([False], [True]),
    }
    for name, (no, yes) in words.items():
        user = await scim.create(name, active=no)
        assert user["active"] is False
        assert (await synapse.account(user["id"]))["locked"] is True
        assert (await scim.replaced(user["id"], {**user, "active": yes}))["active"] is True
        assert (await scim.replaced(user["id"], {**user, "active": no}))["active"] is False
        assert (await scim.patched(user["id"], replace("active", yes)))["active"] is True
        assert (await scim.patched(user["id"], {"op": "replace", "value": {"active": no}}))["active"] is False
        for wrong in ("maybe", ["True", "False"], {"value": True}):
            assert_error(await scim.patch(user["id"], replace("active", wrong)), 400, "invalidValue", "active")
        assert (await scim.read(user["id"]))["active"] is False


async def test_scalars_in_lists_of_one(scim: Scim) -> None:
    """Builds of SCIM-SDK of mid-2026 PATCH every scalar as a list of one, sub-attributes too (SCIM-SDK#968)."""
    user = await scim.create("ann", name={"givenName": "Ann"})
    paths = ["name.givenName", f"{ENTERPRISE}:department", f"{ENTERPRISE}:costCenter", f"{USER}:title", "nickName"]
    paths += ['emails[type eq "work"].value', 'phoneNumbers[type eq "work"].value']
    wrong: list[Any] = []
    for path in paths:
        response = await scim.patch(user["id"], {"op": "replace", "path": path, "value": ["Ann@corp.example"]})
        if response.status != 200 or "Ann@corp.example" not in response.body.decode():
            wrong.append((path, response.json))
    assert wrong == []


async def test_canaille(homeserver: LocalHomeserver, owner: Owner, scim: Scim, synapse: Synapse) -> None:
    """Canaille reads discovery first, looks up by externalId, and PUTs the password each time (canaille/scim)."""
    for path in ("/ResourceTypes", "/Schemas", "/ServiceProviderConfig"):
        assert_scim(await scim.get(path, headers={"Content-Type": "application/json"}), 200)
    assert await scim.names('externalId eq "f3b9c1ac"') == []
    body = {
        "schemas": [USER, ENTERPRISE],
        "externalId": "f3b9c1ac",
        "userName": "ann",
        "password": "correct horse",
        "name": {"familyName": "Lee"},
        "emails": [{"value": "ann@corp.example"}],
        "phoneNumbers": [{"value": "555-000-000"}],
        ENTERPRISE: {"department": "Sales"},
    }
    json = {"Content-Type": "application/json"}
    user = assert_scim(await scim.post("/Users", body, headers=json), 201)
    token = await synapse.token("ann", "correct horse")

    same = await scim.replaced(user["id"], body, headers=json)
    assert same == user
    locked = await scim.replaced(user["id"], {**body, "active": False}, headers=json)

    assert locked["active"] is False
    assert (await synapse.whoami(token)).json["errcode"] == (
        "M_USER_LOCKED" if owner == "synapse" else "M_UNKNOWN_TOKEN"
    )
    assert (await scim.replaced(user["id"], {**body, "active": True}, headers=json))["active"] is True
    homeserver.forget_introspections()
    assert (await synapse.whoami(token)).status == 200


async def test_auth0(scim: Scim) -> None:
    """Auth0 PATCHes without path, with the whole resource, `id`, `schemas` and `meta` in it (docs-v2 outbound SCIM)."""
    user = await scim.create("ann@corp.example", externalId="auth0|7", name={"givenName": "Ann"}, title="Dr")
    whole = {
        **user,
        "displayName": "Anna",
        "title": "Prof",
        "groups": [],
        "unknown": 1,
        ENTERPRISE: {"department": "x"},
    }

    for op in ("replace", "add"):
        changed = await scim.patched(user["id"], {"op": op, "value": whole})

        assert changed["id"] == user["id"]
        assert (changed["displayName"], changed["title"], changed[ENTERPRISE]) == ("Anna", "Prof", {"department": "x"})
        assert changed[MATRIX] == user[MATRIX]
    assert await scim.names('externalId eq "auth0|7"') == ["ann@corp.example"]


async def test_pingfederate_and_cas(scim: Scim) -> None:
    """PingFederate makes inactive Users and looks up e-mails; CAS sends everything, empty too (their manuals)."""
    user = await scim.create(
        "ann", active=False, emails=[{"value": "ann@corp.example", "type": "work", "primary": True}]
    )
    for scim_filter in ('emails eq "ann@corp.example"', 'emails.value eq "ann@corp.example"', 'userName eq "ann"'):
        assert await scim.users(filter=scim_filter) == [user]
    body = {
        **without_meta(user),
        "name": {"givenName": "A", "middleName": ""},
        "password": "correct horse",
        "nickName": "",
    }
    assert (await scim.replaced(user["id"], {**body, "active": True}))["active"] is True


async def test_known_and_unknown_targets_of_a_patch(scim: Scim) -> None:
    """A PATCH applies what is known and ignores the rest; one of nothing known may be refused (the documentation)."""
    user = await scim.create("ann")
    unknown: list[dict[str, Any]] = [
        {"op": "add", "path": "shoeSize", "value": 42},
        {"op": "replace", "path": "urn:example:2.0:User:hat", "value": "red"},
        {"op": "remove", "path": "urn:example:2.0:User:hat"},
        {"op": "replace", "path": "name.mood", "value": "good"},
        {"op": "replace", "path": f"{ENTERPRISE}:hat", "value": "red"},
        {"op": "add", "path": "groups", "value": [{"value": "1"}]},
        {
            "op": "add",
            "value": {"shoeSize": 42, "urn:example:2.0:User": {"hat": "red"}, "urn:example:2.0:User:hat": "red"},
        },
    ]

    changed = await scim.patched(user["id"], *unknown, replace("title", "Dr"))

    assert {**without_meta(changed), "title": None} == {**without_meta(user), "title": None}
    assert changed["title"] == "Dr"
    mixed = {"op": "replace", "value": {"nickName": "A", "shoeSize": 42, "name": {"givenName": "Ann", "mood": "good"}}}
    assert (await scim.patched(user["id"], mixed))["name"] == {"givenName": "Ann"}
    before = await scim.read(user["id"])
    for operation in unknown:
        response = await scim.patch(user["id"], operation)
        assert response.status in {200, 400}
    assert await scim.read(user["id"]) == before


async def test_members_beside_the_known_ones(scim: Scim) -> None:
    """Further members of an operation or message do no harm, and names have no case (IdP; RFC 7643 §2.1)."""
    user = await scim.create("ann")
    body = {
        "Schemas": patch_of()["schemas"],
        "operations": [{"OP": "ADD", "Path": "TITLE", "Value": "Dr", "name": "addTitle", "comment": None}],
        "id": user["id"],
        "meta": {},
    }

    assert assert_scim(await scim.request("PATCH", url_of(user["id"]), body), 200)["title"] == "Dr"
    search = {"schemas": [SEARCH], "filter": 'userName eq "ann"', "comment": "x"}
    assert assert_scim(await scim.post("/.search", search), 200)["totalResults"] == 1
    assert (await scim.create("bob", NICKNAME="B"))["nickName"] == "B"


async def test_many_operations_in_one_patch(scim: Scim) -> None:
    """The validator sends 36 operations, and a server must bear more (pranems/SCIMServer)."""
    user = await scim.create("ann")
    operations = [replace("title", f"t{number}") for number in range(300)]
    operations += [{"op": "add", "path": "roles", "value": [{"value": f"r{number}"}]} for number in range(100)]

    changed = await scim.patched(user["id"], *operations)

    assert (changed["title"], len(changed["roles"])) == ("t299", 100)
