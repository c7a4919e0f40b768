"""Pieces of SQL keep their parameters where their question marks are."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synapse_scim.store.sql import EMPTY, FALSE, TRUE, Sql, joined, negated


def result(sql: Sql) -> tuple[object, ...]:
    """Return the row that SQLite makes of a piece."""
    with closing(sqlite3.connect(":memory:")) as database:
        row: tuple[object, ...] = database.execute(f"SELECT {sql.text}", sql.parameters).fetchone()
    return row


def test_parameters_stand_where_their_marks_do() -> None:
    """Those of the text itself stand before, between and after those of the pieces."""
    sql = Sql("?, {}, ?, {}, ?", (1, 3, 6)).format(Sql("?", (2,)), Sql("?, ?", (4, 5)))

    assert sql.parameters == (1, 2, 3, 4, 5, 6)
    assert result(sql) == (1, 2, 3, 4, 5, 6)


def test_a_piece_without_places_stays_as_it_is() -> None:
    """Nothing is put where no place is."""
    assert Sql("x = ?", (1,)).format() == Sql("x = ?", (1,))
    assert Sql("{}").format(EMPTY) == EMPTY


def test_places_and_pieces_must_agree() -> None:
    """A place without piece, or a piece without place, is a mistake of the programmer."""
    with pytest.raises(ValueError, match="zip"):
        Sql("{} {}").format(EMPTY)
    with pytest.raises(ValueError, match="zip"):
        Sql("{}").format(EMPTY, EMPTY)


@given(st.lists(st.booleans(), min_size=1, max_size=5))
def test_conditions_are_joined_whole(values: list[bool]) -> None:
    """Each piece is in brackets, so that its own operators do not mix with those around it."""
    pieces = [Sql("? OR 1 = 0", (value,)) for value in values]

    assert result(joined(" AND ", pieces)) == (all(values),)
    assert result(joined(" OR ", pieces)) == (any(values),)
    assert result(negated(joined(" OR ", pieces))) == (not any(values),)


def test_true_and_false() -> None:
    """The constants say what they are called."""
    assert (result(TRUE), result(FALSE), result(negated(TRUE))) == ((1,), (0,), (0,))
