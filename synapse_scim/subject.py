"""Who makes a request, and what they may do."""

from __future__ import annotations

from enum import StrEnum

import attrs

from synapse_scim.config import DEFAULT_DOMAIN, Adopt, Visibility


class Scope(StrEnum):
    """What a credential is good for."""

    users_read = "users:read"
    users_write = "users:write"


@attrs.frozen(kw_only=True)
class Subject:
    """An authenticated caller.

    Attributes:
        name: How logs name the caller.
        user_id: The Matrix account whose token makes the request, if one does. `/Me` is this account, and SCIM never
            writes to it.
        scopes: What the credential is good for.
        domain: The provisioning domain: whose externalIds are unique together, and who may write an account.
        visibility: Which accounts the caller sees.
        adopt: Which accounts that SCIM did not make the caller may take over.
    """

    name: str
    user_id: str | None = None
    scopes: frozenset[Scope] = frozenset(Scope)
    domain: str = DEFAULT_DOMAIN
    visibility: Visibility = "all"
    adopt: Adopt = "verified"


class Unauthenticated(Exception):
    """The credential is missing, unknown or no longer valid; the message is safe to show."""


class Forbidden(Exception):
    """The credential is somebody's who may not use SCIM; the message is safe to show."""
