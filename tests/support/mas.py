"""A stand-in for Matrix Authentication Service, on the loopback interface.

It keeps the contract of the real one's admin API (`mas_contract`), and does what the real one does to Synapse: at once,
or later, by jobs. People log in with their passwords as Matrix clients do, and Synapse asks it about their tokens.
"""

from __future__ import annotations

import json
import re
import secrets
from base64 import b64decode
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, unquote, unquote_plus, urlsplit

import attrs
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from tests.support.client import Response, ScimClient
from tests.support.confidential import keep_secret
from tests.support.mas_admin import AdminApi, Refused
from tests.support.mas_contract import Contract, ContractBroken
from tests.support.mas_state import Session, State, User
from tests.support.mas_troubles import ANSWERS, Disturbance, Trouble

CLIENT_ID, CLIENT_SECRET = "01ADM1NC11ENT0000000000000", "client: secret%"
HOMESERVER_SECRET = "shared-by-both"
PROVIDER_IDS = tuple(f"01PR0V1DER00000000000000{number:02}" for number in range(10))
"""The upstream providers that it knows."""

_ADMIN_API = "/api/admin/v1/"
_API_SCOPES = "urn:matrix:client:api:* urn:matrix:org.matrix.msc2967.client:api:*"
_ADMIN_SCOPE = "urn:synapse:admin:*"
_LOGIN = re.compile(r"/_matrix/client/(r0|v3)/login")


class AuthenticationService(Resource):
    """The stand-in. It runs from construction to `stop`.

    Attributes:
        state: What it keeps.
        violations: How the contract was broken.
        requested: The method and path of each request to the admin API, below its root.
        tokens_issued: How many access tokens the client got.
        token_lifetime_s: For how long they are good, as it says.
        admits_client: Whether its policy lets the client have them.
        homeserver_url: Where it reaches Synapse.
    """

    isLeaf = True

    def __init__(self, server_name: str) -> None:
        """Listen on a port that is free.

        Args:
            server_name: The homeserver's name.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        self.state = State(providers={*PROVIDER_IDS})
        self.api = AdminApi(self.state, server_name, self._synapse, self._schedule)
        self.violations: list[str] = []
        self.requested: list[str] = []
        self.tokens_issued = 0
        self.token_lifetime_s = 300
        self.admits_client = True
        self.homeserver_url: Callable[[], str] = lambda: "http://127.0.0.1:1"
        self._server_name = server_name
        self._contract = Contract()
        self._tokens: set[str] = set()
        self._troubles: list[Trouble] = []
        self._late: list[Callable[[], Awaitable[Any]]] = []
        self._jobs: deque[Callable[[], Awaitable[None]]] = deque()
        self._is_held = self._works = self._has_stopped = False
        self._waiting: list[Deferred[None]] = []
        self._port = cast("Any", reactor).listenTCP(0, Site(self), interface="127.0.0.1")
        self.url = f"http://127.0.0.1:{self._port.getHost().port}"

    async def stop(self) -> None:
        """Stop listening; jobs that are left are not done.

        Raises:
            ContractBroken: Somebody broke the contract.
        """
        self._has_stopped = True
        self._jobs.clear()
        await self._port.stopListening()
        if self.violations:
            raise ContractBroken("\n".join(self.violations))

    # -- What tests do with it ------------------------------------------------

    def disturb(self, pattern: str, disturbance: Disturbance, *, times: int = 1000, after: int = 0) -> None:
        """Let something go wrong with requests.

        Args:
            pattern: A regular expression of the whole of such requests as `POST users`.
            disturbance: What goes wrong.
            times: With how many of them.
            after: How many of them go well before.
        """
        self._troubles.append(Trouble(re.compile(pattern), disturbance, times, after))

    def calm(self) -> None:
        """Let nothing go wrong any more."""
        self._troubles.clear()

    async def catch_up(self) -> None:
        """Do what is late, in the order in which it was asked for. Whoever asked has gone."""
        late, self._late = self._late, []
        for do in late:
            await do()

    def expire_tokens(self) -> None:
        """Accept none of the tokens that the client has got, whatever it was told of their lifetime."""
        self._tokens.clear()

    def hold_jobs(self) -> None:
        """Do no jobs for now."""
        self._is_held = True

    async def do_jobs(self) -> None:
        """Do all jobs that there are, and wait for their end."""
        self._is_held = False
        self._wake()
        if self._jobs or self._works:
            self._waiting.append(Deferred())
            await self._waiting[-1]

    async def register(
        self, username: str, *, admin: bool = False, password: str | None = None, display_name: str | None = None
    ) -> User:
        """Make a user whom Synapse knows, as one who signs up."""
        user = User(username=username, admin=admin, password=password)
        self.state.users[user.id] = user
        name = {} if display_name is None else {"set_displayname": display_name}
        await self._synapse("provision_user", {"localpart": username, "locked": False, **name})
        return user

    def migrate(self, username: str) -> User:
        """Make a user of an account that Synapse has already, as `syn2mas` does."""
        user = User(username=username)
        self.state.users[user.id] = user
        return user

    def known(self, user_id: str) -> User:
        """Return the user of an account.

        Raises:
            LookupError: There is none.
        """
        user = self.state.named(user_id[1:].partition(":")[0])
        if user is None:
            raise LookupError(user_id)
        return user

    async def session(self, user: User, *, device_id: str | None = None, is_admin: bool = False) -> Session:
        """Log a user in on a new device, which Synapse knows at once."""
        device_id = device_id or secrets.token_hex(5).upper()
        session = Session(kind="compat-session", user_id=user.id, device_id=device_id, is_synapse_admin=is_admin)
        self.state.sessions[session.id] = session
        keep_secret(session.token)
        await self._synapse("upsert_device", {"localpart": user.username, "device_id": device_id})
        return session

    def synapse_configuration(self) -> dict[str, Any]:
        """Return what Synapse's configuration says of it."""
        service = {"enabled": True, "endpoint": f"{self.url}/", "secret": HOMESERVER_SECRET}
        return {"password_config": {"enabled": False}, "matrix_authentication_service": service}

    def with_module(self, folder: Path, module: Mapping[str, Any]) -> dict[str, Any]:
        """Return an entry of `modules`, with what it says of the service.

        Args:
            folder: Where the client's secret is written to.
            module: The entry without that.
        """
        config = module["config"]
        path = folder / "mas.secret"
        path.write_text(f"{CLIENT_SECRET}\n")
        keep_secret(CLIENT_SECRET, HOMESERVER_SECRET)
        sso = config.get("sso", {})
        providers = dict.fromkeys(filter(None, [sso.get("idp_id"), *sso.get("domains", {}).values()]))
        mas = {
            "client_id": CLIENT_ID,
            "client_secret_path": str(path),
            "upstream_providers": dict(zip(providers, PROVIDER_IDS, strict=False)),
        }
        return {**module, "config": {**config, "mas": {**mas, **config.get("mas", {})}}}

    # -- Synapse --------------------------------------------------------------

    async def _synapse(self, call: str, body: Mapping[str, Any]) -> Response:
        """Make a call of Synapse's, and return its answer.

        Raises:
            Refused: It does not do it.
        """
        client = ScimClient(f"{self.homeserver_url()}/_synapse/mas/", HOMESERVER_SECRET, "")
        if call == "is_localpart_available":
            return await client.request("GET", call, params={"localpart": body["localpart"]})
        content = json.dumps(body).encode()
        answer = await client.request("POST", call, body=content, headers={"Content-Type": "application/json"})
        if answer.status >= HTTPStatus.BAD_REQUEST:
            raise Refused(HTTPStatus.INTERNAL_SERVER_ERROR, f"Synapse answers {answer.status} to {call}")
        return answer

    def _schedule(self, job: Callable[[], Awaitable[None]]) -> None:
        self._jobs.append(job)
        self._wake()

    def _wake(self) -> None:
        if not (self._works or self._is_held):
            self._works = True
            cast("Any", reactor).callLater(0, lambda: Deferred.fromCoroutine(self._work()))

    async def _work(self) -> None:
        """Do jobs one after the other; one that fails is done again, as Synapse may be away."""
        while self._jobs and not self._is_held:
            try:
                await self._jobs[0]()
            except Exception:  # noqa: BLE001 - whatever it is, the real one tries again
                if self._has_stopped:
                    break
                await deferLater(reactor, 0.02)
            else:
                if self._jobs:
                    self._jobs.popleft()
        self._works = False
        if not self._jobs:
            waiting, self._waiting = self._waiting, []
            for deferred in waiting:
                deferred.callback(None)

    # -- Requests -------------------------------------------------------------

    def render(self, request: Request) -> int:
        """Answer a request."""
        # The homeserver keeps no connection, which would outlive the service.
        request.setHeader(b"Connection", b"close")
        _ = request.notifyFinish().addErrback(lambda _: None)
        answered = Deferred.fromCoroutine(self._answer(request))
        _ = answered.addErrback(lambda failure: self._fail(request, failure))
        return NOT_DONE_YET

    def _fail(self, request: Request, failure: Failure) -> None:
        self.violations.append(failure.getTraceback())
        _write(request, HTTPStatus.INTERNAL_SERVER_ERROR, "text/plain", b"")

    async def _answer(self, request: Request) -> None:
        method, path = request.method.decode(), request.path.decode()
        name = f"{method} {path.removeprefix(_ADMIN_API)}"
        # Read at once: it goes with the connection.
        respond = partial(self._respond, request, method, path, cast("Any", request.content).read())
        if path.startswith(_ADMIN_API):
            self.requested.append(name)
        trouble = next((trouble for trouble in self._troubles if trouble.strikes(name)), None)
        if trouble is not None:
            match trouble.disturbance:
                case Disturbance.silent:
                    return
                case Disturbance.unreachable:
                    request.loseConnection()
                    return
                case Disturbance.late:
                    self._late.append(respond)
                    request.loseConnection()
                    return
                case Disturbance.lost:
                    await respond()
                    request.loseConnection()
                    return
                case Disturbance.slow:
                    await respond()
                    return
                case disturbance:
                    _write(request, *ANSWERS[disturbance])
                    return
        status, body = await respond()
        _write(request, status, "application/json", b"" if body is None else json.dumps(body).encode())

    async def _respond(self, request: Request, method: str, path: str, content: bytes) -> tuple[int, Any]:
        if path == "/oauth2/token":
            return self._token(request, content)
        if path == "/oauth2/introspect":
            assert request.getHeader("Authorization") == f"Bearer {HOMESERVER_SECRET}"
            return HTTPStatus.OK, self._introspect(parse_qs(content.decode())["token"][0])
        if _LOGIN.fullmatch(path):
            return await self._login(json.loads(content))
        scheme, _, token = (request.getHeader("Authorization") or "").partition(" ")
        if scheme != "Bearer" or token not in self._tokens:
            return HTTPStatus.UNAUTHORIZED, _errors("Unknown access token")
        return await self._administer(method, path, request.uri.decode(), content)

    async def _administer(self, method: str, path: str, uri: str, content: bytes) -> tuple[int, Any]:
        operation = self._contract.operation(method, path)
        arguments = {name: unquote(value) for name, value in operation.arguments.items()}
        query = {name: values[0] for name, values in parse_qs(urlsplit(uri).query).items()}
        body = json.loads(content) if content else None
        self._contract.check_request(attrs.evolve(operation, arguments=arguments), query, body)
        endpoint = operation.path.removeprefix(_ADMIN_API)
        try:
            status, answer = await self.api.perform(operation.method, endpoint, arguments, query, body or {})
        except Refused as refusal:
            status, answer = refusal.status, _errors(str(refusal))
        self._contract.check_answer(operation, status, answer)
        return status, answer

    def _token(self, request: Request, content: bytes) -> tuple[int, Any]:
        """Grant a client its credentials' token (RFC 6749 §4.4)."""
        scheme, _, encoded = (request.getHeader("Authorization") or "").partition(" ")
        client_id, _, secret = b64decode(encoded).decode().partition(":")
        form = {name: values[0] for name, values in parse_qs(content.decode()).items()}
        assert scheme == "Basic"
        assert form == {"grant_type": "client_credentials", "scope": "urn:mas:admin"}
        if (unquote_plus(client_id), unquote_plus(secret)) != (CLIENT_ID, CLIENT_SECRET):
            return HTTPStatus.UNAUTHORIZED, {"error": "invalid_client"}
        if not self.admits_client:
            return HTTPStatus.FORBIDDEN, {"error": "invalid_scope"}
        token = f"mat_{secrets.token_hex(16)}"
        keep_secret(token)
        self._tokens.add(token)
        self.tokens_issued += 1
        return HTTPStatus.OK, {
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": self.token_lifetime_s,
            "scope": form["scope"],
        }

    def _introspect(self, token: str) -> dict[str, Any]:
        """Tell about a person's token (RFC 7662)."""
        session = next((session for session in self.state.sessions.values() if session.token == token), None)
        user = None if session is None else self.state.users[session.user_id]
        if session is None or user is None or session.finished_at is not None or not user.is_valid:
            return {"active": False}
        scope = f"{_API_SCOPES} {_ADMIN_SCOPE}" if session.is_synapse_admin else _API_SCOPES
        return {
            "active": True,
            "scope": scope,
            "client_id": "legacy",
            "username": user.username,
            "token_type": "access_token",
            "sub": user.id,
            "device_id": session.device_id,
        }

    async def _login(self, body: Mapping[str, Any]) -> tuple[int, Any]:
        """Log in as a Matrix client does, with a password."""
        localpart = body["identifier"]["user"].removeprefix("@").removesuffix(f":{self._server_name}")
        user = self.state.named(localpart)
        if user is None or user.deactivated_at is not None:
            return HTTPStatus.FORBIDDEN, {"errcode": "M_FORBIDDEN", "error": "Invalid username/password"}
        if user.locked_at is not None:
            return HTTPStatus.UNAUTHORIZED, {"errcode": "M_USER_LOCKED", "error": "User account has been locked"}
        if user.password is None or user.password != body["password"]:
            return HTTPStatus.FORBIDDEN, {"errcode": "M_FORBIDDEN", "error": "Invalid username/password"}
        session = await self.session(user, device_id=body.get("device_id"))
        user_id = f"@{user.username}:{self._server_name}"
        return HTTPStatus.OK, {"user_id": user_id, "access_token": session.token, "device_id": session.device_id}


def _errors(title: str) -> dict[str, Any]:
    return {"errors": [{"title": title}]}


def _write(request: Request, status: int, content_type: str, content: bytes) -> None:
    if request.channel is None:
        # Whoever asked has gone.
        return
    request.setResponseCode(status)
    request.setHeader("Content-Type", content_type)
    request.write(content)
    request.finish()
