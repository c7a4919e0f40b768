"""Reads the configuration that an administrator wrote."""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import attrs
import jinja2
import phonenumbers
from jinja2.sandbox import ImmutableSandboxedEnvironment

from synapse_scim.config.clients import read_clients, read_rate
from synapse_scim.config.issuers import read_introspectors, read_issuers
from synapse_scim.config.mas import read_mas
from synapse_scim.config.schema import ConfigurationError, check
from synapse_scim.config.settings import (
    DEFAULT_DOMAIN,
    Audit,
    Config,
    Deleted,
    Guard,
    Inactive,
    Introspector,
    Issuer,
    Limits,
    Password,
    Photos,
    RoomSuccession,
    Sso,
    Threepids,
)

TEMPLATES = ImmutableSandboxedEnvironment(finalize=lambda value: "" if value is None else value, autoescape=False)


def parse(
    raw: Mapping[str, Any],
    *,
    parse_size: Callable[[int | str], int],
    parse_duration_ms: Callable[[int | str], int],
) -> Config:
    """Return the configuration that an administrator wrote.

    Args:
        raw: The value of `config` in homeserver.yaml.
        parse_size: Synapse's own reading of sizes such as `4M`, in bytes.
        parse_duration_ms: Synapse's own reading of durations such as `30d`, in milliseconds.

    Raises:
        ConfigurationError: A key is unknown, or its value is not what it should be.
    """
    check(raw)
    values: dict[str, Any] = copy.deepcopy(dict(raw))
    if values.get("inactive", {}).get("deactivate_after") == "never":
        values["inactive"]["deactivate_after"] = None
    for size in _SIZES:
        _convert(values, size, lambda value: _at_least(1, parse_size(value)), _NO_SIZE)
    for duration in _DURATIONS:
        _convert(values, duration, lambda value: _duration(parse_duration_ms(value)), _NO_DURATION)
    for number, introspector in enumerate(values.get("introspection", ())):
        under = ("introspection", f"<item {number}>")
        _convert(
            introspector, ("cache_for",), lambda value: _duration(parse_duration_ms(value)), _NO_DURATION, under=under
        )
    if values.get("threepids", {}).get("phone_region") not in {None, *phonenumbers.SUPPORTED_REGIONS}:
        raise ConfigurationError(
            ("threepids", "phone_region"), "must be the two capital letters of a country, such as DE"
        )
    sso = values.get("sso", {})
    providers = dict(sso.get("domains", {}))
    if sso.get("idp_id"):
        providers.setdefault(DEFAULT_DOMAIN, sso["idp_id"])
    made: dict[str, Any] = {
        "clients": read_clients(values),
        "jwt": read_issuers(values),
        "introspection": read_introspectors(values),
        "localpart": _template(values, "localpart"),
        "display_name": _template(values, "display_name"),
        "protected": tuple(_pattern(pattern, index) for index, pattern in enumerate(values.get("protected", []))),
        "mas": read_mas(values, providers),
        "sso": Sso(providers=providers),
        "guard": _guard(values.get("guard", {})),
        "digests": {key: _digest(value) for key, value in raw.items()},
    }
    for key, section in _SECTIONS.items():
        made[key] = section(**values.get(key, {}))
    rate = read_rate(values.get("limits", {}).get("admin_rate", {}), ("limits", "admin_rate"))
    made["limits"] = attrs.evolve(made["limits"], admin_rate=rate)
    config = Config(**values | made)
    if config.trace is not None and not may_call(config, config.trace):
        raise ConfigurationError(
            ("trace",),
            "must be the name of a client, CLIENT@ISSUER of one with tokens of 'jwt' or 'introspection', or the user ID"
            " of a server administrator whose access token is accepted",
        )
    return config


_SECTIONS: Mapping[str, Callable[..., Any]] = {
    "threepids": Threepids,
    "password": Password,
    "inactive": Inactive,
    "deleted": Deleted,
    "room_succession": RoomSuccession,
    "photos": Photos,
    "limits": Limits,
    "audit": Audit,
}
"""The groups of settings that stand in the configuration as they do here."""

_SIZES = (("photos", "max_size"), ("limits", "body_size"), ("limits", "bulk_body_size"), ("limits", "filter_length"))

_NO_SIZE = "must be a size in bytes, such as 65536 or 4M"
_NO_DURATION = "must be a duration of at most 100 years, such as 30d, 12h or 10m"
_LONGEST_MS = 100 * 365 * 24 * 60 * 60 * 1000

_DURATIONS: tuple[tuple[str, ...], ...] = (
    ("inactive", "deactivate_after"),
    ("deleted", "deactivate_after"),
    ("deleted", "revive_within"),
    ("deleted", "forget_after"),
    ("guard", "window"),
    ("reconcile",),
    ("audit", "keep"),
    ("mas", "timeout"),
)


def may_call(config: Config, name: str) -> bool:
    """Tell whether somebody may call who bears a name in logs, as far as the configuration says."""
    if name.startswith("@"):
        return config.admin_tokens
    issuers: tuple[Issuer | Introspector, ...] = (*config.jwt, *config.introspection)
    issued = {client for issuer in issuers for client in issuer.allowed_clients}
    return name in {client.name for client in config.clients} or any(name.startswith(f"{id_}@") for id_ in issued)


def _digest(value: Any) -> str:
    """Return by what processes see that they have the same setting, without its being read."""
    # A YAML time is no JSON.
    written = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(written.encode()).hexdigest()[:16]


def _template(raw: Mapping[str, Any], key: str) -> jinja2.Template | None:
    source = raw.get(key)
    if source is None:
        return None
    try:
        return TEMPLATES.from_string(source)
    except jinja2.TemplateError:
        raise ConfigurationError((key,), "is not a valid Jinja2 template") from None


def _pattern(source: str, index: int) -> re.Pattern[str]:
    try:
        return re.compile(source)
    except (re.error, OverflowError):
        raise ConfigurationError(("protected", f"<item {index}>"), "is not a valid regular expression") from None


def _convert(
    values: dict[str, Any],
    path: tuple[str, ...],
    parse: Callable[[Any], Any],
    problem: str,
    *,
    under: tuple[str, ...] = (),
) -> None:
    """Replace what the administrator wrote at a path, if anything, by what it means. `under` leads to the values."""
    *sections, key = path
    for section in sections:
        values = values.get(section) or {}
    if values.get(key) is None:
        return
    try:
        values[key] = parse(values[key])
    except (IndexError, TypeError, ValueError, OverflowError):
        # IndexError: Synapse looks for the unit of an empty string.
        raise ConfigurationError((*under, *path), problem) from None


def _duration(milliseconds: int) -> timedelta:
    """Return a duration, one that the calendar can hold."""
    if milliseconds > _LONGEST_MS:
        raise ValueError
    return timedelta(milliseconds=_at_least(0, milliseconds))


def _at_least(least: int, number: int) -> int:
    if number < least:
        raise ValueError
    return number


def _guard(values: Mapping[str, Any]) -> Guard:
    most = values.get("max", "20%")
    share: float | None = None
    if isinstance(most, str):
        match = re.fullmatch(r"(\d{1,3}(?:\.\d+)?)\s*%", most)
        if match is None or float(match[1]) > 100:  # noqa: PLR2004 - per cent
            raise ConfigurationError(("guard", "max"), "must be a number of accounts, a share such as 20%, or null")
        most, share = None, float(match[1]) / 100
    others = {key: value for key, value in values.items() if key != "max"}
    return Guard(**others, share=share, count=most)
