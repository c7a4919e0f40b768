"""What the tests speak to a homeserver with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import attrs
import requests

USER = "urn:ietf:params:scim:schemas:core:2.0:User"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
_SECONDS = 60


@attrs.frozen(kw_only=True)
class Homeserver:
    """A homeserver under test.

    Attributes:
        base_url: Where clients reach it, without a slash at its end.
        server_name: Its name.
        admin_token: An access token of somebody who may provision.
    """

    base_url: str
    server_name: str
    admin_token: str

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
        data: bytes | None = None,
    ) -> requests.Response:
        """Send a request. No proxy of the environment is asked, and no redirect followed."""
        sent = dict(headers or {})
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        with requests.Session() as session:
            session.trust_env = False
            return session.request(
                method,
                self.base_url + path,
                json=body,
                data=data,
                headers=sent,
                params=params,
                timeout=_SECONDS,
                allow_redirects=False,
            )

    def user_id(self, localpart: str) -> str:
        """Return a user ID on this homeserver."""
        return f"@{localpart}:{self.server_name}"

    def login(self, localpart: str, password: str) -> requests.Response:
        """Log in with a password, as a Matrix client does."""
        identifier = {"type": "m.id.user", "user": localpart}
        body = {"type": "m.login.password", "identifier": identifier, "password": password}
        return self.request("POST", "/_matrix/client/v3/login", body)

    def token(self, localpart: str, password: str) -> str:
        """Log in with a password, which must succeed, and return the access token."""
        response = self.login(localpart, password)
        assert response.status_code == 200, response.text
        token: str = response.json()["access_token"]
        return token

    def whoami(self, token: str) -> requests.Response:
        """Use an access token."""
        return self.request("GET", "/_matrix/client/v3/account/whoami", token=token)

    def profile(self, localpart: str) -> dict[str, Any]:
        """Return somebody's profile."""
        path = f"/_matrix/client/v3/profile/{quote(self.user_id(localpart))}"
        response = self.request("GET", path, token=self.admin_token)
        assert response.status_code == 200, response.text
        profile: dict[str, Any] = response.json()
        return profile

    def threepids(self, token: str) -> set[tuple[str, str]]:
        """Return the third-party identifiers of whom an access token belongs to."""
        response = self.request("GET", "/_matrix/client/v3/account/3pid", token=token)
        assert response.status_code == 200, response.text
        return {(threepid["medium"], threepid["address"]) for threepid in response.json()["threepids"]}

    def upload(self, content: bytes, content_type: str) -> str:
        """Upload a file, and return where it is."""
        headers = {"Content-Type": content_type}
        response = self.request(
            "POST", "/_matrix/media/v3/upload", data=content, headers=headers, token=self.admin_token
        )
        assert response.status_code == 200, response.text
        uri: str = response.json()["content_uri"]
        return uri


@attrs.frozen
class Scim:
    """The SCIM endpoints of a homeserver below a prefix."""

    homeserver: Homeserver
    prefix: str

    def request(self, method: str, path: str, body: Any = None, **options: Any) -> requests.Response:
        """Send a request with the administrator's token. Every answer with a body is SCIM (RFC 7644 §3.1)."""
        options.setdefault("token", self.homeserver.admin_token)
        headers = {"Accept": "application/scim+json"}
        if body is not None:
            headers["Content-Type"] = "application/scim+json"
        response = self.homeserver.request(method, self.prefix + path, body, headers=headers, **options)
        if response.content:
            assert response.headers["Content-Type"].partition(";")[0] == "application/scim+json", response.text
        return response

    def create(self, user_name: str, **attributes: Any) -> dict[str, Any]:
        """Make a User, and return it."""
        body = {"schemas": [USER], "userName": user_name, **attributes}
        return answer(self.request("POST", "/Users", body), 201)

    def read(self, user: Mapping[str, Any]) -> dict[str, Any]:
        """Return a User as it is now."""
        return answer(self.request("GET", path_of(user)), 200)

    def replace(self, user: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
        """Write a User with changes. None takes an attribute away."""
        written = {name: value for name, value in {**user, **changes}.items() if value is not None}
        return answer(self.request("PUT", path_of(user), written), 200)

    def delete(self, user: Mapping[str, Any]) -> None:
        """Delete a User."""
        response = self.request("DELETE", path_of(user))
        assert (response.status_code, response.content) == (204, b"")


def path_of(user: Mapping[str, Any]) -> str:
    """Return the path of a User below the prefix."""
    return f"/Users/{quote(user['id'], safe='')}"


def answer(response: requests.Response, status: int) -> dict[str, Any]:
    """Check the status of an answer, and return its body."""
    assert response.status_code == status, response.text
    body: dict[str, Any] = response.json()
    return body
