"""The steps that a write to an account is made of."""

from __future__ import annotations

import attrs

from synapse_scim.accounts import ExternalId, Membership, Pusher, Threepid


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
class SetPassword:
    """Replace the password, or leave the account without one. It cannot be undone, and is never recorded.

    Attributes:
        password_hash: What Synapse keeps of it.
        password: The password itself, where somebody else than Synapse has to be told.
    """

    password_hash: str | None = attrs.field(repr=False)
    password: str | None = attrs.field(default=None, repr=False)


DatabaseChange = AddThreepid | RemoveThreepid | AddExternalId | RemoveExternalId | SetLocked | SetPassword
"""A change that is part of the transaction in which it is recorded.

Where the accounts belong to somebody else than Synapse, it is made there as well (`AccountGateway.elsewhere`).
"""


@attrs.frozen(kw_only=True)
class SetProfileField:
    """Write a field of the profile, and tell the rooms.

    Attributes:
        field: `displayname`, `avatar_url`, or a custom field (Matrix specification, "Profiles").
        value: The new value; `None` to remove the field.
        former: The value that it has.
    """

    field: str
    value: str | None
    former: str | None


ProfileChange = SetProfileField
"""A change outside of the database transaction that can be undone by its opposite."""


@attrs.frozen
class EndSessions:
    """Delete every device and access token."""


@attrs.frozen
class RemovePushers:
    """Stop every notification that leaves the server: Synapse goes on to push to accounts that are locked."""


@attrs.frozen
class RestorePushers:
    """Send notifications again, to the devices that are still there and by e-mail."""

    pushers: tuple[Pusher, ...]


@attrs.frozen
class Deactivate:
    """Deactivate the account for good, and erase what it said if so told."""

    erase: bool


@attrs.frozen
class Reactivate:
    """Make a deactivated account one that can be logged in to."""


@attrs.frozen
class Rejoin:
    """Bring a reactivated account back into the rooms that its deactivation took it out of."""

    memberships: tuple[Membership, ...]


@attrs.frozen
class HandOver:
    """Make another an administrator of the rooms whose last one the account is: in each the first who is there."""

    successors: tuple[str, ...]


@attrs.frozen
class AnnounceThreepids:
    """Tell the other modules of the homeserver, and its pushers, what became of the identifiers."""

    added: frozenset[Threepid] = frozenset()
    removed: frozenset[Threepid] = frozenset()
    notify_by_email: bool = False


@attrs.frozen
class Elsewhere:
    """Make where the accounts belong what has been made in the database."""

    step: DatabaseChange


FinalChange = (
    SetProfileField
    | Elsewhere
    | EndSessions
    | RemovePushers
    | RestorePushers
    | Deactivate
    | Reactivate
    | Rejoin
    | HandOver
    | AnnounceThreepids
)
"""A change that is never undone: once the write is certain, it is repeated until it succeeds."""
