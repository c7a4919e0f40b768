"""What the homeserver refuses, as SCIM says it: the one table from `AccountError` to the errors of RFC 7644 §3.12."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from scim2_models import (
    ForbiddenException,
    InvalidValueException,
    NotFoundException,
    PreconditionFailedException,
    SCIMException,
    TooManyException,
    UniquenessException,
)

from synapse_scim import accounts


class LaterException(SCIMException):
    """A refusal that may not last, with the seconds after which to ask again."""

    def __init__(self, *, retry_after_s: int = 5, **context: Any) -> None:
        """Say when to ask again."""
        super().__init__(**context)
        self.retry_after_s = retry_after_s


class UnavailableException(LaterException):
    """A part of the homeserver does not answer."""

    status = 503
    _default_detail = "The homeserver is not available at the moment; try again later"


class TooManyRequestsException(LaterException):
    """The caller asks for more than it may for now (RFC 6585 §4)."""

    status = 429
    _default_detail = "This is more than the server allows for now; try again later"


_EXCEPTIONS: Mapping[type[accounts.AccountError], type[SCIMException]] = {
    accounts.AccountNotFound: NotFoundException,
    accounts.UserIdTaken: UniquenessException,
    accounts.UserNameTaken: UniquenessException,
    accounts.ExternalIdTaken: UniquenessException,
    accounts.ThreepidTaken: UniquenessException,
    accounts.InvalidUserId: InvalidValueException,
    accounts.InvalidPassword: InvalidValueException,
    accounts.AccountChangeRefused: ForbiddenException,
    accounts.AccountProtected: ForbiddenException,
    accounts.SearchTooLong: TooManyException,
    accounts.AccountChanged: PreconditionFailedException,
}


@contextmanager
def scim_errors() -> Iterator[None]:
    """Raise what SCIM says for an `AccountError` that leaves the block.

    Raises:
        SCIMException: For every `AccountError`.
    """
    try:
        yield
    except accounts.Unavailable as error:
        raise UnavailableException(detail=str(error), retry_after_s=error.retry_after_s) from error
    except accounts.GuardRefused as error:
        raise TooManyRequestsException(detail=str(error), retry_after_s=error.retry_after_s) from error
    except accounts.AccountError as error:
        raise _EXCEPTIONS[type(error)](detail=str(error)) from error
