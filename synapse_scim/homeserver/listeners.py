"""Puts the SCIM endpoints where clients reach them, under both prefixes."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from synapse import rest
from synapse.http.site import XForwardedForRequest
from twisted.web.server import Request

from synapse_scim.homeserver.sessions import RefreshServlet

if TYPE_CHECKING:
    from synapse.http.server import HttpServer
    from synapse.http.site import SynapseRequest
    from synapse.server import HomeServer

FORWARDED = "X-Forwarded-For"
"""The header in which proxies write for whom they ask."""

_HOST = re.compile(r"\[(?P<v6>[^]]*)\](?::\d+)?|(?P<v4>[\d.]+):\d+")
"""An address with what some proxies write around it: brackets, and the port of the connection."""

Serve = Callable[["SynapseRequest"], Awaitable[None]]
Register = Callable[["HttpServer"], None]

_SERVLETS = "_synapse_scim_servlets"
"""The attribute of a homeserver that holds what registers its servlets. All homeservers of a process share the list of
servlets, and a table of them here would keep them in memory after their end."""


def serve_below_client_api(hs: HomeServer, prefix: str, serve: Serve) -> None:
    """Serve all paths from a prefix below `/_matrix/client` on.

    A web resource registered there is never reached, and with `compress: true` keeps Synapse from starting; a servlet
    of the client API is reached (`docs/architecture.md`), on listeners for clients alone.

    Args:
        hs: The homeserver; its listeners have not started yet.
        prefix: The path, without a slash at its end.
        serve: Answers a request, whatever its method.
    """
    pattern = re.compile(f"^{re.escape(prefix)}(?=/|$)")

    async def answer(request: SynapseRequest, **_groups: str) -> None:
        await serve(request)

    def register(http_server: HttpServer) -> None:
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            http_server.register_paths(method, [pattern], answer, "ScimServlet")

    _add_servlet(hs, register)


def refuse_refreshing_when_locked(hs: HomeServer) -> None:
    """Let no locked account renew its access token, where Synapse lets accounts do so: in the main process.

    The listeners have not started yet.
    """
    if hs.config.worker.worker_app is None and hs.config.registration.refreshable_access_token_lifetime is not None:
        _add_servlet(hs, RefreshServlet(hs).register)


def _add_servlet(hs: HomeServer, register: Register) -> None:
    setattr(hs, _SERVLETS, (*getattr(hs, _SERVLETS, ()), register))
    servlets = rest.SERVLET_GROUPS["client"]
    if _register_servlets not in servlets:
        # At the end: a servlet with the path of one of Synapse's takes its place.
        rest.SERVLET_GROUPS["client"] = (*servlets, _register_servlets)


def _register_servlets(hs: HomeServer, http_server: HttpServer) -> None:
    for register in getattr(hs, _SERVLETS, ()):
        register(http_server)


def client_address(request: SynapseRequest) -> str:
    """Return the IP address that a request comes from.

    That is the connection's, or where the listener trusts a proxy the last entry of `X-Forwarded-For`, which the proxy
    wrote: Synapse takes the first one, which is the caller's word.
    """
    if isinstance(request, XForwardedForRequest) and (headers := request.requestHeaders.getRawHeaders(FORWARDED)):
        entry = headers[-1].split(",")[-1].strip()
        host = _HOST.fullmatch(entry)
        return entry if host is None else host["v6"] or host["v4"]
    return getattr(Request.getClientAddress(request), "host", "")


def client_listeners(hs: HomeServer) -> frozenset[str]:
    """Return the tags of the listeners that serve clients: a module's web resources are put on every listener."""
    listeners = hs.config.worker.worker_listeners if hs.config.worker.worker_app else hs.config.server.listeners
    return frozenset(
        listener.get_site_tag()
        for listener in listeners
        if listener.type == "http"
        and listener.http_options is not None
        and any("client" in resource.names for resource in listener.http_options.resources)
    )
