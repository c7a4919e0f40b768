"""Reads which identity providers have tokens of their own."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime
from ipaddress import ip_network
from typing import Any

from synapse_scim.config.schema import ConfigurationError
from synapse_scim.config.settings import Client, Network, Rate, Scope

MAX_TOKENS = 2
"""How many tokens of a client are valid at a time: the present one, and the one that is to follow it."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""Safe in a log line, a metric and a file name; HTTP Basic allows no colon (RFC 7617 §2)."""

_DIGEST = re.compile(r"[0-9A-Fa-f]{64}")


def read_clients(values: Mapping[str, Any]) -> tuple[Client, ...]:
    """Return the clients of a configuration whose form has been checked. No file is read.

    Raises:
        ConfigurationError: A value is not what it should be.
    """
    clients: list[Client] = []
    for number, raw in enumerate(values.get("clients", ())):
        path = ("clients", f"<item {number}>")
        client = _client({key: values[key] for key in ("visibility", "adopt") if key in values} | raw, path)
        for other in clients:
            if other.name.lower() == client.name.lower():
                raise ConfigurationError((*path, "name"), "is the name of another client already")
            if {*other.token_paths} & {*client.token_paths}:
                raise ConfigurationError((*path, "token_paths"), "names a file of another client")
            if {*other.token_sha256} & {*client.token_sha256}:
                raise ConfigurationError((*path, "token_sha256"), "has a token of another client")
        clients.append(client)
    return tuple(clients)


def is_client_name(name: str) -> bool:
    """Tell whether a client can have a name."""
    return _NAME.fullmatch(name) is not None


def _client(raw: Mapping[str, Any], path: tuple[str, ...]) -> Client:
    if not is_client_name(raw["name"]):
        raise ConfigurationError(
            (*path, "name"), "must be at most 64 letters, digits, dots, dashes and underscores, and begin with no dash"
        )
    tokens = [*raw.get("token_paths", ()), *raw.get("token_sha256", ())]
    if not tokens:
        raise ConfigurationError(path, "has no token: 'token_paths' or 'token_sha256' must name one")
    if len(tokens) > MAX_TOKENS:
        raise ConfigurationError(path, "has more than two tokens: one is valid, and another for rotation")
    read: dict[str, Any] = {
        "token_paths": tuple(raw.get("token_paths", ())),
        "token_sha256": tuple(
            _digest(digest, (*path, "token_sha256", f"<item {number}>"))
            for number, digest in enumerate(raw.get("token_sha256", ()))
        ),
        "expires": _time(raw.get("expires"), (*path, "expires")),
        "networks": tuple(
            _network(network, (*path, "networks", f"<item {number}>"))
            for number, network in enumerate(raw.get("networks", ()))
        ),
        "rate": read_rate(raw.get("rate", {}), (*path, "rate")),
    }
    for key in ("token_paths", "token_sha256"):
        if len({*read[key]}) < len(read[key]):
            raise ConfigurationError((*path, key), "names a token twice")
    if "scopes" in raw:
        read["scopes"] = frozenset(Scope(scope) for scope in raw["scopes"])
    return Client(**{**raw, **read})


def _digest(value: str, path: tuple[str, ...]) -> bytes:
    if not _DIGEST.fullmatch(value):
        raise ConfigurationError(path, "must be a SHA-256 digest: 64 hexadecimal digits")
    return bytes.fromhex(value)


def _time(value: Any, path: tuple[str, ...]) -> datetime | None:
    if value is None:
        return None
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        time = None
    if not isinstance(time, datetime) or time.tzinfo is None:
        raise ConfigurationError(path, "must be a date and a time with its zone, such as 2027-06-30T00:00:00Z")
    return time


def _network(value: str, path: tuple[str, ...]) -> Network:
    try:
        return ip_network(value)
    except ValueError:
        raise ConfigurationError(
            path, "must be an address, or a network such as 192.0.2.0/24 or 2001:db8::/32 with no bits set behind it"
        ) from None


def read_rate(raw: Mapping[str, Any], path: tuple[str, ...]) -> Rate:
    """Return how often somebody may ask.

    Raises:
        ConfigurationError: It is no number.
    """
    rate = Rate(**raw)
    if not math.isfinite(rate.per_second):
        raise ConfigurationError((*path, "per_second"), "must be a number")
    return rate
