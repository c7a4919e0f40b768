"""The profiles of accounts, in Synapse."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from synapse.api.constants import ProfileFields
from synapse.api.errors import SynapseError
from synapse.types import UserID, create_requester

from synapse_scim.steps import ProfileChange

if TYPE_CHECKING:
    from synapse.server import HomeServer

logger = logging.getLogger(__name__)

_SHOWN_IN_ROOMS = frozenset({ProfileFields.DISPLAYNAME, ProfileFields.AVATAR_URL})


class Profiles:
    """Changes profiles, in the process that writes them."""

    def __init__(self, hs: HomeServer, *, shared: bool) -> None:
        """Use a homeserver.

        Args:
            hs: The homeserver.
            shared: Whether other processes let people join rooms.
        """
        self._server_name = hs.hostname
        self._store: Any = hs.get_datastores().main
        self._handler = hs.get_profile_handler()
        self._shared = shared

    async def change(self, user_id: str, change: ProfileChange) -> None:
        """Change a field of a profile, in the rooms of the account too.

        Raises:
            SynapseError: Synapse, or a module of it, refuses.
        """
        if change.field not in _SHOWN_IN_ROOMS:
            await self._set(user_id, change)
            return
        # To tell the rooms, Synapse takes ten transactions, also if there are none.
        if not await self._store.get_rooms_for_user(user_id):
            await self._set(user_id, change, propagate=False)
            # What was joined meanwhile may still show the former profile. Of joins elsewhere, the cache hears late.
            if self._shared:
                self._store.get_rooms_for_user.invalidate((user_id,))
            if not await self._store.get_rooms_for_user(user_id):
                return
        try:
            await self._set(user_id, change)
        except SynapseError as error:
            # The profile is stored before the person's own limit of messages is asked about telling the rooms.
            if error.code != HTTPStatus.TOO_MANY_REQUESTS:
                raise
            logger.info("The rooms of %s will hear of the new profile with its next change", user_id)

    async def _set(self, user_id: str, change: ProfileChange, *, propagate: bool = True) -> None:
        target_user = UserID.from_string(user_id)
        requester = create_requester(user_id, authenticated_entity=self._server_name)
        if change.value is None and change.field not in _SHOWN_IN_ROOMS:
            await self._handler.dispatch_delete_profile_field(
                target_user=target_user, requester=requester, field_name=change.field, by_admin=True
            )
        else:
            await self._handler.dispatch_set_profile_field(
                target_user=target_user,
                requester=requester,
                field_name=change.field,
                new_value=change.value or "",
                by_admin=True,
                propagate=propagate,
            )
