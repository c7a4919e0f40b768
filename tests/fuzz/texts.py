"""Values that nobody expects, and how often they come."""

from __future__ import annotations

from typing import Any, TypeVar

from hypothesis import strategies as st

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
