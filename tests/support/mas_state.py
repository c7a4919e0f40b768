"""Users, e-mail addresses, links and sessions of the stand-in for Matrix Authentication Service."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from typing import Any, Literal, Protocol

import attrs

_DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_numbers = count(1)


def ulid() -> str:
    """Return an ID that nothing else has; later ones are greater."""
    number = next(_numbers)
    digits = [_DIGITS[(number >> 5 * place) % 32] for place in reversed(range(24))]
    return f"01{''.join(digits)}"


def now() -> str:
    """Return the time as JSON holds it."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


class Thing(Protocol):
    """What a path lists."""

    @property
    def kind(self) -> str:
        """The kind of thing."""

    @property
    def id(self) -> str:
        """Its ID."""

    def attributes(self) -> dict[str, Any]:
        """Return the attributes, as the API gives them."""


@attrs.define(kw_only=True)
class User:
    """A user."""

    kind: str = "user"
    id: str = attrs.field(factory=ulid)
    username: str
    created_at: str = attrs.field(factory=now)
    locked_at: str | None = None
    deactivated_at: str | None = None
    admin: bool = False
    password: str | None = None

    @property
    def is_valid(self) -> bool:
        """Whether the user may do anything."""
        return self.locked_at is None and self.deactivated_at is None

    def attributes(self) -> dict[str, Any]:
        """Return the attributes."""
        return {
            "username": self.username,
            "created_at": self.created_at,
            "locked_at": self.locked_at,
            "deactivated_at": self.deactivated_at,
            "admin": self.admin,
            "legacy_guest": False,
        }


@attrs.define(kw_only=True)
class Email:
    """An e-mail address."""

    kind: str = "user-email"
    id: str = attrs.field(factory=ulid)
    created_at: str = attrs.field(factory=now)
    user_id: str
    email: str

    def attributes(self) -> dict[str, Any]:
        """Return the attributes."""
        return {"created_at": self.created_at, "user_id": self.user_id, "email": self.email}


@attrs.define(kw_only=True)
class Link:
    """A subject of an upstream provider."""

    kind: str = "upstream-oauth-link"
    id: str = attrs.field(factory=ulid)
    created_at: str = attrs.field(factory=now)
    provider_id: str
    subject: str
    user_id: str | None

    def attributes(self) -> dict[str, Any]:
        """Return the attributes."""
        return {
            "created_at": self.created_at,
            "provider_id": self.provider_id,
            "subject": self.subject,
            "user_id": self.user_id,
            "human_account_name": None,
        }


SessionKind = Literal["user-session", "oauth2-session", "compat-session", "personal-session"]


@attrs.define(kw_only=True)
class Session:
    """A session of any kind. A browser's has no token."""

    kind: SessionKind
    id: str = attrs.field(factory=ulid)
    created_at: str = attrs.field(factory=now)
    user_id: str
    device_id: str | None = None
    is_synapse_admin: bool = False
    token: str = attrs.field(factory=lambda: f"mct_{secrets.token_hex(16)}")
    finished_at: str | None = None

    def attributes(self) -> dict[str, Any]:
        """Return the attributes."""
        common = {"created_at": self.created_at}
        match self.kind:
            case "user-session":
                return {**common, "user_id": self.user_id, "finished_at": self.finished_at}
            case "oauth2-session":
                scope, client_id = "urn:matrix:client:api:*", "0" * 26
                return {**common, "user_id": self.user_id, "finished_at": self.finished_at} | {
                    "client_id": client_id,
                    "scope": scope,
                }
            case "compat-session":
                return {
                    **common,
                    "user_id": self.user_id,
                    "finished_at": self.finished_at,
                    "device_id": self.device_id,
                }
            case "personal-session":
                return {**common, "actor_user_id": self.user_id, "revoked_at": self.finished_at} | {
                    "owner_user_id": self.user_id,
                    "human_name": "A script",
                    "scope": "urn:matrix:client:api:*",
                }


@attrs.define(kw_only=True)
class State:
    """What the service keeps."""

    users: dict[str, User] = attrs.field(factory=dict)
    emails: dict[str, Email] = attrs.field(factory=dict)
    links: dict[str, Link] = attrs.field(factory=dict)
    sessions: dict[str, Session] = attrs.field(factory=dict)
    providers: set[str] = attrs.field(factory=set)

    def named(self, username: str) -> User | None:
        """Return the user of a name, whatever its case."""
        return next((user for user in self.users.values() if user.username.lower() == username.lower()), None)

    def emails_of(self, user_id: str) -> list[str]:
        """Return a user's addresses."""
        return [email.email for email in self.emails.values() if email.user_id == user_id]

    def links_of(self, user_id: str) -> set[tuple[str, str]]:
        """Return a user's subjects, each with its provider."""
        return {(link.provider_id, link.subject) for link in self.links.values() if link.user_id == user_id}

    def active_sessions(self, user_id: str) -> Iterator[Session]:
        """Return a user's sessions that have not ended."""
        return (s for s in self.sessions.values() if s.user_id == user_id and s.finished_at is None)
