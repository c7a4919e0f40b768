"""A request and its answer, as the audit and the metrics see them."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus

import attrs
from scim2_server.requests import ScimRequest
from scim2_server.responses import ScimResponse
from scim2_server.routing import Target

from synapse_scim import metrics
from synapse_scim.audit import Caller
from synapse_scim.gateway import AccountGateway
from synapse_scim.protocol.attempt import Attempt
from synapse_scim.protocol.service import DISCOVERY
from synapse_scim.store.audit import Trail
from synapse_scim.subject import Subject

_LONGEST_REQUEST_ID = 100
_REFUSED_CREDENTIALS = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})


def _printable(request_id: str) -> str:
    """Return a request's id, which a header may give: as much of it as is fit to be kept."""
    shortened = request_id[:_LONGEST_REQUEST_ID]
    if shortened.isascii() and shortened.isprintable():
        return shortened
    return "".join(c for c in shortened if c.isascii() and c.isprintable())


@attrs.define(kw_only=True)
class Exchange:
    """What is known of a request while it is answered.

    Attributes:
        request_id: How Synapse's log calls it.
        began: When it came.
        request: The request, once it is read.
        target: What it asks for, if that exists.
        is_audit: It asks for the audit.
        subject: Who asks, if that is known.
        is_ready: SCIM is ready to serve them.
        is_limited: They ask too often.
        bulk: The operations of a bulk request that have been tried.
    """

    request_id: str = attrs.field(converter=_printable)
    began: datetime
    request: ScimRequest | None = None
    target: Target | None = None
    is_audit: bool = False
    subject: Subject | None = None
    is_ready: bool = False
    is_limited: bool = False
    bulk: list[Attempt] = attrs.field(factory=list)

    @property
    def is_discovery(self) -> bool:
        """Whether it asks for what anybody may know."""
        return self.target is not None and self.target.operation in DISCOVERY

    @property
    def operation(self) -> str:
        """How metrics call what is asked for."""
        if self.is_audit:
            return "audit"
        return self.target.operation.value if self.target else "unknown"

    def attempts(self, response: ScimResponse) -> list[Attempt]:
        """Return what was asked for, and what came of it."""
        if self.target is None or self.is_audit:
            return []
        me = self.subject.user_id if self.subject else None
        return [
            Attempt(
                operation=self.target.operation,
                user_id=me if self.target.me else self.target.resource_id,
                status=int(response.status),
                scim_type=(response.body or {}).get("scimType"),
            ),
            *self.bulk,
        ]


@attrs.frozen(kw_only=True)
class Observer:
    """Keeps what comes of requests: metrics of all, and the audit of those that would have written.

    Attributes:
        trail: The audit.
        gateway: The clock, and the server's name.
    """

    trail: Trail
    gateway: AccountGateway

    def begin(self, request_id: str) -> Exchange:
        """Return what is known of a request that has just come."""
        return Exchange(request_id=request_id, began=self.gateway.now())

    async def note(self, exchange: Exchange, response: ScimResponse) -> None:
        """Count a request, and record what was refused."""
        self._measure(exchange, response)
        subject = exchange.subject
        if subject is None or exchange.is_limited or not exchange.is_ready:
            return
        if response.status < HTTPStatus.BAD_REQUEST and not exchange.bulk:
            return
        attempts = exchange.attempts(response)
        guarded = sum(attempt.status == HTTPStatus.TOO_MANY_REQUESTS for attempt in attempts)
        if guarded:
            metrics.GUARD_REFUSALS.labels(self.gateway.server_name, metrics.client_label(subject)).inc(guarded)
        caller = Caller(client=subject.name, credential=subject.credential, request_id=exchange.request_id)
        await self.trail.add([event for attempt in attempts for event in attempt.refusals(caller)])

    def _measure(self, exchange: Exchange, response: ScimResponse) -> None:
        server_name, client = self.gateway.server_name, metrics.client_label(exchange.subject)
        status = int(response.status)
        metrics.REQUESTS.labels(server_name, exchange.operation, status, client).inc()
        seconds = (self.gateway.now() - exchange.began).total_seconds()
        metrics.REQUEST_DURATION.labels(server_name, exchange.operation).observe(seconds)
        for attempt in exchange.bulk:
            metrics.BULK_OPERATIONS.labels(server_name, attempt.operation.value, attempt.status, client).inc()
        if exchange.is_limited:
            metrics.RATE_LIMIT_REFUSALS.labels(server_name, client).inc()
        elif not exchange.is_discovery and exchange.subject is None and status in _REFUSED_CREDENTIALS:
            metrics.CREDENTIAL_FAILURES.labels(server_name, status).inc()
