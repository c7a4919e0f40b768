"""The clients of these tests, and what they say of every answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import quote

from twisted.internet import reactor
from twisted.internet.task import deferLater

from tests.support.client import Response, ScimClient
from tests.support.homeserver import LocalHomeserver
from tests.support.mas import AuthenticationService
from tests.support.mas_people import changed_at_mas

SERVER = "https://matrix.example.org"
STABLE = "/_scim"
UNSTABLE = "/_matrix/client/unstable/coop.yaal/scim"

USER = "urn:ietf:params:scim:schemas:core:2.0:User"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
MATRIX = "urn:matrix:params:scim:schemas:extension:1.0:User"
ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
SEARCH = "urn:ietf:params:scim:api:messages:2.0:SearchRequest"
BULK = "urn:ietf:params:scim:api:messages:2.0:BulkRequest"


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait for what happens in its own time, and not for ever."""
    for _ in range(1000):
        if await holds():
            return
        await deferLater(reactor, 0.01)
    raise AssertionError("it did not happen")


def new_user(user_name: Any, **attributes: Any) -> dict[str, Any]:
    """Return the body of a POST or PUT."""
    return {"schemas": [USER], "userName": user_name, **attributes}


def patch_of(*operations: Any) -> dict[str, Any]:
    """Return the body of a PATCH."""
    return {"schemas": [PATCH], "Operations": list(operations)}


def bulk_of(*operations: Any, **more: Any) -> dict[str, Any]:
    """Return the body of a bulk request."""
    return {"schemas": [BULK], "Operations": list(operations), **more}


def url_of(user_id: str) -> str:
    """Return the path of a User, its id percent-encoded."""
    return f"/Users/{quote(user_id, safe='')}"


def without_meta(user: Mapping[str, Any]) -> dict[str, Any]:
    """Return a User without what changes with each write."""
    return {name: value for name, value in user.items() if name != "meta"}


def assert_scim(response: Response, status: int) -> Any:
    """Check the status of an answer, and that it is SCIM (RFC 7644 §3.1); return its body."""
    assert response.status == status, (response.status, response.body[:2000])
    assert response.headers["content-type"].partition(";")[0] == "application/scim+json"
    return response.json


def assert_error(response: Response, status: int, scim_type: str | None = None, naming: str = "") -> dict[str, Any]:
    """Check that an answer is an error as RFC 7644 §3.12 has it.

    Args:
        response: The answer.
        status: Its status.
        scim_type: Its `scimType`.
        naming: What its `detail` names, in whatever case.
    """
    error: dict[str, Any] = assert_scim(response, status)
    assert error["schemas"] == [ERROR]
    assert error["status"] == str(status)
    assert error.get("scimType") == scim_type, error
    assert naming.lower() in error["detail"].lower(), error
    return error


class Scim(ScimClient):
    """Requests to the SCIM endpoints."""

    def __init__(
        self,
        base_url: str,
        token: str | None,
        prefix: str = STABLE,
        *,
        settle: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Send requests to the paths under a prefix.

        Args:
            base_url: The address of a listener, without a slash at its end.
            token: The bearer token; None to send none.
            prefix: What every path begins with.
            settle: What to wait for after each answer.
        """
        super().__init__(base_url, token, prefix)
        self._settle = settle

    async def request(self, method: str, path: str, json: Any = None, **options: Any) -> Response:
        """Send a request and return the whole answer, when all that it leads to has happened."""
        response = await super().request(method, path, json, **options)
        if self._settle is not None:
            await self._settle()
        return response

    async def get(self, path: str, **options: Any) -> Response:
        """Send a GET."""
        return await self.request("GET", path, **options)

    async def post(self, path: str, body: Any, **options: Any) -> Response:
        """Send a POST."""
        return await self.request("POST", path, body, **options)

    async def put(self, user_id: str, user: Mapping[str, Any], **options: Any) -> Response:
        """Replace a User."""
        return await self.request("PUT", url_of(user_id), user, **options)

    async def patch(self, user_id: str, *operations: Any, **options: Any) -> Response:
        """Change a User."""
        return await self.request("PATCH", url_of(user_id), patch_of(*operations), **options)

    async def delete(self, user_id: str, **options: Any) -> Response:
        """Delete a User."""
        return await self.request("DELETE", url_of(user_id), **options)

    async def create(self, user_name: str, **attributes: Any) -> dict[str, Any]:
        """Make a User, and return it."""
        user: dict[str, Any] = assert_scim(await self.post("/Users", new_user(user_name, **attributes)), 201)
        if self._settle is None:
            return user
        # What MAS tells Synapse later may count as a change, though nothing is different.
        settled = await self.read(user["id"])
        assert without_meta(settled) == without_meta(user)
        assert settled["meta"]["version"] == user["meta"]["version"]
        return settled

    async def read(self, user_id: str) -> dict[str, Any]:
        """Return a User."""
        user: dict[str, Any] = assert_scim(await self.get(url_of(user_id)), 200)
        return user

    async def replaced(self, user_id: str, user: Mapping[str, Any], **options: Any) -> dict[str, Any]:
        """Replace a User, which must succeed, and return it."""
        answer: dict[str, Any] = assert_scim(await self.put(user_id, user, **options), 200)
        return answer

    async def patched(self, user_id: str, *operations: Any) -> dict[str, Any]:
        """Change a User, which must succeed, and return it."""
        answer: dict[str, Any] = assert_scim(await self.patch(user_id, *operations), 200)
        return answer

    async def users(self, **params: str | int) -> list[dict[str, Any]]:
        """Return the Users that a search finds, in its order."""
        page = assert_scim(await self.get("/Users", params=params), 200)
        users: list[dict[str, Any]] = page["Resources"]
        assert page["itemsPerPage"] == len(users)
        return users

    async def names(self, scim_filter: str | None = None, **params: str | int) -> list[str]:
        """Return the userNames of the Users that a search finds, in its order; all of them without a filter."""
        found = await self.users(**params, **({} if scim_filter is None else {"filter": scim_filter}))
        return [user["userName"] for user in found]


class Synapse(ScimClient):
    """What an administrator sees and does past SCIM, through Synapse's own APIs and, where there is one, MAS."""

    def __init__(
        self, base_url: str, token: str | None, prefix: str = "", *, mas: AuthenticationService | None = None
    ) -> None:
        """Call as an administrator.

        Args:
            base_url: The address of Synapse.
            token: The access token.
            prefix: What every path begins with.
            mas: To whom accounts belong, if that is not Synapse; it is where people log in.
        """
        super().__init__(base_url, token, prefix)
        self._mas = mas
        self._logins = self if mas is None else ScimClient(mas.url, None, "")

    async def account(self, user_id: str) -> dict[str, Any]:
        """Return an account as the admin API shows it."""
        response = await self.request("GET", f"/_synapse/admin/v2/users/{quote(user_id)}")
        assert response.status == 200, response.body
        account: dict[str, Any] = response.json
        return account

    async def threepids(self, user_id: str) -> set[tuple[str, str]]:
        """Return the third-party identifiers of an account."""
        return {(threepid["medium"], threepid["address"]) for threepid in (await self.account(user_id))["threepids"]}

    async def change(self, user_id: str, **changes: Any) -> None:
        """Change an account, or make it."""
        if self._mas is not None:
            changes = await changed_at_mas(self._mas, user_id, changes)
        response = await self.request("PUT", f"/_synapse/admin/v2/users/{quote(user_id)}", changes)
        assert response.status in {200, 201}, response.body

    async def login(self, user: str, password: str) -> Response:
        """Log in with a password."""
        identifier = {"type": "m.id.user", "user": user}
        body = {"type": "m.login.password", "identifier": identifier, "password": password}
        return await self._logins.request("POST", "/_matrix/client/v3/login", body, headers={"Authorization": None})

    async def token(self, user: str, password: str) -> str:
        """Log in with a password, which must succeed, and return the access token."""
        response = await self.login(user, password)
        assert response.status == 200, response.body
        token: str = response.json["access_token"]
        return token

    async def whoami(self, token: str) -> Response:
        """Use an access token."""
        headers = {"Authorization": f"Bearer {token}"}
        return await self.request("GET", "/_matrix/client/v3/account/whoami", headers=headers)


class Admin:
    """A server admin of a homeserver, through SCIM and past it."""

    def __init__(self, homeserver: LocalHomeserver, token: str) -> None:
        """Call with an access token."""
        self.homeserver = homeserver
        self.token = token
        self.scim = Scim(homeserver.url, token, STABLE, settle=homeserver.mas.do_jobs if homeserver.mas else None)
        self.synapse = Synapse(homeserver.url, token, mas=homeserver.mas)

    @classmethod
    async def of(cls, homeserver: LocalHomeserver) -> Self:
        """Make `@admin:example.org`, a server admin, and wait until SCIM answers: it makes its tables at the start."""
        admin = cls(homeserver, await homeserver.access_token(await homeserver.register("admin", admin=True)))
        await admin._until_scim_answers()
        return admin

    async def restart(self, config: Mapping[str, Any] | None = None) -> Self:
        """Restart the homeserver, with changes to its configuration, and return the server admin of the new one."""
        await self.homeserver.restart(config)
        admin = type(self)(self.homeserver, self.token)
        await admin._until_scim_answers()
        return admin

    async def _until_scim_answers(self) -> None:
        async def answers() -> bool:
            return (await self.scim.get("/Me")).status != HTTPStatus.SERVICE_UNAVAILABLE

        await until(answers)
