"""What is kept of a write: who did what to which account, and how it ended. No secret, and no value of anybody's."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import attrs

from synapse_scim.subject import CredentialKind

Outcome = Literal["done", "refused", "failed", "finished", "undone"]
"""How a write ended: as the client was told (`done`, `refused`); later, when a crash had cut it off (`finished`,
`undone`); or not, where no client waited for it (`failed`)."""


@attrs.frozen(kw_only=True)
class Caller:
    """Who is behind a write.

    Attributes:
        client: The name of the client, the user ID of the server admin, or what did it without being asked.
        credential: What the client proved it with.
        request_id: How Synapse's log calls the request.
    """

    client: str
    credential: CredentialKind | None = None
    request_id: str | None = None

    def event(self, operation: str, user_id: str | None, attributes: tuple[str, ...] = ()) -> Event:
        """Return what is kept of a write that this caller made."""
        return Event(caller=self, operation=operation, user_id=user_id, attributes=attributes)


MAINTENANCE = Caller(client="synapse-scim")
"""The module itself, which does later what was decided before."""

COMMAND_LINE = Caller(client="command line")


@attrs.frozen(kw_only=True)
class Event:
    """A write.

    Attributes:
        caller: Who is behind it.
        operation: What was done, or asked for.
        user_id: The account, if one is known.
        attributes: The names of the SCIM attributes that it changed.
        outcome: How it ended.
        status: The status that the client was told of a refusal.
        scim_type: Its `scimType`.
    """

    caller: Caller
    operation: str
    user_id: str | None = None
    attributes: tuple[str, ...] = ()
    outcome: Outcome = "done"
    status: int | None = None
    scim_type: str | None = None


def ended(events: tuple[Event, ...], outcome: Outcome) -> tuple[Event, ...]:
    """Return events with another outcome."""
    return tuple(attrs.evolve(event, outcome=outcome) for event in events)


def not_given_back(user_id: str, lost: Collection[str]) -> tuple[Event, ...]:
    """Return what is kept of what a person who returned did not get back, if there is anything."""
    return ended((MAINTENANCE.event("give_back", user_id, tuple(sorted({*lost}))),), "failed") if lost else ()
