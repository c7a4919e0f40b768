"""What nobody should send: refused with a SCIM error that names it, and without any effect."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest

from tests.support.client import Response
from tests.web.clients import (
    ENTERPRISE,
    ERROR,
    USER,
    Scim,
    assert_error,
    assert_scim,
    bulk_of,
    new_user,
    patch_of,
    url_of,
)

ANN = "@ann:example.org"
SCIM_JSON = {"Content-Type": "application/scim+json"}

TEXTS = ("a\x00b", "\ud800", "a\udfffb", "\ud83d")
"""What no database can keep: NUL, and halves of characters."""

ATTRIBUTES: list[tuple[dict[str, Any], str]] = [
    *(
        (attributes, naming)
        for text in TEXTS[:2]
        for attributes, naming in (
            ({"userName": text}, "userName"),
            ({"displayName": text}, "displayName"),
            ({"externalId": text}, "externalId"),
            ({"name": {"givenName": text}}, "givenName"),
            ({"emails": [{"value": f"{text}@x.example"}]}, "emails"),
            ({"phoneNumbers": [{"value": text, "type": "work"}]}, "phoneNumbers"),
            ({"password": text}, "password"),
            ({ENTERPRISE: {"department": text}}, "department"),
            ({ENTERPRISE: {"manager": {"value": text}}}, "manager"),
        )
    ),
    ({"userName": "x" * 300}, "userName"),
    ({"userName": ""}, "userName"),
    ({"userName": " \t "}, "userName"),
    ({"userName": 5}, "userName"),
    ({"userName": {"value": "x"}}, "userName"),
    ({"userName": ["x", "y"]}, "userName"),
    ({"userName": True}, "userName"),
    ({"externalId": "x" * 10_000}, "externalId"),
    ({"externalId": 5.5}, "externalId"),
    ({"displayName": "x" * 257}, "displayName"),
    ({"displayName": {"x": 1}}, "displayName"),
    ({"title": "x" * 100_000}, "title"),
    ({"title": [1, 2]}, "title"),
    ({"name": "Ann Lee"}, "name"),
    ({"name": [{"givenName": "Ann"}, {"givenName": "Bob"}]}, "name"),
    ({"name": {"givenName": {"x": 1}}}, "givenName"),
    ({"active": "maybe"}, "active"),
    ({"active": 5}, "active"),
    ({"active": {"value": True}}, "active"),
    ({"emails": "ann@x.example"}, "emails"),
    ({"phoneNumbers": [{"value": f"+49 30 {number}"} for number in range(20_000)]}, "phoneNumbers"),
    ({"emails": [5]}, "emails"),
    ({"emails": ["ann@x.example"]}, "emails"),
    ({"emails": [{"value": 5}]}, "emails"),
    ({"emails": [{"value": "ann"}]}, "emails"),
    ({"emails": [{"value": "ann@x.example", "primary": "perhaps"}]}, "primary"),
    ({"emails": [{"value": "a@x.example", "primary": True}, {"value": "b@x.example", "primary": True}]}, "primary"),
    ({"phoneNumbers": {"value": ["1", "2"]}}, "phoneNumbers"),
    ({"x509Certificates": [{"value": "not base64!"}]}, "x509Certificates"),
    ({"password": "x" * 600}, "password"),
    ({"password": 12345678}, "password"),
    ({ENTERPRISE: "Sales"}, "enterprise"),
    ({ENTERPRISE: {"department": {"x": 1}}}, "department"),
    ({ENTERPRISE: {"manager": {"value": {"x": 1}}}}, "value"),
    ({"schemas": 5}, "schemas"),
    ({"schemas": [5]}, "schemas"),
]

Problems = list[tuple[Any, ...]]


def problem(response: Response, expected: Iterable[int] = (400,), naming: str = "") -> Any:
    """Return what is wrong with an answer that should be an error; None if nothing is."""
    try:
        error = response.json
    except ValueError:
        return response.status, response.body[:200]
    well_formed = (
        response.headers["content-type"].partition(";")[0] == "application/scim+json"
        and error.get("schemas") == [ERROR]
        and error.get("status") == str(response.status)
        and (response.status != 400 or error.get("scimType") in {"invalidValue", "invalidSyntax"})
    )
    detail = error.get("detail", "").lower()
    in_our_words = "pydantic" not in detail and naming.lower() in detail
    if response.status not in expected or not well_formed or not in_our_words:
        return response.status, error
    return None


async def population(scim: Scim) -> list[dict[str, Any]]:
    """Make a User for the requests to spoil, and return everybody."""
    await scim.create("ann", externalId="7", displayName="Ann", emails=[{"value": "ann@corp.example", "type": "work"}])
    return await scim.users()


@pytest.mark.usefixtures("engine")
async def test_values_that_cannot_be(scim: Scim) -> None:
    """A wrong value is 400 with a scimType and a detail that names the attribute, and nothing changes.

    So for each kind of write, in words that are not those of a library (the documentation).
    """
    before = await population(scim)
    wrong: Problems = []
    for attributes, naming in ATTRIBUTES:
        sent = json.dumps(attributes)[:80]
        body = {**new_user("bob"), **attributes}
        responses = {"POST": await scim.post("/Users", body), "PUT": await scim.put(ANN, body)}
        if "schemas" not in attributes:  # A PATCH may say it, in passing.
            responses["PATCH"] = await scim.patch(ANN, {"op": "replace", "value": attributes})
        for way, response in responses.items():
            if found := problem(response, naming=naming):
                wrong.append((way, sent, *found))
        operation = {"method": "PUT", "path": f"/Users/{ANN}", "data": body}
        bulk = await scim.post("/Bulk", bulk_of(operation))
        inner = bulk.json["Operations"][0]["status"] if bulk.status == 200 else str(bulk.status)
        if inner != "400":
            wrong.append(("Bulk", sent, bulk.status, bulk.json))
    assert wrong == []
    assert await scim.users() == before


@pytest.mark.usefixtures("engine")
async def test_paths_and_values_of_patches_that_cannot_be(scim: Scim) -> None:
    """A PATCH whose path or value cannot be is 400, with the scimType that RFC 7644 §3.12 has for it, and no effect."""
    before = await population(scim)
    value_types = {"invalidValue", "invalidSyntax"}
    path_types = {"invalidPath", "noTarget", "invalidValue", "invalidFilter"}
    operations: list[tuple[Any, set[str]]] = [
        *(({"op": "replace", "path": "title", "value": text}, value_types) for text in TEXTS),
        *(({"op": "replace", "path": f"title{text}", "value": "x"}, path_types) for text in TEXTS),
        *(
            ({"op": "add", "path": f'emails[type eq "{text}"].value', "value": "x@y.example"}, path_types)
            for text in TEXTS
        ),
        ({"op": "add", "path": 'emails[type eq "\\u0000"].value', "value": "x@y.example"}, path_types),
        ({"op": "add", "path": 'emails[type eq "\\ud800"].value', "value": "x@y.example"}, path_types),
        ({"op": "replace", "path": "[", "value": "x"}, path_types),
        ({"op": "replace", "path": 'emails[type eq "work"', "value": "x"}, path_types),
        ({"op": "replace", "path": "emails[].value", "value": "x"}, path_types),
        ({"op": "replace", "path": 'emails[type eq "work"].value.value', "value": "x"}, path_types),
        ({"op": "replace", "path": "name.familyName.x", "value": "x"}, path_types),
        ({"op": "replace", "path": "title title", "value": "x"}, path_types),
        ({"op": "replace", "path": "x" * 20_000, "value": "x"}, path_types),
        ({"op": "replace", "path": f"emails[{'(' * 3000}type pr{')' * 3000}].value", "value": "x"}, path_types),
        (
            {"op": "replace", "path": "emails[" + " or ".join(['type eq "x"'] * 1000) + "].value", "value": "x"},
            path_types,
        ),
        ({"op": "replace", "path": 5, "value": "x"}, path_types | value_types),
        ({"op": "replace", "path": ["title"], "value": "x"}, path_types | value_types),
        ({"op": "replace", "path": "title", "value": {"x": 1}}, value_types),
        ({"op": "replace", "path": "active", "value": "maybe"}, value_types),
        ({"op": "replace", "path": "active", "value": [True, False]}, value_types),
        ({"op": "replace", "path": "name", "value": "Ann"}, value_types),
        ({"op": "add", "path": "emails", "value": "x"}, value_types),
        ({"op": "add", "path": "emails", "value": [{"value": "no address"}]}, value_types),
        ({"op": "replace", "path": 'emails[type eq "work"].value', "value": "no address"}, value_types),
        ({"op": "replace", "path": 'emails[type eq "work"].primary', "value": "perhaps"}, value_types),
        ({"op": "replace", "path": "userName", "value": ""}, value_types | {"mutability"}),
        ({"op": "replace", "path": "userName", "value": None}, value_types | {"mutability"}),
        ({"op": "replace", "path": "userName", "value": "x" * 300}, value_types),
        ({"op": "remove", "path": "userName"}, {"mutability", "invalidValue"}),
        ({"op": "replace", "path": "id", "value": "@x:example.org"}, {"mutability"}),
        ({"op": "remove", "path": "id"}, {"mutability"}),
        ({"op": "replace", "path": "meta.version", "value": "x"}, {"mutability"}),
        ({"op": "replace", "path": "schemas", "value": ["urn:x:y"]}, {"mutability", "invalidValue"}),
        ({"op": "move", "path": "title", "value": "x"}, value_types),
        ({"op": None, "path": "title", "value": "x"}, value_types),
        ({"path": "title", "value": "x"}, value_types),
        ({"op": "remove"}, {"noTarget"}),
        ({"op": "add", "path": "title"}, value_types),
        ({"op": "add", "value": "x"}, value_types),
        ({"op": "add", "value": [{"title": "x"}]}, value_types),
        ("x", value_types),
        (5, value_types),
        ([], value_types),
        (None, value_types),
    ]
    wrong: Problems = []
    for operation, scim_types in operations:
        response = await scim.patch(ANN, {"op": "replace", "path": "nickName", "value": "N"}, operation)
        if response.status != 400 or response.json.get("scimType") not in scim_types:
            wrong.append((json.dumps(operation)[:90], response.status, response.json))
    bodies: list[Any] = [{}, {"Operations": None}, {"Operations": {}}, {"Operations": "x"}, {"op": "add"}, [], "x", 5]
    for body in bodies:
        response = await scim.request("PATCH", url_of(ANN), body)
        if found := problem(response):
            wrong.append((body, *found))
    assert wrong == []
    assert await scim.users() == before


def nested(depth: int, opening: str, closing: str) -> bytes:
    """Return a User with a value that is nested."""
    return ('{"userName": "bob", "x": ' + opening * depth + "1" + closing * depth + "}").encode()


BODIES: list[tuple[str, bytes, set[int]]] = [
    ("nothing", b"", {400}),
    ("blank", b" ", {400}),
    ("a word", b"hello", {400}),
    ("half", b'{"userName": "bob"', {400}),
    ("two", b'{"userName": "bob"} {"userName": "eve"}', {400}),
    ("list", b"[]", {400}),
    ("list of one", b'[{"userName": "bob"}]', {400}),
    ("string", b'"userName"', {400}),
    ("null", b"null", {400}),
    ("number", b"5", {400}),
    ("true", b"true", {400}),
    ("not UTF-8", b'{"userName": "b\xffb"}', {400}),
    ("UTF-16", '{"userName": "bob"}'.encode("utf-16"), {400}),
    ("surrogates in UTF-8", b'{"userName": "b\xed\xa0\x80b"}', {400}),
    ("twice", b'{"userName": "bob", "userName": "eve"}', {400}),
    ("twice in another case", b'{"userName": "bob", "USERNAME": "eve"}', {400}),
    ("NaN", b'{"userName": "bob", "x": NaN}', {400}),
    ("Infinity", b'{"userName": "bob", "x": -Infinity}', {400}),
    ("digits", b'{"userName": "bob", "x": ' + b"9" * 10_000 + b"}", {400}),
    ("single quotes", b"{'userName': 'bob'}", {400}),
    ("comment", b'{"userName": "bob"} // x', {400}),
    ("NUL in a name", b'{"userName": "bob", "a\\u0000b": 1}', {400}),
    ("surrogate in a name", b'{"userName": "bob", "\\ud800": 1}', {400}),
    ("raw NUL", b'{"userName": "b\x00b"}', {400}),
    ("deep lists", nested(1000, "[", "]"), {400}),
    ("deep objects", nested(1000, '{"a": ', "}"), {400}),
    ("very deep", nested(100_000, "[", "]"), {400}),
    ("1.5 MB", b'{"userName": "bob", "x": "' + b"y" * 1_500_000 + b'"}', {413}),
    ("10 MB", b'{"userName": "bob", "x": "' + b"y" * 10_000_000 + b'"}', {413}),
]


async def test_bodies_that_cannot_be_read(scim: Scim) -> None:
    """A body that is no JSON object, or too much of one, is 400 or 413, whatever the method (RFC 7644 §3.12)."""
    before = await population(scim)
    wrong: Problems = []
    for name, body, expected in BODIES:
        for method, path in (
            ("POST", "/Users"),
            ("PUT", url_of(ANN)),
            ("PATCH", url_of(ANN)),
            ("POST", "/Users/.search"),
            ("POST", "/.search"),
            ("POST", "/Bulk"),
        ):
            response = await scim.request(method, path, body=body, headers=SCIM_JSON)
            statuses = {*expected, 400} if path == "/Bulk" else expected
            if found := problem(response, statuses):
                wrong.append((name, method, path, *found))
    assert wrong == []
    assert await scim.users() == before
    with_mark = b"\xef\xbb\xbf" + json.dumps(new_user("bob")).encode()
    assert_scim(await scim.request("POST", "/Users", body=with_mark, headers=SCIM_JSON), 201)


async def test_content_types_that_are_not_json(scim: Scim) -> None:
    """A body of another type is 415 (RFC 7644 §3.8, RFC 9110 §15.5.16), and is not read."""
    before = await population(scim)
    for content_type in (
        "text/plain",
        "application/xml",
        "application/x-www-form-urlencoded",
        "json",
        "text/json",
        "*/*",
    ):
        headers = {"Content-Type": content_type}
        for method, path in (
            ("POST", "/Users"),
            ("PUT", url_of(ANN)),
            ("PATCH", url_of(ANN)),
            ("POST", "/Bulk"),
            ("POST", "/.search"),
        ):
            body = json.dumps(new_user("bob")).encode()
            assert_error(await scim.request(method, path, body=body, headers=headers), 415)
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    assert (await scim.request("POST", "/Users", body=b"--x--", headers=form)).status == 415
    assert await scim.users() == before
    # Without any, or with an empty one, a body is JSON.
    for name, headers in (("bob", {}), ("cat", {"Content-Type": ""})):
        body = json.dumps(new_user(name)).encode()
        assert_scim(await scim.request("POST", "/Users", body=body, headers=headers), 201)


@pytest.mark.usefixtures("engine")
async def test_queries_that_cannot_be(scim: Scim) -> None:
    """A query that is no UTF-8, holds a NUL or half a character, or is unreasonable is 400 (the documentation)."""
    before = await population(scim)
    wrong: Problems = []
    queries = [
        f"{name}={value}"
        for name in (
            "filter",
            "sortBy",
            "attributes",
            "excludedAttributes",
            "cursor",
            "count",
            "startIndex",
            "sortOrder",
            "x",
        )
        for value in ("%00", "a%00b", "%FF", "%ED%A0%80", "%C3", "%F4%90%80%80")
    ]
    queries += ["%00=1", "%FF=1", "&".join(f"p{number}=1" for number in range(200)), "count=1&count=2"]
    queries += ["filter=userName+eq+%22%00%22", "filter=userName+eq+%22%ED%A0%80%22", "filter=userName+eq+%22%FF%22"]
    for query in queries:
        for path in ("/Users", "/"):
            response = await scim.get(f"{path}?{query}")
            error = response.json
            if response.status != 400 or not error.get("scimType") or error.get("schemas") != [ERROR]:
                wrong.append((path, query[:60], response.status, error))
    for query in ("attributes=%00", "attributes=%FF", "excludedAttributes=%ED%A0%80"):
        response = await scim.get(f"{url_of(ANN)}?{query}")
        if found := problem(response):
            wrong.append((query, *found))
    for body in (
        {"filter": 'userName eq "a\x00b"'},
        {"filter": 'userName eq "\ud800"'},
        {"filter": 'emails[value eq "a\x00b"]'},
        {"sortBy": "a\x00b"},
        {"sortBy": "\ud800"},
        {"attributes": ["a\x00b"]},
        {"cursor": "a\x00b"},
        {"count": 1.5},
        {"startIndex": "x"},
    ):
        response = await scim.post("/Users/.search", body)
        if response.status != 400 or not response.json.get("scimType"):
            wrong.append((json.dumps(body), response.status, response.json))
    assert wrong == []
    assert await scim.users() == before


async def test_odd_queries_that_do_no_harm(scim: Scim) -> None:
    """What has a plain meaning is answered: stray percent signs, empty or unknown parameters (RFC 3986 §2.1)."""
    before = await population(scim)
    for query in ("", "?", "?&&", "?x", "?x=%zz", "?=", "?attributes=", "?excludedAttributes=", "?debug=1&debug=2"):
        response = await scim.get(f"/Users{query}")
        assert response.status in {200, 400}, query
        assert response.json["schemas"]
    assert await scim.users() == before


async def test_many_values_are_stored_or_refused(scim: Scim) -> None:
    """More values than anybody has are kept, or refused by name, and never a 500 (the documentation)."""
    many: dict[str, list[dict[str, str]]] = {
        "phoneNumbers": [{"value": f"+49 30 {number}"} for number in range(200_000, 200_400)],
        "emails": [{"value": f"a{number}@x.example"} for number in range(400)],
        "roles": [{"value": f"r{number}"} for number in range(1000)],
    }
    for name, values in many.items():
        response = await scim.post("/Users", new_user(name, **{name: values}))
        if response.status == 201:
            assert response.json[name] == values
        else:
            assert_error(response, 400, "invalidValue", name)
            assert await scim.names(f'userName eq "{name}"') == []


async def test_schemas_must_name_a_user(scim: Scim) -> None:
    """A body whose schemas speak of something else is no User (RFC 7643 §3), while further ones do no harm (IdP)."""
    group = "urn:ietf:params:scim:schemas:core:2.0:Group"
    response = await scim.post("/Users", {"schemas": [group], "userName": "bob"})
    assert response.status in {201, 400}
    assert_scim(await scim.post("/Users", {"schemas": [USER, "urn:x:y"], "userName": "eve"}), 201)
    assert patch_of()["Operations"] == []


async def test_brackets_have_a_depth(scim: Scim) -> None:
    """A filter of more than 32 levels is 400; brackets within a literal, or one beside the other, are none."""
    for levels, opening in ((32, "("), (33, "("), (200, "("), (31, "not ("), (200, "not ("), (200, "emails[(")):
        inner = "(" * (levels - 1) + "type pr" + ")" * (levels - 1) + "]"
        scim_filter = f"emails[{inner}" if "[" in opening else opening * levels + "id pr" + ")" * levels
        response = await scim.get("/Users", params={"filter": scim_filter})
        if levels > 32:
            assert_error(response, 400, "invalidFilter", "32 levels")
        else:
            assert assert_scim(response, 200)["totalResults"] == (0 if "not" in opening else 1)
    beside = " or ".join(["(id pr)"] * 100) + f' or userName eq "{"(" * 100}"'
    assert assert_scim(await scim.get("/Users", params={"filter": beside}), 200)["totalResults"] == 1
