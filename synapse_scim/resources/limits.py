"""How often clients may ask, and how often somebody may try a credential."""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Any, Protocol

import attrs
from scim2_models import ForbiddenException, UnauthorizedException
from synapse.module_api import SynapseRequest

from synapse_scim.config import Rate
from synapse_scim.resources.credentials import Credentials
from synapse_scim.store.errors import TooManyRequestsException
from synapse_scim.subject import Subject

FAILURES = Rate(per_second=1, burst_count=60)
"""How many credentials that are nobody's may come from one address."""

ANYBODY = Rate()
"""How many requests that need no credential may come from one address."""

_MOST_KNOWN = 1000


class RateLimited(TooManyRequestsException):
    """A limit of requests is reached. Nothing was done for this one, and nothing is recorded.

    Attributes:
        subject: Whose limit it is, if it is not that of an address.
    """

    def __init__(self, subject: Subject | None, **context: Any) -> None:
        """Say whose limit it is."""
        super().__init__(**context)
        self.subject = subject


class Buckets(Protocol):
    """Counts what is done. Implemented by `synapse_scim.homeserver`."""

    async def take(self, key: str, rate: Rate) -> float:
        """Count an action, and return 0; or after how many seconds there is room for it."""

    async def add(self, key: str, rate: Rate, actions: int) -> float:
        """Count further actions of one that was counted, and return 0; or after how many seconds they would be."""

    def give_back(self, key: str) -> None:
        """Take back an action that was counted."""


@attrs.frozen(kw_only=True)
class Limits:
    """Refuses what is too much, before it costs anything.

    Attributes:
        buckets: What counts.
        credentials: Finds out who calls.
        address: Returns the IP address that a request comes from.
    """

    buckets: Buckets
    credentials: Credentials
    address: Callable[[SynapseRequest], str]
    _known: OrderedDict[bytes, None] = attrs.field(factory=OrderedDict, init=False)
    """Digests of credentials that were somebody's when they were tried last. They are asked about whatever else comes
    from their address: behind a proxy that does not tell addresses apart, anybody could keep everybody out."""

    async def subject(self, request: SynapseRequest) -> Subject:
        """Return who makes a request, and count it.

        Raises:
            RateLimited: They ask too often, or too many credentials that are nobody's came from their address.
            UnauthorizedException: Nobody that is known.
            ForbiddenException: Somebody who may not.
        """
        subject = await self._authenticated(request)
        _refuse(await self.buckets.take(_key(subject), subject.rate), _TOO_OFTEN, subject)
        return subject

    async def admit_bulk(self, subject: Subject, operations: int) -> None:
        """Count the operations of a bulk request, which itself has been counted.

        It is let in or refused as a whole. A client that is told to come back then does so with all of it, while few
        look at each operation; and a bulk request may be larger than what is allowed at once.

        Raises:
            RateLimited: What came before was too much.
        """
        if operations > 1:
            _refuse(await self.buckets.add(_key(subject), subject.rate, operations - 1), _TOO_OFTEN, subject)

    async def admit_anybody(self, request: SynapseRequest) -> None:
        """Count a request that says not who makes it.

        Raises:
            RateLimited: Too many came from its address.
        """
        wait_s = await self.buckets.take(f"address {self._network(request)}", ANYBODY)
        _refuse(wait_s, "Too many requests come from this address")

    async def _authenticated(self, request: SynapseRequest) -> Subject:
        shown = request.requestHeaders.getRawHeaders(b"Authorization") or ()
        digest = hashlib.sha256(b"\0".join(shown)).digest()
        key = f"failures {self._network(request)}"
        is_known = digest in self._known
        if shown and not is_known:
            _refuse(await self.buckets.take(key, FAILURES), "Too many unknown credentials come from this address")
        try:
            subject = await self.credentials.subject(request)
        except (UnauthorizedException, ForbiddenException):
            if is_known:
                self._known.pop(digest, None)
                await self.buckets.take(key, FAILURES)
            raise
        except BaseException:
            # Nobody could tell, which is no failure of whoever asks.
            if not is_known:
                self.buckets.give_back(key)
            raise
        if not is_known:
            self.buckets.give_back(key)
        self._known[digest] = None
        self._known.move_to_end(digest)
        if len(self._known) > _MOST_KNOWN:
            self._known.popitem(last=False)
        return subject

    def _network(self, request: SynapseRequest) -> str:
        return _network_of(self.address(request))


@lru_cache(maxsize=1024)
def _network_of(address: str) -> str:
    """Return the part of an address that belongs to one household or company: of IPv6 the first half."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(parsed, IPv6Address):
        parsed = parsed.ipv4_mapped or IPv6Network((int(parsed), 64), strict=False).network_address
    return str(parsed)


_TOO_OFTEN = "This client asks too often"


def _key(subject: Subject) -> str:
    return f"client {subject.name}"


def _refuse(wait_s: float, problem: str, subject: Subject | None = None) -> None:
    if wait_s:
        raise RateLimited(subject, detail=f"{problem}; try again later", retry_after_s=max(1, math.ceil(wait_s)))
