"""What the module knows of Matrix accounts, and what it asks of the homeserver that holds them.

Nothing here speaks Synapse, SCIM or HTTP: these are the values that travel between the layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, Protocol

import attrs

from synapse_scim.database import Transaction

Medium = Literal["email", "msisdn"]
"""The kind of a third-party identifier, in Matrix's words."""

MAX_DISPLAYNAME_LENGTH = 256
"""The longest display name that Synapse stores, in characters."""

MAX_PASSWORD_LENGTH = 512
"""The longest password that Synapse's own admin API takes, in characters."""


@attrs.frozen(order=True)
class Threepid:
    """A third-party identifier as the homeserver keeps it: an e-mail address or a phone number, canonical."""

    medium: Medium
    address: str


@attrs.frozen(order=True)
class ExternalId:
    """The subject that a single sign-on provider knows an account by."""

    auth_provider: str
    subject: str


@attrs.frozen(kw_only=True)
class Record:
    """What this module keeps of an account that SCIM made or adopted.

    Attributes:
        domain: The provisioning domain that the account belongs to.
        user_name: The SCIM userName, as sent and normalised to NFC.
        external_id: The client's identifier, unique in the domain.
        attributes: The SCIM attributes as sent, by their SCIM names; `userName`, `externalId`, `active` and the
            read-only ones are not among them.
        threepids: The third-party identifiers that SCIM bound.
        displayname: The profile's display name when SCIM last wrote it or agreed with it.
        active: What SCIM last wished, whatever the account is now.
        active_removed: A client unassigned `active`, so the attribute is not shown. The account stays as it was.
        created: When the account was made, or adopted.
        modified: When SCIM last changed it.
        revision: Counts the writes, for compare-and-swap.
    """

    domain: str
    user_name: str
    external_id: str | None
    attributes: Mapping[str, Any]
    threepids: frozenset[Threepid]
    displayname: str | None
    active: bool = True
    active_removed: bool = False
    created: datetime
    modified: datetime
    revision: int = 0


@attrs.frozen(kw_only=True)
class Account:
    """A local account, as read from the database in one transaction.

    Attributes:
        user_id: `@localpart:server_name`.
        localpart: The localpart of the user ID.
        user_name_taken: The account is not managed, and a managed one bears its localpart as userName.
        record: What SCIM keeps of it; `None` for an account that SCIM neither made nor adopted.
    """

    user_id: str
    localpart: str
    created: datetime
    displayname: str | None = None
    avatar_url: str | None = None
    threepids: frozenset[Threepid] = frozenset()
    external_ids: frozenset[ExternalId] = frozenset()
    admin: bool = False
    locked: bool = False
    suspended: bool = False
    deactivated: bool = False
    user_type: str | None = None
    user_name_taken: bool = False
    record: Record | None = None

    @property
    def usable(self) -> bool:
        """Whether the person can log in: neither locked nor deactivated, by whomever."""
        return not (self.locked or self.deactivated)


@attrs.frozen
class AddThreepid:
    """Bind a third-party identifier that nobody has."""

    threepid: Threepid


@attrs.frozen
class RemoveThreepid:
    """Unbind a third-party identifier of the account."""

    threepid: Threepid


@attrs.frozen
class AddExternalId:
    """Let a single sign-on subject open the account."""

    external_id: ExternalId


@attrs.frozen
class RemoveExternalId:
    """Stop a single sign-on subject from opening the account."""

    external_id: ExternalId


@attrs.frozen
class SetLocked:
    """Lock the account, so that no session of it works, or unlock it."""

    locked: bool


@attrs.frozen
class SetPasswordHash:
    """Replace the password by its bcrypt hash, or leave the account without one."""

    password_hash: str | None = attrs.field(repr=False)


DatabaseChange = AddThreepid | RemoveThreepid | AddExternalId | RemoveExternalId | SetLocked | SetPasswordHash
"""A change that is part of the transaction in which it is recorded."""


@attrs.frozen
class SetDisplayname:
    """Write the display name of the profile, and tell the rooms."""

    displayname: str
    former: str | None


ProfileChange = SetDisplayname
"""A change outside of the database transaction that can be undone by its opposite."""


@attrs.frozen
class EndSessions:
    """Delete every device and access token."""


@attrs.frozen
class Deactivate:
    """Deactivate the account for good, and erase what it said if so told."""

    erase: bool


@attrs.frozen
class AnnounceThreepids:
    """Tell the other modules of the homeserver, and its pushers, what became of the identifiers."""

    added: frozenset[Threepid] = frozenset()
    removed: frozenset[Threepid] = frozenset()
    notify_by_email: bool = False


FinalChange = EndSessions | Deactivate | AnnounceThreepids
"""A change that is never undone: once the write is certain, it is repeated until it succeeds."""


class AccountError(Exception):
    """The homeserver refused or failed; the message is safe to show to the client."""


class AccountNotFound(AccountError):
    """No such local account, or not one that a person uses."""


class UserIdTaken(AccountError):
    """The user ID belongs to somebody, or did once."""


class UserNameTaken(AccountError):
    """Another account bears the userName."""


class ExternalIdTaken(AccountError):
    """Another account of the domain bears the externalId, or another opens with it."""


class ThreepidTaken(AccountError):
    """Another account owns the third-party identifier."""


class InvalidUserId(AccountError):
    """The homeserver allows no such user ID."""


class InvalidPassword(AccountError):
    """The homeserver's password policy refuses the password."""


class AccountChangeRefused(AccountError):
    """The homeserver, its configuration or another module forbids the change."""


class AccountProtected(AccountError):
    """SCIM may read this account, not write it."""


class AccountChanged(AccountError):
    """Somebody else changed the account in the meantime."""


class Unavailable(AccountError):
    """A part of the homeserver does not answer; trying again later may help."""

    def __init__(self, message: str, retry_after_s: int = 5) -> None:
        """Say what does not answer, and after how many seconds to ask again."""
        super().__init__(message)
        self.retry_after_s = retry_after_s


class AccountGateway(Protocol):
    """What the module asks of the homeserver. Implemented by `synapse_scim.homeserver`.

    Every coroutine raises an `AccountError` where the homeserver refuses, and nothing of the homeserver's own.
    """

    server_name: str
    public_baseurl: str
    passwords_enabled: bool
    hidden_user_ids: frozenset[str]

    def now(self) -> datetime:
        """Return the current time, in UTC, to the millisecond."""

    def to_localpart(self, name: str) -> str:
        """Return the localpart that Synapse's single sign-on makes of a name, with `/` escaped as well."""

    def to_email(self, address: str) -> str:
        """Return the canonical form of an e-mail address, or raise `ValueError`."""

    async def register(self, localpart: str, displayname: str, password_hash: str) -> None:
        """Register an account; all of Synapse's checks and callbacks run.

        A callback of another module may fail after the account was made: an exception proves nothing.

        Raises:
            UserIdTaken: An account has the localpart.
            InvalidUserId: The localpart is not allowed.
            AccountChangeRefused: A spam checker or another rule refused.
        """

    async def hash_password(self, password: str) -> str:
        """Return the hash that Synapse keeps of a password.

        Raises:
            InvalidPassword: The homeserver's password policy refuses it.
        """

    async def has_password(self, user_id: str, password: str) -> bool:
        """Tell whether an account's password is this one."""

    def apply(self, txn: Transaction, user_id: str, change: DatabaseChange) -> None:
        """Make one change within a database transaction.

        Raises:
            ThreepidTaken: Another account owns the identifier.
            ExternalIdTaken: Another account has the subject.
        """

    async def change_profile(self, user_id: str, change: ProfileChange) -> None:
        """Change the profile. Repeating it does no harm.

        Raises:
            AccountChangeRefused: The homeserver refuses the value.
            Unavailable: The process that writes profiles does not answer.
        """

    async def check_deactivation(self, user_id: str) -> None:
        """Ask the other modules whether an account may be deactivated.

        Raises:
            AccountChangeRefused: One of them forbids it.
        """

    async def finish(self, user_id: str, change: FinalChange) -> None:
        """Make a change that nothing undoes. Repeating it does no harm.

        Raises:
            AccountChangeRefused: A module of the homeserver forbids it.
        """


@attrs.frozen(kw_only=True)
class Membership:
    """A room that an account was in.

    Attributes:
        room_id: The room.
        power_level: The account's power level in the room when this was recorded.
    """

    room_id: str
    power_level: int


@attrs.frozen(kw_only=True)
class LostRoom:
    """A room that could not be given back, or only without the power level.

    Attributes:
        room_id: The room.
        reason: A sentence that is safe to log.
    """

    room_id: str
    reason: str
