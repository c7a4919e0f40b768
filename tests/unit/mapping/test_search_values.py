"""The kept attributes of a User as rows that a database can search."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from scim2_models import Path

from synapse_scim.accounts import Threepid
from synapse_scim.mapping.identifiers import fold
from synapse_scim.mapping.schema import ENTERPRISE_SCHEMA
from synapse_scim.mapping.search_values import SearchValue, SearchValues, attribute_key, comparable_text
from tests.unit.mapping.people import MODEL, THREEPIDS, USER_BODIES, created

VALUES = SearchValues(MODEL)


def values_of(**attributes: Any) -> set[SearchValue]:
    """Return the rows of attributes."""
    return set(VALUES.of(attributes, THREEPIDS.threepid))


def test_each_kind_of_attribute_has_its_rows() -> None:
    """A value has one, an object one for each part, an entry one for itself and one for each other part."""
    assert values_of(
        title="Boss",
        name={"givenName": "Ann", "familyName": None},
        emails=[{"value": "A@x.example", "type": "Work", "primary": True}, {"display": "none"}],
        addresses=[{"country": "AT"}],
        x509Certificates=[{"value": "AQID"}],
        **{ENTERPRISE_SCHEMA: {"department": "Sales", "manager": {"value": "@Boss:example.org"}}},
    ) == {
        SearchValue("title", 0, "boss"),
        SearchValue("name.givenName", 0, "ann"),
        SearchValue("emails", 0, "a@x.example", "a@x.example"),
        SearchValue("emails.type", 0, "work"),
        SearchValue("emails.primary", 0, "true"),
        SearchValue("emails", 1, None),
        SearchValue("emails.display", 1, "none"),
        SearchValue("addresses", 0, None),
        SearchValue("addresses.country", 0, "at"),
        SearchValue("x509Certificates", 0, "AQID"),
        SearchValue("EnterpriseUser:department", 0, "sales"),
        SearchValue("EnterpriseUser:manager.value", 0, "@Boss:example.org"),
    }


@given(USER_BODIES)
def test_no_two_rows_are_of_one_place(body: dict[str, Any]) -> None:
    """The table's index allows one row for each attribute and entry, and every kept value has one."""
    record = created(body).record
    assert record is not None
    rows = VALUES.of(record.attributes, THREEPIDS.threepid)

    places = [(row.attribute, row.entry) for row in rows]
    assert len(set(places)) == len(places)
    by_place = {(row.attribute, row.entry): row for row in rows}
    if "title" in body:
        assert by_place["title", 0].value == fold(body["title"])
    for position, entry in enumerate(body.get("phoneNumbers", ())):
        row = by_place["phoneNumbers", position]
        bound: Threepid | None = THREEPIDS.threepid("phoneNumbers", entry)
        assert (row.value, row.threepid) == (fold(entry["value"]), bound and bound.address)


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("userName", "userName"),
        ("externalId", "externalId"),
        ("name.familyName", "name.familyName"),
        ("emails", "emails"),
        ("emails.value", "emails.value"),
        ("meta.lastModified", "meta.lastModified"),
        (f"{ENTERPRISE_SCHEMA}:department", "EnterpriseUser:department"),
        (f"{ENTERPRISE_SCHEMA}:manager.$ref", "EnterpriseUser:manager.$ref"),
    ],
)
def test_attributes_have_keys(path: str, key: str) -> None:
    """The key is the SCIM name, that of the extension's model before it."""
    binding = Path[MODEL](path).resolve()  # type: ignore[valid-type]

    assert binding is not None
    assert attribute_key(binding) == key


def test_values_in_the_form_of_comparisons() -> None:
    """Booleans are words; text loses its case unless case counts."""
    assert [comparable_text(value, case_exact=exact) for value, exact in ((True, False), (False, True))] == [
        "true",
        "false",
    ]
    assert (comparable_text("\u00c4", case_exact=False), comparable_text("\u00c4", case_exact=True)) == (
        "\u00e4",
        "\u00c4",
    )
