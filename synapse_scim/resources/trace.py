"""Logs what one client sends and is told, for an administrator who wants to see what an identity provider does."""

from __future__ import annotations

import json
import logging
from datetime import timedelta
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import attrs
from scim2_models import SCIMException
from scim2_server.requests import ScimRequest
from scim2_server.responses import ScimResponse

from synapse_scim.gateway import AccountGateway
from synapse_scim.protocol import payload
from synapse_scim.protocol.masking import MAX_ITEMS, Masker, bounded
from synapse_scim.protocol.presentation import encoded
from synapse_scim.resources.exchange import Exchange
from synapse_scim.store.traces import Traces

MAX_BODY = 256 * 1024
"""The largest request body that is looked at, in bytes: nobody else is served meanwhile."""

MAX_SHOWN = 16 * 1024
"""How many characters are shown of a body."""

# By the name that the documentation gives.
logger = logging.getLogger("synapse_scim.trace")


@attrs.frozen(kw_only=True)
class Trace:
    """Logs the requests of one client or a few, each as a line of JSON.

    Attributes:
        client: The client's name, as logs and the audit have it; `None` for no client.
        traces: Who is traced besides.
        gateway: The clock, and the server's name.
    """

    client: str | None
    traces: Traces
    gateway: AccountGateway

    def note(self, exchange: Exchange, response: ScimResponse) -> None:
        """Log a request with its answer, if one who is traced sent it."""
        subject, request = exchange.subject, exchange.request
        if subject is None or request is None or not (subject.name == self.client or self.traces.has(subject.name)):
            return
        masker = Masker(server_name=self.gateway.server_name)
        shown = {
            "requestId": exchange.request_id,
            "client": subject.name,
            "credential": subject.credential,
            "method": request.method,
            "path": urlsplit(request.base_url).path + masker.path(request.path),
            "query": masker.query(request.query),
            "headers": masker.headers(request.headers),
            "body": bounded(_body(masker, request, response), MAX_SHOWN),
            "status": int(response.status),
            "answer": bounded(_answer(masker, response), MAX_SHOWN),
            "milliseconds": (self.gateway.now() - exchange.began) // timedelta(milliseconds=1),
        }
        said = {name: value for name, value in shown.items() if value not in (None, {})}
        logger.info("%s", json.dumps(said, separators=(",", ":")))


def _body(masker: Masker, request: ScimRequest, response: ScimResponse) -> Any:
    """Return what is shown of a request's body; `None` if there is none."""
    if not request.body:
        return None
    if len(request.body) > MAX_BODY or response.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        masker.knows_all = False
        return f"<{len(request.body)} bytes or more>"
    try:
        return masker.request(payload.parse(request.body))
    except SCIMException as error:
        return f"<{len(request.body)} bytes: {error.detail}>"


def _answer(masker: Masker, response: ScimResponse) -> Any:
    """Return what is shown of an answer's body; `None` if there is none."""
    if response.body is None:
        return None
    users = response.body.get("Resources")
    if not isinstance(users, list) or len(users) <= MAX_ITEMS:
        return masker.answer(json.loads(encoded(response.body)))
    # What is not shown need not be looked at either.
    first = {"Resources": type(users)(users[:MAX_ITEMS])}
    answer = masker.answer(json.loads(encoded({**response.body, **first})))
    return {**answer, "Resources": [*answer["Resources"], f"<{len(users) - MAX_ITEMS} more>"]}
