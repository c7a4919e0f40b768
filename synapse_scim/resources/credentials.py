"""Finds out who makes a request."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Protocol

import attrs
from scim2_models import ForbiddenException, UnauthorizedException
from synapse.module_api import SynapseRequest

from synapse_scim.subject import Credential, Forbidden, Subject, Unauthenticated

MAX_LENGTH = 8 * 1024
"""How long a credential may be. Nothing longer is looked at; only tokens that list a person's many groups are."""


class Authority(Protocol):
    """Knows the credentials of one kind."""

    async def subject(self, request: SynapseRequest, credential: Credential) -> Subject | None:
        """Return whose credential this is; `None` if it is not of this kind, and another authority may know it.

        Raises:
            Unauthenticated: It is of this kind, and nobody's or no longer valid.
            Forbidden: It is somebody's who may not use SCIM.
            Unavailable: Nobody can tell at the moment.
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
        """Return who makes a request, whom Synapse's access log then names.

        Raises:
            UnauthorizedException: Nobody that is known.
            ForbiddenException: Somebody who may not.
        """
        try:
            credential = read_credential(request, self.address(request))
            for authority in self.authorities:
                if subject := await authority.subject(request, credential):
                    if request.requester is None:
                        request.requester = f"scim:{subject.name}"
                    return subject
        except Unauthenticated as error:
            raise UnauthorizedException(detail=str(error)) from error
        except Forbidden as error:
            raise ForbiddenException(detail=str(error)) from error
        raise UnauthorizedException(detail="The token is not known")


def read_credential(request: SynapseRequest, address: str) -> Credential:
    """Return what a request shows to prove who makes it: a bearer token (RFC 6750 §2.1), or HTTP Basic (RFC 7617 §2).

    Args:
        request: The request.
        address: Where it comes from.

    Raises:
        Unauthenticated: There is none, there are several, or it has no such form.
    """
    if b"access_token" in {name.lower() for name in request.args or ()}:
        raise Unauthenticated("Access tokens are not accepted in the query string, where logs keep them")
    headers = request.requestHeaders.getRawHeaders(b"Authorization") or []
    if not headers:
        raise Unauthenticated("The request has no Authorization header; send 'Authorization: Bearer TOKEN'")
    scheme, _, sent = headers[0].decode("latin-1").strip().partition(" ")
    sent = sent.strip()
    if len(sent) > MAX_LENGTH:
        raise Unauthenticated(f"The credential has more than {MAX_LENGTH} characters")
    if len(headers) == 1 and sent and sent.isascii() and " " not in sent:
        if scheme.lower() == "bearer":
            return Credential(token=sent, address=address)
        if scheme.lower() == "basic":
            name, token = _name_and_token(sent)
            return Credential(token=token, name=name, address=address)
    raise Unauthenticated("The Authorization header must be one 'Bearer TOKEN'")


def _name_and_token(encoded: str) -> tuple[str, str]:
    try:
        decoded = base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        decoded = ""
    name, _, token = decoded.partition(":")
    if not token:
        raise Unauthenticated("HTTP Basic must be 'NAME:TOKEN', in UTF-8 and base64")
    return name, token
