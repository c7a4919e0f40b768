"""Reads where accounts are that belong to Matrix Authentication Service."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from synapse_scim.config.schema import ConfigurationError
from synapse_scim.config.settings import Mas

_ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")


def read_mas(values: Mapping[str, Any], providers: Mapping[str, str]) -> Mas | None:
    """Return what a configuration, whose form has been checked, says of the service. No file is read.

    Args:
        values: The configuration.
        providers: The single sign-on provider of each provisioning domain.

    Raises:
        ConfigurationError: A value is not what it should be.
    """
    raw = values.get("mas")
    if raw is None:
        return None
    mas = Mas(**raw)
    if mas.endpoint is not None and not _is_web_address(mas.endpoint):
        raise ConfigurationError(("mas", "endpoint"), "must be an http: or https: URL without query")
    if mas.timeout == timedelta(0):
        raise ConfigurationError(("mas", "timeout"), "must be longer than nothing")
    for name, provider_id in mas.upstream_providers.items():
        if not _ULID.fullmatch(provider_id):
            raise ConfigurationError(
                ("mas", "upstream_providers", name), "must be the ULID of an upstream provider: 26 digits and capitals"
            )
    if len({*mas.upstream_providers.values()}) < len(mas.upstream_providers):
        raise ConfigurationError(("mas", "upstream_providers"), "must name each upstream provider once")
    if not {*providers.values()} <= {*mas.upstream_providers}:
        raise ConfigurationError(("mas", "upstream_providers"), "must have an entry for each provider in 'sso'")
    return mas


def _is_web_address(text: str) -> bool:
    try:
        url = urlsplit(text)
        return url.scheme in {"http", "https"} and bool(url.hostname) and not (url.query or url.fragment or "@" in text)
    except ValueError:
        return False
