"""Clients with tokens of their own, and what is said of their requests."""

from __future__ import annotations

import base64
import hashlib
import logging
from pathlib import Path
from typing import Any

from tests.support.client import Response
from tests.support.confidential import keep_secret
from tests.support.configuration import scim_module
from tests.support.homeserver import LocalHomeserver, StartHomeserver
from tests.support.issuer import INTROSPECTION_ID, INTROSPECTION_SECRET, TokenIssuer
from tests.web.clients import STABLE, Admin, Scim, assert_error, assert_scim

BEARER = 'Bearer realm="SCIM"'
BOTH = 'Bearer realm="SCIM", Basic realm="SCIM"'


def token_of(name: str) -> str:
    """Return the token of a client that `client` configures."""
    token = f"scim_{name}_".ljust(48, "x")
    keep_secret(token)
    return token


def client(name: str, **settings: Any) -> dict[str, Any]:
    """Return a client for the module's configuration."""
    return {"name": name, "token_sha256": [hashlib.sha256(token_of(name).encode()).hexdigest()], **settings}


def basic(name: str, token: str) -> dict[str, str]:
    """Return the header of HTTP Basic (RFC 7617)."""
    return {"Authorization": f"Basic {base64.b64encode(f'{name}:{token}'.encode()).decode()}"}


def scim_of(homeserver: LocalHomeserver, token: str, prefix: str = STABLE) -> Scim:
    """Return the requests of whoever has a token."""
    return Scim(homeserver.url, token, prefix)


def logged(homeserver: LocalHomeserver, level: int = logging.INFO) -> str:
    """Return what was logged, from a level on."""
    return "\n".join(record.getMessage() for record in homeserver.log_records if record.levelno >= level)


def assert_unauthenticated(response: Response, naming: str = "", challenge: str = BEARER) -> None:
    """Check that an answer is a 401 with a challenge."""
    assert_error(response, 401, naming=naming)
    assert response.headers["www-authenticate"] == challenge


async def assert_opens(homeserver: LocalHomeserver, token: str) -> None:
    """Check that a token is good for reading."""
    assert_scim(await scim_of(homeserver, token).get("/Users"), 200)


async def assert_unknown(homeserver: LocalHomeserver, token: str, naming: str = "") -> None:
    """Check that a token is good for nothing."""
    assert_unauthenticated(await scim_of(homeserver, token).get("/Users"), naming)


async def trusting(start_homeserver: StartHomeserver, *issuers: dict[str, Any], **settings: Any) -> Admin:
    """Start a homeserver that trusts the signatures of some issuers."""
    return await Admin.of(await start_homeserver(module=scim_module({"jwt": list(issuers), **settings})))


async def started(start_homeserver: StartHomeserver, *clients: dict[str, Any]) -> Admin:
    """Start a homeserver that knows some clients."""
    return await Admin.of(await start_homeserver(module=scim_module({"clients": list(clients)})))


def write(path: Path, token: str) -> Path:
    """Write a token into a file that only the homeserver can read, and return the file."""
    keep_secret(token)
    path.touch(0o600)
    path.write_text(f"{token}\n")
    return path


class Asking:
    """Starts homeservers that ask an issuer."""

    def __init__(self, start_homeserver: StartHomeserver, issuer: TokenIssuer, secret: Path) -> None:
        """Start nothing yet; the file is to hold the homeserver's secret at the issuer."""
        self._start = start_homeserver
        self._issuer = issuer
        self.secret = secret
        secret.write_text(f"{INTROSPECTION_SECRET}\n")

    def entry(self, **settings: Any) -> dict[str, Any]:
        """Return an entry of `introspection`; settings that are None are left out."""
        entry = {
            "issuer": self._issuer.issuer,
            "client_id": INTROSPECTION_ID,
            "client_secret_path": str(self.secret),
            **settings,
        }
        return {key: value for key, value in entry.items() if value is not None}

    async def __call__(self, config: dict[str, Any] | None = None, **settings: Any) -> Admin:
        """Start a homeserver, with other settings of the module and of the entry."""
        module = scim_module({"introspection": [self.entry(**settings)], **(config or {})})
        return await Admin.of(await self._start(module=module))
