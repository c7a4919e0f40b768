"""Looks at a server from outside, as anybody can: whether SCIM answers where it should."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import attrs
import httpx2

from synapse_scim.client import answers
from synapse_scim.client.findings import Finding, bad, good, unclear
from synapse_scim.client.server import Server
from synapse_scim.client.trouble import Trouble
from synapse_scim.homeserver.description import Description
from synapse_scim.mapping.schema import MATRIX_SCHEMA
from synapse_scim.resources.request import STABLE_PREFIX, UNSTABLE_PREFIX, VERSION_SEGMENT

_DISCOVERY = "/ServiceProviderConfig"
_MOST_SECONDS = 30
"""How far clocks may be apart: tokens of an identity provider are valid for minutes."""

_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
_PROXY = "Have the reverse proxy pass this path on to Synapse as it does /_matrix, without changing it"


@attrs.frozen(kw_only=True)
class Reached:
    """What was found from outside.

    Attributes:
        findings: What is to be said of it.
        is_scim: Whether this module answers, so that more can be asked.
    """

    findings: tuple[Finding, ...]
    is_scim: bool


def base_of(url: str) -> str | None:
    """Return the homeserver's own URL, if a URL ends with one of the prefixes."""
    url = url.removesuffix(f"/{VERSION_SEGMENT}")
    return next((url.removesuffix(p) for p in (STABLE_PREFIX, UNSTABLE_PREFIX) if url.endswith(p)), None)


def reach(server: Server, description: Description | None) -> Reached:
    """Ask a server what it tells anybody.

    Args:
        server: The server, without a token.
        description: Its configuration, if it is known.
    """
    url = server.url + _DISCOVERY
    try:
        answer = server.send("GET", url)
    except Trouble as error:
        return Reached(findings=(bad("URL", error.message, _elsewhere(server)),), is_scim=False)
    said = answers.json_object(answer)
    if not answers.is_scim(answer) or said is None or not answer.is_success:
        return Reached(findings=(bad("URL", answers.misdirected(answer), _elsewhere(server)),), is_scim=False)
    if not _is_scim(server, f"/Schemas/{MATRIX_SCHEMA}"):
        told = bad("URL", f"a SCIM server answers at {server.url}, but not this module", _elsewhere(server))
        return Reached(findings=(told,), is_scim=False)
    findings = (
        good("URL", f"SCIM answers at {server.url}"),
        _identity(server, str((said.get("meta") or {}).get("location")).removesuffix(_DISCOVERY), description),
        *_prefixes(server, description),
        _encryption(server),
        _clock(answer),
    )
    return Reached(findings=findings, is_scim=True)


def _is_scim(server: Server, path: str, base: str | None = None) -> bool:
    try:
        answer = server.send("GET", (base or server.url) + path)
    except Trouble:
        return False
    return answers.is_scim(answer) and answer.is_success


def _elsewhere(server: Server) -> str:
    """Return what to try instead of a URL where SCIM does not answer."""
    try:
        url = httpx2.URL(server.url)
    except httpx2.InvalidURL:
        return "Correct the URL"
    if url.scheme in {"http", "https"} and url.host:
        origin = str(url.copy_with(raw_path=b"/")).rstrip("/")
        for prefix in (STABLE_PREFIX, UNSTABLE_PREFIX):
            if _is_scim(server, _DISCOVERY, origin + prefix):
                return f"SCIM answers at {origin + prefix}: use this URL"
    return f"Correct the URL, which ends with {STABLE_PREFIX}, or the reverse proxy"


def _identity(server: Server, location: str, description: Description | None) -> Finding:
    """Compare where the server believes to be with where it is."""
    told = httpx2.URL(location)
    asked = httpx2.URL(server.url)
    configured = None if description is None else httpx2.URL(description.public_baseurl)
    if configured is not None and told.netloc != configured.netloc:
        return bad(
            "identity",
            f"the server at {server.url} says that it is {location}, and the configuration is that of {configured}",
            "Give the URL and the configuration of one and the same homeserver, and restart it if they changed",
        )
    if (told.scheme, told.netloc, told.path.rstrip("/")) != (asked.scheme, asked.netloc, asked.path.rstrip("/")):
        return bad(
            "identity",
            f"the server at {server.url} says that it is {location}, where the locations in its answers lead",
            "Use the URL that it says, or correct 'public_baseurl' in homeserver.yaml and restart Synapse",
        )
    return good("identity", f"the server knows that it is {location}")


def _prefixes(server: Server, description: Description | None) -> Iterator[Finding]:
    base = base_of(server.url)
    if base is None:
        yield unclear("prefixes", f"{server.url} ends with neither {STABLE_PREFIX} nor {UNSTABLE_PREFIX}")
        return
    module = None if description is None else description.module
    for prefix, served in (
        (STABLE_PREFIX, module is None or module.stable_prefix),
        (UNSTABLE_PREFIX, module is None or module.unstable_prefix),
    ):
        about = f"prefix {prefix}"
        if _is_scim(server, _DISCOVERY, base + prefix):
            yield good(about, "it can be reached")
        elif served:
            yield bad(about, f"SCIM does not answer at {base + prefix}", f"{_PROXY}, unless the prefix is turned off")
        else:
            yield good(about, "it is turned off")


def _encryption(server: Server) -> Finding:
    url = httpx2.URL(server.url)
    if url.scheme == "https" or url.host in _LOCAL:
        return good("encryption", "nobody on the way reads the token")
    return bad("encryption", "without https, everybody on the way reads the token", "Use https, and make a new token")


def _clock(answer: httpx2.Response) -> Finding:
    try:
        there = parsedate_to_datetime(answer.headers.get("Date", ""))
    except ValueError:
        return unclear("clock", "the answers bear no date")
    apart = abs((datetime.now(UTC) - there).total_seconds())
    if apart > _MOST_SECONDS:
        return bad(
            "clock",
            f"the server's clock and the one here are {apart:.0f} seconds apart",
            "Have both machines set their clocks by NTP; tokens and cursors expire at the wrong time otherwise",
        )
    return good("clock", "the server's clock and the one here agree")
