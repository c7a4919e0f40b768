"""A wanted User as the changes that make an account look like it."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scim2_models import InvalidValueException

from synapse_scim.accounts import Account, ExternalId, Threepid
from synapse_scim.config import TEMPLATES
from synapse_scim.mapping.changes import Plan
from synapse_scim.mapping.profile import ProfileMapping
from synapse_scim.mapping.schema import MATRIX_SCHEMA, USER_SCHEMA
from synapse_scim.mapping.wanted import WantedUser
from synapse_scim.steps import (
    AddExternalId,
    AddThreepid,
    Deactivate,
    EndSessions,
    RemoveExternalId,
    RemoveThreepid,
    SetLocked,
    SetPassword,
)
from tests.unit.mapping.people import (
    NOW,
    PLANNER,
    USER_BODIES,
    USERS,
    accounts,
    created,
    new_accounts,
    read_back,
    received,
    written,
)


def touches_matrix(plan: Plan) -> bool:
    """Tell whether a write changes anything but the module's own record."""
    return bool(plan.database_changes or plan.profile_changes or plan.final_changes)


def shown(account: Account) -> dict[str, Any]:
    """Return what is published of an account, but for dates and for whether SCIM manages it."""
    user = USERS.to_payload(account)
    user[MATRIX_SCHEMA].pop("managed")
    return {name: value for name, value in user.items() if name != "meta"}


def user_with(**attributes: Any) -> dict[str, Any]:
    """Return the body of a POST."""
    return {"schemas": [USER_SCHEMA], "userName": "ann", **attributes}


def changed(account: Account, *, states_active: bool = True, **attributes: Any) -> Plan:
    """Return the write that sets attributes of an account's User."""
    user = {**USERS.to_payload(account), **attributes}
    wanted = type(read_back(account)).model_validate(user)
    return written(account, wanted, taken=frozenset(), states_active=states_active)


# -- Laws ---------------------------------------------------------------------


@given(new_accounts())
def test_writing_back_what_was_read_changes_nothing(made: tuple[Account, frozenset[Threepid]]) -> None:
    """Of an account that nobody else has touched, the User that was read is the User that is kept."""
    account, taken = made
    plan = written(account, read_back(account), taken=taken, states_active=True)

    assert plan.changes(account.record) is False


@given(made=accounts(), states_active=st.booleans())
def test_writing_back_what_was_read_touches_nothing_of_matrix(
    made: tuple[Account, frozenset[Threepid]], *, states_active: bool
) -> None:
    """Whoever made an account and whoever changed it since, the account and its User stay as they are."""
    account, taken = made
    plan = written(account, read_back(account), taken=taken, states_active=states_active)

    assert not touches_matrix(plan)
    after = attrs.evolve(account, record=plan.record, user_name_taken=False)
    assert shown(after) == shown(account)
    again = written(after, read_back(after), taken=taken, states_active=states_active)
    assert again.changes(after.record) is False


@given(USER_BODIES, USER_BODIES)
def test_an_account_becomes_what_is_wanted(before: dict[str, Any], wanted: dict[str, Any]) -> None:
    """After the changes of a write the User is the one that was sent, and sending it again changes nothing."""
    account = created(before)
    user = received({"active": True, **wanted, "id": account.user_id})
    plan = written(account, user, taken=frozenset(), states_active=True)

    after = applied(account, plan)

    assert shown(after) == shown(created({"active": True, **wanted}))
    assert written(after, user, taken=frozenset(), states_active=True).changes(after.record) is False


def applied(account: Account, plan: Plan) -> Account:
    """Return an account after a write."""
    threepids, external_ids, locked = set(account.threepids), set(account.external_ids), account.locked
    for change in plan.database_changes:
        match change:
            case AddThreepid(threepid):
                threepids.add(threepid)
            case RemoveThreepid(threepid):
                threepids.remove(threepid)
            case AddExternalId(external_id):
                external_ids.add(external_id)
            case RemoveExternalId(external_id):
                external_ids.remove(external_id)
            case SetLocked(now):
                locked = now
            case SetPassword():
                raise AssertionError("no password was sent")
    return attrs.evolve(
        account,
        displayname=plan.record.displayname,
        threepids=frozenset(threepids),
        external_ids=frozenset(external_ids),
        locked=locked,
        record=plan.record,
    )


def test_an_entry_stays_as_sent_when_somebody_else_binds_its_number() -> None:
    """A number that was another account's when SCIM sent it, and that the person has bound since, is shown as sent."""
    number = Threepid("msisdn", "4930123456")
    account = created(user_with(phoneNumbers=[{"value": "+49 30 123456"}]), taken=frozenset({number}))
    account = attrs.evolve(account, threepids=frozenset({number}))

    plan = changed(account, title="Boss")

    assert plan.database_changes == ()
    assert shown(applied(account, plan))["phoneNumbers"] == [{"value": "+49 30 123456"}]


# -- Single rules -------------------------------------------------------------


def test_additions_come_first() -> None:
    """What may be refused is tried before anything is taken away."""
    account = created(
        user_with(externalId="1", emails=[{"value": "a@x.example"}], phoneNumbers=[{"value": "+49 30 123456"}])
    )
    plan = changed(account, externalId="2", emails=[{"value": "b@x.example"}], phoneNumbers=None)

    assert plan.database_changes == (
        AddThreepid(Threepid("email", "b@x.example")),
        AddExternalId(ExternalId("oidc", "2")),
        RemoveExternalId(ExternalId("oidc", "1")),
        RemoveThreepid(Threepid("email", "a@x.example")),
        RemoveThreepid(Threepid("msisdn", "4930123456")),
    )


def test_a_domain_without_provider_has_no_external_ids() -> None:
    """Only a domain whose provider is configured opens accounts by externalId."""
    wanted = WantedUser.from_resource(received(user_with(externalId="1")))

    plan = PLANNER.creation(wanted, domain="hr", unavailable=frozenset(), now=NOW)

    assert (plan.database_changes, plan.record.external_id, plan.record.domain) == ((), "1", "hr")


@pytest.mark.parametrize("end_sessions", [True, False])
def test_a_new_password_ends_the_sessions_if_so_configured(*, end_sessions: bool) -> None:
    """The hash is written last of the changes that can be undone, and sessions end after it."""
    account = created(user_with())
    plan = attrs.evolve(PLANNER, end_sessions=end_sessions).update(
        account,
        WantedUser.from_resource(read_back(account)),
        domain="default",
        unavailable=frozenset(),
        password=SetPassword("hash"),
        now=NOW,
    )

    assert plan.database_changes == (SetPassword("hash"),)
    assert plan.final_changes == ((EndSessions(),) if end_sessions else ())


def test_a_lock_is_lifted_only_by_a_wish_that_changes() -> None:
    """A lock that an administrator set stays when a sync repeats `active: true`; SCIM's own goes with its wish."""
    active, inactive = created(user_with()), created(user_with(active=False))
    locked_by_admin = attrs.evolve(active, locked=True)

    assert changed(active, active=False).database_changes == (SetLocked(locked=True),)
    assert changed(inactive, active=True).database_changes == (SetLocked(locked=False),)
    assert changed(locked_by_admin, active=True).database_changes == ()
    wish = changed(locked_by_admin, active=False)
    assert (wish.database_changes, wish.record.active) == ((), False)
    unspoken = changed(locked_by_admin, states_active=False)
    assert unspoken.changes(locked_by_admin.record) is False


def test_what_is_locked_or_deactivated_is_not_locked_again() -> None:
    """`active: false` for an account that cannot be used, and whose User hides `active`, is a wish and no change."""
    account = created(user_with())
    assert account.record is not None
    hidden = attrs.evolve(account.record, active_removed=True)

    for unusable in (attrs.evolve(account, locked=True), attrs.evolve(account, deactivated=True)):
        plan = changed(attrs.evolve(unusable, record=hidden), active=False)
        assert (plan.database_changes, plan.record.active, plan.record.active_removed) == ((), False, False)


def test_unassigning_active_hides_it() -> None:
    """A User whose `active` was removed shows none, and the account stays as it was."""
    account = created(user_with())

    plan = changed(account, active=None)

    assert (plan.database_changes, plan.record.active, plan.record.active_removed) == ((), True, True)
    assert "active" not in shown(applied(account, plan))


def test_a_write_is_never_dated_before_the_last() -> None:
    """A clock that was set back does not make `lastModified` go back."""
    account = created(user_with())
    assert account.record is not None
    ahead = NOW.replace(year=NOW.year + 1)
    plan = changed(attrs.evolve(account, record=attrs.evolve(account.record, modified=ahead)), title="Boss")

    assert (plan.record.modified, plan.record.revision) == (ahead, 1)


@pytest.mark.parametrize(
    ("attributes", "naming"),
    [
        ({"userName": " \t"}, "userName"),
        ({"userName": "x" * 256}, "userName"),
        ({"externalId": "x" * 513}, "externalId"),
        ({"password": "x" * 513}, "password"),
    ],
)
def test_values_that_nothing_can_keep_are_refused(attributes: dict[str, Any], naming: str) -> None:
    """The detail names the attribute, and shows no value."""
    body = received({"schemas": [USER_SCHEMA], "userName": "ann"})

    with pytest.raises(InvalidValueException, match=naming) as refused:
        WantedUser.from_resource(body.model_copy(update=by_field(attributes)))

    assert "xx" not in str(refused.value)


def by_field(attributes: dict[str, Any]) -> dict[str, Any]:
    """Return attributes by the names of a model's fields."""
    fields = {"userName": "user_name", "externalId": "external_id"}
    return {fields.get(name, name): value for name, value in attributes.items()}


def test_an_empty_password_is_none() -> None:
    """It neither sets one nor is one; and whoever sets a password does not remove it."""
    assert WantedUser.from_resource(received(user_with(password=""))).password is None
    both = WantedUser.from_resource(received(user_with(password="x")), removes_password=True)
    assert (both.password, both.removes_password) == ("x", False)
    assert "correct horse" not in repr(WantedUser.from_resource(received(user_with(password="correct horse"))))


def test_what_was_written_is_seen_whatever_comes_back_late() -> None:
    """An owner of accounts may bring back for a moment what it had before; whoever is deactivated has none of it."""
    account = created(user_with(emails=[{"value": "old@corp.example"}]))
    plan = changed(account, emails=[{"value": "new@corp.example"}], active=False)
    at_once = attrs.evolve(plan, final_changes=(*plan.final_changes, Deactivate(erase=False)))

    seen = plan.seen(account)

    assert (seen.threepids, seen.locked) == (frozenset({Threepid("email", "new@corp.example")}), True)
    assert plan.outcome(account) is None
    assert at_once.seen(account) == account


# -- Display names ------------------------------------------------------------


@pytest.mark.parametrize(
    ("user", "displayname"),
    [
        ({"displayName": " Ann ", "name": {"formatted": "Ms. Lee"}}, "Ann"),
        ({"displayName": " ", "name": {"formatted": "Ms. Lee", "givenName": "Ann"}}, "Ms. Lee"),
        ({"name": {"givenName": "Ann", "familyName": "Lee"}}, "Ann Lee"),
        ({"name": {"familyName": "Lee"}}, "Lee"),
        ({"name": None}, "ann"),
        ({}, "ann"),
        ({"displayName": "x" * 256}, "x" * 256),
    ],
)
def test_the_first_that_says_something_is_the_display_name(user: dict[str, Any], displayname: str) -> None:
    """`displayName`, `name.formatted`, given and family name, userName: in this order."""
    assert ProfileMapping().displayname({"userName": "ann", **user}) == displayname


@pytest.mark.parametrize(
    ("template", "displayname"),
    [
        ("{{ user.name.familyName }}, {{ user.name.givenName }}", "Lee, Ann"),
        ("{{ user.title }}", "ann"),
        ("  ", "ann"),
    ],
)
def test_a_template_makes_the_display_name(template: str, displayname: str) -> None:
    """The configured template decides; where it gives nothing, the userName stands in."""
    profiles = ProfileMapping(display_name=TEMPLATES.from_string(template))

    assert profiles.displayname({"userName": "ann", "name": {"givenName": "Ann", "familyName": "Lee"}}) == displayname


def test_a_display_name_is_bounded() -> None:
    """Matrix takes 256 characters, and more are refused by name, whatever they are made of."""
    for user in ({"displayName": "x" * 257}, {"name": {"givenName": "x" * 200, "familyName": "x" * 200}}):
        with pytest.raises(InvalidValueException, match="displayName"):
            ProfileMapping().displayname({"userName": "ann", **user})
