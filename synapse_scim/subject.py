"""Who makes a request, and what they may do."""

from __future__ import annotations

from typing import Literal

import attrs

from synapse_scim.config import DEFAULT_DOMAIN, Adopt, Rate, Scope, Visibility

CredentialKind = Literal["access token", "client token", "basic", "jwt", "introspection"]
"""What a caller proved who they are with (SPEC: who may call)."""

_MATRIX_TOKENS = ("syt_", "syr_", "syl_", "mat_", "mar_", "mct_", "mcr_")
"""How the access, refresh and login tokens begin that Synapse and the Matrix Authentication Service make."""


@attrs.frozen(kw_only=True)
class Credential:
    """What a request shows to prove who makes it (RFC 6750 §2.1, RFC 7617 §2).

    Attributes:
        token: The bearer token, or the password of HTTP Basic.
        name: The user name of HTTP Basic; `None` for a bearer token.
        address: The IP address that the request comes from; empty if nothing tells.
    """

    token: str = attrs.field(repr=False)
    name: str | None = None
    address: str = ""

    @property
    def looks_like_matrix(self) -> bool:
        """Whether a homeserver, or the Matrix Authentication Service, makes such tokens. They are shown to nobody."""
        return self.token.startswith(_MATRIX_TOKENS)

    @property
    def looks_like_jwt(self) -> bool:
        """Whether it is a JSON Web Token, as far as a glance tells: a JSON object between two dots, encoded."""
        return self.token.startswith("eyJ") and self.token.count(".") == 2  # noqa: PLR2004 - RFC 7515 §3.1


@attrs.frozen(kw_only=True)
class Subject:
    """An authenticated caller.

    Attributes:
        name: How logs, metrics and the audit name the caller.
        credential: What the caller proved it with.
        user_id: The Matrix account whose token makes the request, if one does. `/Me` is this account, and SCIM never
            writes to it.
        scopes: What the credential is good for.
        domain: The provisioning domain: whose externalIds are unique together, and who may write an account.
        visibility: Which accounts the caller sees.
        adopt: Which accounts that SCIM did not make the caller may take over.
        rate: How often the caller may ask.
    """

    name: str
    credential: CredentialKind = "access token"
    user_id: str | None = None
    scopes: frozenset[Scope] = frozenset(Scope)
    domain: str = DEFAULT_DOMAIN
    visibility: Visibility = "all"
    adopt: Adopt = "verified"
    rate: Rate = attrs.field(factory=Rate)


class Unauthenticated(Exception):
    """The credential is missing, unknown or no longer valid; the message is safe to show."""


class Forbidden(Exception):
    """The credential is somebody's who may not use SCIM; the message is safe to show."""
