"""What is recorded of a write before it starts, and how its steps are taken back."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import cast, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synapse_scim.accounts import ExternalId, Pusher, Threepid
from synapse_scim.database import Transaction
from synapse_scim.steps import (
    AddExternalId,
    AddThreepid,
    DatabaseChange,
    Elsewhere,
    FinalChange,
    ProfileChange,
    RemoveExternalId,
    RemoveThreepid,
    SetLocked,
    SetPassword,
)
from synapse_scim.store import journal
from synapse_scim.store.schema import STEPS

THREEPID = Threepid("email", "ann@x.example")
SUBJECT = ExternalId("oidc", "7")

# What each change is made of stands in its annotations.
st.register_type_strategy(Threepid, st.builds(Threepid, st.sampled_from(["email", "msisdn"]), st.text()))
st.register_type_strategy(
    Pusher,
    st.builds(Pusher, device_id=st.none() | st.text(), settings=st.dictionaries(st.text(), st.none() | st.text())),
)
UNDOABLE = [change for change in get_args(DatabaseChange) if change is not SetPassword]
st.register_type_strategy(Elsewhere, st.builds(Elsewhere, st.one_of(*map(st.from_type, UNDOABLE))))
PROFILE = get_args(ProfileChange) or (ProfileChange,)


def changes(*kinds: type) -> st.SearchStrategy[tuple[object, ...]]:
    """Return changes of some kinds."""
    return st.lists(st.one_of(*map(st.from_type, kinds)), max_size=3).map(tuple)


ENTRIES = st.builds(
    journal.Entry,
    birthmark=st.none() | st.text(),
    former_birthmark=st.none() | st.text(),
    born=st.booleans(),
    passwordless=st.booleans(),
    certain=st.booleans(),
    buried=st.booleans(),
    fetch=st.none() | st.text(),
    former=st.none() | st.tuples(st.text(), st.none(), st.integers()),
    undo=changes(*UNDOABLE),
    profile=changes(*PROFILE),
    final=changes(*get_args(FinalChange)),
)


@pytest.mark.parametrize(
    ("change", "undone"),
    [
        (AddThreepid(THREEPID), RemoveThreepid(THREEPID)),
        (RemoveThreepid(THREEPID), AddThreepid(THREEPID)),
        (AddExternalId(SUBJECT), RemoveExternalId(SUBJECT)),
        (RemoveExternalId(SUBJECT), AddExternalId(SUBJECT)),
        (SetLocked(locked=True), SetLocked(locked=False)),
    ],
)
def test_every_change_is_taken_back_by_its_opposite(change: DatabaseChange, undone: DatabaseChange) -> None:
    """And the opposite by the change itself."""
    assert journal.opposite(change) == undone
    assert journal.opposite(undone) == change


def test_a_password_is_never_taken_back() -> None:
    """Nobody can ask for it: a hash must not stand in the journal."""
    with pytest.raises(TypeError, match="SetPassword cannot be undone"):
        journal.opposite(SetPassword("hash"))


@contextmanager
def transaction() -> Iterator[Transaction]:
    """Return a transaction of a database with the module's first tables."""
    with closing(sqlite3.connect(":memory:")) as database:
        for statement in STEPS[0]:
            database.execute(str(statement))
        yield cast("Transaction", database.cursor())


@given(ENTRIES, ENTRIES)
def test_an_entry_is_read_as_it_was_written(first: journal.Entry, second: journal.Entry) -> None:
    """The last entry of an account counts, until the write ends."""
    with transaction() as txn:
        assert journal.read(txn, "@ann:example.org") is None
        for entry in (first, second):
            journal.write(txn, "@ann:example.org", entry, 5)
            assert journal.read(txn, "@ann:example.org") == entry
        journal.write(txn, "@bob:example.org", first, 4)
        assert journal.unfinished(txn, 5, 10) == ["@bob:example.org", "@ann:example.org"]
        assert journal.unfinished(txn, 5, 1) == ["@bob:example.org"]

        journal.erase(txn, "@ann:example.org")

        assert journal.read(txn, "@ann:example.org") is None
        assert journal.read(txn, "@bob:example.org") == first


def test_what_is_done_again_waits_for_its_time() -> None:
    """Before that, whoever looks for what was left behind does not see it; who writes to the account does."""
    entry = journal.Entry(certain=True)
    with transaction() as txn:
        journal.write(txn, "@ann:example.org", journal.Entry(), 1)

        journal.postpone(txn, "@ann:example.org", entry, 60_000)

        assert journal.unfinished(txn, 59_999, 10) == []
        assert journal.unfinished(txn, 60_000, 10) == ["@ann:example.org"]
        assert journal.read(txn, "@ann:example.org") == entry


def test_a_clock_that_was_put_back_keeps_nothing_unfinished() -> None:
    """A write that seems to begin in an hour was left behind before."""
    with transaction() as txn:
        journal.write(txn, "@ann:example.org", journal.Entry(), 3_600_000)

        assert journal.unfinished(txn, 0, 10) == ["@ann:example.org"]
