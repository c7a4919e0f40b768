"""Finds out who makes a request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import attrs
from scim2_models import ForbiddenException, UnauthorizedException
from synapse.module_api import SynapseRequest

from synapse_scim.subject import Credential, Forbidden, Subject, Unauthenticated


class Authority(Protocol):
    """Knows the credentials of one kind."""

    async def subject(self, request: SynapseRequest, credential: Credential) -> Subject | None:
        """Return whose credential this is; `None` if it is not of this kind, and another authority may know it.

        Raises:
            Unauthenticated: It is of this kind, and nobody's or no longer valid.
            Forbidden: It is somebody's who may not use SCIM.
        """


@attrs.frozen(kw_only=True)
class Credentials:
    """Accepts the credentials that the configuration allows (RFC 7644 §2).

    Attributes:
        authorities: Who knows them, in the order in which they are asked.
        address: Returns the IP address that a request comes from.
    """

    authorities: Sequence[Authority]
    address: Callable[[SynapseRequest], str]

    async def subject(self, request: SynapseRequest) -> Subject:
        """Return who makes a request.

        Raises:
            UnauthorizedException: Nobody that is known.
            ForbiddenException: Somebody who may not.
        """
        try:
            credential = Credential(token=bearer_token(request), address=self.address(request))
            for authority in self.authorities:
                if subject := await authority.subject(request, credential):
                    return subject
        except Unauthenticated as error:
            raise UnauthorizedException(detail=str(error)) from error
        except Forbidden as error:
            raise ForbiddenException(detail=str(error)) from error
        raise UnauthorizedException(detail="The token is not known")


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
