"""What writes say: Users and changes that are right, and ever so slightly wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from hypothesis import strategies as st

from tests.fuzz.searches import FILTERS
from tests.fuzz.texts import NAMES, ODD_TEXTS, ODD_VALUES, POPULATION, sometimes, text
from tests.web.clients import BULK, ENTERPRISE, MATRIX, PATCH, USER


def values_of(addresses: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return the value of an attribute that has several."""
    value = st.fixed_dictionaries(
        {"value": addresses},
        optional={"type": text("work", "home", "other"), "primary": sometimes(BOOLEANS, ODD_VALUES)},
    )
    return sometimes(st.lists(value, max_size=3), ODD_VALUES)


PASSWORDS = ("correct horse battery", "another-password-1")
BOOLEANS = st.booleans()
TITLES = text("Dr", "Prof", "Æther", "")
EMAILS = sometimes(st.sampled_from(NAMES).map(lambda name: f"{name}@corp.example"), ODD_VALUES)
PHONES = text("+49 30 1234567", "+1 202 555 0101", "030 1234567", "tel:+4930123")

ATTRIBUTES: dict[str, st.SearchStrategy[Any]] = {
    "displayName": text("Ann", "Bob Lee", "O'Neil"),
    "externalId": text("7", "ext-1", "ext-2", "Ext-2"),
    "name": sometimes(
        st.fixed_dictionaries(
            {}, optional={"givenName": text("Ann"), "familyName": text("Lee"), "formatted": text("A L")}
        ),
        ODD_VALUES,
    ),
    "active": sometimes(st.sampled_from([True, True, True, False]), ODD_VALUES),
    "password": text(*PASSWORDS),
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
    st.sampled_from(
        [f"@{name}:example.org" for name in NAMES + POPULATION]
        + ["@admin:example.org", "@local:example.org", "@kept:example.org"]
    ),
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
    return safe(safe(resource_id)) if how == 2 else safe(resource_id)


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
