"""Registrations at Matrix Authentication Service that are interrupted, and what becomes of them."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import ensureDeferred, gatherResults

from tests.support.mas import CLIENT_ID, AuthenticationService
from tests.support.mas_troubles import Disturbance
from tests.web.clients import Admin, assert_error, assert_scim, new_user, until

pytestmark = pytest.mark.usefixtures("mas")

ANN = "@ann:example.org"
PERSON: dict[str, Any] = {
    "password": "correct horse",
    "emails": [{"value": "Ann@Corp.example", "type": "work"}, {"value": "ann@home.example"}],
}


@pytest.mark.expected_errors("MasProvisionUserResource")
async def test_an_account_that_synapse_made_and_mas_did_not(mas: AuthenticationService, admin: Admin) -> None:
    """MAS may fail after Synapse has the account, and would then give that name to nobody; SCIM still gets it."""
    fails = True

    async def fail(user_id: str) -> None:
        if fails:
            raise RuntimeError(user_id)

    admin.homeserver.hs.get_module_api().register_account_validity_callbacks(on_user_registration=fail)

    response = await admin.scim.post("/Users", new_user("ann", **PERSON))
    assert_error(response, 503)
    assert int(response.headers["retry-after"]) > 0
    assert mas.state.named("ann") is None
    assert (await admin.synapse.account(ANN))["locked"] is True
    assert await admin.scim.names() == ["admin"]

    fails = False
    ann = await admin.scim.create("ann", **PERSON)
    assert (ann["id"], ann["emails"]) == (ANN, PERSON["emails"])
    assert (await admin.synapse.account(ANN))["locked"] is False
    assert mas.known(ANN).is_valid


async def test_a_name_that_somebody_else_took_meanwhile(mas: AuthenticationService, admin: Admin) -> None:
    """A registration that was given up before MAS had it keeps nobody from the name, nor hides who has it then."""
    mas.disturb("POST users", Disturbance.unreachable, times=1)
    assert_error(await admin.scim.post("/Users", new_user("ann")), 503)
    await mas.register("ann", display_name="Ann herself")

    response = await admin.scim.post("/Users", new_user("ann", emails=[{"value": "ann@corp.example"}]))

    # Under an administrator's token the account is adopted, as any is that SCIM did not make.
    adopted = assert_scim(response, 201)
    assert (adopted["id"], adopted["displayName"]) == (ANN, "Ann herself")


async def test_who_was_given_up_is_forgotten(mas: AuthenticationService, admin: Admin) -> None:
    """Somebody else who signs up with such a name is seen after a minute, without anybody asking for the name."""
    mas.disturb("POST users", Disturbance.unreachable, times=1)
    assert_error(await admin.scim.post("/Users", new_user("ann")), 503)
    await mas.register("ann", display_name="Ann herself")

    admin = await admin.restart()

    async def is_seen() -> bool:
        return "ann" in await admin.scim.names()

    await until(is_seen)
    assert (await admin.scim.read(ANN))["displayName"] == "Ann herself"


async def test_people_who_come_at_once_share_a_token(mas: AuthenticationService, admin: Admin) -> None:
    """One token of the client serves all requests of a process, and whoever comes while it is fetched waits for it."""
    mas.expire_tokens()
    before = mas.tokens_issued
    people = [ensureDeferred(admin.scim.create(f"person{number}")) for number in range(5)]

    created = await gatherResults(people)

    assert len({user["id"] for user in created}) == 5
    assert mas.tokens_issued == before + 1
    assert CLIENT_ID not in repr(created)
