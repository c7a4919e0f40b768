"""Reads whose tokens are trusted: of issuers that sign them, and of those that are asked about them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from synapse_scim.config.clients import read_rate
from synapse_scim.config.schema import ConfigurationError
from synapse_scim.config.settings import KEY_TYPES, SYMMETRIC, Introspector, Issuer, Scope
from synapse_scim.config.urls import is_secure_url

_SOURCES = ("jwks_uri", "jwks_path", "secret_path", "discovery")
_INSECURE = "must be an https: URL without user name and fragment; http: is for loopback addresses alone"


def read_issuers(values: Mapping[str, Any]) -> tuple[Issuer, ...]:
    """Return the issuers of signed tokens, of a configuration whose form has been checked. No file is read.

    Raises:
        ConfigurationError: A value is not what it should be.
    """
    issuers: list[Issuer] = []
    for number, raw in enumerate(values.get("jwt", ())):
        path = ("jwt", f"<item {number}>")
        issuer = _issuer(_with_defaults(values, raw), path)
        if any(other.issuer == issuer.issuer for other in issuers):
            raise ConfigurationError((*path, "issuer"), "is another entry's already")
        issuers.append(issuer)
    return tuple(issuers)


def read_introspectors(values: Mapping[str, Any]) -> tuple[Introspector, ...]:
    """Return the issuers that are asked, of a configuration whose form has been checked. No file is read.

    Raises:
        ConfigurationError: A value is not what it should be.
    """
    introspectors: list[Introspector] = []
    for number, raw in enumerate(values.get("introspection", ())):
        path = ("introspection", f"<item {number}>")
        introspectors.append(_introspector(_with_defaults(values, raw), path))
    return tuple(introspectors)


def _with_defaults(values: Mapping[str, Any], raw: Mapping[str, Any]) -> dict[str, Any]:
    return {key: values[key] for key in ("visibility", "adopt") if key in values} | dict(raw)


def _issuer(raw: Mapping[str, Any], path: tuple[str, ...]) -> Issuer:
    sources = [source for source in _SOURCES if raw.get(source)]
    if len(sources) != 1:
        raise ConfigurationError(
            path, "must have exactly one of 'jwks_uri', 'jwks_path', 'secret_path' and 'discovery: true'"
        )
    for number, algorithm in enumerate(raw["algorithms"]):
        # Who takes a public key for a shared secret lets everybody sign (RFC 8725 §2.1).
        if (KEY_TYPES[algorithm] == SYMMETRIC) != (sources == ["secret_path"]):
            raise ConfigurationError(
                (*path, "algorithms", f"<item {number}>"),
                f"does not go with '{sources[0]}': the HS algorithms need 'secret_path', and no other does",
            )
    if raw.get("discovery"):
        _ensure_secure(raw, "issuer", path)
    _ensure_secure(raw, "jwks_uri", path)
    read = {
        "algorithms": frozenset(raw["algorithms"]),
        "allowed_clients": frozenset(raw["allowed_clients"]),
        "rate": read_rate(raw.get("rate", {}), (*path, "rate")),
    }
    return Issuer(**{**raw, **read})


def _introspector(raw: Mapping[str, Any], path: tuple[str, ...]) -> Introspector:
    if not ("issuer" in raw or "endpoint" in raw):
        raise ConfigurationError(path, "must have an 'issuer' or an 'endpoint'")
    if "endpoint" not in raw:
        _ensure_secure(raw, "issuer", path)
    _ensure_secure(raw, "endpoint", path)
    read: dict[str, Any] = {
        # By default the tokens that were issued to whoever asks: nobody else's are known to be for this server.
        "allowed_clients": frozenset(raw.get("allowed_clients", [raw["client_id"]])),
        "rate": read_rate(raw.get("rate", {}), (*path, "rate")),
    }
    if "scopes" in raw:
        read["scopes"] = frozenset(Scope(scope) for scope in raw["scopes"])
    return Introspector(**{**raw, **read})


def _ensure_secure(raw: Mapping[str, Any], key: str, path: tuple[str, ...]) -> None:
    if key in raw and not is_secure_url(raw[key]):
        raise ConfigurationError((*path, key), _INSECURE)
