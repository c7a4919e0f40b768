"""What the module reads of Synapse's configuration, and as Synapse reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synapse.config._base import Config as SynapseConfig

if TYPE_CHECKING:
    from synapse.server import HomeServer

parse_size = SynapseConfig.parse_size
parse_duration_ms = SynapseConfig.parse_duration


def macaroon_secret(hs: HomeServer) -> bytes:
    """Return the secret that all processes of a homeserver share."""
    return hs.config.key.macaroon_secret_key


def mas_endpoint(hs: HomeServer) -> str:
    """Return where Synapse calls Matrix Authentication Service, without a slash at its end."""
    return str(hs.config.mas.endpoint).rstrip("/")


def delegates_authentication(hs: HomeServer) -> bool:
    """Tell whether accounts belong to Matrix Authentication Service."""
    return bool(hs.config.mas.enabled)
