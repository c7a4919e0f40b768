"""What scim2-tester, the conformance checker of the SCIM libraries, says of a homeserver."""

from __future__ import annotations

from typing import Any

import pytest
from httpx2 import Client
from scim2_client.engines.httpx2 import SyncSCIMClient
from scim2_tester import CheckResult, Status, check_server

from synapse_scim.mapping.schema import MATRIX_SCHEMA
from synapse_scim.resources.request import STABLE_PREFIX, UNSTABLE_PREFIX
from tests.support.databases import Engine
from tests.support.process import SpawnedHomeserver, SpawnHomeserver

# The checker patches each extension as a whole and wants back exactly what it sent. The Matrix extension has nothing
# but read-only attributes, of which RFC 7644 §3.5.2 says that no PATCH changes them; the checker does not look at them.
PATCHES_OF_WHOLE_EXTENSION = {
    (check, MATRIX_SCHEMA) for check in ("check_add_attribute", "check_replace_attribute", "check_remove_attribute")
}


def checked(homeserver: SpawnedHomeserver, prefix: str) -> list[CheckResult]:
    """Start a homeserver and return what the checker finds below a prefix."""
    homeserver.start()
    homeserver.wait_until_logged("SCIM is ready")
    headers = {"Authorization": f"Bearer {homeserver.register_admin()}"}
    with Client(base_url=homeserver.url + prefix, headers=headers, trust_env=False) as client:
        results: list[CheckResult] = check_server(SyncSCIMClient(client))
    return results


@pytest.mark.parametrize("prefix", [STABLE_PREFIX, UNSTABLE_PREFIX])
async def test_every_check_succeeds(engine: Engine, prefix: str, spawn_homeserver: SpawnHomeserver) -> None:
    """A client that knows nothing but the discovery endpoints finds that all is as announced, and no Groups."""
    homeserver = await spawn_homeserver(engine=engine)
    results = checked(homeserver, prefix)

    failed = {_subject(result): result.reason for result in results if result.status is not Status.SUCCESS}
    assert failed.keys() == PATCHES_OF_WHOLE_EXTENSION, failed
    assert {result.resource_type for result in results} == {None, "User"}


def _subject(result: CheckResult) -> tuple[Any, Any]:
    """Return the name of a check, and what it looked at."""
    return result.title, result.data.get("urn") if isinstance(result.data, dict) else result.data
