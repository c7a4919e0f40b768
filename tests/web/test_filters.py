"""The filter grammar of RFC 7644 §3.4.2.2, run by the database."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.client import ScimClient
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
)

ANN, BOB, CAT = "Ann@corp.example", "bob", "\u00c9ric"
EVERYBODY = {ANN, BOB, CAT, "local", "admin"}

FILTERS: dict[str, set[str]] = {
    # Comparisons, and their operators in any case.
    'userName eq "ann@CORP.example"': {ANN},
    'USERNAME EQ "bob"': {BOB},
    'userName ne "bob"': EVERYBODY - {BOB},
    'userName co "CORP"': {ANN},
    'userName sw "A"': {ANN, "admin"},
    'userName ew "b"': {BOB},
    'userName co ""': EVERYBODY,
    'userName sw ""': EVERYBODY,
    'userName gt "bob"': {CAT, "local"},
    'userName ge "bob"': {BOB, CAT, "local"},
    'userName lt "ann"': {"admin"},
    'userName le "bob"': {ANN, BOB, "admin"},
    "title pr": {ANN, BOB},
    "not (title pr)": {CAT, "local", "admin"},
    "title eq null": {CAT, "local", "admin"},
    "active eq true": EVERYBODY - {BOB},
    "active ne true": {BOB},
    "active eq false": {BOB},
    'id eq "@bob:example.org"': {BOB},
    'id eq "@BOB:example.org"': set(),
    'externalId eq "aB1"': {ANN},
    'externalId eq "AB1"': set(),
    'externalId sw "aB"': {ANN},
    # Case, beyond ASCII too, and either Unicode form.
    'userName eq "\u00e9RIC"': {CAT},
    'userName eq "e\u0301ric"': {CAT},
    'userName eq "\\u00c9ric"': {CAT},
    'displayName eq "\u00c4NNE M\u00dcLLER"': {ANN},
    'displayName sw "\u00e4nne"': {ANN},
    'name.familyName co "\u00fcLL"': {ANN},
    'displayName eq "\u0394\u0399\u039f\u03a3"': {CAT},
    'displayName sw "\u03b4\u03b9"': {CAT},
    # Characters that mean something to SQL, and to the grammar.
    'title co "%"': {ANN},
    'title co "_"': {ANN},
    'title co "\\\\"': {ANN},
    'title eq "100%_\\\\ \\"Dr\\"? \'x\'"': {ANN},
    'title co "\'"': {ANN},
    'title co "?"': {ANN},
    'title sw "%"': set(),
    'title eq "a.b*c"': {BOB},
    'title eq "a_b*c"': set(),
    # Logic and its precedence.
    'title pr and userName eq "bob"': {BOB},
    'userName eq "bob" or userName eq "local" and active eq false': {BOB},
    '(userName eq "bob" or userName eq "local") and active eq true': {"local"},
    'userName eq "local" or not (active eq true) or externalId eq "aB1"': {ANN, BOB, "local"},
    'not (userName eq "bob" and active eq false)': EVERYBODY - {BOB},
    'not (not (userName eq "bob"))': {BOB},
    "((((active eq false))))": {BOB},
    # Several values: any of them may match.
    'emails eq "ann@corp.example"': {ANN},
    'emails co "example.org" or emails.value co "HOME.example"': {ANN},
    'emails.value ew "@home.example"': {ANN},
    'emails.type eq "work"': {ANN, BOB},
    'emails[type eq "work"]': {ANN, BOB},
    'emails[type eq "WORK" and value co "corp"]': {ANN, BOB},
    'emails[type eq "home" and value co "corp"]': set(),
    'emails[type eq "work" and not (primary eq true)]': {BOB},
    'emails[type eq "home" or primary eq true]': {ANN},
    "emails[primary eq true]": {ANN},
    "emails pr": {ANN, BOB, "local"},
    "not (emails pr)": {CAT, "admin"},
    "emails[display pr]": {ANN},
    "emails.display pr": {ANN},
    'phoneNumbers.value eq "+49 30 123456"': {ANN},
    'phoneNumbers[type eq "fax" and value eq "12"]': {ANN},
    'addresses[country eq "at"]': {ANN},
    'addresses.country eq "AT" and addresses.locality sw "wi"': {ANN},
    'roles.value eq "r1"': {ANN},
    'x509Certificates.value eq "AQID"': {ANN},
    # Sub-attributes, schemas and their URNs.
    'name.familyName eq "Jones"': {BOB},
    "name pr": {ANN, BOB},
    f'{USER}:userName sw "b"': {BOB},
    f'{USER}:name.familyName eq "jones"': {BOB},
    f'{ENTERPRISE}:department eq "sales"': {ANN},
    f'{ENTERPRISE.upper()}:DEPARTMENT co "ALE"': {ANN},
    f"{ENTERPRISE}:manager pr": {ANN},
    f'{ENTERPRISE}:manager.value eq "@bob:example.org"': {ANN},
    f'{ENTERPRISE}:manager.value eq "@BOB:example.org"': set(),
    f'{MATRIX}:userId sw "@b"': {BOB},
    f"{MATRIX}:managed eq true": {ANN, BOB, CAT},
    f"{MATRIX}:serverAdmin eq true": {"admin"},
    f"{MATRIX}:locked eq true": {BOB},
    f'schemas eq "{ENTERPRISE}"': {ANN},
    'schemas co "enterprise"': {ANN},
    # Dates.
    'meta.created gt "2011-05-13T04:42:34Z"': EVERYBODY,
    'meta.lastModified lt "2011-05-13T04:42:34.567+02:00"': set(),
    'meta.lastModified ge "2011-05-13T04:42:34Z" and meta.lastModified le "2999-01-01T00:00:00Z"': EVERYBODY,
    'meta.resourceType eq "User"': EVERYBODY,
    'meta.resourceType eq "Group"': set(),
    "meta pr": EVERYBODY,
    # What could never be.
    'userName eq "no such person"': set(),
    f'userName eq "{"x" * 4000}"': set(),
    'id eq "@ann:elsewhere.example"': set(),
    'userName eq "\U0001f600"': set(),
}


async def population(scim: Scim, synapse: Synapse) -> None:
    """Make the people whom the filters look for."""
    await scim.create(
        "bob",
        title="a.b*c",
        active=False,
        name={"familyName": "Jones"},
        emails=[{"value": "bob@corp.example", "type": "work"}],
    )
    await scim.create(
        ANN,
        externalId="aB1",
        displayName="\u00c4nne M\u00fcller",
        title="100%_\\ \"Dr\"? 'x'",
        name={"familyName": "M\u00fcller"},
        emails=[
            {"value": "Ann@corp.example", "type": "work", "primary": True},
            {"value": "ann@home.example", "type": "home", "display": "Home"},
        ],
        phoneNumbers=[{"value": "+49 30 123456", "type": "work"}, {"value": "12", "type": "fax"}],
        addresses=[{"type": "work", "country": "AT", "locality": "Wien"}],
        roles=[{"value": "r1"}, {"value": "r2"}],
        x509Certificates=[{"value": "AQID"}],
        **{ENTERPRISE: {"department": "Sales", "manager": {"value": "@bob:example.org"}}},
    )
    await scim.create(CAT, displayName="\u0394\u03b9\u03bf\u03c2")
    await synapse.change("@local:example.org", threepids=[{"medium": "email", "address": "local@x.example"}])


@pytest.mark.usefixtures("engine")
async def test_filters_find_who_they_describe(scim: Scim, synapse: Synapse) -> None:
    """Each filter finds exactly those whom its condition describes, and counts them, on both engines."""
    await population(scim, synapse)
    wrong: dict[str, Any] = {}
    for number, (scim_filter, expected) in enumerate(FILTERS.items()):
        if number % 2:
            response = await scim.get("/Users", params={"filter": scim_filter})
        else:
            response = await scim.post("/Users/.search", {"filter": scim_filter})
        found = {user["userName"] for user in response.json["Resources"]} if response.status == 200 else response.json
        if found != expected or response.json["totalResults"] != len(expected):
            wrong[scim_filter] = found
    assert wrong == {}


@pytest.mark.usefixtures("engine")
async def test_filters_that_cannot_be_run_are_refused(scim: Scim) -> None:
    """What cannot be run is 400 `invalidFilter`, never the whole list (RFC 7644 §3.4.2.2, IdP)."""
    wrong: dict[str, Any] = {}
    for scim_filter in (
        "userName",
        "userName eq",
        'userName eq "x',
        'userName = "x"',
        'userName eq "x" and',
        '(userName eq "x"',
        'userName eq "x")',
        'not userName eq "x" eq',
        "eq",
        "()",
        "",
        " ",
        'emails[type eq "work"',
        "emails[]",
        'emails[shoe eq "x"]',
        "x pr",
        'shoeSize eq "42"',
        'name.shoe eq "x"',
        "urn:example:2.0:User:hat pr",
        f"{ENTERPRISE}:hat pr",
        'members.value eq "x"',
        'userName like "x"',
        "active gt true",
        'active eq "maybe"',
        'meta.created gt "yesterday"',
        'x509Certificates.value gt "AQID"',
        'userName eq "\\ud800"',
        'userName eq "\\u0000"',
        'userName eq "\\x"',
        "userName eq [1]",
        'userName eq "x" or 1=1',
        "'; DROP TABLE users; --",
    ):
        for response in (
            await scim.get("/Users", params={"filter": scim_filter}),
            await scim.post("/.search", {"filter": scim_filter}),
        ):
            if (response.status, response.json.get("scimType")) != (400, "invalidFilter"):
                wrong[scim_filter] = response.json
    assert wrong == {}


def longest(pattern: str, limit: int) -> str:
    """Return terms joined by `or`, as long as a limit allows."""
    return " or ".join([pattern] * (limit // (len(pattern) + 4)))


def nested(opening: str, limit: int) -> str:
    """Return a term in as many brackets as a limit allows."""
    depth = (limit - len("id pr")) // (len(opening) + 1)
    return opening * depth + "id pr" + ")" * depth


@pytest.mark.usefixtures("engine")
async def test_filters_at_the_limit_are_answered(scim: Scim) -> None:
    """A filter as long as the limit allows is run, or refused as one; a longer one is refused (the documentation)."""
    limit = 8 * 1024
    filters = [nested("(", limit), nested("not(", limit), nested("not (", limit)]
    terms = (
        "id pr",
        'id eq "x"',
        "emails pr",
        'emails eq "x"',
        'emails[type eq "x"]',
        'title co "x"',
        'userName ne ""',
    )
    filters += [longest(term, limit) for term in terms]
    filters += [longest(term, limit).replace(" or ", " and ") for term in terms[:3]]
    wrong: dict[str, Any] = {}
    for scim_filter in filters:
        response = await scim.post("/.search", {"filter": scim_filter})
        if response.status != 200 and (response.status, response.json.get("scimType")) != (400, "invalidFilter"):
            wrong[scim_filter[:30]] = response.json
    assert wrong == {}
    for response in (
        await scim.post("/.search", {"filter": " " * limit + "id pr"}),
        await scim.get("/Users", params={"filter": longest('id eq "x"', limit + 100)}),
    ):
        assert_error(response, 400, "invalidFilter", "8192")


@pytest.mark.homeserver(module_config={"limits": {"filter_length": "64K"}})
async def test_longer_filters_can_be_allowed(scim: Scim) -> None:
    """`limits.filter_length` decides how long a filter may be, whatever other limits there are (the documentation)."""
    await scim.create("bob")
    candidates = ", ".join(f"u{number}" for number in range(5000))
    scim_filter = f'userName eq "bob" and not (title eq "{candidates}")'
    assert 20 * 1024 < len(scim_filter) < 64 * 1024

    assert assert_scim(await scim.post("/.search", {"filter": scim_filter}), 200)["totalResults"] == 1


@pytest.mark.homeserver(module_config={"limits": {"filter_length": "1M"}})
async def test_filters_without_measure(scim: Scim) -> None:
    """Where longer filters are allowed, 10,000 terms are refused, and so many brackets."""
    terms = [
        " or ".join(f'userName eq "u{number}"' for number in range(10_000)),
        " and ".join(f'not (emails.value co "u{number}")' for number in range(10_000)),
    ]
    brackets = [
        "(" * 10_000 + "id pr" + ")" * 10_000,
        "not (" * 10_000 + "id pr" + ")" * 10_000,
        f"emails[{'(' * 10_000}type pr{')' * 10_000}]",
    ]
    wrong: dict[str, Any] = {}
    for scim_filter in (*terms, *brackets):
        response = await scim.post("/Users/.search", {"filter": scim_filter})
        if response.status != 400 or response.json["scimType"] not in {"invalidFilter", "tooMany"}:
            wrong[scim_filter[:30]] = response.json
    assert wrong == {}
    assert await scim.names() == ["admin"]


LITERALS = {
    "string": '"x"',
    "reference": '"x"',
    "boolean": "true",
    "dateTime": '"2026-01-01T00:00:00Z"',
    "binary": '"AQID"',
}


async def announced_paths(scim: Scim) -> dict[str, tuple[str, bool]]:
    """Return the path of each announced attribute, with its type and whether it can order a list."""
    paths = {"id": ("string", True), "externalId": ("string", True)}
    paths |= {f"meta.{name}": ("dateTime", True) for name in ("created", "lastModified")}
    paths["meta.resourceType"] = ("string", True)
    for schema in (await scim.get("/Schemas")).json["Resources"]:
        for attribute in schema["attributes"]:
            path = f"{schema['id']}:{attribute['name']}"
            subs = attribute.get("subAttributes", [])
            sortable = attribute["type"] not in {"binary", "complex"} and attribute["mutability"] != "writeOnly"
            paths[path] = attribute["type"], sortable
            paths |= {f"{path}.{sub['name']}": (sub["type"], sub["type"] != "binary") for sub in subs}
    return {path: of for path, of in paths.items() if not path.endswith((":password", "manager.$ref"))}


@pytest.mark.usefixtures("engine")
async def test_every_announced_attribute_can_be_searched(scim: Scim, synapse: Synapse) -> None:
    """Filters and orders work for whatever is announced, on both engines (RFC 7644 §3.4.2.2, the documentation)."""
    await population(scim, synapse)
    wrong: list[Any] = []
    for path, (kind, sortable) in (await announced_paths(scim)).items():
        # Together, these find everybody.
        terms = [f"{path} pr", f"not ({path} pr)"]
        if kind in LITERALS:
            terms += [f"{path} eq {LITERALS[kind]}", f"{path} ne {LITERALS[kind]}"]
        if kind in {"string", "reference"}:
            terms += [f'{path} {operator} "x"' for operator in ("co", "sw", "ew", "gt")]
        order = {"sortBy": path} if sortable else {}
        response = await scim.get("/Users", params={"filter": " or ".join(terms), "count": 1, **order})
        if response.json.get("totalResults") != len(EVERYBODY):
            wrong.append((path, response.json))
    assert wrong == []


async def test_blanks_and_plus_signs(admin: Admin) -> None:
    """`+` and `%20` are blanks in a query, `%2B` is a plus (IdP: Entra, Okta; RFC 6749's form encoding)."""
    await admin.scim.create("a+b@corp.example")
    await admin.scim.create("a b@corp.example")
    raw = ScimClient(admin.homeserver.url, admin.token, f"{STABLE}/Users?filter=")
    for query, found in {
        "userName+eq+%22a%2Bb%40corp.example%22": ["a+b@corp.example"],
        "userName%20eq%20%22a%2Bb@corp.example%22": ["a+b@corp.example"],
        "userName+eq+%22a+b%40corp.example%22": ["a b@corp.example"],
        "userName%20eq%20%22a%20b@corp.example%22": ["a b@corp.example"],
        "userName%20eq%20%22a%20b%22": [],
    }.items():
        page = assert_scim(await raw.request("GET", query), 200)
        assert [user["userName"] for user in page["Resources"]] == found
        assert page["totalResults"] == len(found)


async def test_no_match_is_an_empty_page(scim: Scim) -> None:
    """Nobody found is 200 with `Resources: []` and a zero that is a number (RFC 7644 §3.4.2, IdP: Entra, Okta)."""
    for path in ("/Users", "/"):
        page = assert_scim(
            await scim.get(path, params={"filter": 'userName eq "nobody"', "startIndex": 1, "count": 1}), 200
        )
        assert (page["totalResults"], page["itemsPerPage"], page["startIndex"]) == (0, 0, 1)
        assert page["Resources"] == []


async def test_names_of_parameters_have_no_case(scim: Scim) -> None:
    """Parameters are read in any case, unknown ones are ignored, and one that comes twice is refused (IdP: Entra)."""
    await scim.create("bob")
    assert await scim.names(FILTER='userName eq "bob"') == ["bob"]
    assert await scim.names('userName eq "bob"', startindex=0, COUNT="5", _="1") == ["bob"]
    twice = await scim.get("/Users?filter=userName+eq+%22bob%22&Filter=userName+eq+%22admin%22")
    assert_error(twice, 400, "invalidValue", "filter")


async def test_members_of_a_search_have_no_case(scim: Scim) -> None:
    """A search by POST reads its members in any case, ignores others, and checks their types (RFC 7644 §3.4.3)."""
    await scim.create("bob")
    body = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:SearchRequest"], "Filter": 'userName eq "bob"', "x": 1}
    assert assert_scim(await scim.post("/Users/.search", body), 200)["totalResults"] == 1
    wrong: list[Any] = [
        {"filter": 5},
        {"count": "x"},
        {"startIndex": []},
        {"attributes": {"a": 1}},
        {"sortOrder": "up"},
    ]
    for other in (*wrong, [], "x", 5, None):
        response = await scim.request(
            "POST", "/Users/.search", body=json.dumps(other).encode(), headers={"Content-Type": "application/scim+json"}
        )
        assert response.status == 400, other
        assert "detail" in response.json
