"""What searches are told: what is right, and ever so slightly wrong."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tests.fuzz.texts import CURSOR, ODD_TEXTS, ODD_VALUES, sometimes, text
from tests.web.clients import ENTERPRISE, MATRIX, SEARCH, USER

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
        [
            '"user1"',
            '"USER1"',
            '"user1@corp.example"',
            '"@user1:example.org"',
            "true",
            "false",
            "null",
            '"2020-01-01T00:00:00Z"',
            '""',
            '"7"',
        ]
    ),
    st.one_of(
        ODD_TEXTS.map(lambda odd: f'"{odd}"'),
        st.sampled_from(
            ["1", "-1.5e3", "9" * 40, "1e999", '"\\u0000"', '"\\ud800"', '"\\', "'x'", "[]", "NaN", '"%"', '"_"']
        ),
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
CURSORS = sometimes(
    st.sampled_from(["", CURSOR]),
    st.one_of(ODD_TEXTS, st.just(CURSOR[:-3]), st.just(CURSOR + "x"), st.text(max_size=30)),
)
PARAMETERS: dict[str, st.SearchStrategy[Any]] = {
    "filter": FILTERS,
    "sortBy": NAMES_OF_ATTRIBUTES,
    "sortOrder": text("ascending", "descending"),
    "startIndex": sometimes(
        st.sampled_from([1, 2, 5]), st.sampled_from([0, -1, 10**30, "x", "1.5", "", "٣", " 1 ", 2**63])
    ),
    "count": sometimes(st.sampled_from([0, 1, 3, 1000]), st.sampled_from([-1, 10**30, "x", "NaN", "", "٣", 2**63 - 1])),
    "attributes": st.lists(NAMES_OF_ATTRIBUTES, max_size=3),
    "excludedAttributes": st.lists(NAMES_OF_ATTRIBUTES, max_size=3),
}

TIMES = text(
    "2020-01-01T00:00:00Z",
    "2999-12-31T23:59:59+01:00",
    "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59-23:59",
    "2020-02-30T00:00:00Z",
    "2020-01-01T24:00:00Z",
    "2020-W01-1T00:00:00Z",
    "0000-00-00T00:00:00Z",
    "20200101T000000Z",
)
AUDIT_PARAMETERS: dict[str, st.SearchStrategy[Any]] = {
    "client": text("client", "reader"),
    "account": text("@user1:example.org"),
    "since": TIMES,
    "until": TIMES,
    "cursor": sometimes(
        st.sampled_from(["", CURSOR]),
        st.sampled_from(["1-" + "0" * 32, "9" * 15 + "-" + "f" * 32, "9" * 16 + "-" + "f" * 32, "٣-" + "0" * 32]),
        3,
    ),
    "count": PARAMETERS["count"],
}


@st.composite
def parameters(draw: st.DrawFn) -> dict[str, Any]:
    """Return what a search is told, by the names of parameters."""
    told = draw(st.fixed_dictionaries({}, optional=PARAMETERS))
    # A cursor of one search is good for no other: with each, few would be answered.
    return told if draw(st.integers(0, 7)) else {**told, "cursor": draw(CURSORS)}


@st.composite
def searches(draw: st.DrawFn) -> Any:
    """Return the body of a search request."""
    body = {"schemas": [SEARCH], **draw(parameters())}
    if draw(st.integers(0, 9)) == 9:
        body[draw(st.sampled_from([*PARAMETERS, "cursor", "schemas", "x"]))] = draw(ODD_VALUES)
    return body
