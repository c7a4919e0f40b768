"""JSON Web Tokens of trusted issuers, as credentials for SCIM (RFC 7519, RFC 8725)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

import attrs
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import Key

from synapse_scim.config import KEY_TYPES, SYMMETRIC, ConfigurationError, FileRefused, Issuer
from synapse_scim.credentials.keys import KeySource, PublishedKeys, keys_in_file, suits
from synapse_scim.credentials.tokens import ensure_acceptable, ensure_acceptable_header, read_token, scopes
from synapse_scim.subject import Credential, Forbidden, Subject, Unauthenticated
from synapse_scim.web import WebClient


def caller_name(client: str, issuer: str) -> str:
    """Return how logs, metrics and the audit name a client of an issuer. No other caller can bear such a name."""
    return f"{client}@{issuer.partition('://')[2] or issuer}"


@attrs.frozen(kw_only=True)
class TrustedIssuers:
    """Verifies the tokens of those issuers whose keys are known.

    Attributes:
        issuers: Each with where its keys come from.
        now: Returns the time.
    """

    issuers: Sequence[tuple[Issuer, KeySource]]
    now: Callable[[], datetime]

    async def subject(self, request: object, credential: Credential) -> Subject | None:
        """Return the client whose token this is; `None` if no trusted issuer says to have made it.

        Raises:
            Unauthenticated: It is not valid, or not for SCIM.
            Forbidden: It is a client's that may not use SCIM.
            Unavailable: The issuer's keys are not to be had at the moment.
        """
        token = read_token(credential.token) if credential.name is None else None
        if token is None:
            return None
        for issuer, source in self.issuers:
            if token.claims.get("iss") == issuer.issuer:
                algorithm = ensure_acceptable_header(token.header, issuer.algorithms)
                key = await _key(source, token.header.get("kid"), algorithm)
                _ensure_signed(credential.token, key, algorithm)
                ensure_acceptable(token.claims, issuer.audience, self.now())
                client = token.claims.get(issuer.client_claim)
                if not isinstance(client, str) or client not in issuer.allowed_clients:
                    raise Forbidden("The token is a client's that may not use SCIM")
                return Subject(
                    name=caller_name(client, issuer.issuer),
                    credential="jwt",
                    scopes=scopes(token.claims.get(issuer.scope_claim)),
                    domain=issuer.domain,
                    visibility=issuer.visibility,
                    adopt=issuer.adopt,
                    rate=issuer.rate,
                )
        return None


def trusted_issuers(issuers: Iterable[Issuer], web: WebClient, now: Callable[[], datetime]) -> TrustedIssuers:
    """Return what verifies the tokens of issuers. Files are read; nothing is fetched, so that none need be up.

    Raises:
        ConfigurationError: A file cannot be used.
    """
    sources = [(issuer, keys or PublishedKeys(issuer, web, now)) for issuer, keys in read_keys(issuers)]
    return TrustedIssuers(issuers=sources, now=now)


def read_keys(issuers: Iterable[Issuer]) -> list[tuple[Issuer, KeySource | None]]:
    """Return issuers with the keys that come from files; `None` where an issuer publishes them.

    Raises:
        ConfigurationError: A file cannot be used.
    """
    read: list[tuple[Issuer, KeySource | None]] = []
    for number, issuer in enumerate(issuers):
        try:
            read.append((issuer, keys_in_file(issuer)))
        except FileRefused as error:
            key = "jwks_path" if issuer.jwks_path is not None else "secret_path"
            raise ConfigurationError(("jwt", f"<item {number}>", key), f"names a file that {error}") from None
    return read


async def _key(source: KeySource, key_id: object, algorithm: str) -> Key:
    """Return the key that a token names."""
    key = _chosen(await source.keys(), key_id, algorithm) or _chosen(await source.renewed(), key_id, algorithm)
    if key is None:
        raise Unauthenticated("The token is signed with a key that its issuer does not have")
    return key


def _chosen(keys: Sequence[Key], key_id: object, algorithm: str) -> Key | None:
    """Return the key with an identifier; a key that is the only one need not be named (RFC 7515 §4.1.4)."""
    suitable = [key for key in keys if suits(key, algorithm)]
    if key_id is not None and KEY_TYPES[algorithm] != SYMMETRIC:
        return next((key for key in suitable if key.kid == key_id), None)
    return suitable[0] if len(suitable) == 1 else None


def _ensure_signed(token: str, key: Key, algorithm: str) -> None:
    # Headers that are not registered do no harm; some issuers add their own.
    registry = jws.JWSRegistry(algorithms=[algorithm], strict_check_header=False)
    try:
        jws.deserialize_compact(token, key, registry=registry)
    except (JoseError, ValueError):
        raise Unauthenticated("The signature of the token is wrong") from None
