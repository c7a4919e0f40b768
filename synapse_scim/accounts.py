"""What the module knows of Matrix accounts.

Nothing here speaks Synapse, SCIM or HTTP: these are the values that travel between the layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

import attrs

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
        avatar_url: The profile's avatar when SCIM last wrote it or agreed with it.
        photo: The photo, as the client named it, that the avatar was made of; `None` if SCIM did not make it.
        active: What SCIM last wished, whatever the account is now.
        active_removed: A client unassigned `active`, so the attribute is not shown. The account stays as it was.
        manager_since: When the person's manager became that, if SCIM named one.
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
    avatar_url: str | None = None
    photo: str | None = None
    active: bool = True
    active_removed: bool = False
    manager_since: datetime | None = None
    created: datetime
    modified: datetime
    revision: int = 0


@attrs.frozen(kw_only=True)
class Account:
    """A local account, as read from the database in one transaction.

    Attributes:
        user_id: `@localpart:server_name`.
        localpart: The localpart of the user ID.
        changed_elsewhere: When somebody other than SCIM changed it last, as far as that was seen.
        profile_fields: The custom fields of the profile.
        user_name_taken: The account is not managed, and a managed one bears its localpart as userName.
        deleted: SCIM deleted the User; the record is what it was then.
        record: What SCIM keeps of it; `None` for an account that SCIM neither made nor adopted.
    """

    user_id: str
    localpart: str
    created: datetime
    changed_elsewhere: datetime | None = None
    displayname: str | None = None
    avatar_url: str | None = None
    profile_fields: Mapping[str, Any] = attrs.field(factory=dict)
    threepids: frozenset[Threepid] = frozenset()
    external_ids: frozenset[ExternalId] = frozenset()
    admin: bool = False
    locked: bool = False
    suspended: bool = False
    deactivated: bool = False
    user_type: str | None = None
    user_name_taken: bool = False
    deleted: bool = False
    record: Record | None = None

    @property
    def profile(self) -> Mapping[str, Any]:
        """The whole profile, by Matrix's names of its fields."""
        return {**self.profile_fields, "displayname": self.displayname, "avatar_url": self.avatar_url}

    @property
    def away(self) -> bool:
        """Whether off-boarding took the account's identifiers away, until the person returns."""
        return self.deactivated or self.deleted

    @property
    def usable(self) -> bool:
        """Whether the person can log in: neither locked nor deactivated, by whomever."""
        return not (self.locked or self.deactivated)


@attrs.frozen(kw_only=True)
class Pusher:
    """Where notifications of an account go.

    Attributes:
        device_id: The device that they are for; `None` for e-mail.
        settings: Everything else, as the homeserver's own call takes it.
    """

    device_id: str | None
    settings: Mapping[str, Any]


@attrs.frozen(kw_only=True)
class Membership:
    """A room that an account was in.

    Attributes:
        room_id: `!room:server_name`, or `!room` in newer room versions.
        power_level: The account's power level in the room.
    """

    room_id: str
    power_level: int


@attrs.frozen(kw_only=True)
class LostRoom:
    """A room that could not be given back; the reason is safe to log."""

    room_id: str
    reason: str


@attrs.frozen(kw_only=True)
class Belongings:
    """What an account has that off-boarding takes away."""

    threepids: frozenset[Threepid] = frozenset()
    external_ids: frozenset[ExternalId] = frozenset()
    pushers: tuple[Pusher, ...] = ()
    memberships: tuple[Membership, ...] = ()


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


class SearchTooLong(AccountError):
    """A search would keep the database busy for too long."""


class GuardRefused(AccountError):
    """Too many accounts were locked or deleted in too short a time."""

    def __init__(self, message: str, retry_after_s: int) -> None:
        """Say after how many seconds the guard may let it pass."""
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Unavailable(AccountError):
    """A part of the homeserver does not answer; trying again later may help."""

    def __init__(self, message: str, retry_after_s: int = 5) -> None:
        """Say what does not answer, and after how many seconds to ask again."""
        super().__init__(message)
        self.retry_after_s = retry_after_s
