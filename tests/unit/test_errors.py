"""What the homeserver refuses, as SCIM says it."""

from __future__ import annotations

import pytest
from scim2_models import SCIMException

from synapse_scim import accounts
from synapse_scim.store.errors import LaterException, scim_errors

ANSWERS: dict[type[accounts.AccountError], tuple[int, str | None]] = {
    accounts.AccountNotFound: (404, None),
    accounts.UserIdTaken: (409, "uniqueness"),
    accounts.UserNameTaken: (409, "uniqueness"),
    accounts.ExternalIdTaken: (409, "uniqueness"),
    accounts.ThreepidTaken: (409, "uniqueness"),
    accounts.InvalidUserId: (400, "invalidValue"),
    accounts.InvalidPassword: (400, "invalidValue"),
    accounts.AccountChangeRefused: (403, None),
    accounts.AccountProtected: (403, None),
    accounts.SearchTooLong: (400, "tooMany"),
    accounts.AccountChanged: (412, None),
    accounts.GuardRefused: (429, None),
    accounts.Unavailable: (503, None),
}
LATER: dict[type[accounts.AccountError], accounts.AccountError] = {
    accounts.GuardRefused: accounts.GuardRefused("so it is", 7),
    accounts.Unavailable: accounts.Unavailable("so it is", 7),
}


@pytest.mark.parametrize("error", accounts.AccountError.__subclasses__())
def test_every_error_has_an_answer(error: type[accounts.AccountError]) -> None:
    """Each error has the status and the scimType of RFC 7644 §3.12, and keeps its message."""
    with pytest.raises(SCIMException) as answered, scim_errors():
        raise LATER.get(error) or error("so it is")

    assert (answered.value.status, answered.value.scim_type or None) == ANSWERS[error]
    assert answered.value.detail == "so it is"


@pytest.mark.parametrize("error", LATER.values(), ids=lambda error: type(error).__name__)
def test_what_may_not_last_says_when_to_ask_again(error: accounts.AccountError) -> None:
    """The seconds go on to the answer (RFC 9110 §10.2.3)."""
    with pytest.raises(LaterException) as answered, scim_errors():
        raise error

    assert answered.value.retry_after_s == 7


def test_other_errors_pass() -> None:
    """What is no `AccountError` is somebody else's to answer."""
    with pytest.raises(ZeroDivisionError), scim_errors():
        _ = 1 / 0
