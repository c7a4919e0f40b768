"""Access tokens of Synapse, as credentials for SCIM."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from synapse.api.errors import InvalidClientTokenError, SynapseError

from synapse_scim.accounts import Unavailable
from synapse_scim.config import Rate, Visibility
from synapse_scim.homeserver.outages import Outages
from synapse_scim.subject import Credential, Forbidden, Subject, Unauthenticated

if TYPE_CHECKING:
    from synapse.http.site import SynapseRequest
    from synapse.server import HomeServer


class AccessTokens:
    """Finds out whose access token makes a request."""

    def __init__(self, hs: HomeServer, visibility: Visibility, rate: Rate, *, accepted: bool = True) -> None:
        """Use a homeserver's tokens.

        Args:
            hs: The homeserver.
            visibility: Which accounts its administrators see.
            rate: How often each of them may ask.
            accepted: Whether they may use SCIM; else they are recognised alone.
        """
        self._accepted = accepted
        self._rate = rate
        self._visibility = visibility
        self._auth = hs.get_auth()
        self._outages = Outages(hs)
        self._store = hs.get_datastores().main

    async def subject(self, request: SynapseRequest, credential: Credential) -> Subject | None:
        """Return the server admin whose token this is; `None` if the homeserver does not know it, and never made such.

        Raises:
            Unauthenticated: It is no longer valid, or nobody's that the homeserver may have made; or none is accepted.
            Forbidden: Somebody's who does not administer the server, or is restricted.
            Unavailable: Nobody can tell at the moment.
        """
        if credential.looks_like_jwt:
            return None
        # Synapse wants the scheme in this spelling, while RFC 9110 §11.1 leaves its case to the client.
        request.requestHeaders.setRawHeaders(b"Authorization", [b"Bearer " + credential.token.encode()])
        with self._outages.translated():
            return await self._administrator(request, credential)

    async def _administrator(self, request: SynapseRequest, credential: Credential) -> Subject | None:
        try:
            requester = await self._auth.get_user_by_req(request)
        except SynapseError as error:
            if error.code >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise Unavailable("The homeserver cannot check access tokens at the moment") from error
            if _is_unknown(error) and not credential.looks_like_matrix:
                return None
            if error.code == HTTPStatus.FORBIDDEN and self._accepted:
                raise Forbidden("This access token does not belong to a server administrator") from error
            raise Unauthenticated("The access token is not valid, or no longer") from error
        if not self._accepted:
            raise Unauthenticated("Access tokens are not accepted here")
        user_id = requester.user.to_string()
        if requester.app_service_id is not None:
            raise Forbidden("Application services cannot use SCIM")
        # Of a token of Matrix Authentication Service, the requester does not know it.
        account = await self._store.get_user_by_id(user_id)  # type: ignore[call-arg, arg-type, misc]
        if account is None or account.is_shadow_banned or account.suspended:
            raise Forbidden("The account of this access token is restricted")
        if not await self._auth.is_server_admin(requester):
            raise Forbidden("This access token does not belong to a server administrator")
        return Subject(name=user_id, user_id=user_id, visibility=self._visibility, adopt="any", rate=self._rate)


def _is_unknown(error: SynapseError) -> bool:
    """Tell whether a token is nobody's; one that has expired is known."""
    return isinstance(error, InvalidClientTokenError) and not error.error_dict(None)["soft_logout"]
