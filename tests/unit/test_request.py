"""The query string of a request."""

from __future__ import annotations

from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scim2_models import InvalidValueException

from synapse_scim.resources.request import read_query

STORABLE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))


@pytest.mark.parametrize(
    ("query", "parameters"),
    [
        (b"", {}),
        (b"count=5", {"count": "5"}),
        (b"COUNT=5&startindex=2&sortby=userName", {"count": "5", "startIndex": "2", "sortBy": "userName"}),
        (b"sortORDER=ascending&CURSOR=x", {"sortOrder": "ascending", "cursor": "x"}),
        (b"Filter=userName+eq+%22a%2Bb%22", {"filter": 'userName eq "a+b"'}),
        (b"cursor=", {"cursor": ""}),
        (b"attributes=id&ATTRIBUTES=userName", {"attributes": "id,userName"}),
        (b"excludedattributes=emails&excludedAttributes=name", {"excludedAttributes": "emails,name"}),
        (b"Unknown=1&unknown=2", {"Unknown": "1", "unknown": "2"}),
        (b"filter=%C3%A9&&", {"filter": "\u00e9"}),
        (b"100%=x", {"100%": "x"}),
    ],
)
def test_parameters_have_the_names_that_scim_gives_them(query: bytes, parameters: dict[str, str]) -> None:
    """Names come in any case, values percent-encoded or as forms are, and lists in several pieces."""
    assert read_query(query) == parameters


@given(st.dictionaries(STORABLE.map(lambda text: f"x-{text}"), STORABLE, max_size=50))
def test_values_arrive_as_they_were_sent(parameters: dict[str, str]) -> None:
    """Whatever is encoded as a form is decoded again."""
    query = "&".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in parameters.items())

    assert read_query(query.encode()) == parameters


@pytest.mark.parametrize(
    ("query", "naming"),
    [
        (b"filter=%FF", "UTF-8"),
        (b"filter=\xc3\xa9", "UTF-8"),
        (b"filter=%00", "'filter' holds a NUL"),
        (b"FILTER=%00", "'filter' holds a NUL"),
        (b"%00=1", "holds a NUL"),
        (b"filter=%ED%A0%80", "UTF-8"),
        (b"count=1&COUNT=2", "'count' stands twice"),
        (b"x=1&x=2", "'x' stands twice"),
        (b"&".join(b"x%d=1" % number for number in range(51)), "at most 50"),
    ],
)
def test_a_query_that_cannot_be_read_is_refused(query: bytes, naming: str) -> None:
    """It is 400 `invalidValue`, and says what is wrong."""
    with pytest.raises(InvalidValueException, match=naming):
        read_query(query)
