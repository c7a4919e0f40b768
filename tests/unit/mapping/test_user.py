"""A Matrix account as a SCIM User."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synapse_scim.accounts import Account, ExternalId, Threepid
from synapse_scim.config import Sso, Threepids
from synapse_scim.mapping.rendering import timestamp
from synapse_scim.mapping.schema import ENTERPRISE_SCHEMA, MATRIX_SCHEMA, USER_SCHEMA
from synapse_scim.mapping.threepids import ThreepidMapping
from synapse_scim.mapping.user import UserMapping
from tests.unit.mapping.people import MODEL, NOW, THEN, THREEPIDS, USER_BODIES, USERS, accounts, created, read_back

ANN = Account(user_id="@ann:example.org", localpart="ann", created=THEN)


def user_with(**attributes: Any) -> dict[str, Any]:
    """Return the body of a POST."""
    return {"schemas": [USER_SCHEMA], "userName": "ann", **attributes}


def published(user: dict[str, Any]) -> dict[str, Any]:
    """Return what of a User counts for its version."""
    return {name: value for name, value in user.items() if name != "meta"}


@given(accounts(), accounts())
def test_versions_differ_exactly_when_users_differ(
    one: tuple[Account, frozenset[Threepid]], other: tuple[Account, frozenset[Threepid]]
) -> None:
    """The ETag is one of what is published, dates left out (RFC 7644 §3.14)."""
    users = [USERS.to_payload(account) for account, _ in (one, other)]
    versions = [user["meta"]["version"] for user in users]

    assert (versions[0] == versions[1]) == (published(users[0]) == published(users[1]))


@given(accounts(), st.datetimes(timezones=st.just(UTC)))
def test_dates_do_not_count_for_the_version(made: tuple[Account, frozenset[Threepid]], when: datetime) -> None:
    """An account that was written with what it had has the version that it had."""
    account, _ = made
    record = account.record and attrs.evolve(account.record, created=when, modified=when, revision=9)
    later = attrs.evolve(account, created=when, record=record)

    assert USERS.to_payload(later)["meta"]["version"] == USERS.to_payload(account)["meta"]["version"]


@given(accounts())
def test_every_user_is_one_of_the_announced_model(made: tuple[Account, frozenset[Threepid]]) -> None:
    """What is published is what the library reads and writes, and in its order."""
    user = USERS.to_payload(made[0])
    dumped = read_back(made[0]).model_dump()

    # The library writes the same dates in fewer characters.
    assert published(dumped) == published(user)
    assert list(dumped) == list(user)
    assert dumped["meta"].keys() == user["meta"].keys()
    assert MODEL.model_validate(dumped).model_dump() == dumped


@given(USER_BODIES)
def test_what_was_sent_is_what_is_shown(body: dict[str, Any]) -> None:
    """As long as nobody else changes the account, its User holds what the client sent, as it was sent."""
    user = USERS.to_payload(created(body))

    for name, value in body.items():
        if name == ENTERPRISE_SCHEMA:
            assert user[name]["department"] == value["department"]
            assert user[name].get("manager", {}).get("value") == value.get("manager", {}).get("value")
        elif name == "schemas":
            assert set(value) <= set(user[name])
        elif name != "userName" and value not in ([], {}):
            assert user[name] == value


def test_an_account_that_scim_did_not_make() -> None:
    """It shows what Matrix knows of the person, and nothing that it does not."""
    account = attrs.evolve(
        ANN,
        displayname="Ann",
        threepids=frozenset({Threepid("msisdn", "4930123456"), Threepid("email", "ann@x.example")}),
        user_type="contractor",
        admin=True,
    )

    user = USERS.to_payload(account)

    assert user == {
        "schemas": [USER_SCHEMA, MATRIX_SCHEMA],
        "id": "@ann:example.org",
        "meta": {
            "resourceType": "User",
            "created": "2026-01-01T00:00:00Z",
            "lastModified": "2026-01-01T00:00:00Z",
            "version": user["meta"]["version"],
        },
        "userName": "ann",
        "displayName": "Ann",
        "active": True,
        "emails": [{"value": "ann@x.example"}],
        "phoneNumbers": [{"value": "+4930123456"}],
        MATRIX_SCHEMA: {
            "userId": "@ann:example.org",
            "serverAdmin": True,
            "locked": False,
            "suspended": False,
            "deactivated": False,
            "userType": "contractor",
            "managed": False,
        },
    }


@pytest.mark.parametrize(
    ("external_ids", "external_id"),
    [
        ((), None),
        ((ExternalId("saml", "1"),), None),
        ((ExternalId("oidc", "2"),), "2"),
        ((ExternalId("oidc", "4"), ExternalId("oidc", "3")), "3"),
    ],
)
def test_an_unmanaged_account_shows_its_single_sign_on_identity(
    external_ids: tuple[ExternalId, ...], external_id: str | None
) -> None:
    """It is that of the provider of the domain `default`, and of several always the same one."""
    account = attrs.evolve(ANN, external_ids=frozenset(external_ids))

    assert USERS.to_payload(account).get("externalId") == external_id
    assert "externalId" not in UserMapping("example.org", THREEPIDS, Sso()).to_payload(account)


def test_a_managed_account_shows_its_own_external_id() -> None:
    """Single sign-on identities that somebody else recorded do not count for it."""
    account = attrs.evolve(created(user_with()), external_ids=frozenset({ExternalId("oidc", "2")}))

    assert "externalId" not in USERS.to_payload(account)


def test_the_profile_is_shown_once_somebody_else_has_changed_it() -> None:
    """Until then `displayName` is what was sent, which need not be what the profile says."""
    account = created(user_with(name={"givenName": "Ann"}))
    assert account.displayname == "Ann"
    assert "displayName" not in USERS.to_payload(account)

    assert USERS.to_payload(attrs.evolve(account, displayname="Anna"))["displayName"] == "Anna"
    assert "displayName" not in USERS.to_payload(attrs.evolve(account, displayname=None))


@pytest.mark.parametrize(
    ("state", "active"),
    [({}, True), ({"locked": True}, False), ({"deactivated": True}, False), ({"suspended": True}, True)],
)
def test_active_tells_whether_the_person_can_log_in(state: dict[str, Any], active: bool) -> None:  # noqa: FBT001
    """Whoever locked or deactivated the account; who is suspended can log in."""
    assert USERS.to_payload(attrs.evolve(created(user_with()), **state))["active"] is active


def test_an_entry_goes_with_its_identifier() -> None:
    """An address that somebody unbinds elsewhere is not shown, and one that somebody binds is, after the others."""
    account = created(user_with(emails=[{"value": "A@x.example", "type": "work"}, {"value": "b@x.example"}]))
    elsewhere = attrs.evolve(
        account, threepids=frozenset({Threepid("email", "a@x.example"), Threepid("email", "0@x.example")})
    )

    assert USERS.to_payload(elsewhere)["emails"] == [{"value": "A@x.example", "type": "work"}, {"value": "0@x.example"}]


def test_what_is_not_mapped_is_shown_as_kept() -> None:
    """Where addresses are mere attributes, the account's own stay out of the User."""
    users = UserMapping("example.org", ThreepidMapping(Threepids(email=False), lambda address: address), Sso())
    account = attrs.evolve(
        created(user_with(emails=[{"value": "a@x.example"}])), threepids=frozenset({Threepid("email", "b@x.example")})
    )

    assert users.to_payload(account)["emails"] == [{"value": "a@x.example"}]


@pytest.mark.parametrize(
    ("manager", "shown"),
    [
        ("@boss/x:example.org", {"value": "@boss/x:example.org", "$ref": "Users/@boss%2Fx:example.org"}),
        ("@boss:elsewhere.example", {"value": "@boss:elsewhere.example"}),
        ("4711", {"value": "4711"}),
    ],
)
def test_a_manager_who_has_an_account_here_can_be_followed(manager: str, shown: dict[str, str]) -> None:
    """The `$ref` is relative to the endpoints, and quoted."""
    body = user_with(**{ENTERPRISE_SCHEMA: {"manager": {"value": manager, "$ref": "https://evil.example"}}})

    assert USERS.to_payload(created(body))[ENTERPRISE_SCHEMA] == {"manager": shown}


def test_what_was_published_is_nobodys_to_change() -> None:
    """A User shares nothing with the record that it shows."""
    account = created(user_with(emails=[{"value": "a@x.example"}]))
    before = USERS.to_payload(account)

    USERS.to_payload(account)["emails"][0]["value"] = "b@x.example"

    assert USERS.to_payload(account) == before


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (NOW, "2026-02-01T00:00:00Z"),
        (datetime(2026, 2, 1, 12, 0, 0, 1999, tzinfo=UTC), "2026-02-01T12:00:00.001999Z"),
        (datetime(2026, 2, 1, tzinfo=timezone(timedelta(0))), "2026-02-01T00:00:00Z"),
    ],
)
def test_dates_are_in_utc(moment: datetime, text: str) -> None:
    """As RFC 7643 §2.3.5 has them, and in the form of scim2-models."""
    assert timestamp(moment) == text
