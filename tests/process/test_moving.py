"""Moving house: from SQLite to PostgreSQL with Synapse's own `synapse_port_db`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest
import yaml
from click.testing import CliRunner
from twisted.internet.threads import deferToThread

from benchmarks.people import MODEL_PERSON
from benchmarks.seeding import seed
from synapse_scim.commands import main
from tests.support.configuration import scim_module
from tests.support.databases import Database, Databases
from tests.support.process import SpawnedHomeserver, SpawnHomeserver
from tests.web.clients import STABLE, Scim, Synapse, new_user, url_of, without_meta

PEOPLE = 2000
PASSWORD = "correct horse"
OFF = {"op": "replace", "path": "active", "value": False}
FILTERS = (
    'title eq "engineer"',
    f'emails.value eq "{MODEL_PERSON.user_name}"',
    'name.familyName co "ü" or displayName sw "Zoë"',
    "active eq false",
    'externalId eq "left-external"',
    'meta.created gt "2020-01-01T00:00:00Z" and not (photos pr)',
    'phoneNumbers pr and userName sw "a"',
)
MODULE = {"guard": {"max": 50, "at_least": 0}, "profile_fields": {"m.tz": "timezone"}, "photos": {"fetch": False}}


async def settle_in(scim: Scim, synapse: Synapse) -> None:
    """Make people of every kind: changed, disabled, deleted, adopted, unmanaged, with letters of all sorts."""
    await scim.create(
        "Zoë", displayName="Zoë 😀", name={"familyName": "Müller", "givenName": "Zoë"}, timezone="Asia/Tokyo"
    )
    off = await scim.create("off", password=PASSWORD, emails=[{"value": "off@e.example"}])
    await scim.patched(off["id"], OFF)
    gone = await scim.create("gone", externalId="gone", title="Clerk", emails=[{"value": "gone@e.example"}])
    assert (await scim.delete(gone["id"])).status == 204
    await scim.create("left", externalId="left-external", photos=[{"value": "mxc://example.org/face"}])
    await synapse.change("@adopted:example.org", displayname="Adopted")
    await scim.create("adopted", title="Dr")
    await synapse.change(
        "@stranger:example.org", displayname="Stranger", threepids=[{"medium": "email", "address": "s@e.example"}]
    )
    assert (await scim.post("/Users", MODEL_PERSON.scim())).status == 201


async def answers(scim: Scim) -> dict[str, Any]:
    """Return everything that SCIM says of everybody."""
    said: dict[str, Any] = {}
    cursor = ""
    while cursor is not None:
        params = {"cursor": cursor, "count": 1000, "sortBy": "userName"}
        page = (await scim.get("/Users", params=params)).json
        said |= {user["id"]: user for user in page["Resources"]}
        cursor = page.get("nextCursor")
    for scim_filter in FILTERS:
        found = (await scim.get("/Users", params={"filter": scim_filter, "count": 1000})).json
        said[scim_filter] = (found["totalResults"], [user["id"] for user in found["Resources"]])
    for user_id in ("@off:example.org", "@gone:example.org", "@stranger:example.org", MODEL_PERSON.user_id):
        answered = await scim.get(url_of(user_id))
        said[f"GET {user_id}"] = (answered.status, answered.headers.get("etag"), answered.json)
    return said


@pytest.mark.postgres
async def test_synapse_port_db_carries_everything(spawn_homeserver: SpawnHomeserver, databases: Databases) -> None:
    """2,000 accounts move to PostgreSQL, and every answer is as before; then those who left can come back."""
    before = await spawn_homeserver(module=scim_module(MODULE))
    before.start()
    before.wait_until_logged("SCIM is ready")
    token = before.register_admin()
    scim = Scim(before.url, token, STABLE)
    await settle_in(scim, Synapse(before.url, token, ""))
    before.stop()
    seed(before._database, PEOPLE, lambda _: None)
    before.start()
    before.wait_until_logged("SCIM is ready")
    expected = await answers(scim)
    assert len(expected) > PEOPLE
    assert all(expected[scim_filter][0] for scim_filter in FILTERS)
    before.stop()

    # Synapse's own background updates, for which the script pauses between one and the next, have run there before.
    after = await deferToThread(ported, before, await databases.create("postgres"))
    try:
        after.start()
        after.wait_until_logged("SCIM is ready")
        scim = Scim(after.url, token, STABLE)

        assert await answers(scim) == expected

        on = await scim.patched("@off:example.org", {**OFF, "value": True})
        assert (on["active"], on["emails"]) == (True, [{"value": "off@e.example"}])
        assert (await Synapse(after.url, token, "").login("off", PASSWORD)).status == 200
        back = await scim.create("gone", externalId="gone", emails=[{"value": "gone@e.example"}])
        assert back["id"] == "@gone:example.org"
        assert (await scim.post("/Users", new_user("left"))).status == 409
        newcomer = await scim.create("newcomer")
        assert without_meta(await scim.read(newcomer["id"])) == without_meta(newcomer)
        assert after._database.execute("SELECT COUNT(*) FROM synapse_scim_guard WHERE user_id <> ''") == [(2,)]
    finally:
        after.remove()


def ported(before: SpawnedHomeserver, database: Database) -> SpawnedHomeserver:
    """Move a homeserver to PostgreSQL as the documentation says, and return it as it is then."""
    folder = before._folder
    moved = yaml.safe_load((folder / "homeserver.yaml").read_text()) | {"database": dict(database.configuration)}
    path = folder / "moved.yaml"
    path.write_text(yaml.safe_dump(moved))
    created = CliRunner().invoke(main, ["schema", "--create", "--config", str(path)])
    assert (created.exit_code, created.output) == (0, "The tables of synapse-scim are there.\n")
    sqlite = Path(before._database.configuration["args"]["database"])
    finished = subprocess.run(
        [
            *(sys.executable, "-m", "synapse._scripts.synapse_port_db"),
            *("--sqlite-database", sqlite, "--postgres-config", path),
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        check=False,
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    # Streams whose last entries were deleted keep the script's result from starting: Synapse's issues 18544 and 19467.
    database.execute("DELETE FROM stream_positions WHERE stream_name = 'pushers'")
    (folder / "homeserver.log").rename(folder / "before.log")
    return SpawnedHomeserver(moved, attrs.evolve(database, folder=folder, drop=database.drop))
