"""Identity servers at which people made their e-mail addresses known (Matrix specification, identity service)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.web.clients import Admin, assert_error

pytestmark = [
    pytest.mark.usefixtures("engine", "owner"),
    pytest.mark.homeserver(config={"ip_range_whitelist": ["127.0.0.1/32"]}),
    # MAS removes addresses too, and Synapse lets it wait for that server.
    pytest.mark.expected_errors("MasProvisionUserResource"),
]

ANN = "@ann:example.org"
GONE = "127.0.0.1:1"
"""An identity server that does not answer."""


async def ann(admin: Admin) -> dict[str, Any]:
    """Make somebody whose address such a server knows."""
    ann = await admin.scim.create("ann", externalId="7", emails=[{"value": "ann@corp.example"}])
    await admin.homeserver.hs.get_datastores().main.add_user_bound_threepid(ANN, "email", "ann@corp.example", GONE)
    return ann


async def test_an_address_is_removed_whatever_the_identity_server_says(admin: Admin) -> None:
    """One that has gone for good must not keep anybody from being changed."""
    await ann(admin)

    changed = await admin.scim.patched(ANN, {"op": "remove", "path": "emails"})

    assert "emails" not in changed
    assert await admin.synapse.threepids(ANN) == set()
    await admin.scim.patched(ANN, {"op": "replace", "path": "title", "value": "Boss"})
    assert admin.homeserver._database.execute("SELECT user_id FROM synapse_scim_writes") == []


async def test_an_account_is_deactivated_whatever_the_identity_server_says(admin: Admin) -> None:
    """Nor anybody from being deleted."""
    await ann(admin)

    assert (await admin.scim.delete(ANN)).status == 204

    assert_error(await admin.scim.get(f"/Users/{ANN}"), 404)
    assert (await admin.synapse.account(ANN))["deactivated"] is True
    assert admin.homeserver._database.execute("SELECT user_id FROM synapse_scim_writes") == []
