"""Finds out where an issuer has what: its metadata (OpenID Connect Discovery 1.0 §4, RFC 8414)."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

from synapse_scim.config import is_loopback_url, is_secure_url
from synapse_scim.web import WebClient, WebUnavailable, json_object


async def discover(web: WebClient, issuer: str, endpoint: str) -> str:
    """Return the URL of an issuer's endpoint.

    Args:
        web: Fetches the metadata.
        issuer: The issuer, whose metadata must call it so, character by character.
        endpoint: The name of the endpoint in the metadata.

    Raises:
        WebUnavailable: There is no metadata, or it names no endpoint that may be asked: one of HTTPS, or where the
            issuer itself is on a loopback address without, one there.
    """
    try:
        content = await web.get(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
    except WebUnavailable as error:
        if not error.is_missing:
            raise
        # An authorization server that is no OpenID provider has its metadata elsewhere (RFC 8414 §3).
        parts = urlsplit(issuer)
        path = f"/.well-known/oauth-authorization-server{parts.path.rstrip('/')}"
        content = await web.get(urlunsplit((parts.scheme, parts.netloc, path, "", "")))
    metadata = json_object(content)
    if metadata.get("issuer") != issuer:
        raise WebUnavailable("its metadata is another issuer's")
    url = metadata.get(endpoint)
    if not isinstance(url, str) or not is_secure_url(url) or (is_loopback_url(url) and not is_loopback_url(issuer)):
        raise WebUnavailable(f"its metadata names no '{endpoint}' that is an https: URL")
    return url
