"""Tells others what became of the identifiers of an account: modules, pushers, identity servers."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from synapse.api.errors import SynapseError

from synapse_scim.homeserver.downloads import DOWNLOAD_ERRORS, reason
from synapse_scim.homeserver.pushers import Pushers
from synapse_scim.steps import AnnounceThreepids

if TYPE_CHECKING:
    from synapse.server import HomeServer

logger = logging.getLogger(__name__)

_SILENT = (SynapseError, ValueError, *DOWNLOAD_ERRORS)
"""What is raised where an identity server does not answer, or not as one does."""


class Identifiers:
    """Announces identifiers, and has identity servers forget them."""

    def __init__(self, hs: HomeServer) -> None:
        """Use a homeserver."""
        self._hs = hs
        self._store = hs.get_datastores().main
        self._pushers = Pushers(hs)

    async def announce(self, user_id: str, change: AnnounceThreepids) -> None:
        """Tell of what an account has got and lost.

        Raises:
            SynapseError: A pusher is refused, since the address is not the account's at the moment; all else is done.
        """
        for threepid in sorted(change.removed):
            await self._forget(user_id, threepid.medium, threepid.address)
            await self._hs.get_auth_handler().delete_local_threepid(user_id, threepid.medium, threepid.address)
        refusal: SynapseError | None = None
        rules = self._hs.get_module_api_callbacks().third_party_event_rules
        for threepid in sorted(change.added):
            await rules.on_add_user_third_party_identifier(user_id, threepid.medium, threepid.address)
            if change.notify_by_email and threepid.medium == "email":
                try:
                    await self._add_email_pusher(user_id, threepid.address)
                except SynapseError as error:
                    refusal = error
        if refusal is not None:
            raise refusal

    async def forget_all(self, user_id: str) -> None:
        """Have identity servers forget an account. Synapse deactivates none while one of them does not answer."""
        for medium, address in await self._store.user_get_bound_threepids(user_id):
            await self._forget(user_id, medium, address)

    async def _forget(self, user_id: str, medium: str, address: str) -> None:
        """Have identity servers forget an identifier. One that does not answer may have gone for good."""
        for id_server in await self._store.get_id_servers_user_bound(user_id, medium, address):
            try:
                await self._hs.get_identity_handler().try_unbind_threepid(user_id, medium, address, id_server)
            except _SILENT as error:
                logger.warning("The identity server %s may still know %s: %s", id_server, user_id, reason(error))
                await self._store.remove_user_bound_threepid(user_id, medium, address, id_server)

    async def _add_email_pusher(self, user_id: str, address: str) -> None:
        """Notify a new person by e-mail, where the homeserver does so for those whom an administrator registers."""
        email = self._hs.config.email
        if email.email_enable_notifs and email.email_notif_for_new_users:
            await self._pushers.add(
                user_id,
                {
                    "kind": "email",
                    "app_id": "m.email",
                    "app_display_name": "Email Notifications",
                    "device_display_name": address,
                    "pushkey": address,
                    "lang": None,
                    "data": {},
                },
            )
