"""Users are read: alone, in lists, in part, and only when they changed."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlsplit

import pytest

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
    new_user,
    url_of,
)

pytestmark = pytest.mark.usefixtures("owner")

MINIMUM = {"schemas", "id"}
"""What every answer holds: `id` is always returned (RFC 7643 §3.1)."""


async def test_every_way_of_reading_tells_the_same(scim: Scim) -> None:
    """The answers to POST, GET, a list and searches hold the same resource (RFC 7644 §3.3, §3.4)."""
    response = await scim.post("/Users", new_user("JDoe@corp.example", externalId="7", title="Dr", locale="de-AT"))
    made = assert_scim(response, 201)
    query = {"filter": 'externalId eq "7"'}

    assert response.headers["location"] == made["meta"]["location"]
    assert response.headers["etag"] == made["meta"]["version"]
    assert made["id"] == "@jdoe:example.org"
    assert made["meta"]["resourceType"] == "User"
    assert (made["userName"], made["externalId"], made["active"]) == ("JDoe@corp.example", "7", True)
    read = await scim.get(url_of(made["id"]))
    assert read.headers["etag"] == made["meta"]["version"]
    assert read.json == made
    answers = [
        await scim.get("/Users", params=query),
        await scim.get("/", params=query),
        await scim.get("", params=query),
        await scim.post("/Users/.search", query),
        await scim.post("/.search", query),
    ]
    for answer in answers:
        page = assert_scim(answer, 200)
        assert page["schemas"] == ["urn:ietf:params:scim:api:messages:2.0:ListResponse"]
        assert (page["totalResults"], page["itemsPerPage"], page["startIndex"]) == (1, 1, 1)
        assert page["Resources"] == [made]


async def test_ids_can_stand_in_urls_as_they_are(admin: Admin) -> None:
    """An id is found raw and percent-encoded, in any spelling; a localpart with `/` too (the documentation, IdP)."""
    scim = admin.scim
    await scim.create("ann")
    for path in ("/Users/@ann:example.org", "/Users/%40ann%3Aexample.org", "/Users/%40ann%3aexample%2eorg"):
        assert (await scim.get(path)).json["id"] == "@ann:example.org"
    for localpart in ("a/b", "old/../er", "a=2fb", "x%41y", "?q#f", "émile", "two  blanks", "+"):
        user_id = await admin.homeserver.register_legacy(localpart)
        user = await scim.read(user_id)
        assert (user["id"], user["userName"]) == (user_id, localpart)
        path = urlsplit(user["meta"]["location"]).path.removeprefix(STABLE)
        assert (await scim.get(path)).json == user
        assert await scim.names(f'id eq "{user_id}"') == [localpart]
        patched = await scim.patched(user_id, {"op": "add", "path": "title", "value": "Dr"})
        assert (patched["title"], patched["id"]) == ("Dr", user_id)
        assert (await scim.delete(user_id)).status == 204


async def test_who_is_not_there_is_not_found(scim: Scim) -> None:
    """An unknown id, another server's, and what can be no id are 404 for every method (RFC 7644 §3.12)."""
    bodies: dict[str, Any] = {
        "GET": None,
        "DELETE": None,
        "PUT": new_user("ann"),
        "PATCH": {"Operations": [{"op": "replace", "path": "title", "value": "x"}]},
    }
    ids = ("@nobody:example.org", "@ann:elsewhere.example", "nobody", "@:example.org", "@ANN:example.org", "4711")
    strange = ("%00", "@a%00:example.org", "%FF", "%ED%A0%80", "..", "%2e%2e", "@" + "a" * 5000 + ":example.org")
    for resource_id in (*map(quote, ids), *strange):
        for method, body in bodies.items():
            assert_error(await scim.request(method, f"/Users/{resource_id}", body), 404)
    assert await scim.names() == ["admin"]


async def test_me_is_the_account_of_the_token(scim: Scim) -> None:
    """`/Me` answers as the caller's own User, and says where that is (RFC 7644 §3.11); nobody changes it by SCIM."""
    own = await scim.read("@admin:example.org")

    response = await scim.get("/Me")

    assert assert_scim(response, 200) == own
    assert response.headers["location"] == own["meta"]["location"]
    assert (await scim.get("/Me", params={"attributes": "userName"})).json.keys() == MINIMUM | {"userName"}
    assert_error(await scim.request("PUT", "/Me", own), 403)
    assert_error(
        await scim.request("PATCH", "/Me", {"Operations": [{"op": "add", "path": "title", "value": "x"}]}), 403
    )
    assert_error(await scim.request("DELETE", "/Me"), 403)
    assert (await scim.post("/Me", new_user("jdoe"))).status in {403, 501}
    assert await scim.read("@admin:example.org") == own


async def test_answers_can_be_cut_down(scim: Scim) -> None:
    """`attributes` and `excludedAttributes` choose what is returned, but for `id` (RFC 7644 §3.4.2.5, §3.9)."""
    ann = await scim.create(
        "ann",
        title="Dr",
        name={"givenName": "Ann", "familyName": "Lee"},
        emails=[{"value": "ann@corp.example", "type": "work"}],
        **{ENTERPRISE: {"department": "Sales", "division": "West"}},
    )
    chosen = {
        "userName": {"userName": "ann"},
        "USERNAME,Title": {"userName": "ann", "title": "Dr"},
        "name.givenName": {"name": {"givenName": "Ann"}},
        "emails.value": {"emails": [{"value": "ann@corp.example"}]},
        f"{USER}:title": {"title": "Dr"},
        f"{ENTERPRISE}:department": {ENTERPRISE: {"department": "Sales"}},
        f"{MATRIX}:userId": {MATRIX: {"userId": "@ann:example.org"}},
        "password": {},
        "id": {},
    }
    for attributes, expected in chosen.items():
        answers = [
            (await scim.get(url_of(ann["id"]), params={"attributes": attributes})).json,
            (await scim.users(filter='userName eq "ann"', attributes=attributes))[0],
            (await scim.post("/.search", {"filter": 'userName eq "ann"', "attributes": attributes.split(",")})).json[
                "Resources"
            ][0],
            (await scim.put(ann["id"], ann, params={"attributes": attributes})).json,
            (
                await scim.patch(
                    ann["id"], {"op": "add", "path": "title", "value": "Dr"}, params={"attributes": attributes}
                )
            ).json,
        ]
        for answer in answers:
            assert answer["id"] == ann["id"]
            assert {name: answer[name] for name in answer.keys() - MINIMUM} == expected, attributes

    excluded = (await scim.get(url_of(ann["id"]), params={"excludedAttributes": "title,emails,name.givenName,id"})).json
    assert ann.keys() - excluded.keys() == {"title", "emails"}
    assert excluded["name"] == {"familyName": "Lee"}
    whole = (await scim.get(url_of(ann["id"]), params={"excludedAttributes": "groups,members"})).json
    assert whole == ann


async def test_a_created_user_can_be_cut_down_too(scim: Scim) -> None:
    """`attributes` counts for every operation that returns a resource, POST included (RFC 7644 §3.9)."""
    response = await scim.post("/Users", new_user("ann", title="Dr"), params={"attributes": "title"})

    assert response.status == 201
    assert response.headers["location"].endswith("/Users/@ann:example.org")
    assert response.json.keys() - MINIMUM == {"title"}


async def test_unknown_names_are_left_out(scim: Scim) -> None:
    """An attribute that nobody knows does no harm among the chosen ones: clients name their whole mapping (IdP)."""
    ann = await scim.create("ann")

    some = await scim.get(url_of(ann["id"]), params={"attributes": "userName,shoeSize,urn:example:2.0:User:hat"})

    assert assert_scim(some, 200).keys() == MINIMUM | {"userName"}


async def test_conditional_reading(scim: Scim) -> None:
    """`If-None-Match` with the current version is 304 without a body (RFC 7644 §3.14, RFC 9110 §13.1.2)."""
    ann = await scim.create("ann")
    version = ann["meta"]["version"]
    path = url_of(ann["id"])

    for tag in (version, "*", f'"other", {version}', version.removeprefix("W/")):
        response = await scim.get(path, headers={"If-None-Match": tag})
        assert (response.status, response.body) == (304, b"")
        assert response.headers["etag"] == version
    for tag in ('"other"', 'W/"other"', ""):
        assert_scim(await scim.get(path, headers={"If-None-Match": tag}), 200)
    assert_error(await scim.get(path, headers={"If-Match": '"other"'}), 412)
    await scim.patched(ann["id"], {"op": "add", "path": "title", "value": "Dr"})
    changed = await scim.get(path, headers={"If-None-Match": version})
    assert assert_scim(changed, 200)["meta"]["version"] != version


async def test_versions_differ_exactly_when_users_differ(scim: Scim, synapse: Synapse) -> None:
    """A version is a hash of what is published: back at an earlier state it is the earlier one (the documentation)."""
    ann = await scim.create("ann", title="Dr", displayName="Ann")
    first = ann["meta"]["version"]

    second = (await scim.patched(ann["id"], {"op": "replace", "path": "title", "value": "Prof"}))["meta"]["version"]
    third = (await scim.patched(ann["id"], {"op": "replace", "path": "title", "value": "Dr"}))["meta"]["version"]
    await synapse.change(ann["id"], displayname="Anna")
    fourth = (await scim.read(ann["id"]))["meta"]["version"]

    assert first == third
    assert len({first, second, fourth}) == 3


async def test_dates_are_in_utc_and_in_order(scim: Scim) -> None:
    """`created` stays, and `lastModified` moves with each change and never back (RFC 7643 §3.1)."""
    made = (await scim.create("ann"))["meta"]
    same = (await scim.read("@ann:example.org"))["meta"]
    changed = (await scim.patched("@ann:example.org", {"op": "add", "path": "title", "value": "Dr"}))["meta"]

    assert same == made
    assert changed["created"] == made["created"] <= made["lastModified"] < changed["lastModified"]
    assert all(date.endswith("Z") for date in (made["created"], made["lastModified"]))
