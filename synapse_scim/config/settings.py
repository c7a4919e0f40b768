"""The settings: their names, defaults and meaning."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network
from typing import Literal

import attrs
import jinja2

Adopt = Literal["verified", "any", "never"]
Network = IPv4Network | IPv6Network
Visibility = Literal["all", "managed", "own"]

DEFAULT_DOMAIN = "default"
"""The provisioning domain of clients that name none."""


class Scope(StrEnum):
    """What a credential is good for."""

    users_read = "users:read"
    users_write = "users:write"


KEY_TYPES: Mapping[str, Literal["RSA", "EC", "OKP", "oct"]] = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), "RSA"),
    **dict.fromkeys(("ES256", "ES384", "ES512"), "EC"),
    "Ed25519": "OKP",
    **dict.fromkeys(("HS256", "HS384", "HS512"), "oct"),
}
"""The algorithms that may sign a token (RFC 7518 §3.1, RFC 9864), each with the type of its keys. `none` is not one."""

SYMMETRIC = "oct"
"""The type of a key that both sides know."""


@attrs.frozen(kw_only=True)
class Threepids:
    """Which attributes become third-party identifiers, and the country of national phone numbers."""

    email: bool = True
    msisdn: bool = True
    phone_region: str | None = None


@attrs.frozen(kw_only=True)
class Sso:
    """Which single sign-on provider knows the people by their externalId, for each provisioning domain."""

    providers: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Password:
    """What a new password does to the sessions."""

    end_sessions: bool = True


@attrs.frozen(kw_only=True)
class Inactive:
    """What becomes of people whom the client disables.

    Attributes:
        deactivate_after: How long they stay locked until they are deactivated; `None` for ever.
        end_sessions: Whether their devices are deleted at once.
    """

    deactivate_after: timedelta | None = timedelta(days=30)
    end_sessions: bool = False


@attrs.frozen(kw_only=True)
class Deleted:
    """What becomes of people whom the client deletes.

    Attributes:
        deactivate_after: How long they stay locked until they are deactivated.
        erase: Whether the homeserver erases what they said.
        revive_within: How long a new user with the same externalId gets the old account back.
        forget_after: How long what is recorded of somebody who left is kept.
    """

    deactivate_after: timedelta = timedelta(0)
    erase: bool = False
    revive_within: timedelta = timedelta(days=90)
    forget_after: timedelta = timedelta(days=365)


@attrs.frozen(kw_only=True)
class Guard:
    """How many people may be disabled or deleted within a time.

    Attributes:
        window: The time.
        share: The most, as a share of those who were active when it began; `None` if `count` says it.
        count: The most, as a number; with neither there is no guard.
        at_least: As many may go whatever the most is.
    """

    window: timedelta = timedelta(hours=1)
    share: float | None = 0.2
    count: int | None = None
    at_least: int = 20


@attrs.frozen(kw_only=True)
class RoomSuccession:
    """Who takes over the rooms whose last administrator leaves: the manager, else a successor for all."""

    enabled: bool = False
    successor: str | None = None


@attrs.frozen(kw_only=True)
class Photos:
    """Whether photos are fetched for avatars, and how large one may be, in bytes."""

    fetch: bool = True
    max_size: int = 5 * 1024 * 1024


@attrs.frozen(kw_only=True)
class Mas:
    """Matrix Authentication Service, to which accounts belong.

    Attributes:
        client_id: As which client of it the module calls.
        client_secret_path: The file of the client's secret.
        endpoint: Where its admin API is; `None` for where Synapse calls it.
        upstream_providers: What it calls the providers of `Sso`, by Synapse's name.
        timeout: How long an answer may take.
    """

    client_id: str
    client_secret_path: str
    endpoint: str | None = None
    upstream_providers: Mapping[str, str] = attrs.field(factory=dict)
    timeout: timedelta = timedelta(seconds=10)


@attrs.frozen(kw_only=True)
class Rate:
    """How many operations a client may ask of each process: so many a second, and so many at once after a pause."""

    per_second: float = 50
    burst_count: int = 500


@attrs.frozen(kw_only=True)
class Limits:
    """How much one request may ask for. Sizes are in bytes."""

    page_size: int = 1000
    bulk_operations: int = 1000
    body_size: int = 1024 * 1024
    bulk_body_size: int = 4 * 1024 * 1024
    filter_length: int = 8 * 1024
    admin_rate: Rate = attrs.field(factory=Rate)


@attrs.frozen(kw_only=True)
class Audit:
    """How long it is kept who wrote what."""

    keep: timedelta = timedelta(days=90)


@attrs.frozen(kw_only=True)
class Client:
    """An identity provider with tokens of its own, which are good for SCIM alone.

    Attributes:
        name: How logs, metrics and the audit name it, and its user name in HTTP Basic.
        scopes: What its tokens are good for.
        token_paths: Files with a token each.
        token_sha256: SHA-256 digests of tokens.
        expires: When its tokens end; `None` never.
        networks: Where it may call from; none is everywhere.
        basic: Whether it may also send name and token as HTTP Basic.
        domain: Its provisioning domain.
        visibility: Which accounts it sees.
        adopt: Which accounts that SCIM did not make it may take over.
        rate: How often it may ask.
    """

    name: str
    scopes: frozenset[Scope] = frozenset(Scope)
    token_paths: tuple[str, ...] = ()
    token_sha256: tuple[bytes, ...] = attrs.field(default=(), repr=False)
    expires: datetime | None = None
    networks: tuple[Network, ...] = ()
    basic: bool = False
    domain: str = DEFAULT_DOMAIN
    visibility: Visibility = "all"
    adopt: Adopt = "verified"
    rate: Rate = attrs.field(factory=Rate)


@attrs.frozen(kw_only=True)
class Issuer:
    """An authorization server whose JSON Web Tokens are trusted. One of the four ways to its keys is given.

    Attributes:
        issuer: What its tokens say in `iss`.
        audience: What they must name in `aud`.
        algorithms: How they may be signed.
        discovery: Whether its metadata tells where its keys are.
        jwks_uri: Where its keys are.
        jwks_path: A file with its keys.
        secret_path: A file with the secret that it shares.
        client_claim: The claim that names the client.
        allowed_clients: The clients that may call.
        scope_claim: The claim that names the scopes; a token without it has no rights.
        domain: The provisioning domain of its clients.
        visibility: Which accounts they see.
        adopt: Which accounts that SCIM did not make they may take over.
        rate: How often each may ask.
    """

    issuer: str
    audience: str
    algorithms: frozenset[str]
    discovery: bool = False
    jwks_uri: str | None = None
    jwks_path: str | None = None
    secret_path: str | None = None
    client_claim: str = "azp"
    allowed_clients: frozenset[str]
    scope_claim: str = "scope"
    domain: str = DEFAULT_DOMAIN
    visibility: Visibility = "all"
    adopt: Adopt = "verified"
    rate: Rate = attrs.field(factory=Rate)


@attrs.frozen(kw_only=True)
class Introspector:
    """An authorization server that is asked about tokens which nobody else can read (RFC 7662).

    Attributes:
        issuer: Its name, and where its metadata is; `None` if only the endpoint is known.
        endpoint: Where it is asked; `None` if its metadata tells.
        client_id: Who asks.
        client_secret_path: A file with the secret of who asks.
        allowed_clients: The clients whose tokens are good for SCIM.
        audience: What the tokens must be for; `None` if that does not matter.
        scopes: What the tokens are good for, at most.
        cache_for: How long an answer is remembered.
        domain: The provisioning domain of its clients.
        visibility: Which accounts they see.
        adopt: Which accounts that SCIM did not make they may take over.
        rate: How often each may ask.
    """

    issuer: str | None = None
    endpoint: str | None = None
    client_id: str
    client_secret_path: str
    allowed_clients: frozenset[str]
    audience: str | None = None
    scopes: frozenset[Scope] = frozenset(Scope)
    cache_for: timedelta = timedelta(minutes=1)
    domain: str = DEFAULT_DOMAIN
    visibility: Visibility = "all"
    adopt: Adopt = "verified"
    rate: Rate = attrs.field(factory=Rate)


@attrs.frozen(kw_only=True)
class Config:
    """The settings, checked and with their defaults; `docs/configuration.md` describes each.

    Attributes:
        digests: A digest of what the administrator wrote for each setting, by its name.
    """

    stable_prefix: bool = True
    unstable_prefix: bool = True
    read_only: bool = False
    admin_tokens: bool = True
    clients: tuple[Client, ...] = ()
    jwt: tuple[Issuer, ...] = ()
    introspection: tuple[Introspector, ...] = ()
    localpart: jinja2.Template | None = None
    localpart_taken: Literal["number", "refuse"] = "number"
    display_name: jinja2.Template | None = None
    threepids: Threepids = attrs.field(factory=Threepids)
    visibility: Visibility = "all"
    adopt: Adopt = "verified"
    protected: tuple[re.Pattern[str], ...] = ()
    sso: Sso = attrs.field(factory=Sso)
    password: Password = attrs.field(factory=Password)
    profile_fields: Mapping[str, str] = attrs.field(factory=dict)
    inactive: Inactive = attrs.field(factory=Inactive)
    deleted: Deleted = attrs.field(factory=Deleted)
    guard: Guard = attrs.field(factory=Guard)
    room_succession: RoomSuccession = attrs.field(factory=RoomSuccession)
    photos: Photos = attrs.field(factory=Photos)
    reconcile: timedelta = timedelta(minutes=10)
    allow_synapse_indexes: bool = False
    limits: Limits = attrs.field(factory=Limits)
    cursor_secret_path: str | None = None
    mas: Mas | None = None
    audit: Audit = attrs.field(factory=Audit)
    trace: str | None = None
    digests: Mapping[str, str] = attrs.field(factory=dict, eq=False)
