"""docs/conformance.md is what a run says. `make conformance` writes it."""

from __future__ import annotations

import os

from synapse_scim.resources.request import STABLE_PREFIX
from tests.docs import conformance
from tests.process.test_conformance import checked
from tests.support.process import SpawnHomeserver


async def test_page_is_what_a_run_says(spawn_homeserver: SpawnHomeserver) -> None:
    """Versions, clients, counts and each check of scim2-tester are as the page has them."""
    homeserver = await spawn_homeserver()
    page = conformance.page(checked(homeserver, STABLE_PREFIX))
    if os.environ.get("CONFORMANCE") == "write":
        conformance.write(page)

    assert conformance.PAGE.read_text(encoding="utf-8") == page
