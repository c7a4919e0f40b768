"""Users as JSON text, with gaps."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synapse_scim.accounts import Account, Threepid
from synapse_scim.mapping.rendering import Rendered, as_kept, kept, listed
from tests.unit.mapping.people import THEN, USERS, accounts, created

ANN = created(
    {"userName": "ann", "emails": [{"value": "b@corp.example"}, {"value": "a@corp.example"}], "displayName": "Ä \x01"}
)


def read(account: Account, stored: str, threepids: str, revision: int | None = None) -> Rendered | None:
    """Return what is made of a text that was stored for an account."""
    assert account.record is not None
    current = account.record.revision if revision is None else revision
    return as_kept(account.user_id, stored, current, threepids, USERS.state(account), account.changed_elsewhere)


def stored(account: Account) -> str:
    """Return what is stored with the record of an account."""
    assert account.record is not None
    return kept(USERS.template_of(account.user_id, account.record), account.record)


@given(accounts(), st.booleans())
def test_a_stored_user_is_the_one_that_is_made_anew(
    made: tuple[Account, frozenset[Threepid]],
    is_changed: bool,  # noqa: FBT001
) -> None:
    """As long as the account has what its record says, of which only the profile is compared elsewhere."""
    account, _ = made
    record = account.record
    if record is None:
        return
    account = attrs.evolve(
        account,
        displayname=record.displayname,
        avatar_url=record.avatar_url,
        threepids=record.threepids,
        changed_elsewhere=attrs.evolve(record, modified=max(record.modified, THEN)).modified if is_changed else None,
    )
    assert read(account, stored(account), listed(account.threepids)) == USERS.rendered(account)


def test_identifiers_count_in_any_order() -> None:
    """The database may list them as it likes; fewer, more and others are changes."""
    text = stored(ANN)
    lines = ["email a@corp.example", "email b@corp.example"]

    assert read(ANN, text, "\n".join(lines)) == read(ANN, text, "\n".join(reversed(lines))) == USERS.rendered(ANN)
    for other in ([], lines[:1], [*lines, "msisdn 4930123456"], ["email a@corp.example", "email c@corp.example"]):
        assert read(ANN, text, "\n".join(other)) is None


@pytest.mark.parametrize("gap", ["\x01", "\n"])
def test_identifiers_that_hold_what_divides_a_text_are_no_others(gap: str) -> None:
    """Nobody's address is taken for a piece of the text."""
    assert ANN.record is not None
    odd = frozenset({Threepid("email", f"a{gap}1:0")})
    account = attrs.evolve(ANN, threepids=odd, record=attrs.evolve(ANN.record, threepids=odd))

    assert read(account, stored(account), listed(odd)) in {None, USERS.rendered(account)}


def test_what_another_release_or_an_earlier_write_stored_is_not_used() -> None:
    """It is told by its first words."""
    assert ANN.record is not None
    text, threepids = stored(ANN), listed(ANN.threepids)

    assert read(ANN, text, threepids, ANN.record.revision + 1) is None
    assert read(ANN, "1:0\x01{}\x01\x01", threepids) is None
    assert read(ANN, text.replace("2:", "3:", 1), threepids) is None
