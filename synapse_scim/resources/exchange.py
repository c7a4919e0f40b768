"""A request and its answer, as the audit sees them."""

from __future__ import annotations

import attrs
from scim2_server.responses import ScimResponse
from scim2_server.routing import Target

from synapse_scim.audit import Caller
from synapse_scim.protocol.attempt import Attempt
from synapse_scim.store.audit import Trail
from synapse_scim.subject import Subject

_LONGEST_REQUEST_ID = 100


def _printable(request_id: str) -> str:
    """Return a request's id, which a header may give: as much of it as is fit to be kept."""
    return "".join(c for c in request_id[:_LONGEST_REQUEST_ID] if c.isascii() and c.isprintable())


@attrs.define(kw_only=True)
class Exchange:
    """What is known of a request while it is answered.

    Attributes:
        request_id: How Synapse's log calls it.
        target: What it asks for, if that exists.
        subject: Who asks, if that is known and SCIM is ready.
        is_recorded: Whether a refusal is kept.
        bulk: The operations of a bulk request that have been tried.
    """

    request_id: str = attrs.field(converter=_printable)
    target: Target | None = None
    subject: Subject | None = None
    is_recorded: bool = True
    bulk: list[Attempt] = attrs.field(factory=list)

    def attempts(self, response: ScimResponse) -> list[Attempt]:
        """Return what was asked for, and what came of it."""
        if self.target is None:
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
    """Keeps what comes of requests.

    Attributes:
        trail: The audit.
    """

    trail: Trail

    async def note(self, exchange: Exchange, response: ScimResponse) -> None:
        """Record what was refused."""
        if exchange.subject is None or not exchange.is_recorded:
            return
        caller = Caller(
            client=exchange.subject.name, credential=exchange.subject.credential, request_id=exchange.request_id
        )
        await self.trail.add([e for attempt in exchange.attempts(response) for e in attempt.refusals(caller)])
