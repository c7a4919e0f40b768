"""What the module reads as Synapse reads it: its configuration, and names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synapse.config._base import Config as SynapseConfig
from synapse.types import map_username_to_mxid_localpart

if TYPE_CHECKING:
    from synapse.server import HomeServer

parse_size = SynapseConfig.parse_size
parse_duration_ms = SynapseConfig.parse_duration


def to_localpart(name: str) -> str:
    """Escape a name as single sign-on does, and `/` as well: clients put user IDs into URLs as they are."""
    return map_username_to_mxid_localpart(name).replace("/", "=2f")


def macaroon_secret(hs: HomeServer) -> bytes:
    """Return the secret that all processes of a homeserver share."""
    return hs.config.key.macaroon_secret_key


def mas_endpoint(hs: HomeServer) -> str:
    """Return where Synapse calls Matrix Authentication Service, without a slash at its end."""
    return str(hs.config.mas.endpoint).rstrip("/")


def delegates_authentication(hs: HomeServer) -> bool:
    """Tell whether accounts belong to Matrix Authentication Service."""
    return bool(hs.config.mas.enabled)


def keeps_schedules(hs: HomeServer) -> bool:
    """Tell whether this is the process that does what one process has to do for all."""
    return bool(hs.config.worker.run_background_tasks)


def is_main_process(hs: HomeServer) -> bool:
    """Tell whether this is the main process of the homeserver, and no worker."""
    return hs.config.worker.worker_app is None


def has_other_processes(hs: HomeServer) -> bool:
    """Tell whether the homeserver may have other processes than this: without Redis, Synapse has one."""
    return bool(hs.config.redis.redis_enabled)
