"""Adds pushers, which Synapse can do in the main process alone: the others ask it to."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from synapse.api.errors import HttpResponseException, SynapseError
from synapse.config.workers import MAIN_PROCESS_INSTANCE_NAME
from synapse.http.client import RequestTimedOutError
from synapse.http.server import DirectServeJsonResource
from synapse.http.servlet import parse_json_object_from_request
from synapse.push import PusherConfigException
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.web.client import ResponseFailed

from synapse_scim.accounts import Unavailable

if TYPE_CHECKING:
    from synapse.http.site import SynapseRequest
    from synapse.server import HomeServer

PATH = "/_synapse/scim/pushers"
"""Where the main process listens for it, beside Synapse's own replication."""

_NO_ANSWER = (ConnectError, ConnectionClosed, ResponseFailed, RequestTimedOutError)


class Pushers:
    """Adds pushers, in whatever process it is."""

    def __init__(self, hs: HomeServer) -> None:
        """Use a homeserver."""
        self._hs = hs

    async def add(self, user_id: str, settings: Mapping[str, Any]) -> None:
        """Add a pusher, or change the one that has its key.

        Args:
            user_id: Who is notified.
            settings: The other arguments of Synapse's `PusherPool.add_or_update_pusher`.

        Raises:
            SynapseError: The homeserver refuses it.
            Unavailable: The main process does not answer.
        """
        if self._hs.config.worker.worker_app is None:
            await add_here(self._hs, user_id, settings)
            return
        secret = self._hs.config.worker.worker_replication_secret
        try:
            await self._hs.get_replication_client().post_json_get_json(
                f"synapse-replication://{MAIN_PROCESS_INSTANCE_NAME}{PATH}",
                {"user_id": user_id, "settings": dict(settings)},
                headers={b"Authorization": [_bearer(secret)]} if secret else {},
            )
        except HttpResponseException as error:
            refusal = error.to_synapse_error()
            if refusal.code >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise Unavailable("The main process of the homeserver cannot add pushers at the moment") from error
            raise refusal from error
        except _NO_ANSWER as error:
            raise Unavailable("The main process of the homeserver does not answer") from error


async def add_here(hs: HomeServer, user_id: str, settings: Mapping[str, Any]) -> None:
    """Add a pusher in the main process.

    Raises:
        SynapseError: The homeserver refuses it.
    """
    try:
        await hs.get_pusherpool().add_or_update_pusher(user_id=user_id, **settings)
    except PusherConfigException as error:
        raise SynapseError(HTTPStatus.BAD_REQUEST, str(error)) from error


class PushersResource(DirectServeJsonResource):
    """Where the main process is asked to add pushers: on the listeners for replication, by whoever has its secret."""

    isLeaf = True

    def __init__(self, hs: HomeServer) -> None:
        """Serve the other processes of a homeserver."""
        super().__init__(clock=hs.get_clock())
        self._hs = hs
        self._listeners = frozenset(
            listener.get_site_tag()
            for listener in hs.config.server.listeners
            if listener.http_options is not None
            and any("replication" in resource.names for resource in listener.http_options.resources)
        )

    async def _async_render(self, request: SynapseRequest) -> tuple[int, dict[str, Any]]:
        if request.synapse_site.site_tag not in self._listeners or not self._is_trusted(request):
            raise SynapseError(HTTPStatus.NOT_FOUND, "Not found")
        body = parse_json_object_from_request(request)
        await add_here(self._hs, body["user_id"], body["settings"])
        return HTTPStatus.OK, {}

    def _is_trusted(self, request: SynapseRequest) -> bool:
        secret = self._hs.config.worker.worker_replication_secret
        sent = request.requestHeaders.getRawHeaders(b"Authorization", [b""])[0]
        # Without one Synapse trusts whoever reaches the listener.
        return not secret or hmac.compare_digest(sent, _bearer(secret))


def _bearer(secret: str) -> bytes:
    return b"Bearer " + secret.encode("ascii")
