"""JSON that anybody may have sent."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scim2_models import InvalidSyntaxException, InvalidValueException

from synapse_scim.protocol.payload import (
    MAX_DEPTH,
    MAX_STRING_LENGTH,
    MAX_VALUES,
    check,
    parse,
    withdraw_unsound_data,
)

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS.map(lambda t: t.lower()), inner, max_size=4),
    max_leaves=20,
)


def nested(depth: int, value: Any = "x") -> Any:
    """Return a value in so many lists and objects."""
    for level in range(depth):
        value = [value] if level % 2 else {"x": value}
    return value


@given(VALUES)
def test_json_is_read_as_it_was_written(value: Any) -> None:
    """What is plain JSON comes out as it went in, in any of its spellings."""
    assert parse(json.dumps(value).encode()) == value
    assert parse(json.dumps(value, ensure_ascii=False, indent=2).encode()) == value
    assert parse(b"\xef\xbb\xbf" + json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    ("body", "naming"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON: .* at line 1, column 2"),
        (b"{} {}", "is not JSON"),
        (b'{"a": 1,}', "is not JSON"),
        (b"{'a': 1}", "is not JSON"),
        (b'{"a": "\x01"}', "is not JSON"),
        (b'"\xff"', "is not UTF-8"),
        ('"\u00e9"'.encode("utf-16"), "is not UTF-8"),
        (b'{"a": NaN}', "NaN"),
        (b"[Infinity, -Infinity]", "Infinity"),
        (b'{"a": 1, "a": 2}', "twice"),
        (b'{"userName": "a", "USERNAME": "b"}', "twice"),
        (b'[{"x": {"a": 1, "A": 1}}]', "twice"),
        (b"[" * 100_000, "levels deep"),
        (b'{"a":' * 100_000, "levels deep"),
        (b"1" * 5000, "too large"),
    ],
)
def test_what_is_no_json_or_ambiguous_is_refused(body: bytes, naming: str) -> None:
    """Whatever readers could differ about is 400 `invalidSyntax`."""
    with pytest.raises(InvalidSyntaxException, match=naming):
        parse(body)


def test_depth_is_bounded() -> None:
    """Objects and lists are nested so deep and no deeper."""
    check(nested(MAX_DEPTH))
    with pytest.raises(InvalidSyntaxException, match=f"more than {MAX_DEPTH} levels"):
        check(nested(MAX_DEPTH + 1))


@pytest.mark.parametrize(
    ("value", "naming"),
    [
        ({"displayName": "a\x00b"}, "'displayName' holds a NUL"),
        ({"name": {"givenName": "\ud800"}}, "'name.givenName' holds half"),
        ({"emails": [{"value": "x"}, {"value": "\x00"}]}, "'emails.value' holds a NUL"),
        ({"title": "x" * (MAX_STRING_LENGTH + 1)}, f"'title' is longer than {MAX_STRING_LENGTH}"),
        ({"x": {"filter": "x" * (MAX_STRING_LENGTH + 1)}}, "'x.filter' is longer"),
        ({"na\x00me": 1}, "The name of a member holds a NUL"),
        ("\x00", "The text holds a NUL"),
        ({"emails": ["x"] * (MAX_VALUES + 1)}, f"'emails' has more than {MAX_VALUES} values"),
        ({"x": {"operations": [1] * (MAX_VALUES + 1)}}, "'x.operations' has more"),
    ],
)
def test_values_that_cannot_be_kept_are_named(value: Any, naming: str) -> None:
    """The message says where in the body the trouble is."""
    with pytest.raises(InvalidValueException, match=naming):
        check(value)


@pytest.mark.parametrize(
    "value",
    [
        {"title": "x" * MAX_STRING_LENGTH},
        {"emails": ["x"] * MAX_VALUES},
        {"Filter": "x" * (MAX_STRING_LENGTH + 1)},
        {"Operations": [{}] * (MAX_VALUES + 1)},
        None,
        5,
        1.5,
    ],
    ids=lambda value: str(value)[:20],
)
def test_limits_are_reached_before_they_are_passed(value: Any) -> None:
    """What is as large as allowed passes; filters and operations have limits of their own."""
    check(value)


def test_data_that_cannot_be_kept_is_taken_out_of_a_bulk_request() -> None:
    """The other operations can be run: what is wrong with one is said of that one."""
    good = {"method": "POST", "path": "/Users", "data": {"userName": "ann"}}
    bad = {"method": "POST", "path": "/Users", "Data": {"userName": "\x00"}}
    request = {"schemas": ["x"], "operations": [good, bad, "none", {"method": "DELETE"}, {"data": nested(40)}]}

    unsound = withdraw_unsound_data(request)

    assert {position: str(error.detail) for position, error in unsound.items()} == {
        1: "'userName' holds a NUL character",
        4: f"The request body is nested more than {MAX_DEPTH} levels deep",
    }
    assert request["operations"] == [good, {"method": "POST", "path": "/Users"}, "none", {"method": "DELETE"}, {}]


@pytest.mark.parametrize("request_body", [[], "x", None, {}, {"Operations": {}}, {"Operations": []}])
def test_what_is_no_bulk_request_is_left_alone(request_body: Any) -> None:
    """The library says what is wrong with it."""
    assert withdraw_unsound_data(request_body) == {}


def test_there_is_a_most_of_values() -> None:
    """A body of very many small values would keep everybody waiting while it is read."""
    body = {f"a{number}": [0] * 99 for number in range(101)}

    with pytest.raises(InvalidValueException, match="more than 10000 values"):
        check(body)
