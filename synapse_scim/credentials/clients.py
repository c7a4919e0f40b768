"""The tokens of clients, as credentials for SCIM."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import attrs

from synapse_scim.config import Client, ConfigurationError
from synapse_scim.credentials.token_files import TokenFile, UnusableToken, digest_of, next_path
from synapse_scim.subject import Credential, Forbidden, Subject, Unauthenticated

logger = logging.getLogger(__name__)


class ClientTokens:
    """Finds out which client of the configuration makes a request, by a bearer token or HTTP Basic (RFC 7617)."""

    def __init__(self, clients: Sequence[Client], now: Callable[[], datetime]) -> None:
        """Know some clients.

        Args:
            clients: The clients.
            now: Returns the current time.

        Raises:
            ConfigurationError: A file holds no token, or that of two clients.
        """
        self._now = now
        self._clients = [_Tokens.of(client, number) for number, client in enumerate(clients)]
        owners: dict[bytes, Client] = {}
        for number, tokens in enumerate(self._clients):
            for digest in tokens.digests():
                if owners.setdefault(digest, tokens.client) is not tokens.client:
                    raise ConfigurationError(("clients", f"<item {number}>"), "has a token of another client")
            if self.has_expired(tokens.client):
                logger.warning("The tokens of the SCIM client %s have expired", tokens.client.name)

    async def subject(self, request: object, credential: Credential) -> Subject | None:
        """Return the client whose token this is; `None` for a bearer token that is no client's.

        Raises:
            Unauthenticated: The token has expired, or name and token of HTTP Basic are not one client's that may use
                it: nobody else knows such credentials.
            Forbidden: The client may not call from where it does.
        """
        client = self.owner(credential.token)
        if credential.name is not None:
            if client is None or client.name != credential.name:
                raise Unauthenticated("There is no client with this name and token")
            if not client.basic:
                raise Unauthenticated(
                    "This client may not use HTTP Basic ('basic'); send the token as 'Authorization: Bearer TOKEN'"
                )
        if client is None:
            return None
        if self.has_expired(client):
            raise Unauthenticated("The tokens of this client have expired")
        addresses = _forms(credential.address)
        if client.networks and not any(address in network for address in addresses for network in client.networks):
            shown = addresses[-1] if addresses else "an unknown address"
            logger.warning("A token of the SCIM client %s is used from %s, outside of its networks", client.name, shown)
            raise Forbidden(f"This client may not call from {shown} ('networks')")
        return Subject(
            name=client.name,
            credential="client token" if credential.name is None else "basic",
            scopes=client.scopes,
            domain=client.domain,
            visibility=client.visibility,
            adopt=client.adopt,
            rate=client.rate,
        )

    def owner(self, token: str) -> Client | None:
        """Return the client whose token this is, valid or expired.

        It takes the same time whichever token it is, and whatever it has in common with others.
        """
        digest = digest_of(token)
        owners = {
            tokens.client.name: tokens.client
            for tokens in self._clients
            # A list: `any` would stop at the first.
            if any([hmac.compare_digest(digest, known) for known in tokens.digests()])  # noqa: C419
        }
        if len(owners) > 1:
            logger.error("The SCIM clients %s have the same token, which is nobody's", " and ".join(sorted(owners)))
            return None
        return next(iter(owners.values()), None)

    def has_expired(self, client: Client) -> bool:
        """Tell whether the tokens of a client are valid no longer."""
        return client.expires is not None and client.expires <= self._now()


@attrs.frozen(kw_only=True)
class _Tokens:
    """The tokens of a client.

    Attributes:
        client: The client.
        files: Where they are, if they are in files.
    """

    client: Client
    files: Sequence[TokenFile]

    @classmethod
    def of(cls, client: Client, number: int) -> _Tokens:
        """Return the tokens of the client with a number in the configuration.

        Raises:
            ConfigurationError: A file holds no token.
        """
        files = [TokenFile(client=client.name, path=Path(path)) for path in client.token_paths]
        for index, file in enumerate(files):
            try:
                file.load()
            except UnusableToken as error:
                path = ("clients", f"<item {number}>", "token_paths", f"<item {index}>")
                raise ConfigurationError(path, f"cannot be used: {error}") from None
        if can_rotate(client):
            # Before the present one: while the one replaces the other, the new token is always in one of them.
            files.insert(0, TokenFile(client=client.name, path=next_path(files[0].path), optional=True))
        return cls(client=client, files=files)

    def digests(self) -> Iterator[bytes]:
        """Yield the digests of the tokens that the client has at this moment."""
        yield from self.client.token_sha256
        for file in self.files:
            if digest := file.digest():
                yield digest


def can_rotate(client: Client) -> bool:
    """Tell whether a client's token is in a file, beside which another one may appear: two are valid at a time."""
    return len(client.token_paths) == 1 and not client.token_sha256


def _forms(address: str) -> list[IPv4Address | IPv6Address]:
    """Return what an address may be written as: IPv4 stands in IPv6 as well (RFC 4291 §2.5.5.2)."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return []
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return [parsed] if mapped is None else [parsed, mapped]
