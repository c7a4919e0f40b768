"""Each dialect of an identity provider, as SCIM."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synapse_scim.protocol.dialects import authentik_filter, bulk, patch, resource

ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
MISPRINT = "urn:ietf:params:scim:schemas:extension:enterprise:2.0User"
MANAGER = f"{ENTERPRISE}:manager"


def patched(*operations: Any) -> list[Any]:
    """Return the operations of a PATCH as SCIM."""
    result: list[Any] = patch({"schemas": ["x"], "Operations": list(operations)})["Operations"]
    return result


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        # Microsoft's documentation misprints the URN.
        ({MISPRINT: {"department": "Sales"}}, {ENTERPRISE: {"department": "Sales"}}),
        ({f"{MISPRINT}:department": "Sales"}, {f"{ENTERPRISE}:department": "Sales"}),
        ({MISPRINT.upper(): {"department": "Sales"}}, {ENTERPRISE: {"department": "Sales"}}),
        # Managers of Entra ID.
        ({ENTERPRISE: {"manager": "7"}}, {ENTERPRISE: {"manager": {"value": "7"}}}),
        ({ENTERPRISE: {"Manager": [{"Value": "7"}]}}, {ENTERPRISE: {"Manager": {"value": "7"}}}),
        ({ENTERPRISE: {"manager": ""}}, {ENTERPRISE: {"manager": None}}),
        ({ENTERPRISE: {"manager": []}}, {ENTERPRISE: {"manager": None}}),
        ({ENTERPRISE: {"manager": None}}, {ENTERPRISE: {"manager": None}}),
        ({ENTERPRISE: {"manager": {"displayName": "Boss"}}}, {ENTERPRISE: {"manager": None}}),
        ({ENTERPRISE: {"manager": ["7", "8"]}}, {ENTERPRISE: {"manager": ["7", "8"]}}),
        ({MANAGER: "7"}, {MANAGER: {"value": "7"}}),
        ({f"{MISPRINT}:MANAGER": ["7"]}, {MANAGER: {"value": "7"}}),
        # SCIM-SDK's lists of one.
        ({"userName": ["ann"], "active": [True]}, {"userName": "ann", "active": True}),
        ({"name": {"givenName": ["Ann"]}}, {"name": {"givenName": "Ann"}}),
        ({"emails": [{"value": ["a@x.example"]}]}, {"emails": [{"value": "a@x.example"}]}),
        ({ENTERPRISE: {"department": ["Sales"]}}, {ENTERPRISE: {"department": "Sales"}}),
        ({"userName": ["ann", "bob"]}, {"userName": ["ann", "bob"]}),
        ({"userName": []}, {"userName": []}),
        ({"emails": ["a@x.example"]}, {"emails": ["a@x.example"]}),
        ({"name": [{"givenName": "Ann"}]}, {"name": [{"givenName": "Ann"}]}),
        # What is none.
        ({ENTERPRISE: "Sales"}, {ENTERPRISE: "Sales"}),
        ([], []),
        ("x", "x"),
        (None, None),
    ],
)
def test_users_of_a_dialect(sent: Any, meant: Any) -> None:
    """The body of a POST or PUT."""
    assert resource(sent) == meant


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        # Microsoft's misprint.
        (
            {"op": "add", "path": f"{MISPRINT}:department", "value": "Sales"},
            [{"op": "add", "path": f"{ENTERPRISE}:department", "value": "Sales"}],
        ),
        # Managers of Entra ID: set in several forms, removed by an empty one, or by naming the one that goes.
        ({"op": "Add", "path": MANAGER, "value": "7"}, [{"op": "Add", "path": MANAGER, "value": {"value": "7"}}]),
        (
            {"op": "Replace", "path": f"{MANAGER}.value", "value": "7"},
            [{"op": "Replace", "path": MANAGER, "value": {"value": "7"}}],
        ),
        (
            {"OP": "add", "PATH": MANAGER, "VALUE": [{"$ref": "../Users/7", "value": "7"}]},
            [{"OP": "add", "PATH": MANAGER, "VALUE": {"value": "7"}}],
        ),
        ({"op": "replace", "path": MANAGER, "value": ""}, [{"op": "remove", "path": MANAGER}]),
        ({"op": "Remove", "path": MANAGER, "value": [{"value": "7"}]}, [{"op": "remove", "path": MANAGER}]),
        ({"op": "remove", "path": MANAGER}, [{"op": "remove", "path": MANAGER}]),
        # Entra ID's paths as names, with and without others beside them.
        (
            {"op": "Add", "value": {'emails[type eq "work"].value': "a@x.example", "title": "Boss"}},
            [
                {"op": "Add", "value": {"title": "Boss"}},
                {"op": "Add", "path": 'emails[type eq "work"].value', "value": "a@x.example"},
            ],
        ),
        (
            {"op": "Replace", "path": "", "Value": {'roles[primary eq "True"].value': "r"}},
            [{"op": "Replace", "path": 'roles[primary eq "True"].value', "Value": "r"}],
        ),
        # Auth0's whole resource.
        (
            {"op": "replace", "value": {"id": "x", "Meta": {}, "schemas": [], "groups": [], "active": False}},
            [{"op": "replace", "value": {"active": False}}],
        ),
        # SCIM-SDK's lists of one.
        ({"op": "add", "path": "title", "value": ["Boss"]}, [{"op": "add", "path": "title", "value": "Boss"}]),
        (
            {"op": "add", "path": 'emails[type eq "work"].value', "value": ["a@x.example"]},
            [{"op": "add", "path": 'emails[type eq "work"].value', "value": "a@x.example"}],
        ),
        (
            {"op": "add", "path": "urn:x:2.0:User:emails", "value": [{"value": ["a@x.example"]}]},
            [{"op": "add", "path": "urn:x:2.0:User:emails", "value": [{"value": "a@x.example"}]}],
        ),
        # What is none.
        ({"op": "remove", "path": "title"}, [{"op": "remove", "path": "title"}]),
        ({"op": "add", "path": 5, "value": ["x"]}, [{"op": "add", "path": 5, "value": ["x"]}]),
        ({"op": "add", "value": "x"}, [{"op": "add", "value": "x"}]),
        ("x", ["x"]),
    ],
)
def test_patches_of_a_dialect(sent: Any, meant: list[Any]) -> None:
    """An operation of a PATCH."""
    assert patched(sent) == meant


@pytest.mark.parametrize("sent", [None, [], "x", {}, {"Operations": "x"}, {"Operations": []}])
def test_what_is_no_patch_is_left_alone(sent: Any) -> None:
    """The library says what is wrong with it."""
    assert patch(sent) == sent


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ("userName eq jdoe", 'userName eq "jdoe"'),
        (" externalId EQ a1b2-c3 ", 'externalId EQ "a1b2-c3"'),
        ("userName eq jdoe@corp.example", 'userName eq "jdoe@corp.example"'),
        (f"{ENTERPRISE}:department eq Sales", f'{ENTERPRISE}:department eq "Sales"'),
    ],
)
def test_filters_of_old_authentik(sent: str, meant: str) -> None:
    """The value that is looked for is quoted."""
    assert authentik_filter(sent) == meant


@pytest.mark.parametrize(
    "scim_filter",
    [
        'userName eq "jdoe"',
        "active eq true",
        "active eq FALSE",
        "title eq null",
        "userName co jdoe",
        "userName eq jdoe and active eq true",
        "title pr",
        "userName eq",
        "",
    ],
)
def test_other_filters_are_left_alone(scim_filter: str) -> None:
    """A filter that means something already, or nothing plain, stays as it is."""
    assert authentik_filter(scim_filter) == scim_filter


def test_bulk_operations_have_the_dialect_of_their_method() -> None:
    """The data of a PATCH is read as a PATCH, that of POST and PUT as a User; the rest stays."""
    sent = [
        {"method": "POST", "path": "/Users", "data": {"userName": ["ann"]}},
        {"Method": "put", "path": "/Users/1", "Data": {MISPRINT: {"manager": "7"}}},
        {
            "method": "patch",
            "path": "/Users/1",
            "data": {"Operations": [{"op": "add", "path": "title", "value": ["x"]}]},
        },
        {"method": "DELETE", "path": "/Users/1"},
        {"method": 5, "data": {"userName": ["ann"]}},
        {"data": {"userName": ["ann"]}},
        "x",
    ]

    assert bulk({"Schemas": ["x"], "operations": sent}) == {
        "Schemas": ["x"],
        "operations": [
            {"method": "POST", "path": "/Users", "data": {"userName": "ann"}},
            {"Method": "put", "path": "/Users/1", "Data": {ENTERPRISE: {"manager": {"value": "7"}}}},
            {
                "method": "patch",
                "path": "/Users/1",
                "data": {"Operations": [{"op": "add", "path": "title", "value": "x"}]},
            },
            *sent[3:],
        ],
    }


@pytest.mark.parametrize("sent", [None, [], "x", {}, {"Operations": {"method": "POST"}}])
def test_what_is_no_bulk_request_is_left_alone(sent: Any) -> None:
    """The library says what is wrong with it."""
    assert bulk(sent) == sent


def test_a_path_of_nothing_but_brackets_is_read_at_once() -> None:
    """The time that a path takes grows with its length alone: with the square of it, this would take a minute."""
    path = "[" * 250_000
    began = perf_counter()

    assert patched({"op": "replace", "path": path, "value": "x"}) == [{"op": "replace", "path": path, "value": "x"}]
    assert perf_counter() - began < 10


USERS = st.fixed_dictionaries(
    {"userName": st.text()},
    optional={
        "active": st.booleans(),
        "name": st.fixed_dictionaries({}, optional={"givenName": st.text(), "familyName": st.text()}),
        "emails": st.lists(st.fixed_dictionaries({"value": st.text()}, optional={"type": st.text()}), max_size=3),
        ENTERPRISE: st.fixed_dictionaries({"manager": st.fixed_dictionaries({"value": st.text(min_size=1)})}),
    },
)


@given(USERS)
def test_scim_itself_is_no_dialect(user: dict[str, Any]) -> None:
    """A User as the RFCs have it is left alone, in each kind of request."""
    operation = {"op": "replace", "path": "emails", "value": user.get("emails", [])}

    assert resource(user) == user
    assert patched({"op": "replace", "value": user}, operation) == [{"op": "replace", "value": user}, operation]
    request = {"Operations": [{"method": "PUT", "path": "/Users/1", "data": user}]}
    assert bulk(request) == request
