"""Matrix Authentication Service does what it was asked for, but only after the module has given up waiting for it."""

from __future__ import annotations

import time
from typing import Any

import pytest

from synapse_scim.homeserver.clock import DatabaseClock
from tests.support.mas import PROVIDER_IDS, AuthenticationService
from tests.support.mas_troubles import Disturbance
from tests.web.clients import Admin, assert_error, new_user, url_of, without_meta
from tests.web.life import OFF, ON
from tests.web.test_mas_outages import assert_unavailable, finished

pytestmark = [pytest.mark.usefixtures("mas"), pytest.mark.homeserver(module_config={"sso": {"idp_id": "oidc-corp"}})]

ANN = "@ann:example.org"
PERSON: dict[str, Any] = {"emails": [{"value": "ann@corp.example"}], "externalId": "7", "password": "correct horse"}
MORE = {"op": "add", "path": "emails", "value": [{"value": "ann@home.example"}]}
DR = {"op": "add", "path": "title", "value": "Dr"}


async def a_minute_passes(admin: Admin) -> None:
    """Let the time come until which anything that is late should have happened, and do what is due then."""
    homeserver = admin.homeserver
    await finished(homeserver)
    clock = DatabaseClock.of(homeserver.hs)
    clock._offset_ms = clock.now_ms() + 61_000 - time.monotonic() * 1000
    await finished(homeserver)
    assert homeserver.mas is not None
    await homeserver.mas.do_jobs()


@pytest.mark.parametrize(
    ("change", "late"),
    [
        (MORE, "POST user-emails"),
        ({"op": "replace", "path": "externalId", "value": "8"}, "POST upstream-oauth-links"),
    ],
)
async def test_what_comes_late_is_taken_back_after_a_minute(
    change: dict[str, Any], late: str, mas: AuthenticationService, admin: Admin
) -> None:
    """A change that was answered 503 leaves nothing at MAS for good. Until then SCIM shows what the account has."""
    ann = await admin.scim.create("ann", **PERSON)
    user = mas.known(ANN)
    mas.disturb(late, Disturbance.late)
    assert_unavailable(await admin.scim.patch(ANN, change))
    mas.calm()
    await mas.catch_up()
    await mas.do_jobs()
    assert len(mas.state.links_of(user.id)) + len(mas.state.emails_of(user.id)) == 3

    await a_minute_passes(admin)

    assert mas.state.links_of(user.id) == {(PROVIDER_IDS[0], "7")}
    assert without_meta(await admin.scim.read(ANN)) == without_meta(ann)


async def test_what_comes_late_is_taken_back_by_the_next_write(mas: AuthenticationService, admin: Admin) -> None:
    """Whoever writes to the account before that need not know of it."""
    await admin.scim.create("ann", **PERSON)
    mas.disturb("POST user-emails", Disturbance.late)
    assert_unavailable(await admin.scim.patch(ANN, MORE))
    mas.calm()
    await mas.catch_up()
    await mas.do_jobs()
    assert [email["value"] for email in (await admin.scim.read(ANN))["emails"]] == [
        "ann@corp.example",
        "ann@home.example",
    ]

    await admin.scim.patched(ANN, DR)

    ann = await admin.scim.read(ANN)
    assert (ann["emails"], ann["title"]) == (PERSON["emails"], "Dr")
    assert mas.state.emails_of(mas.known(ANN).id) == ["ann@corp.example"]
    await a_minute_passes(admin)
    assert await admin.scim.read(ANN) == ann


async def test_a_lock_that_comes_late_is_shown_and_stays(mas: AuthenticationService, admin: Admin) -> None:
    """It was asked for, and may be an administrator's by now: nobody is unlocked for it. The next wish counts."""
    await admin.scim.create("ann", **PERSON)
    mas.disturb("POST users/.*/lock", Disturbance.late)
    assert_unavailable(await admin.scim.patch(ANN, OFF))
    mas.calm()
    assert (await admin.scim.read(ANN))["active"] is True

    await mas.catch_up()
    await mas.do_jobs()
    await a_minute_passes(admin)

    assert (await admin.scim.read(ANN))["active"] is False
    assert (await admin.scim.patched(ANN, OFF))["active"] is False
    assert (await admin.scim.patched(ANN, ON))["active"] is True
    assert (await admin.synapse.login("ann", "correct horse")).status == 200


async def test_an_unlock_that_comes_late_lets_nobody_in_for_long(mas: AuthenticationService, admin: Admin) -> None:
    """Whoever SCIM says is disabled is locked again."""
    await admin.scim.create("ann", **PERSON, active=False)
    mas.disturb("POST users/.*/unlock", Disturbance.late)
    assert_unavailable(await admin.scim.patch(ANN, ON))
    mas.calm()
    await mas.catch_up()

    await a_minute_passes(admin)

    assert (await admin.scim.read(ANN))["active"] is False
    assert (await admin.synapse.login("ann", "correct horse")).status == 401


async def test_a_deletion_whose_lock_comes_late(mas: AuthenticationService, admin: Admin) -> None:
    """Who comes back is not locked by what was asked for before they left."""
    await admin.scim.create("ann", **PERSON)
    mas.disturb("POST users/.*/lock", Disturbance.late, times=1)
    assert (await admin.scim.delete(ANN)).status == 204
    await finished(admin.homeserver)
    await mas.catch_up()
    await mas.do_jobs()

    assert (await admin.scim.create("ann", **PERSON))["active"] is True

    assert (await admin.synapse.login("ann", "correct horse")).status == 200


async def test_a_registration_that_comes_late_is_locked_later(mas: AuthenticationService, admin: Admin) -> None:
    """SCIM does not show it, nobody gets in, and the next User of that name becomes it."""
    mas.disturb("POST users", Disturbance.late)
    assert_unavailable(await admin.scim.post("/Users", new_user("ann", **PERSON)))
    mas.calm()
    await mas.catch_up()

    assert_error(await admin.scim.get(url_of(ANN)), 404)
    await a_minute_passes(admin)

    assert not mas.known(ANN).is_valid
    assert (await admin.synapse.account(ANN))["locked"] is True
    assert (await admin.scim.create("ann", **PERSON))["active"] is True
    assert (await admin.synapse.login("ann", "correct horse")).status == 200


async def test_a_registration_that_comes_while_it_is_repeated(
    mas: AuthenticationService, admin: Admin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MAS has the name already then, though a moment ago nobody had it: that is no reason to refuse the person."""
    mas.disturb("POST users", Disturbance.late)
    assert_unavailable(await admin.scim.post("/Users", new_user("ann", **PERSON)))
    mas.calm()
    perform = mas.api.perform
    overtaken: list[str] = []

    async def overtake(method: str, endpoint: str, *arguments: Any) -> Any:
        if (method, endpoint) == ("post", "users") and not overtaken:
            overtaken.append(endpoint)
            await mas.catch_up()
        return await perform(method, endpoint, *arguments)

    monkeypatch.setattr(mas.api, "perform", overtake)

    ann = await admin.scim.create("ann", **PERSON)

    assert (overtaken, ann["id"], ann["active"]) == (["users"], ANN, True)
    assert mas.requested.count("POST users") == 2


@pytest.mark.parametrize("late", ["POST user-emails", "POST upstream-oauth-links", "POST users/.*/set-password"])
async def test_what_comes_late_of_a_registration_is_nobodys(
    late: str, mas: AuthenticationService, admin: Admin
) -> None:
    """What was given up keeps no address and no subject from others, nor hands a password on to the next."""
    mas.disturb(late, Disturbance.late)
    assert_unavailable(await admin.scim.post("/Users", new_user("ann", **PERSON)))
    mas.calm()
    await finished(admin.homeserver)
    await mas.catch_up()

    await a_minute_passes(admin)

    user = mas.known(ANN)
    assert (mas.state.emails_of(user.id), mas.state.links_of(user.id)) == ([], set())
    assert (user.is_valid, user.password == "correct horse") == (False, False)
    bob = await admin.scim.create("bob", **PERSON)
    assert (bob["emails"], bob["externalId"]) == (PERSON["emails"], "7")


async def test_whoever_takes_a_registration_over_gets_nothing_of_it(mas: AuthenticationService, admin: Admin) -> None:
    """However late something comes, the next User of that name starts with nothing."""
    mas.disturb("POST users/.*/set-password", Disturbance.late, times=1)
    assert_unavailable(await admin.scim.post("/Users", new_user("ann", **PERSON)))
    await a_minute_passes(admin)
    await mas.catch_up()

    ann = await admin.scim.create("ann")

    assert (ann["active"], ann.get("emails"), mas.known(ANN).is_valid) == (True, None, True)
    assert mas.known(ANN).password != "correct horse"
