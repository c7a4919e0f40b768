"""Canaille provisions people: a real identity server, whose SCIM client calls a real homeserver."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import pytest
import requests

from tests.support.canaille import CLIENT_ID, Canaille
from tests.support.child import free_port
from tests.support.configuration import http_listener, scim_module
from tests.support.process import SpawnedHomeserver, SpawnHomeserver
from tests.web.clients import ENTERPRISE, STABLE, Scim, Synapse, assert_error

PERSON = {
    "user_name": "ann",
    "formatted_name": "Ann Lee",
    "given_name": "Ann",
    "family_name": "Lee",
    "display_name": "Ann Lee",
    "emails": "ann@corp.example",
    "phone_numbers": "+43 1 234567",
    "department": "Sales",
}


PASSWORD = "what Canaille keeps, and Matrix does not"
APP = "https://app.example.org/"
"""The Matrix client that somebody is sent back to who has logged in."""


@pytest.fixture
def port() -> int:
    """Where the homeserver listens: Canaille is told before it runs."""
    return free_port()


@pytest.fixture
def canaille(port: int, tmp_path: Path) -> Iterator[Canaille]:
    """An identity server that provisions people into the homeserver."""
    canaille = Canaille(tmp_path, f"http://127.0.0.1:{port}", STABLE)
    yield canaille
    canaille.close()


async def provisioned(canaille: Canaille, port: int, spawn: SpawnHomeserver) -> SpawnedHomeserver:
    """Start a homeserver that asks Canaille about the tokens that Canaille calls with."""
    issuer = {
        "issuer": canaille.issuer,
        "client_id": CLIENT_ID,
        "client_secret_path": str(canaille.secret_path),
    }
    provider = {
        **{name: issuer[name] for name in ("issuer", "client_id", "client_secret_path")},
        "idp_id": "canaille",
        "idp_name": "Canaille",
        "scopes": ["openid", "profile"],
        # It has no certificate here.
        "skip_verification": True,
        "enable_registration": False,
        "user_mapping_provider": {"config": {"localpart_template": "{{ user.preferred_username }}"}},
    }
    homeserver = await spawn(
        module=scim_module({"introspection": [issuer], "sso": {"idp_id": "oidc-canaille"}}),
        config={
            "public_baseurl": f"http://127.0.0.1:{port}/",
            "oidc_providers": [provider],
            "sso": {"client_whitelist": [APP]},
        },
        listeners=[{**http_listener("client"), "port": port}],
    )
    homeserver.start()
    homeserver.wait_until_logged("SCIM is ready")
    return homeserver


async def test_people_of_canaille_have_accounts(
    canaille: Canaille, port: int, spawn_homeserver: SpawnHomeserver
) -> None:
    """Whoever is created, changed, locked, unlocked and deleted in Canaille is so in Matrix, without a complaint."""
    homeserver = await provisioned(canaille, port, spawn_homeserver)
    token = homeserver.register_admin()
    scim, synapse = Scim(homeserver.url, token, STABLE), Synapse(homeserver.url, token, "")

    async def account() -> dict[str, Any]:
        return await synapse.account("@ann:example.org")

    ann = canaille.create("user", **PERSON)
    (user,) = await scim.users(filter=f'externalId eq "{ann["id"]}"')
    assert (user["id"], user["userName"], user["name"]["familyName"]) == ("@ann:example.org", "ann", "Lee")
    assert user[ENTERPRISE] == {"department": "Sales"}
    assert (await account())["displayname"] == "Ann Lee"
    assert await synapse.threepids("@ann:example.org") == {("email", "ann@corp.example"), ("msisdn", "431234567")}

    canaille.change(ann, display_name="Ann Miller", emails="ann.miller@corp.example")
    assert (await account())["displayname"] == "Ann Miller"
    assert ("email", "ann.miller@corp.example") in await synapse.threepids("@ann:example.org")

    canaille.change(ann, lock_date="2020-01-01T00:00:00+00:00")
    assert (await account())["locked"] is True
    canaille.unlock(ann)
    assert (await account())["locked"] is False

    canaille.delete(ann)
    assert (await account())["deactivated"] is True
    assert_error(await scim.get("/Users/@ann:example.org"), 404)
    assert await scim.users(filter=f'externalId eq "{ann["id"]}"') == []

    sent = re.findall(r'HTTP Request: (POST|PUT|DELETE) \S+ "HTTP/1.1 (\d+)', canaille.log)
    assert sent == [("POST", "201"), *[("PUT", "200")] * 3, ("DELETE", "204")]
    assert "failed" not in canaille.log
    assert "not supported" not in canaille.log


async def test_login_through_canaille_opens_the_provisioned_account(
    canaille: Canaille, port: int, spawn_homeserver: SpawnHomeserver
) -> None:
    """The subject of the login is the `externalId`; nobody gets an account by logging in who was not provisioned."""
    homeserver = await provisioned(canaille, port, spawn_homeserver)
    canaille.create("user", **PERSON, password=PASSWORD)

    assert user_logged_in(homeserver, "ann") == "@ann:example.org"


def user_logged_in(homeserver: SpawnedHomeserver, login: str) -> str:
    """Log in as a person does in a browser, and return the user ID of the account that it opens."""
    with requests.Session() as browser:
        browser.trust_env = False
        page = browser.get(
            f"{homeserver.url}/_matrix/client/v3/login/sso/redirect/oidc-canaille", params={"redirectUrl": APP}
        )
        for cookie in browser.cookies:
            # It is for HTTPS alone, which a reverse proxy would speak.
            cookie.secure = False
        page = browser.post(page.url, {"login": login, **hidden(page)})
        landed = browser.post(page.url, {"password": PASSWORD, **hidden(page)}, allow_redirects=False)
        while not landed.headers["Location"].startswith(APP):
            landed = browser.get(urljoin(landed.url, landed.headers["Location"]), allow_redirects=False)
        (token,) = parse_qs(urlsplit(landed.headers["Location"]).query)["loginToken"]
        body = {"type": "m.login.token", "token": token}
        session = browser.post(f"{homeserver.url}/_matrix/client/v3/login", json=body)
    user_id: str = session.json()["user_id"]
    return user_id


def hidden(page: requests.Response) -> dict[str, str]:
    """Return what a form sends without being asked."""
    return dict(re.findall(r'name="(csrf_token)" value="([^"]*)"', page.text))
