"""What the homeserver refuses, as SCIM says it."""

from __future__ import annotations

import pytest
from scim2_models import SCIMException

from synapse_scim import accounts
from synapse_scim.store.errors import UnavailableException, scim_errors

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
    accounts.AccountChanged: (412, None),
    accounts.Unavailable: (503, None),
}


@pytest.mark.parametrize("error", accounts.AccountError.__subclasses__())
def test_every_error_has_an_answer(error: type[accounts.AccountError]) -> None:
    """Each error has the status and the scimType of RFC 7644 §3.12, and keeps its message."""
    with pytest.raises(SCIMException) as answered, scim_errors():
        raise error("so it is")

    assert (answered.value.status, answered.value.scim_type or None) == ANSWERS[error]
    assert answered.value.detail == "so it is"


def test_a_server_that_is_not_available_says_when_to_ask_again() -> None:
    """The seconds go on to the answer (RFC 9110 §10.2.3)."""
    with pytest.raises(UnavailableException) as answered, scim_errors():
        raise accounts.Unavailable("later", retry_after_s=7)

    assert answered.value.retry_after_s == 7


def test_other_errors_pass() -> None:
    """What is no `AccountError` is somebody else's to answer."""
    with pytest.raises(ZeroDivisionError), scim_errors():
        _ = 1 / 0
