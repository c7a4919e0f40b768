"""Canaille provisions people: a real identity server, whose SCIM client calls a real homeserver."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
import json

from tests.support.canaille import Canaille
from tests.support.process import SpawnHomeserver
from tests.web.clients import ENTERPRISE, STABLE, Scim, Synapse


async def test_people_of_canaille_have_accounts(tmp_path: Path, spawn_homeserver: SpawnHomeserver) -> None:
    """Whoever is created, changed, locked, unlocked and deleted in Canaille is so in Matrix, and Canaille has no complaint."""
    homeserver = await spawn_homeserver()
    homeserver.start()
    homeserver.wait_until_logged("SCIM is ready")
    token = homeserver.register_admin()
    scim, synapse = Scim(homeserver.url, token, STABLE), Synapse(homeserver.url, token, "")
    with closing(Canaille(tmp_path, homeserver.url + STABLE)) as canaille:
        (c,) = json.loads(canaille.run("get", "client"))
        cid=c["id"]
        canaille.run("create", "token", "--token-id", "x", "--access-token", token, "--client", cid, "--audience", cid, "--lifetime", "3600", "--issue-date", "2026-11-25T00:00:00+00:00", "--scope", "openid", "--type", "Bearer")
        ann = canaille.create("user", user_name="ann", formatted_name="Ann Lee", family_name="Lee", given_name="Ann", display_name="Ann Lee", emails="ann@corp.example", password="correct horse battery", department="Sales", phone_numbers="+43 1 234567")
        print(canaille.log)
        (user,) = await scim.users(filter=f'externalId eq "{ann["id"]}"')
        print(user)
        print(await synapse.account("@ann:example.org"))
        canaille.change(ann, display_name="Ann Miller", emails="ann.miller@corp.example")
        print(await synapse.account("@ann:example.org"))
        canaille.change(ann, lock_date="2020-01-01T00:00:00+00:00")
        print(await synapse.account("@ann:example.org"))
        canaille.change(ann, lock_date="")
        print(await synapse.account("@ann:example.org"))
        canaille.delete(ann)
        print(await synapse.account("@ann:example.org"))
        print(canaille.log)
    assert 0
