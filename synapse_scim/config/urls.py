"""Which URLs keys and tokens may travel to and from."""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import urlsplit

_PRINTABLE = re.compile(r"[!-~]+")


def is_secure_url(url: str) -> bool:
    """Tell whether a URL is one of HTTPS, or of HTTP on a loopback address, which nobody listens to on the way.

    User names and fragments have no place in it: the former would be logged, the latter never sent.
    """
    return _scheme_and_host(url)[0] == "https" or is_loopback_url(url)


def is_loopback_url(url: str) -> bool:
    """Tell whether a URL is one of HTTP on a loopback address."""
    scheme, host = _scheme_and_host(url)
    if scheme != "http":
        return False
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _scheme_and_host(url: str) -> tuple[str, str]:
    """Return the two; of something else than such a URL, two empty strings."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return "", ""
    if not parts.hostname or not _PRINTABLE.fullmatch(url) or "@" in parts.netloc or "#" in url:
        return "", ""
    return parts.scheme, parts.hostname
