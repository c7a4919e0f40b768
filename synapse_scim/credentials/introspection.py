"""Opaque tokens, about which the authorization server that issued them is asked (RFC 7662)."""

from __future__ import annotations

import logging
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any, Literal, cast
from urllib.parse import quote_plus

from synapse_scim.accounts import Unavailable
from synapse_scim.config import ConfigurationError, FileRefused, Introspector, Scope, secret_of
from synapse_scim.credentials.discovery import discover
from synapse_scim.credentials.files import Watched
from synapse_scim.credentials.jwt import caller_name
from synapse_scim.credentials.remembered import Remembered
from synapse_scim.credentials.tokens import ensure_timely, names, scopes
from synapse_scim.subject import Credential, Forbidden, Subject, Unauthenticated
from synapse_scim.web import WebClient, WebUnavailable, json_object

MAX_OUTCOMES = 1000
"""How many outcomes are remembered: as many good ones, and as many bad ones, which anybody can cause."""

_HINT = "access_token"
"""What kind of token the server is asked about (RFC 7662 §2.1)."""

_BEARER = frozenset({"bearer", "access_token", "urn:ietf:params:oauth:token-type:access_token"})
"""The types that servers give tokens which whoever has them may use. `DPoP` and `refresh_token` are not among them."""

_Outcome = Subject | Literal["invalid", "another client's"]
_Outcomes = dict[bytes, tuple[float, _Outcome]]

logger = logging.getLogger(__name__)


class IntrospectedTokens:
    """Asks an authorization server whose tokens are, and remembers what it answers."""

    def __init__(
        self, introspector: Introspector, secret: Watched[bytes], web: WebClient, now: Callable[[], datetime]
    ) -> None:
        """Ask nothing yet.

        Args:
            introspector: The server, and what is made of its answers.
            secret: The secret of who asks.
            web: Asks it.
            now: Returns the time.
        """
        self._introspector = introspector
        self._name = introspector.issuer or introspector.endpoint or ""
        self._web = web
        self._now = now
        self._secret = secret
        self._endpoint = Remembered(f"The metadata of {self._name}", self._discovered, web, now)
        self._good: _Outcomes = {}
        self._bad: _Outcomes = {}

    def known(self, credential: Credential) -> Subject | None:
        """Return the client whose token the server has called valid a moment ago."""
        outcome = self._good.get(sha256(credential.token.encode()).digest())
        if outcome is None or credential.name is not None or self._now().timestamp() >= outcome[0]:
            return None
        return cast("Subject", outcome[1])

    async def subject(self, request: object, credential: Credential) -> Subject | None:
        """Return the client whose token this is; `None` if the server does not say that it is valid.

        Raises:
            Forbidden: It is a client's that may not use SCIM.
            Unavailable: The server cannot be asked at the moment.
        """
        if credential.name is not None or credential.looks_like_matrix:
            return None
        token = credential.token
        digest = sha256(token.encode()).digest()
        outcome = self._remembered(digest) or await self._web.once((self, digest), lambda: self._ask(token, digest))
        if outcome == "another client's":
            raise Forbidden("The token is a client's that may not use SCIM")
        return None if outcome == "invalid" else outcome

    def _remembered(self, digest: bytes) -> _Outcome | None:
        until, outcome = self._good.get(digest) or self._bad.get(digest) or (None, None)
        return outcome if until is not None and self._now().timestamp() < until else None

    async def _ask(self, token: str, digest: bytes) -> _Outcome:
        client_id, client_secret = self._introspector.client_id, self._secret.current()
        # RFC 6749 §2.3.1 has both encoded before they are joined.
        pair = f"{quote_plus(client_id)}:{quote_plus(client_secret)}"
        endpoint = self._introspector.endpoint or await self._endpoint.get()
        form = {"token": token, "token_type_hint": _HINT}
        try:
            content = await self._web.post(endpoint, form, f"Basic {b64encode(pair.encode()).decode()}")
            answer = json_object(content)
            if not isinstance(answer.get("active"), bool):
                raise WebUnavailable("it does not say whether the token is active")  # noqa: TRY301
        except WebUnavailable as error:
            logger.warning("%s cannot be asked about a token: %s", self._name, error)
            raise Unavailable("The server that issued the token cannot be asked about it at the moment") from error
        outcome = self._judged(answer) if self._is_valid(answer) else "invalid"
        self._remember(digest, outcome, answer.get("exp"))
        return outcome

    def _remember(self, digest: bytes, outcome: _Outcome, expires: float | None) -> None:
        until = self._now().timestamp() + self._introspector.cache_for.total_seconds()
        if isinstance(outcome, Subject) and expires is not None:
            until = min(until, expires)
        for outcomes in (self._good, self._bad):
            outcomes.pop(digest, None)
        outcomes = self._good if isinstance(outcome, Subject) else self._bad
        if len(outcomes) >= MAX_OUTCOMES:
            del outcomes[next(iter(outcomes))]
        outcomes[digest] = until, outcome

    def _is_valid(self, answer: Mapping[str, Any]) -> bool:
        """Tell whether an answer says that a token is valid, is this server's, and good for whoever has it."""
        issuer, audience = self._introspector.issuer, self._introspector.audience
        try:
            ensure_timely(answer, self._now())
        except Unauthenticated:
            return False
        return (
            answer["active"]
            and (issuer is None or answer.get("iss") in (None, issuer))
            and (audience is None or names(answer.get("aud"), audience))
            and str(answer.get("token_type") or "Bearer").lower() in _BEARER
        )

    def _judged(self, answer: Mapping[str, Any]) -> _Outcome:
        introspector = self._introspector
        client = answer.get("client_id")
        if not isinstance(client, str) or client not in introspector.allowed_clients:
            return "another client's"
        return Subject(
            name=caller_name(client, self._name),
            credential="introspection",
            scopes=self._scopes(answer, client),
            domain=introspector.domain,
            visibility=introspector.visibility,
            adopt=introspector.adopt,
            rate=introspector.rate,
        )

    def _scopes(self, answer: Mapping[str, Any], client: str) -> frozenset[Scope]:
        """Return what a token is good for: what it says itself of SCIM, within what the configuration grants.

        A token that says nothing of it may be the client's own, which is then all that it needs to be (Canaille makes
        such tokens for SCIM). It must not be that of a person who logged in to the same client.
        """
        named = scopes(answer.get("scope"))
        is_clients_own = answer.get("sub") in (None, client) and answer.get("username") in (None, client)
        return named & self._introspector.scopes if named or not is_clients_own else self._introspector.scopes

    async def _discovered(self) -> str:
        return await discover(self._web, self._name, "introspection_endpoint")


class KnownTokens:
    """The tokens that need not be asked about again, nor looked for anywhere else."""

    def __init__(self, introspected: Iterable[IntrospectedTokens]) -> None:
        """Know what was asked before."""
        self._introspected = tuple(introspected)

    async def subject(self, request: object, credential: Credential) -> Subject | None:
        """Return the client whose token this is; `None` if it is not known."""
        known = (tokens.known(credential) for tokens in self._introspected)
        return next((subject for subject in known if subject is not None), None)


def introspected_tokens(
    introspectors: Iterable[Introspector], web: WebClient, now: Callable[[], datetime]
) -> tuple[IntrospectedTokens, ...]:
    """Return what asks about tokens. Files are read; nobody is asked, so that none need be up.

    Raises:
        ConfigurationError: A file cannot be used.
    """
    return tuple(IntrospectedTokens(one, secret, web, now) for one, secret in read_secrets(introspectors))


def read_secrets(introspectors: Iterable[Introspector]) -> list[tuple[Introspector, Watched[bytes]]]:
    """Return introspectors, each with the secret of who asks.

    Raises:
        ConfigurationError: A file cannot be used.
    """
    read: list[tuple[Introspector, Watched[bytes]]] = []
    for number, introspector in enumerate(introspectors):
        try:
            read.append((introspector, Watched(introspector.client_secret_path, secret_of)))
        except FileRefused as error:
            path = ("introspection", f"<item {number}>", "client_secret_path")
            raise ConfigurationError(path, f"names a file that {error}") from None
    return read
