"""What requests say: Users, changes and searches that are right, and ever so slightly wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import quote

from hypothesis import strategies as st

from tests.web.clients import BULK, ENTERPRISE, MATRIX, PATCH, SEARCH, USER

T = TypeVar("T")

POPULATION = [f"user{number}" for number in range(24)]
"""Who is there when it begins."""

NAMES = [*POPULATION, *(f"user{number}" for number in range(24, 30))]
"""Whom requests are about."""

CURSOR, VERSION = "CURSOR-OF-AN-ANSWER", "VERSION-OF-AN-ANSWER"
"""What stands for a cursor and an ETag of an earlier answer."""

ODD_TEXTS = st.sampled_from(
    [
        "",
        " ",
        "\x00",
        "a\x00b",
        "\ud800",
        "a\udfffb",
        "\r\nX-Injected: yes",
        "%00",
        "%2F..%2F",
        "../../etc/passwd",
        "'; DROP TABLE users; --",
        '" or userName pr or userName eq "',
        "{{ 7 * 7 }}",
        "x" * 300,
        "x" * 20_000,
        "\u202e\u0130\ufb01\U0001f469\u200d",
        "@user1:example.org",
        "@user1:elsewhere.example",
        "mxc://example.org/abc",
        "data:image/png;base64,AAAA",
        "https://127.0.0.1/x.png",
        "javascript:alert(1)",
        "2020-01-01T00:00:00Z",
        "-1",
        "null",
    ]
)

ODD_VALUES = st.recursive(
    st.one_of(
        ODD_TEXTS,
        st.text(max_size=8),
        st.none(),
        st.booleans(),
        st.integers(),
        st.sampled_from([10**20, -(10**400), 2**63, 2**31, 1e308, float("nan"), float("inf"), -0.0]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["value", "type", "primary", "$ref"]), inner)
    ),
    max_leaves=4,
)


def sometimes(usual: st.SearchStrategy[T], odd: st.SearchStrategy[Any], one_in: int = 40) -> st.SearchStrategy[Any]:
    """Return what is usual, and one time out of so many what is odd."""
    # Hypothesis likes small numbers: the odd is at the far end.
    return st.integers(0, one_in - 1).flatmap(lambda number: odd if number == one_in - 1 else usual)


def text(*usual: str) -> st.SearchStrategy[Any]:
    """Return one of the usual texts, or an odd value."""
    return sometimes(st.sampled_from(usual), ODD_VALUES)


def values_of(addresses: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return the value of an attribute that has several."""
    value = st.fixed_dictionaries(
        {"value": addresses}, optional={"type": text("work", "home", "other"), "primary": sometimes(BOOLEANS, ODD_VALUES)}
    )
    return sometimes(st.lists(value, max_size=3), ODD_VALUES)


BOOLEANS = st.booleans()
TITLES = text("Dr", "Prof", "Æther", "")
EMAILS = sometimes(st.sampled_from(NAMES).map(lambda name: f"{name}@corp.example"), ODD_VALUES)
PHONES = text("+49 30 1234567", "+1 202 555 0101", "030 1234567", "tel:+4930123")

ATTRIBUTES: dict[str, st.SearchStrategy[Any]] = {
    "displayName": text("Ann", "Bob Lee", "O'Neil"),
    "externalId": text("7", "ext-1", "ext-2", "Ext-2"),
    "name": sometimes(
        st.fixed_dictionaries({}, optional={"givenName": text("Ann"), "familyName": text("Lee"), "formatted": text("A L")}),
        ODD_VALUES,
    ),
    "active": sometimes(st.sampled_from([True, True, True, False]), ODD_VALUES),
    "password": text("correct horse battery", "another-password-1"),
    "title": TITLES,
    "nickName": TITLES,
    "locale": text("de-DE", "en"),
    "timezone": text("Europe/Berlin"),
    "profileUrl": text("https://people.example/ann"),
    "userType": text("Employee"),
    "emails": values_of(EMAILS),
    "phoneNumbers": values_of(PHONES),
    "photos": values_of(text("mxc://example.org/abc", "https://127.0.0.1:1/p.png")),
    "roles": values_of(text("admin", "staff")),
    "addresses": sometimes(
        st.lists(st.fixed_dictionaries({}, optional={"country": text("DE"), "locality": text("Berlin")}), max_size=2),
        ODD_VALUES,
    ),
    "x509Certificates": values_of(text("AAAA", "not base64")),
    ENTERPRISE: sometimes(
        st.fixed_dictionaries(
            {},
            optional={
                "department": text("Sales"),
                "employeeNumber": text("701984"),
                "manager": sometimes(
                    st.fixed_dictionaries({"value": sometimes(st.sampled_from(NAMES), ODD_VALUES)}), ODD_VALUES
                ),
            },
        ),
        ODD_VALUES,
    ),
    MATRIX: sometimes(st.just({"serverAdmin": True, "locked": False}), ODD_VALUES),
    "id": text("@user1:example.org"),
    "meta": sometimes(st.just({"version": 'W/"1"', "resourceType": "User"}), ODD_VALUES),
    "groups": values_of(text("admins")),
    "unknownThing": ODD_VALUES,
}

USER_NAMES = sometimes(
    st.one_of(st.sampled_from([*NAMES, "User3", "user4@corp.example"]), st.integers(100, 10**9).map("new{}".format)),
    ODD_VALUES,
)


@st.composite
def users(draw: st.DrawFn) -> Any:
    """Return the body of a POST or PUT."""
    user: dict[str, Any] = {"schemas": draw(sometimes(st.sampled_from([[USER], [USER, ENTERPRISE]]), ODD_VALUES, 25))}
    user["userName"] = draw(USER_NAMES)
    for name in draw(st.lists(st.sampled_from(list(ATTRIBUTES)), unique=True, max_size=5)):
        user[draw(sometimes(st.just(name), st.sampled_from([name.upper(), f"{name}.value", f"{USER}:{name}"])))] = draw(
            ATTRIBUTES[name]
        )
    return user


FILTER_ATTRIBUTES = st.sampled_from(
    ["userName", "externalId", "displayName", "emails.value", "active", "title"] * 4
    + [
        "userName",
        "externalId",
        "displayName",
        "emails.value",
        "emails",
        "emails.primary",
        "phoneNumbers.value",
        "active",
        "id",
        "title",
        "name.familyName",
        "meta.created",
        "meta.lastModified",
        "meta.version",
        "roles.value",
        "photos.value",
        "groups",
        "password",
        "x509Certificates.value",
        "nothing",
        "USERNAME",
        f"{USER}:userName",
        f"{ENTERPRISE}:department",
        f"{ENTERPRISE}:manager.value",
        f"{MATRIX}:locked",
        f"{MATRIX}:userId",
    ]
)
LITERALS = sometimes(
    st.sampled_from(
        ['"user1"', '"USER1"', '"user1@corp.example"', '"@user1:example.org"', "true", "false", "null", '"2020-01-01T00:00:00Z"', '""', '"7"']
    ),
    st.one_of(
        ODD_TEXTS.map(lambda odd: f'"{odd}"'),
        st.sampled_from(["1", "-1.5e3", "9" * 40, "1e999", '"\\u0000"', '"\\ud800"', '"\\', "'x'", "[]", "NaN", '"%"', '"_"']),
    ),
    6,
)
COMPARISONS = st.one_of(
    st.builds(
        "{} {} {}".format,
        FILTER_ATTRIBUTES,
        st.sampled_from(["eq"] * 4 + ["ne", "co", "co", "sw", "sw", "ew", "gt", "ge", "lt", "le", "EQ", "re"]),
        LITERALS,
    ),
    FILTER_ATTRIBUTES.map("{} pr".format),
)
FILTERS = sometimes(
    st.recursive(
        COMPARISONS,
        lambda inner: st.one_of(
            st.builds("{} and {}".format, inner, inner),
            st.builds("{} or {}".format, inner, inner),
            inner.map("not ({})".format),
            inner.map("({})".format),
            st.builds("emails[type {} {}]".format, st.sampled_from(["eq", "co"]), LITERALS),
        ),
        max_leaves=4,
    ),
    st.one_of(
        ODD_TEXTS,
        st.sampled_from(
            [
                "(" * 2000 + "userName pr" + ")" * 2000,
                " or ".join(["title pr"] * 150),
                " or ".join(["title pr"] * 300),
                "not " * 500 + "(title pr)",
                'emails[emails[value eq "x"]]',
                "userName eq",
                "pr",
                "userName pr)",
            ]
        ),
        st.text(alphabet='abuserName ()[]"\\.:eqpr\x00\ud800é', max_size=40),
    ),
)

NAMES_OF_ATTRIBUTES = sometimes(FILTER_ATTRIBUTES, ODD_TEXTS)
PARAMETERS: dict[str, st.SearchStrategy[Any]] = {
    "filter": FILTERS,
    "sortBy": NAMES_OF_ATTRIBUTES,
    "sortOrder": text("ascending", "descending"),
    "startIndex": sometimes(st.sampled_from([1, 2, 5]), st.sampled_from([0, -1, 10**30, "x", "1.5", "", "٣", " 1 ", 2**63])),
    "count": sometimes(st.sampled_from([0, 1, 3, 1000]), st.sampled_from([-1, 10**30, "x", "NaN", "", "٣", 2**63 - 1])),
    "cursor": sometimes(
        st.sampled_from(["", CURSOR]), st.one_of(ODD_TEXTS, st.just(CURSOR[:-3]), st.just(CURSOR + "x"), st.text(max_size=30))
    ),
    "attributes": st.lists(NAMES_OF_ATTRIBUTES, max_size=3),
    "excludedAttributes": st.lists(NAMES_OF_ATTRIBUTES, max_size=3),
}


def parameters() -> st.SearchStrategy[dict[str, Any]]:
    """Return what a search is told, by the names of parameters."""
    return st.fixed_dictionaries({}, optional=PARAMETERS)


@st.composite
def searches(draw: st.DrawFn) -> Any:
    """Return the body of a search request."""
    body = {"schemas": [SEARCH], **draw(parameters())}
    if draw(st.integers(0, 9)) == 9:  # noqa: PLR2004 - one in ten
        body[draw(st.sampled_from([*PARAMETERS, "schemas", "x"]))] = draw(ODD_VALUES)
    return body


PATHS = sometimes(
    st.sampled_from(
        [
            *["displayName", "title", "active", "externalId", "phoneNumbers", "emails"] * 3,
            "userName",
            "password",
            "name.givenName",
            'emails[type eq "work"]',
            'emails[type eq "work"].value',
            "emails[primary eq true].value",
            f"{ENTERPRISE}:department",
            f"{ENTERPRISE}:manager",
            f"{MATRIX}:locked",
            MATRIX,
            ENTERPRISE,
            "photos",
            "id",
            "meta",
            "groups",
        ]
    ),
    st.one_of(ODD_TEXTS, FILTERS, ODD_VALUES),
    10,
)
_FITTING = ATTRIBUTES | {
    "name.givenName": TITLES,
    'emails[type eq "work"].value': EMAILS,
    "emails[primary eq true].value": EMAILS,
    f"{ENTERPRISE}:department": TITLES,
    f"{ENTERPRISE}:manager": sometimes(st.sampled_from(NAMES), ODD_VALUES),
    "userName": USER_NAMES,
}
_SMALL = st.one_of(*(ATTRIBUTES[name] for name in ("displayName", "active", "emails", "phoneNumbers", "title", "name")))


@st.composite
def operations(draw: st.DrawFn) -> Any:
    """Return an operation of a PATCH."""
    operation: dict[str, Any] = {"op": draw(text("add", "replace", "replace", "remove", "Add"))}
    if draw(st.integers(0, 3)):
        path = operation["path"] = draw(PATHS)
        fitting = _FITTING.get(path) if isinstance(path, str) else None
        value = _SMALL if fitting is None else sometimes(fitting, st.one_of(_SMALL, ODD_VALUES), 6)
        if operation["op"] != "remove" or draw(BOOLEANS):
            operation["value"] = draw(value)
    else:
        names = draw(st.lists(st.sampled_from(list(ATTRIBUTES)), unique=True, max_size=3))
        operation["value"] = draw(sometimes(st.just({name: draw(ATTRIBUTES[name]) for name in names}), ODD_VALUES))
    return operation


def patches() -> st.SearchStrategy[Any]:
    """Return the body of a PATCH."""
    return st.fixed_dictionaries(
        {
            "schemas": sometimes(st.just([PATCH]), ODD_VALUES, 25),
            "Operations": sometimes(st.lists(sometimes(operations(), ODD_VALUES, 20), max_size=3), ODD_VALUES, 20),
        }
    )


IDS = sometimes(
    st.sampled_from([f"@{name}:example.org" for name in NAMES + POPULATION] + ["@admin:example.org", "@local:example.org", "@kept:example.org"]),
    st.sampled_from(
        [
            ".",
            "..",
            "../Users/@user1:example.org",
            "..\\..\\etc\\passwd",
            "@user1:example.org/../@user2:example.org",
            "@user1:example.org/",
            "@user1:example.org\x00",
            "@user1:example.org\r\nX-Injected: yes",
            "@USER1:example.org",
            "@user1:elsewhere.example",
            "@user1:example.org:8448",
            "@:example.org",
            "user1",
            "@",
            ".search",
            "@" + "x" * 300 + ":example.org",
            "@\u0130:example.org",
            "%2e%2e",
            "null",
            "@user1:example.org?x=y",
            "@user1:example.org#x",
            " ",
        ]
    ),
    20,
)


def quoted(resource_id: str, how: int) -> str:
    """Return an id as a segment of a path: encoded as it should be, twice, or hardly."""
    safe: Callable[[str], str] = lambda part: quote(part, safe="", errors="surrogatepass")  # noqa: E731 - used thrice
    if how == 1:
        return quote(resource_id, safe="@:/.%\\ ", errors="surrogatepass").replace(" ", "%20")
    return safe(safe(resource_id)) if how == 2 else safe(resource_id)  # noqa: PLR2004 - the third way


@st.composite
def bulks(draw: st.DrawFn) -> Any:
    """Return the body of a bulk request."""
    wanted = []
    for number in range(draw(st.integers(0, 4))):
        method = draw(text("POST", "POST", "PUT", "PATCH", "DELETE"))
        operation: dict[str, Any] = {"method": method, "path": "/Users"}
        if method == "POST":
            operation["bulkId"] = draw(text(f"b{number}", "b0"))
        else:
            operation["path"] = f"/Users/{quoted(draw(IDS), draw(st.integers(0, 2)))}"
        if method != "DELETE":
            operation["data"] = draw(patches() if method == "PATCH" else users())
            if isinstance(operation["data"], dict) and method == "POST" and not draw(st.integers(0, 3)):
                reference = draw(text("bulkId:b0", "bulkId:b1", "bulkId:none"))
                operation["data"][ENTERPRISE] = {"manager": {"value": reference}}
        if not draw(st.integers(0, 9)):
            operation[draw(st.sampled_from(["method", "path", "data", "version", "bulkId", "x"]))] = draw(ODD_VALUES)
        wanted.append(operation)
    body: dict[str, Any] = {"schemas": [BULK], "Operations": wanted}
    if not draw(st.integers(0, 3)):
        body["failOnErrors"] = draw(sometimes(st.integers(0, 3), ODD_VALUES, 4))
    if not draw(st.integers(0, 19)):
        body[draw(st.sampled_from(["Operations", "schemas", "operations"]))] = draw(ODD_VALUES)
    return body
