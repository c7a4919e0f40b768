"""Finds out who makes a request."""

from __future__ import annotations

from typing import Protocol

import attrs
from scim2_models import ForbiddenException, UnauthorizedException
from synapse.module_api import SynapseRequest

from synapse_scim.config import Config
from synapse_scim.subject import Forbidden, Subject, Unauthenticated


class TokenAuthority(Protocol):
    """Knows the homeserver's access tokens. Implemented by `synapse_scim.homeserver`."""

    async def server_admin(self, request: SynapseRequest, token: str) -> str:
        """Return the user ID of the server admin whose token this is.

        Raises:
            Unauthenticated: Nobody's token.
            Forbidden: Somebody's who may not use SCIM.
        """


@attrs.frozen(kw_only=True)
class Credentials:
    """Accepts the credentials that the configuration allows (RFC 7644 §2).

    Attributes:
        config: Which those are, and what a caller sees.
        tokens: The homeserver's access tokens.
    """

    config: Config
    tokens: TokenAuthority

    async def subject(self, request: SynapseRequest) -> Subject:
        """Return who makes a request.

        Raises:
            UnauthorizedException: Nobody that is known.
            ForbiddenException: Somebody who may not.
        """
        try:
            return await self._server_admin(request, bearer_token(request))
        except Unauthenticated as error:
            raise UnauthorizedException(detail=str(error)) from error
        except Forbidden as error:
            raise ForbiddenException(detail=str(error)) from error

    async def _server_admin(self, request: SynapseRequest, token: str) -> Subject:
        if not self.config.admin_tokens:
            raise Unauthenticated("The token is not known")
        user_id = await self.tokens.server_admin(request, token)
        return Subject(name=user_id, user_id=user_id, visibility=self.config.visibility, adopt="any")


def bearer_token(request: SynapseRequest) -> str:
    """Return the bearer token of a request (RFC 6750 §2.1).

    Raises:
        Unauthenticated: There is none, or there are several.
    """
    if b"access_token" in {name.lower() for name in request.args or ()}:
        raise Unauthenticated("Access tokens are not accepted in the query string, where logs keep them")
    headers = request.requestHeaders.getRawHeaders(b"Authorization") or []
    if not headers:
        raise Unauthenticated("The request has no Authorization header; send 'Authorization: Bearer TOKEN'")
    scheme, _, token = headers[0].decode("latin-1").strip().partition(" ")
    token = token.strip()
    if len(headers) > 1 or scheme.lower() != "bearer" or not token.isascii() or not token or " " in token:
        raise Unauthenticated("The Authorization header must be one 'Bearer TOKEN'")
    return token
