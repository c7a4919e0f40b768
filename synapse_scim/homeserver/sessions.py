"""Sessions of accounts that are locked, or gone."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, cast

from synapse.api.errors import InvalidClientTokenError, UserLockedError
from synapse.http.servlet import parse_json_object_from_request
from synapse.rest.client.login import RefreshTokenServlet

if TYPE_CHECKING:
    from synapse.http.site import SynapseRequest
    from synapse.server import HomeServer
    from synapse.types import JsonDict, Requester


def refuse_leavers(hs: HomeServer) -> None:
    """Let nobody who is locked or deactivated use a token of Matrix Authentication Service.

    Synapse asks the service about a token, and remembers the answer for two minutes; its own flags, which say at once
    that an account is locked or deactivated, it does not look at. The answers are those that it gives where accounts
    are its own.
    """
    auth = hs.get_auth()
    store = hs.get_datastores().main
    ask_for = auth.get_user_by_req

    async def get_user_by_req(
        request: SynapseRequest, *, allow_guest: bool = False, allow_expired: bool = False, allow_locked: bool = False
    ) -> Requester:
        requester = await ask_for(
            request, allow_guest=allow_guest, allow_expired=allow_expired, allow_locked=allow_locked
        )
        # An appservice is not held up by it, and may act as somebody who has no account.
        user_id = requester.user.to_string()
        account = await store.get_user_by_id(user_id)  # type: ignore[call-arg, arg-type, misc]
        if requester.app_service_id is None and account is not None:
            if account.is_deactivated:
                raise InvalidClientTokenError
            if account.locked and not allow_locked:
                raise UserLockedError
        return requester

    auth.get_user_by_req = get_user_by_req  # type: ignore[method-assign, assignment]


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
