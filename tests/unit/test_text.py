"""What text a database can keep."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synapse_scim.text import text_problem


@pytest.mark.parametrize("text", ["\x00", "a\x00b", "\u00e9\x00"])
def test_nul_is_a_problem(text: str) -> None:
    """PostgreSQL keeps no NUL."""
    assert text_problem(text) == "holds a NUL character"


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "\ude00\ud83d"])
def test_half_a_character_is_a_problem(text: str) -> None:
    """A lone surrogate has no UTF-8."""
    assert "surrogate" in str(text_problem(text))


@given(st.text())
def test_what_has_utf_8_and_no_nul_is_kept(text: str) -> None:
    """There is a problem exactly where a database would fail."""
    try:
        storable = b"\x00" not in text.encode()
    except UnicodeEncodeError:
        storable = False

    assert (text_problem(text) is None) == storable
