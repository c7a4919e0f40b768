"""Reads JSON Web Tokens, and says what is wrong with one whose signature is right (RFC 7519, RFC 9068)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import attrs
from joserfc.util import urlsafe_b64decode

from synapse_scim.config import Scope
from synapse_scim.subject import Unauthenticated

LEEWAY = timedelta(seconds=30)
"""How far the clocks of an issuer and of the homeserver may be apart."""

_ACCESS_TOKEN_TYPES = frozenset({"jwt", "at+jwt", "application/at+jwt"})
_ACCESS_TOKEN_CLAIMS = _ACCESS_TOKEN_TYPES | {"bearer"}
"""What Keycloak writes into a claim `typ`: `Bearer`, in place of `ID`, `Refresh` or `Offline`."""

_OF_ID_TOKENS = ("nonce", "at_hash", "c_hash", "s_hash")
"""What ID tokens alone have (OpenID Connect Core 1.0 §2 and §3.3.2.11): they tell a client who logged in."""


@attrs.frozen(kw_only=True)
class Token:
    """What a token says, which is nobody's word until its signature was looked at."""

    header: Mapping[str, Any]
    claims: Mapping[str, Any]


def read_token(text: str) -> Token | None:
    """Return what a signed JSON Web Token says; `None` if it is none."""
    parts = text.split(".")
    if len(parts) != 3:  # noqa: PLR2004 - RFC 7515 §3.1
        return None
    header, claims = _decoded(parts[0]), _decoded(parts[1])
    return None if header is None or claims is None else Token(header=header, claims=claims)


def ensure_acceptable_header(header: Mapping[str, Any], algorithms: frozenset[str]) -> str:
    """Return the algorithm that a header names.

    Raises:
        Unauthenticated: It is not one of those that are allowed, or the token wants to be understood in another way, or
            says that it is no access token.
    """
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in algorithms:
        raise Unauthenticated("The token is signed in a way that is not accepted")
    # Nothing that is critical is understood (RFC 7515 §4.1.11), payloads that are not encoded (RFC 7797) included.
    if "crit" in header or "b64" in header:
        raise Unauthenticated("The token has critical headers that are not understood")
    if str(header.get("typ", "JWT")).lower() not in _ACCESS_TOKEN_TYPES:
        raise Unauthenticated("The token is no access token")
    return algorithm


def ensure_acceptable(claims: Mapping[str, Any], audience: str, now: datetime) -> None:
    """Check that a token is an access token, for an audience, and valid at a time.

    Raises:
        Unauthenticated: It is not.
    """
    if str(claims.get("typ", "Bearer")).lower() not in _ACCESS_TOKEN_CLAIMS or any(c in claims for c in _OF_ID_TOKENS):
        raise Unauthenticated("The token is no access token")
    if not names(claims.get("aud"), audience):
        raise Unauthenticated("The token is for another audience")
    if "exp" not in claims:
        raise Unauthenticated("The token does not expire")
    ensure_timely(claims, now)


def ensure_timely(claims: Mapping[str, Any], now: datetime) -> None:
    """Check that a token is valid at a time, as far as it says so.

    Raises:
        Unauthenticated: It is not valid yet, or no longer, or says so in a wrong way.
    """
    present, leeway = now.timestamp(), LEEWAY.total_seconds()
    times = {name: claims[name] for name in ("exp", "nbf", "iat") if claims.get(name) is not None}
    if not all(map(_is_time, times.values())):
        raise Unauthenticated("The times of the token are malformed")
    if "exp" in times and times["exp"] <= present - leeway:
        raise Unauthenticated("The token has expired")
    if any(times[name] > present + leeway for name in ("nbf", "iat") if name in times):
        raise Unauthenticated("The token is not valid yet")


def names(claim: Any, value: str) -> bool:
    """Tell whether a claim that is a string or a list of strings names a value (RFC 7519 §4.1.3)."""
    return claim == value or (isinstance(claim, list) and value in claim)


def scopes(claim: Any) -> frozenset[Scope]:
    """Return the scopes that a claim names: a string with blanks between them (RFC 8693 §4.2), or a list."""
    named = claim.split(" ") if isinstance(claim, str) else claim
    return frozenset(scope for scope in Scope if scope.value in named) if isinstance(named, list) else frozenset()


def _decoded(part: str) -> dict[str, Any] | None:
    try:
        value = json.loads(urlsafe_b64decode(part.encode()))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _is_time(value: Any) -> bool:
    """Tell whether a value is a time (RFC 7519 §2, NumericDate)."""
    return not isinstance(value, bool) and (
        isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
    )
