"""A real OpenID provider on the loopback interface, and the browser of a person who logs in through it."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any, cast
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey
from twisted.internet import reactor
from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import Site

from tests.support.client import Response, ScimClient
from tests.support.homeserver import LocalHomeserver

PUBLIC = "https://matrix.example.org"
"""Where browsers find the homeserver; a reverse proxy passes on what they ask for."""

CLIENT = "https://app.example.org/"
"""The Matrix client that the person is sent back to."""

CLIENT_ID, CLIENT_SECRET = "synapse", "provider"
ALGORITHM = "ES256"


class OpenIdProvider(Resource):
    """An OpenID provider (OpenID Connect Core 1.0, authorization code flow; Discovery 1.0) that asks nobody anything.

    It knows people by a cookie of its own, `person`, which holds their subject.
    """

    isLeaf = True

    def __init__(self) -> None:
        """Listen on a port that is free."""
        Resource.__init__(self)
        self._key = ECKey.generate_key("P-256", auto_kid=True)
        self._codes: dict[str, tuple[str, str]] = {}
        self._port = cast("Any", reactor).listenTCP(0, Site(self), interface="127.0.0.1")
        self.issuer = f"http://127.0.0.1:{self._port.getHost().port}"

    async def stop(self) -> None:
        """Stop listening."""
        await self._port.stopListening()

    def configuration(self, *, registers: bool) -> dict[str, Any]:
        """Return what a homeserver's configuration says of this provider.

        Args:
            registers: Make an account of whoever logs in and has none, named by the claim `preferred_username`.
        """
        provider = {
            "idp_id": "test",
            "idp_name": "The test's provider",
            "discover": True,
            "issuer": self.issuer,
            # It has no certificate.
            "skip_verification": True,
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "scopes": ["openid"],
            "enable_registration": registers,
            "user_mapping_provider": {"config": {"localpart_template": "{{ user.preferred_username }}"}},
        }
        return {"oidc_providers": [provider], "sso": {"client_whitelist": [CLIENT]}}

    def render(self, request: Request) -> bytes:
        """Answer a request."""
        # The homeserver keeps no connection, which would outlive the provider.
        request.setHeader(b"Connection", b"close")
        endpoints: Mapping[bytes, Callable[[Request], Any]] = {
            b"/.well-known/openid-configuration": self._discovery,
            b"/jwks": lambda _: {"keys": [self._key.as_dict(private=False)]},
            b"/authorize": self._authorize,
            b"/token": self._token,
        }
        answer = endpoints[request.path](request)
        request.setHeader(b"Content-Type", b"application/json")
        return json.dumps(answer).encode()

    def _discovery(self, _: Request) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [ALGORITHM],
        }

    def _authorize(self, request: Request) -> None:
        """Send a person back with a code: they are logged in here already."""
        code, person = secrets.token_urlsafe(), request.getCookie(b"person")
        assert person is not None
        self._codes[code] = person.decode(), _argument(request, b"nonce")
        back = urlencode({"code": code, "state": _argument(request, b"state")})
        request.redirect(f"{_argument(request, b'redirect_uri')}?{back}".encode())

    def _token(self, request: Request) -> dict[str, Any]:
        """Exchange a code, once, for an ID token."""
        assert (request.getUser(), request.getPassword()) == (CLIENT_ID.encode(), CLIENT_SECRET.encode())
        subject, nonce = self._codes.pop(_argument(request, b"code"))
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "sub": subject,
            "preferred_username": subject.lower(),
            "nonce": nonce,
            "iat": now,
            "exp": now + 60,
        }
        id_token = jwt.encode({"alg": ALGORITHM, "kid": self._key.kid}, claims, self._key)
        return {"access_token": secrets.token_urlsafe(), "token_type": "Bearer", "id_token": id_token}


class Browser:
    """Logs people in to a homeserver through an OpenID provider, as their browsers do."""

    def __init__(self, homeserver: LocalHomeserver, provider: OpenIdProvider) -> None:
        """Log in to a homeserver whose first listener trusts `X-Forwarded-For`."""
        self._homeserver = ScimClient(homeserver.url, None, "")
        self._provider = ScimClient(provider.issuer, None, "")
        self._issuer = provider.issuer

    async def opens(self, subject: str) -> str | None:
        """Log in, use the session, and return the user ID of the account that it opened.

        Args:
            subject: Who the person is to the provider.

        Returns:
            The user ID; `None` if the homeserver refuses at any step of the way.
        """
        landed = await self._sign_in(subject)
        if landed.status != 302:
            assert landed.status in {400, 403}, (landed.status, landed.body)
            return None
        client = landed.headers["location"]
        assert client.startswith(CLIENT)
        (login_token,) = parse_qs(urlsplit(client).query)["loginToken"]
        body = {"type": "m.login.token", "token": login_token}
        session = await self._homeserver.request("POST", "/_matrix/client/v3/login", body)
        if session.status != 200:
            assert session.status in {401, 403}, (session.status, session.body)
            return None
        headers = {"Authorization": f"Bearer {session.json['access_token']}"}
        whoami = await self._homeserver.request("GET", "/_matrix/client/v3/account/whoami", headers=headers)
        assert whoami.status in {200, 401}, (whoami.status, whoami.body)
        return str(whoami.json["user_id"]) if whoami.status == 200 else None

    async def _sign_in(self, subject: str) -> Response:
        """Go from the client's button to the provider and back, and return what the homeserver answers at the end."""
        start = "/_matrix/client/v3/login/sso/redirect/oidc-test"
        sent_off = await self._visit_homeserver(f"{start}?{urlencode({'redirectUrl': CLIENT})}")
        assert sent_off.status == 302, (sent_off.status, sent_off.body)
        cookies = re.findall(r"(oidc_session\w*=[^;,]+)", sent_off.headers["set-cookie"])
        authorize = sent_off.headers["location"].removeprefix(self._issuer)
        sent_back = await self._provider.request("GET", authorize, headers={"Cookie": f"person={subject}"})
        assert sent_back.status == 302, (sent_back.status, sent_back.body)
        callback = sent_back.headers["location"].removeprefix(PUBLIC)
        return await self._visit_homeserver(callback, "; ".join(cookies))

    async def _visit_homeserver(self, path: str, cookies: str | None = None) -> Response:
        through_proxy = {"Host": "matrix.example.org", "X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "https"}
        headers = {"Accept": "text/html", "Cookie": cookies, **through_proxy}
        return await self._homeserver.request("GET", path, headers=headers)


def _argument(request: Request, name: bytes) -> str:
    (value,) = request.args[name]
    return str(value.decode())
