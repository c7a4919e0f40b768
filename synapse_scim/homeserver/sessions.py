"""Sessions of accounts that are locked."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, cast

from synapse.api.errors import UserLockedError
from synapse.http.servlet import parse_json_object_from_request
from synapse.rest.client.login import RefreshTokenServlet

if TYPE_CHECKING:
    from synapse.http.site import SynapseRequest
    from synapse.server import HomeServer
    from synapse.types import JsonDict


class RefreshServlet(RefreshTokenServlet):
    """Renews access tokens as Synapse does, but for accounts that are locked: Synapse does not look.

    It takes the place of Synapse's own servlet, whose path it has. The answer is the one that every other endpoint
    gives to a locked account, so that clients keep the session and try again.
    """

    def __init__(self, hs: HomeServer) -> None:
        """Serve a homeserver."""
        super().__init__(hs)
        self._store = hs.get_datastores().main

    async def on_POST(self, request: SynapseRequest) -> tuple[int, JsonDict]:
        """Renew an access token.

        Raises:
            UserLockedError: The account is locked.
        """
        token = parse_json_object_from_request(request).get("refresh_token")
        session = await self._store.lookup_refresh_token(token) if isinstance(token, str) else None
        if session is not None and await self._is_locked(session.user_id):
            raise UserLockedError
        cast("BinaryIO", request.content).seek(0)
        return await super().on_POST(request)

    async def _is_locked(self, user_id: str) -> bool:
        # Not from Synapse's cache: another process may have locked the account a moment ago.
        return bool(
            await self._store.db_pool.simple_select_one_onecol(
                "users", {"name": user_id}, "locked", allow_none=True, desc="synapse_scim_refresh"
            )
        )
