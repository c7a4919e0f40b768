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
from twisted.internet.defer import maybeDeferred
from twisted.internet.ssl import DefaultOpenSSLContextFactory
from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from tests.support.client import Response, ScimClient
from tests.support.homeserver import LocalHomeserver
from tests.support.https import Answer, CertificateAuthority

PUBLIC = "https://matrix.example.org"
"""Where browsers find the homeserver; a reverse proxy passes on what they ask for."""

CLIENT = "https://app.example.org/"
"""The Matrix client that the person is sent back to."""

CLIENT_ID, CLIENT_SECRET = "synapse", "provider"
ALGORITHM = "ES256"


class OpenIdProvider(Resource):
    """An OpenID provider (OpenID Connect Core 1.0, authorization code flow; Discovery 1.0) that asks nobody anything.

    It knows people by a cookie of its own, `person`, which holds their subject.

    Attributes:
        issuer: Its name, and where it is.
        requested: The paths of the requests so far.
        answers: What answers otherwise than a provider should, by path.
    """

    isLeaf = True

    def __init__(self, authority: CertificateAuthority | None = None) -> None:
        """Listen on a port that is free.

        Args:
            authority: Who certifies it; without one it speaks HTTP.
        """
        Resource.__init__(self)
        self._key = ECKey.generate_key("P-256", auto_kid=True)
        self._codes: dict[str, tuple[str, str]] = {}
        self.requested: list[str] = []
        self.answers: dict[str, Answer] = {}
        self._contexts = None
        if authority is not None:
            file = str(authority.certify(["127.0.0.1"]))
            self._contexts = DefaultOpenSSLContextFactory(file, file)
        self._listen(0)
        self._number = self._port.getHost().port
        self.issuer = f"{'http' if authority is None else 'https'}://127.0.0.1:{self._number}"

    def _listen(self, port: int) -> None:
        listener = cast("Any", reactor)
        if self._contexts is None:
            self._port = listener.listenTCP(port, Site(self), interface="127.0.0.1")
        else:
            self._port = listener.listenSSL(port, Site(self), self._contexts, interface="127.0.0.1")

    async def stop(self) -> None:
        """Stop listening, unless it has stopped."""
        await maybeDeferred(self._port.stopListening)

    def start_again(self) -> None:
        """Listen again, on the same port."""
        self._listen(self._number)

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

    def render(self, request: Request) -> bytes | int:
        """Answer a request."""
        # The homeserver keeps no connection, which would outlive the provider.
        request.setHeader(b"Connection", b"close")
        # Whoever asks through a proxy names the whole URL.
        path = urlsplit(request.path.decode()).path
        self.requested.append(path)
        if path in self.answers:
            self.answers[path](request)
            return NOT_DONE_YET
        answer = self.endpoints()[path](request)
        request.setHeader(b"Content-Type", b"application/json")
        return json.dumps(answer).encode()

    def endpoints(self) -> Mapping[str, Callable[[Request], Any]]:
        """Return what makes the JSON of each answer, by path."""
        return {
            "/.well-known/openid-configuration": lambda _: self.metadata(),
            "/jwks": lambda _: {"keys": [self._key.as_dict(private=False)]},
            "/authorize": self._authorize,
            "/token": self._token,
        }

    def metadata(self) -> dict[str, Any]:
        """Return what it says of itself."""
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
