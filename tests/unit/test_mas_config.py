"""The settings for Matrix Authentication Service."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from synapse_scim.config import Config, ConfigurationError, Mas, parse
from synapse_scim.homeserver import settings

CLIENT: dict[str, Any] = {"client_id": "01ADM1NC11ENT0000000000000", "client_secret_path": "mas.secret"}
PROVIDER = "01PR0V1DER0000000000000000"


def parsed(**raw: Any) -> Config:
    """Return a configuration, with sizes and durations as Synapse reads them."""
    return parse(raw, parse_size=settings.parse_size, parse_duration_ms=settings.parse_duration_ms)


def test_accounts_are_synapses_by_default() -> None:
    """Without the block, or with null in its place, nothing is asked of MAS."""
    assert parsed().mas is None
    assert parsed(mas=None).mas is None


def test_what_is_not_said_has_a_default() -> None:
    """Only the client has to be named."""
    assert parsed(mas=CLIENT).mas == Mas(**CLIENT)


def test_everything_can_be_said() -> None:
    """Durations are written as everywhere; each provider of `sso` has a name at MAS."""
    mas: dict[str, Any] = {
        **CLIENT,
        "endpoint": "http://mas.internal:8081/base",
        "upstream_providers": {"oidc-corp": PROVIDER},
        "timeout": "3s",
    }

    config = parsed(mas=mas, sso={"idp_id": "oidc-corp"})

    assert config.mas == Mas(**{**mas, "timeout": timedelta(seconds=3)})


@pytest.mark.parametrize(
    ("mas", "path", "problem"),
    [
        ({"client_id": "x"}, ("client_secret_path",), "must be given"),
        ({**CLIENT, "client_secret": "x"}, ("client_secret",), "is not a setting"),
        ({**CLIENT, "endpoint": "mas.internal"}, ("endpoint",), "must be an http: or https: URL"),
        ({**CLIENT, "endpoint": "https://user@mas.internal"}, ("endpoint",), "must be an http: or https: URL"),
        ({**CLIENT, "endpoint": "https://mas.internal/?a=b"}, ("endpoint",), "must be an http: or https: URL"),
        ({**CLIENT, "endpoint": "https://[mas"}, ("endpoint",), "must be an http: or https: URL"),
        ({**CLIENT, "timeout": 0}, ("timeout",), "must be longer"),
        ({**CLIENT, "timeout": "soon"}, ("timeout",), "must be a duration"),
        ({**CLIENT, "upstream_providers": {"oidc-corp": "corp"}}, ("upstream_providers", "oidc-corp"), "the ULID"),
        ({**CLIENT, "upstream_providers": {"oidc-a": PROVIDER, "oidc-b": PROVIDER}}, ("upstream_providers",), "once"),
        (CLIENT, ("upstream_providers",), "an entry for each provider in 'sso'"),
    ],
)
def test_what_is_wrong_is_named(mas: dict[str, Any], path: tuple[str, ...], problem: str) -> None:
    """A value that cannot be is refused with its path, and is not shown."""
    with pytest.raises(ConfigurationError, match=problem) as refused:
        parsed(mas=mas, sso={"idp_id": "oidc-corp"})

    assert refused.value.path == ("mas", *path)
