"""The SCIM endpoints: one resource that answers every request below a prefix."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import attrs
from scim2_models import NotFoundException, SCIMException
from synapse.module_api import DirectServeJsonResource, SynapseRequest

from synapse_scim.protocol.service import Service
from synapse_scim.resources.activity import Activity
from synapse_scim.resources.audit_events import PATH as AUDIT_EVENTS
from synapse_scim.resources.audit_events import AuditEvents
from synapse_scim.resources.exchange import Exchange, Observer
from synapse_scim.resources.limits import Limits, RateLimited
from synapse_scim.resources.request import read_body, read_request
from synapse_scim.resources.response import write_response
from synapse_scim.resources.trace import Trace
from synapse_scim.store.errors import scim_errors

if TYPE_CHECKING:
    from scim2_server.responses import ScimResponse

    from synapse_scim.protocol.handler import Handler
    from synapse_scim.subject import Subject

logger = logging.getLogger(__name__)


@attrs.frozen(kw_only=True)
class Endpoint:
    """Answers SCIM requests.

    Attributes:
        service: The protocol.
        handler: Returns what serves the requests of a caller; `None` is nobody, who may ask for discovery only.
        limits: Finds out who calls, and whether too often.
        listeners: The tags of the listeners that serve clients.
        public_baseurl: Where clients reach the homeserver.
        ready: Returns when the module can serve, or raises an `AccountError`.
        audit_events: Answers requests for the audit.
        observer: Keeps what comes of requests.
        trace: Shows what one client does.
        activity: What is being answered.
    """

    service: Service
    handler: Callable[[Subject | None, str], Handler]
    limits: Limits
    listeners: frozenset[str]
    public_baseurl: str
    ready: Callable[[], Awaitable[None]]
    audit_events: AuditEvents
    observer: Observer
    trace: Trace
    activity: Activity

    async def serve(self, request: SynapseRequest, prefix: str) -> None:
        """Answer a request whose path starts with a prefix; every answer is SCIM's, errors included."""
        with self.activity.working():
            response = await self._answer(request, prefix)
            sent = write_response(request, response, at_once=not self.activity.is_ending)
            if sent is not None:
                self.activity.until(sent)

    async def _answer(self, request: SynapseRequest, prefix: str) -> ScimResponse:
        request.request_metrics.name = "ScimServlet"
        exchange = self.observer.begin(request.get_request_id())
        try:
            with scim_errors():
                response = await self._respond(request, prefix, exchange)
        except SCIMException as error:
            if isinstance(error, RateLimited):
                exchange.is_limited, exchange.subject = True, error.subject
            logger.info("%s %s: %d %s", request.get_method(), prefix, error.status, error.scim_type or "")
            response = self.service.error_response(error)
        except Exception as error:
            logger.exception("A SCIM request failed unexpectedly; this is a bug of synapse-scim")
            response = self.service.error_response(error)
        try:
            await self.observer.note(exchange, response)
            self.trace.note(exchange, response)
        except Exception:
            logger.exception("It could not be recorded what a SCIM request was told")
        return response

    async def _respond(self, request: SynapseRequest, prefix: str, exchange: Exchange) -> ScimResponse:
        if request.synapse_site.site_tag not in self.listeners:
            raise NotFoundException(detail="This listener does not serve SCIM")
        self.activity.ensure_open()
        scim_request = exchange.request = read_request(request, self.public_baseurl, prefix)
        with suppress(SCIMException):
            # Whoever asks for what does not exist says first who asks.
            exchange.target = self.service.match(scim_request)
        subject = None
        if exchange.is_discovery:
            # It tells anybody the same, and asks nobody who they are (RFC 7644 §4).
            await self.limits.admit_anybody(request)
        else:
            subject = exchange.subject = await self.limits.subject(request)
            await self.ready()
            exchange.is_ready = True
        scim_request.subject = subject
        if subject is not None and scim_request.path == AUDIT_EVENTS:
            exchange.is_audit = True
            return await self.audit_events.respond(scim_request, subject)
        scim_request.body = read_body(request, self.service.max_body_size(scim_request))
        self.service.ensure_body_size(scim_request)
        handler = self.handler(subject, exchange.request_id)
        exchange.bulk = handler.attempts
        return await handler.handle(scim_request)


class ScimResource(DirectServeJsonResource):
    """The web resource of a prefix that belongs to SCIM alone."""

    isLeaf = True

    def __init__(self, endpoint: Endpoint, prefix: str, clock: Any) -> None:
        """Serve a prefix.

        Args:
            endpoint: What answers.
            prefix: The path, without a slash at its end.
            clock: The homeserver's clock.
        """
        super().__init__(clock=clock)
        self._endpoint = endpoint
        self._prefix = prefix

    async def _async_render(self, request: SynapseRequest) -> None:
        await self._endpoint.serve(request, self._prefix)
