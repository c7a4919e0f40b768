"""What a trace shows of what clients send and are told."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synapse_scim.protocol.masking import MAX_DETAIL, MAX_HEADER, MAX_ITEMS, Masker, bounded, placeholder
from synapse_scim.protocol.payload import MAX_DEPTH
from tests.web.clients import ENTERPRISE, ERROR, PATCH, USER, bulk_of, new_user, patch_of

SERVER_NAME = "example.org"
ANN = "@ann:example.org"


def masker() -> Masker:
    """Return what masks one request and its answer."""
    return Masker(server_name=SERVER_NAME)


def shown(body: Any) -> Any:
    """Return what is shown of a request's body."""
    return masker().request(body)


def error(detail: str) -> dict[str, Any]:
    """Return the body of an error."""
    return {"schemas": [ERROR], "status": "400", "scimType": "invalidValue", "detail": detail}


def detail_shown(detail: str, body: Any = None) -> str:
    """Return what is shown of an error's words after a request."""
    asked = masker()
    asked.request(body)
    said: str = asked.answer(error(detail))["detail"]
    return said


@pytest.mark.parametrize(
    ("text", "look"),
    [
        ("", ""),
        ("Ann", "<text of 3>"),
        ("ann@corp.example", "<e-mail of 16>"),
        ("+49 (30) 123-456", "<number of 16>"),
        ("tel:+4930123456", "<number of 15>"),
        ("4711", "<number of 4>"),
        ("@ann:example.org", "<user ID of 16>"),
        ("https://x.example/a", "<URL of 19>"),
        ("data:image/png;base64,AAAA", "<URL of 26>"),
        ("mxc://x/y", "<URL of 9>"),
        ("https://x.example/Users/@ann:corp.example", "<URL of 41>"),
        ("ann@corp", "<text of 8>"),
    ],
)
def test_a_placeholder_tells_what_a_text_looks_like(text: str, look: str) -> None:
    """An address is told from a number and a name: identity providers put one where another belongs."""
    assert placeholder(text) == look


def test_a_user_keeps_its_form() -> None:
    """Names, schemas, types and booleans stay; what it says of somebody does not."""
    user = new_user(
        "ann@corp.example",
        id=ANN,
        externalId="4711",
        active=False,
        password="correct horse",
        name={"givenName": "Ann", "familyName": ""},
        emails=[{"value": "ann@corp.example", "type": "work", "primary": "True"}, {"value": None, "type": "Ann"}],
        **{ENTERPRISE: {"employeeNumber": 4711, "manager": {"value": "@bob:example.org"}}},
    )

    assert shown(user) == {
        "schemas": [USER],
        "userName": "<e-mail of 16>",
        "id": ANN,
        "externalId": "<number of 4>",
        "active": False,
        "password": "<secret>",
        "name": {"givenName": "<text of 3>", "familyName": ""},
        "emails": [
            {"value": "<e-mail of 16>", "type": "work", "primary": "True"},
            {"value": None, "type": "<text of 3>"},
        ],
        ENTERPRISE: {"employeeNumber": "<number>", "manager": {"value": "<user ID of 16>"}},
    }


def test_a_change_shows_what_it_changes() -> None:
    """Of a PATCH, operations and paths stay; a value is judged by the attribute that its path names."""
    assert shown(
        patch_of(
            {"op": "Replace", "path": "active", "value": "False"},
            {"op": "replace", "path": 'emails[type eq "work"].primary', "value": "true"},
            {"op": "add", "path": f"{USER}:displayName", "value": "False"},
            {"op": "replace", "path": "password", "value": "hunter22"},
            {"op": "remove", "path": 'emails[value eq "ann@corp.example"]'},
            {"op": "Anna", "value": {'emails[type eq "Ann"].value': "x", "active": "True", "Ann Lee": "y"}},
        )
    ) == {
        "schemas": [PATCH],
        "Operations": [
            {"op": "Replace", "path": "active", "value": "False"},
            {"op": "replace", "path": 'emails[type eq "work"].primary', "value": "true"},
            {"op": "add", "path": f"{USER}:displayName", "value": "<text of 5>"},
            {"op": "replace", "path": "password", "value": "<secret>"},
            {"op": "remove", "path": 'emails[value eq "<e-mail of 16>"]'},
            {
                "op": "<text of 4>",
                "value": {
                    'emails[type eq "<text of 3>"].value': "<text of 1>",
                    "active": "True",
                    "<text of 7>": "<text of 1>",
                },
            },
        ],
    }


def test_operations_of_a_bulk_request_are_shown() -> None:
    """Methods and paths stay, with the user ID that a path names."""
    assert shown(
        bulk_of(
            {"method": "post", "path": "/Users", "bulkId": "ann", "data": {"userName": "ann"}},
            {
                "method": "DELETE",
                "path": "/Users/%40ann:example.org",
                "version": 'W/"0123456789abcdef0123456789abcdef"',
            },
            {"method": "DELETE", "path": "Users/ann", "version": "ann"},
        )
    )["Operations"] == [
        {"method": "post", "path": "/Users", "bulkId": "<text of 3>", "data": {"userName": "<text of 3>"}},
        {"method": "DELETE", "path": "/Users/@ann:example.org", "version": 'W/"0123456789abcdef0123456789abcdef"'},
        {"method": "DELETE", "path": "Users/<text of 3>", "version": "<text of 3>"},
    ]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ('userName eq "ann"', 'userName eq "<text of 3>"'),
        ("userName eq ann", "userName eq <text of 3>"),
        ("userName eq ann lee", "userName eq <text of 3> <text of 3>"),
        ('userName EQ "a\\"b" AND  (not (title pr))', 'userName EQ "<text of 3>" AND (not (title pr))'),
        ('emails[type eq "work" and value co "@corp.example"]', 'emails[type eq "work" and value co "<text of 13>"]'),
        ("active eq true or title eq null", "active eq true or title eq null"),
        ('password eq "hunter22"', 'password eq "<secret>"'),
        ('meta.lastModified gt "2026-06-30T12:00:00Z"', 'meta.lastModified gt "2026-06-30T12:00:00Z"'),
        (f'id eq "{ANN}"', f'id eq "{ANN}"'),
        ('userName eq "ann', "userName eq <text of 4>"),
        ('userName eq "\\x"', 'userName eq "<text of 2>"'),
        ('"ann" eq userName', "<text of 17>"),
        ("userName eq (ann)", "userName eq <text of 5>"),
        ("Ann", "<text of 3>"),
        ("emails[Ann]", "<text of 11>"),
        ("emails[value", "<text of 12>"),
        ("title pr and emails[not (Ann Lee", "title pr and <text of 19>"),
        ("title pr and Ann Lee", "title pr and <text of 7>"),
        ("title pr [Ann", "title pr <text of 4>"),
        ("@ann eq 5", "<text of 9>"),
        ("", ""),
        ("title pr and " * 1000, "<text of 13000>"),
    ],
)
def test_filters_lose_their_literals(written: str, expected: str) -> None:
    """Attributes and operators stay; what cannot be part of a filter is one text."""
    assert masker().query({"filter": written}) == {"filter": expected}


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("name.givenName", "name.givenName"),
        (f"{ENTERPRISE}:manager", f"{ENTERPRISE}:manager"),
        ("emails[value", "<text of 12>"),
        ('addresses[type eq "work"].locality', 'addresses[type eq "work"].locality'),
        ("Ann Lee", "<text of 7>"),
    ],
)
def test_paths_lose_their_literals(written: str, expected: str) -> None:
    """An attribute may stand alone in a path, though not within its brackets."""
    assert shown({"op": "add", "path": written})["path"] == expected


def test_queries_keep_what_is_not_personal() -> None:
    """Paging, sorting and names of attributes stay."""
    assert masker().query(
        {
            "count": "10",
            "startIndex": "Ann",
            "sortBy": "name.familyName",
            "sortOrder": "descending",
            "attributes": "userName,Ann Lee",
            "excludedAttributes": "groups",
            "cursor": "abcdef",
            "Ann": "Lee",
        }
    ) == {
        "count": "10",
        "startIndex": "<text of 3>",
        "sortBy": "name.familyName",
        "sortOrder": "descending",
        "attributes": "userName,<text of 7>",
        "excludedAttributes": "groups",
        "cursor": "<text of 6>",
        "Ann": "<text of 3>",
    }


def test_searches_by_post_are_shown_like_queries() -> None:
    """What `/.search` is sent has the same names."""
    assert shown({"filter": 'title eq "Dr"', "attributes": ["userName"], "count": 5, "startIndex": 491701234567}) == {
        "filter": 'title eq "<text of 2>"',
        "attributes": ["userName"],
        "count": 5,
        "startIndex": "<number>",
    }


def test_paths_of_requests_keep_user_ids() -> None:
    """The user ID is the account, as in the audit; whatever else stands in its place is hidden."""
    assert [masker().path(path) for path in ("/Users/%40ann:example.org", "/Users/ann", "/Me", "/Users/.search")] == [
        "/Users/@ann:example.org",
        "/Users/<text of 3>",
        "/Me",
        "/Users/.search",
    ]
    assert masker().path("/Users/@ann:elsewhere.example") == "/Users/<user ID of 22>"


def test_headers_are_shown_without_addresses() -> None:
    """They are cut, and an address that a program names as its maker's is hidden."""
    etag = 'W/"0123456789abcdef0123456789abcdef"'
    headers = [("User-Agent", "idp/1.0 (ann@corp.example)\x01" + "x" * MAX_HEADER), ("If-Match", etag)]

    masked = masker().headers(headers)

    assert masked["If-Match"] == etag
    assert masked["User-Agent"].startswith("idp/1.0 (<e-mail of 16>)xxx")
    assert len(masked["User-Agent"]) <= MAX_HEADER
    assert masker().headers({"If-None-Match": '"ann"'}) == {"If-None-Match": "<text of 5>"}


@pytest.mark.parametrize(
    ("detail", "body", "expected"),
    [
        ("'userName' is longer than 255 characters", {}, "'userName' is longer than 255 characters"),
        ("'limits.body_size' and 'name.givenName'", {}, "'limits.body_size' and 'name.givenName'"),
        ("'favourite' is no attribute", {"favourite": 1}, "'favourite' is no attribute"),
        ("'favourite' is no attribute", {}, "'<text of 9>' is no attribute"),
        ("Nobody is called Ann Lee", {"displayName": "ann lee"}, "Nobody is called <text of 7>"),
        ('"O\'Neil" is taken', {"displayName": "O'Neil"}, '"<text of 6>" is taken'),
        (f"'{ANN}' is protected", {}, f"'{ANN}' is protected"),
        ("It is 'ann'", {}, "It is '<text of 3>'"),
        ("ann@corp.example has it, or +49 30 123456", {}, "<e-mail of 16> has it, or <number of 13>"),
        ("hunter22 is a bad password", {"password": "hunter22"}, "<secret> is a bad password"),
        ("Input should be 'POST'", {}, "Input should be 'POST'"),
        ("x" * (MAX_DETAIL + 1), {}, f"<text of {MAX_DETAIL + 1}>"),
        ("Of 7 things one is 4711", {"a": 7, "b": 4711}, "Of 7 things one is <number>"),
    ],
)
def test_errors_do_not_repeat_what_they_quote(detail: str, body: Any, expected: str) -> None:
    """What an error says is shown, but for what the request said, and what else it quotes."""
    assert detail_shown(detail, body) == expected


def test_an_error_after_an_unknown_request_is_hidden() -> None:
    """It may quote what nobody has looked at."""
    asked = Masker(server_name=SERVER_NAME, knows_all=False)

    assert asked.answer(error("Ann is taken")) == {
        "schemas": [ERROR],
        "status": "400",
        "scimType": "invalidValue",
        "detail": "<text of 12>",
    }


def test_details_that_a_client_sends_are_its_own_words() -> None:
    """Only answers have errors."""
    assert shown({"detail": "Ann"}) == {"detail": "<text of 3>"}


def test_long_lists_and_deep_nesting_end() -> None:
    """A trace is for people to read."""
    nested: Any = "Ann"
    for _ in range(MAX_DEPTH + 2):
        nested = [nested]

    assert shown({"roles": ["Ann"] * (MAX_ITEMS + 2)}) == {"roles": ["<text of 3>"] * MAX_ITEMS + ["<2 more>"]}
    assert masker().answer({"roles": ["Ann"] * (MAX_ITEMS + 2)}) == {
        "roles": ["<text of 3>"] * MAX_ITEMS + ["<2 more>"]
    }
    assert "<nested deeper>" in json.dumps(shown(nested))


def test_what_is_too_long_is_cut_with_a_note() -> None:
    """The beginning stays, as text."""
    assert bounded({"a": "b"}, 9) == {"a": "b"}
    assert bounded({"a": "bc"}, 9) == '{"a":"bc"... <1 more characters>'


LETTERS = st.text("qQxXzZ0123456789 ÄßéЖ日'\"\\.@+-_/:()[]", min_size=4, max_size=30).filter(
    lambda text: any(letter in text.lower() for letter in "qxzжß日")
)
"""Texts that no name of SCIM, and no placeholder, has in it."""

PEOPLE = st.fixed_dictionaries(
    {"userName": LETTERS},
    optional={
        "displayName": LETTERS,
        "password": LETTERS,
        "externalId": LETTERS,
        "id": LETTERS,
        "active": LETTERS,
        "userType": LETTERS,
        "detail": LETTERS,
        "status": LETTERS,
        "meta": st.fixed_dictionaries({}, optional=dict.fromkeys(("resourceType", "created", "version"), LETTERS)),
        "name": st.fixed_dictionaries({}, optional={"givenName": LETTERS, "formatted": LETTERS}),
        "emails": st.lists(st.fixed_dictionaries({"value": LETTERS, "type": LETTERS, "primary": LETTERS}), max_size=2),
        ENTERPRISE: st.fixed_dictionaries(
            {"department": LETTERS, "manager": st.just({"value": "qqqq", "$ref": "zzzz"})}
        ),
    },
)


def texts_of(value: Any) -> set[str]:
    """Return the texts in a value, at any depth."""
    if isinstance(value, dict):
        return set().union(*map(texts_of, value.values())) if value else set()
    if isinstance(value, list):
        return set().union(*map(texts_of, value)) if value else set()
    return {value}


@given(PEOPLE, st.sampled_from(["replace", "add"]), st.booleans())
def test_no_personal_value_is_shown(person: dict[str, Any], op: str, quotes: bool) -> None:  # noqa: FBT001
    """Wherever a value of a User stands, in request or answer, the trace does not have it."""
    secrets = texts_of(person)
    asked = masker()
    quote = json.dumps if quotes else str
    parts = [
        asked.request(person),
        asked.request(
            patch_of({"op": op, "value": person}, *({"op": op, "path": n, "value": v} for n, v in person.items()))
        ),
        asked.request(patch_of(*({"op": op, "path": f"emails[value eq {quote(text)}]"} for text in secrets))),
        asked.request(bulk_of({"method": "POST", "path": f"/Users/{person['userName']}", "data": person})),
        *(asked.query({"filter": f"userName eq {quote(text)}", "cursor": text, "count": text}) for text in secrets),
        *(asked.query({"filter": text}) for text in secrets),
        asked.answer({"totalResults": 1, "Resources": [person]}),
        *(
            asked.answer(error(f"{quotation}{text}{quotation} is no value"))
            for text in secrets
            for quotation in ("", "'")
        ),
    ]

    trace = json.dumps(parts, ensure_ascii=False)

    written = {form for text in secrets for form in (text, text.lower(), json.dumps(text, ensure_ascii=False)[1:-1])}
    assert [text for text in written if text in trace] == []
