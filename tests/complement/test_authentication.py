"""MSC4098, "Authentication": access tokens of the client-server API, and only those of administrators."""

from __future__ import annotations

from typing import Any

import pytest

from tests.complement.client import USER, Homeserver, Scim, answer

PASSWORD = "kHx3-vdW8-ooQn"
REQUESTS = [
    ("GET", "/Users", None),
    ("POST", "/Users", {"schemas": [USER], "userName": "nobody"}),
    ("DELETE", "/Users/nobody", None),
]


@pytest.mark.parametrize(("method", "path", "body"), REQUESTS)
@pytest.mark.parametrize("token", [None, "not-a-token"])
def test_nobody_may_do_anything(scim: Scim, method: str, path: str, body: Any, token: str | None) -> None:
    """Without a valid token every request is refused, in SCIM's words (RFC 7644 §2, §3.12)."""
    error = answer(scim.request(method, path, body, token=token), 401)

    assert error["schemas"] == ["urn:ietf:params:scim:api:messages:2.0:Error"]
    assert error["status"] == "401"


@pytest.mark.parametrize(("method", "path", "body"), REQUESTS)
def test_users_may_not_provision(
    scim: Scim, homeserver: Homeserver, name: str, method: str, path: str, body: Any
) -> None:
    """Somebody with an account, and nothing more, is refused."""
    scim.create(name, password=PASSWORD)

    error = answer(scim.request(method, path, body, token=homeserver.token(name, PASSWORD)), 403)

    assert error["status"] == "403"
