"""An authorization server that gives SCIM clients their tokens, signed or opaque."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote_plus

from joserfc import jwt
from joserfc.jwk import ECKey, Key
from joserfc.jws import JWSRegistry
from joserfc.util import urlsafe_b64encode
from twisted.web.http import Request

from tests.support.https import CertificateAuthority
from tests.support.openid import OpenIdProvider

AUDIENCE = "https://matrix.example.org/_scim"
SCIM_CLIENT = "scim-connector"
INTROSPECTION_ID, INTROSPECTION_SECRET = "matrix:1", "s3cret:+ü %41"
"""Neither can be sent as HTTP Basic without being encoded before (RFC 6749 §2.3.1)."""

METADATA, KEYS, INTROSPECTION = "/.well-known/openid-configuration", "/jwks", "/introspect"


class TokenIssuer(OpenIdProvider):
    """An OpenID provider that issues access tokens for SCIM as well (RFC 9068), and can be asked about them (RFC 7662).

    Attributes:
        keys: The keys that it publishes. It signs with the last one.
        metadata_changes: What it says differently of itself; None takes something away.
        known: What it says of tokens, but for their being active.
        asked_about: The tokens that it was asked about so far.
        secret: What whoever asks must show, encoded: colons, percent signs and others have a meaning in HTTP Basic.
    """

    def __init__(self, authority: CertificateAuthority | None = None) -> None:
        """Listen on a port that is free."""
        super().__init__(authority)
        self._root = self.issuer
        self.keys: list[ECKey] = [new_key()]
        self.metadata_changes: dict[str, Any] = {}
        self.known: dict[str, Mapping[str, Any]] = {}
        self.asked_about: list[str] = []
        self.secret = INTROSPECTION_SECRET

    def trusted(self, **settings: Any) -> dict[str, Any]:
        """Return an entry of `jwt` that trusts it; settings that are None are left out."""
        entry = {
            "issuer": self.issuer,
            "audience": AUDIENCE,
            "algorithms": ["ES256"],
            "jwks_uri": self.url(KEYS),
            "allowed_clients": [SCIM_CLIENT],
            **settings,
        }
        return {key: value for key, value in entry.items() if value is not None}

    def url(self, path: str) -> str:
        """Return the URL of a path, whatever it calls itself."""
        return self._root + path

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Return what a good token says; claims that are None are left out."""
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": AUDIENCE,
            "azp": SCIM_CLIENT,
            "sub": "service-account",
            "scope": "users:read users:write",
            "iat": now,
            "exp": now + 60,
            **changes,
        }
        return {name: value for name, value in claims.items() if value is not None}

    def token(
        self,
        *,
        key: Key | None = None,
        algorithm: str = "ES256",
        header: Mapping[str, Any] | None = None,
        **claims: Any,
    ) -> str:
        """Return an access token.

        Args:
            key: What it is signed with; by default its last key.
            algorithm: How it is signed.
            header: Changes to its header; None takes something away.
            claims: Changes to its claims; None takes something away.
        """
        key = key or self.keys[-1]
        whole = {"alg": algorithm, "kid": key.kid, "typ": "at+jwt", **(header or {})}
        shown = {name: value for name, value in whole.items() if value is not None}
        registry = JWSRegistry(algorithms=[algorithm], strict_check_header=False)
        return jwt.encode(shown, self.claims(**claims), key, registry=registry, default_type=None)

    def opaque_token(self, **answer: Any) -> str:
        """Return a token that says nothing, and whose introspection has this answer beside the usual one."""
        token = secrets.token_urlsafe()
        self.known[token] = {"client_id": INTROSPECTION_ID, "exp": int(time.time()) + 60, **answer}
        return token

    def rotate(self) -> None:
        """Sign with a new key, and publish the former one no longer."""
        self.keys = [new_key()]

    def metadata(self) -> dict[str, Any]:
        """Return what it says of itself."""
        metadata = {
            **super().metadata(),
            "introspection_endpoint": self.url(INTROSPECTION),
            **self.metadata_changes,
        }
        return {name: value for name, value in metadata.items() if value is not None}

    def endpoints(self) -> Mapping[str, Callable[[Request], Any]]:
        """Return what makes the JSON of each answer, by path."""
        return {
            **super().endpoints(),
            KEYS: lambda _: {"keys": [key.as_dict(private=False) for key in self.keys]},
            INTROSPECTION: self._introspect,
        }

    def _introspect(self, request: Request) -> dict[str, Any]:
        assert request.method == b"POST"
        # What Twisted does not decode.
        shown = tuple(unquote_plus(part.decode()) for part in (request.getUser(), request.getPassword()))
        if shown != (INTROSPECTION_ID, self.secret):
            request.setResponseCode(401)
        (token,) = request.args[b"token"]
        self.asked_about.append(token.decode())
        known = self.known.get(token.decode())
        return {"active": False} if known is None else {"active": True, **known}


def new_key() -> ECKey:
    """Return a key with a name."""
    return ECKey.generate_key("P-256", auto_kid=True)


def signed_by_hand(header: Mapping[str, Any], claims: Any, sign: Callable[[bytes], bytes]) -> str:
    """Return a token that no library would make."""
    parts = [urlsafe_b64encode(json.dumps(part).encode()) for part in (header, claims)]
    return b".".join([*parts, urlsafe_b64encode(sign(b".".join(parts)))]).decode()
