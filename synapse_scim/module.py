"""The module that Synapse loads: checks its configuration, and registers the endpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from synapse.module_api import ModuleApi, SynapseRequest
from synapse.module_api.errors import ConfigError

from synapse_scim import config as configuration
from synapse_scim.application import build
from synapse_scim.config import Config, ConfigurationError
from synapse_scim.homeserver import settings
from synapse_scim.homeserver.listeners import (
    can_serve_unstable_prefix,
    refuse_refreshing_when_locked,
    serve_below_client_api,
)
from synapse_scim.resources.endpoint import ScimResource

STABLE_PREFIX = "/_scim"
UNSTABLE_PREFIX = "/_matrix/client/unstable/coop.yaal/scim"

_EVERY_MS = 60 * 1000


class ScimModule:
    """SCIM 2.0 provisioning, as a module of Synapse."""

    @staticmethod
    def parse_config(config: Mapping[str, Any]) -> Config:
        """Check the module's configuration.

        Raises:
            ConfigError: A setting is wrong; Synapse prints it with its path and does not start.
        """
        try:
            return configuration.parse(
                config, parse_size=settings.parse_size, parse_duration_ms=settings.parse_duration_ms
            )
        except ConfigurationError as error:
            raise ConfigError(f"'{'.'.join(error.path)}' {error}", path=error.path) from None

    def __init__(self, config: Config, api: ModuleApi) -> None:
        """Serve SCIM on a homeserver that is about to start.

        Raises:
            SystemExit: The homeserver is set up in a way that SCIM cannot serve; the message says why.
        """
        hs = api._hs  # noqa: SLF001 - the module API has no public way to what SCIM needs (see homeserver)
        if settings.delegates_authentication(hs):
            raise SystemExit(
                "synapse-scim: this homeserver delegates authentication to Matrix Authentication Service, where its"
                " accounts live; this version cannot provision them there"
            )
        if config.unstable_prefix and not can_serve_unstable_prefix():
            raise SystemExit(
                "synapse-scim: this version of Synapse does not let the module in below /_matrix/client; set"
                " 'unstable_prefix: false', and rewrite the prefix in the reverse proxy if it is needed"
            )
        application = build(config, hs)
        endpoint = application.endpoint
        if config.stable_prefix:
            api.register_web_resource(STABLE_PREFIX, ScimResource(endpoint, STABLE_PREFIX, hs.get_clock()))
        if config.unstable_prefix:

            async def serve(request: SynapseRequest) -> None:
                await endpoint.serve(request, UNSTABLE_PREFIX)

            serve_below_client_api(hs, UNSTABLE_PREFIX, serve)
        if can_serve_unstable_prefix():
            refuse_refreshing_when_locked(hs)
        _ = api.run_as_background_process("synapse_scim_start", application.maintenance.start)
        api.looping_background_call(application.maintenance.clean_up, _EVERY_MS, desc="synapse_scim_clean_up")
        api.looping_background_call(
            application.maintenance.fetch_photos, _EVERY_MS, desc="synapse_scim_photos", run_on_all_instances=True
        )
