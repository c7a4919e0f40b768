"""The module that Synapse loads: checks its configuration, and registers the endpoints."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from synapse.module_api import ModuleApi, SynapseRequest
from synapse.module_api.errors import ConfigError

from synapse_scim import config as configuration
from synapse_scim.application import Application, build
from synapse_scim.config import Config, ConfigurationError
from synapse_scim.homeserver import HomeServer, pushers, settings
from synapse_scim.homeserver.listeners import (
    refuse_refreshing_when_locked,
    serve_below_client_api,
)
from synapse_scim.homeserver.sessions import refuse_leavers
from synapse_scim.homeserver.shutdown import finish_first
from synapse_scim.resources.endpoint import ScimResource
from synapse_scim.resources.request import STABLE_PREFIX, UNSTABLE_PREFIX
from synapse_scim.store.maintenance import Maintenance

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
            raise _refusal(error) from None

    def __init__(self, config: Config, api: ModuleApi) -> None:
        """Serve SCIM on a homeserver that is about to start.

        Raises:
            ConfigError: The homeserver is set up in a way that SCIM cannot serve; Synapse prints why, and ends.
        """
        hs = api._hs  # noqa: SLF001 - the module API has no public way to what SCIM needs (see homeserver)
        try:
            _check_owner(config, hs)
            application = self._build(config, hs)
        except ConfigurationError as error:
            raise _refusal(error) from None
        endpoint = application.endpoint
        if config.stable_prefix:
            api.register_web_resource(STABLE_PREFIX, ScimResource(endpoint, STABLE_PREFIX, hs.get_clock()))
        if config.unstable_prefix:

            async def serve(request: SynapseRequest) -> None:
                await endpoint.serve(request, UNSTABLE_PREFIX)

            serve_below_client_api(hs, UNSTABLE_PREFIX, serve)
        if settings.is_main_process(hs):
            api.register_web_resource(pushers.PATH, pushers.PushersResource(hs))
        if config.mas is None:
            refuse_refreshing_when_locked(hs)
        else:
            refuse_leavers(hs)
        finish_first(hs, endpoint.activity.end)
        _notice_changes(api, application.maintenance)
        _ = api.run_as_background_process("synapse_scim_start", application.maintenance.start)
        if settings.keeps_schedules(hs):
            api.looping_background_call(
                application.maintenance.in_one_process, _EVERY_MS, desc="synapse_scim_maintenance"
            )
            api.looping_background_call(
                application.maintenance.reconcile,
                config.reconcile / timedelta(milliseconds=1),
                desc="synapse_scim_reconcile",
            )
        api.looping_background_call(
            application.maintenance.in_every_process, _EVERY_MS, desc="synapse_scim_photos", run_on_all_instances=True
        )

    def _build(self, config: Config, hs: HomeServer) -> Application:
        """Build everything. Tests override this, to have a hand in it."""
        return build(config, hs)


def _check_owner(config: Config, hs: HomeServer) -> None:
    """Check that the module makes accounts where the homeserver looks for them."""
    delegates = settings.delegates_authentication(hs)
    if delegates and config.mas is None:
        raise ConfigurationError(
            ("mas",),
            "must be given: this homeserver delegates authentication to Matrix Authentication Service, to which its"
            " accounts belong, and the module has to reach its admin API",
        )
    if config.mas is not None and not delegates:
        raise ConfigurationError(
            ("mas",), "is given, but this homeserver has no 'matrix_authentication_service' that is enabled"
        )


def _notice_changes(api: ModuleApi, maintenance: Maintenance) -> None:
    """Have Synapse tell of the changes that it tells of."""

    async def on_profile_update(user_id: str, _profile: object, _by_admin: object, _deactivation: object) -> None:
        await maintenance.notice(user_id)

    async def on_deactivation(user_id: str, _deactivated: object, _by_admin: object) -> None:
        await maintenance.notice(user_id)

    async def on_threepid(user_id: str, _medium: str, _address: str) -> None:
        await maintenance.notice(user_id)

    api.register_third_party_rules_callbacks(
        on_profile_update=on_profile_update,
        on_user_deactivation_status_changed=on_deactivation,
        on_add_user_third_party_identifier=on_threepid,
        on_remove_user_third_party_identifier=on_threepid,
    )


def _refusal(error: ConfigurationError) -> ConfigError:
    """Say which setting is wrong, and what is wrong with it."""
    return ConfigError(f"'{'.'.join(error.path) or 'config'}' {error}", path=error.path)
