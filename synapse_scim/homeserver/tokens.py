"""Access tokens of Synapse, as credentials for SCIM."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from synapse.api.errors import SynapseError

from synapse_scim.accounts import Unavailable
from synapse_scim.config import Rate, Visibility
from synapse_scim.homeserver.outages import Outages
from synapse_scim.subject import Credential, Forbidden, Subject, Unauthenticated

if TYPE_CHECKING:
    from synapse.http.site import SynapseRequest
    from synapse.server import HomeServer


class AccessTokens:
    """Finds out whose access token makes a request."""

    def __init__(self, hs: HomeServer, visibility: Visibility, rate: Rate) -> None:
        """Use a homeserver's tokens.

        Args:
            hs: The homeserver.
            visibility: Which accounts its administrators see.
            rate: How often each of them may ask.
        """
        self._rate = rate
        self._visibility = visibility
        self._auth = hs.get_auth()
        self._outages = Outages(hs)
        self._store = hs.get_datastores().main

    async def subject(self, request: SynapseRequest, credential: Credential) -> Subject | None:
        """Return the server admin whose token this is.

        Raises:
            Unauthenticated: Nobody's token, or one that is no longer valid.
            Forbidden: Somebody's who does not administer the server, or is restricted.
            Unavailable: Nobody can tell at the moment.
        """
        # Synapse wants the scheme in this spelling, while RFC 9110 §11.1 leaves its case to the client.
        request.requestHeaders.setRawHeaders(b"Authorization", [b"Bearer " + credential.token.encode()])
        with self._outages.translated():
            return await self._administrator(request)

    async def _administrator(self, request: SynapseRequest) -> Subject:
        try:
            requester = await self._auth.get_user_by_req(request)
        except SynapseError as error:
            if error.code >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise Unavailable("The homeserver cannot check access tokens at the moment") from error
            if error.code == HTTPStatus.FORBIDDEN:
                raise Forbidden("This access token does not belong to a server administrator") from error
            raise Unauthenticated("The access token is not valid, or no longer") from error
        user_id = requester.user.to_string()
        if requester.app_service_id is not None:
            raise Forbidden("Application services cannot use SCIM")
        suspended = await self._store.get_user_suspended_status(user_id)  # type: ignore[call-arg, arg-type, misc]
        if requester.shadow_banned or suspended:
            raise Forbidden("The account of this access token is restricted")
        if not await self._auth.is_server_admin(requester):
            raise Forbidden("This access token does not belong to a server administrator")
        return Subject(name=user_id, user_id=user_id, visibility=self._visibility, adopt="any", rate=self._rate)
