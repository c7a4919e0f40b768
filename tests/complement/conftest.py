"""The homeserver under test, named by the environment."""

from __future__ import annotations

import os
import secrets

import pytest

from tests.complement.client import Homeserver, Scim

STABLE, UNSTABLE = "/_scim", "/_matrix/client/unstable/coop.yaal/scim"


@pytest.fixture(scope="session")
def homeserver() -> Homeserver:
    """The homeserver."""
    try:
        return Homeserver(
            base_url=os.environ["SCIM_BASE_URL"].rstrip("/"),
            server_name=os.environ["SCIM_SERVER_NAME"],
            admin_token=os.environ["SCIM_ADMIN_TOKEN"],
        )
    except KeyError as missing:
        raise pytest.UsageError(f"{missing} is not set: it names the homeserver under test") from None


@pytest.fixture(params=[STABLE, UNSTABLE])
def scim(homeserver: Homeserver, request: pytest.FixtureRequest) -> Scim:
    """The SCIM endpoints, below each prefix of the MSC in turn."""
    return Scim(homeserver, request.param)


@pytest.fixture
def name() -> str:
    """A name that nobody has yet, so that the tests can be run again."""
    return f"scim{secrets.token_hex(6)}"


@pytest.fixture
def number() -> str:
    """A telephone number that nobody has yet."""
    return f"4366{secrets.randbelow(10**9):09d}"
