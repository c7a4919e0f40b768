"""`photos`, as avatars (SPEC, attributes). What is fetched how, `test_media.py` shows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.web.http import Request

from synapse_scim.application import build
from synapse_scim.config import Config
from synapse_scim.homeserver.database import HomeserverDatabase
from synapse_scim.homeserver.gateway import SynapseAccounts
from synapse_scim.mapping.identifiers import fold
from synapse_scim.store import photo_orders
from synapse_scim.store.photo_orders import Order
from synapse_scim.store.photos import Photos
from tests.support.https import HttpsServer, answer
from tests.web.clients import Admin, Scim, Synapse, assert_error, new_user, until, url_of, without_meta
from tests.web.photos import data_url, image

pytestmark = [pytest.mark.usefixtures("engine", "owner"), pytest.mark.mas_on_sqlite]

FACE = "mxc://example.org/face"
OTHER = "mxc://example.org/other"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def png(width: int) -> str:
    """Return a picture as a `data:` URL."""
    return data_url(image("PNG", (width, 8)))


async def avatar(synapse: Synapse, user_id: str) -> str | None:
    """Return an avatar as everybody sees it."""
    avatar_url: str | None = (await synapse.account(user_id))["avatar_url"]
    return avatar_url


async def test_matrix_pictures_are_taken_as_they_are(scim: Scim, synapse: Synapse) -> None:
    """The primary photo becomes the avatar, else the first; photos come back as sent."""
    photos = [{"value": OTHER, "type": "thumbnail"}, {"value": FACE, "type": "photo", "primary": True}]
    ann = await scim.create("ann", photos=photos)

    assert ann["photos"] == photos
    assert await avatar(synapse, ann["id"]) == FACE
    changed = await scim.patched(ann["id"], {"op": "replace", "path": "photos", "value": [{"value": OTHER}]})
    assert (changed["photos"], await avatar(synapse, ann["id"])) == ([{"value": OTHER}], OTHER)
    gone = await scim.patched(ann["id"], {"op": "remove", "path": "photos"})
    assert ("photos" in gone, await avatar(synapse, ann["id"])) == (False, None)


async def test_pictures_within_requests_are_stored(scim: Scim, synapse: Synapse) -> None:
    """A `data:` photo comes back as the `mxc:` one that it became, and is not stored again by the next PUT."""
    sent = {"photos": [{"value": png(8), "type": "photo"}], "displayName": "Ann"}
    ann = await scim.create("ann", **sent)

    (photo,) = ann["photos"]
    assert photo["value"].startswith("mxc://example.org/")
    assert photo["type"] == "photo"
    assert await avatar(synapse, ann["id"]) == photo["value"]
    again = await scim.replaced(ann["id"], new_user("ann", **sent))
    assert again == ann
    changed = await scim.replaced(ann["id"], new_user("ann", **sent | {"photos": [{"value": png(16)}]}))
    assert changed["photos"][0]["value"] not in {photo["value"], None}
    assert await avatar(synapse, ann["id"]) == changed["photos"][0]["value"]


async def test_pictures_can_be_patched(scim: Scim, synapse: Synapse) -> None:
    """A PATCH takes a `data:` photo in every form."""
    ann = await scim.create("ann")
    for value in (
        {"op": "add", "path": "photos", "value": [{"value": png(8), "type": "photo"}]},
        {"op": "replace", "path": 'photos[type eq "photo"].value', "value": png(16)},
        {"op": "replace", "value": {"photos": [{"value": png(24)}]}},
    ):
        changed = await scim.patched(ann["id"], value)
        assert await avatar(synapse, ann["id"]) == changed["photos"][0]["value"]
        assert changed["photos"][0]["value"].startswith("mxc:")


async def test_what_is_no_picture_is_refused(scim: Scim) -> None:
    """A `data:` photo that is no image could not come back, so the request is refused and changes nothing."""
    svg = "data:image/svg+xml," + "%3Csvg xmlns='http://www.w3.org/2000/svg'/%3E"
    for bad in ("data:", "data:image/png;base64,!!!", "data:text/plain,hello", svg):
        response = await scim.post("/Users", new_user("ann", photos=[{"value": bad}]))
        assert_error(response, 400, "invalidValue", naming="photos")
    assert await scim.names('userName eq "ann"') == []
    ann = await scim.create("ann", title="Dr")
    body = new_user("ann", title="Boss", photos=[{"value": svg}])
    assert_error(await scim.put(ann["id"], body), 400, "invalidValue", naming="photos")
    assert await scim.read(ann["id"]) == ann


async def test_long_texts_are_pictures_only_in_photos(scim: Scim) -> None:
    """Only a photo may be as long as a picture."""
    long = "data:" + "A" * 20_000
    assert_error(await scim.post("/Users", new_user("ann", title=long)), 400, "invalidValue", naming="title")
    ann = await scim.create("ann")
    patch = {"op": "replace", "path": "title", "value": long}
    assert_error(await scim.patch(ann["id"], patch), 400, "invalidValue", naming="title")


async def test_photos_that_cannot_be_fetched_do_no_harm(scim: Scim, synapse: Synapse) -> None:
    """A photo that is not there is kept as sent, and whatever else the request asks for happens."""
    photos = [{"value": "https://127.0.0.1:1/face.png", "type": "photo"}]
    ann = await scim.create("ann", displayName="Ann", photos=photos)
    odd = await scim.create("bob", photos=[{"value": "no url"}])

    assert (ann["photos"], ann["displayName"]) == (photos, "Ann")
    assert odd["photos"] == [{"value": "no url"}]
    assert await avatar(synapse, ann["id"]) is None
    assert await scim.read(ann["id"]) == ann


async def test_avatars_of_others_stay(scim: Scim, synapse: Synapse) -> None:
    """An avatar that the person chose shows as their photo, and a PUT that names none leaves it alone."""
    ann = await scim.create("ann", photos=[{"value": FACE}])
    await synapse.change(ann["id"], avatar_url=OTHER)

    shown = await scim.read(ann["id"])
    assert shown["photos"] == [{"value": OTHER}]
    assert await scim.replaced(ann["id"], shown) == shown
    kept = await scim.replaced(ann["id"], new_user("ann", title="Dr"))
    assert (kept["photos"], await avatar(synapse, ann["id"])) == ([{"value": OTHER}], OTHER)
    back = await scim.replaced(ann["id"], new_user("ann", photos=[{"value": FACE}]))
    assert (back["photos"], await avatar(synapse, ann["id"])) == ([{"value": FACE}], FACE)
    gone = await scim.replaced(ann["id"], new_user("ann"))
    assert ("photos" in gone, await avatar(synapse, ann["id"])) == (False, None)


async def test_photos_can_be_searched(scim: Scim, synapse: Synapse) -> None:
    """A filter finds what an answer shows, whoever set it."""
    ann = await scim.create("ann", photos=[{"value": FACE, "type": "photo"}])
    bob = await scim.create("bob", photos=[{"value": FACE}])
    await synapse.change(bob["id"], avatar_url=OTHER)

    assert await scim.names(f'photos.value eq "{FACE}"') == ["ann"]
    assert await scim.names(f'photos[value eq "{OTHER}"]') == ["bob"]
    assert await scim.names('photos[type eq "photo"]') == ["ann"]
    assert await scim.names("photos pr") == ["ann", "bob"]
    assert (await scim.get(url_of(ann["id"]))).json["photos"] == ann["photos"]


@pytest.mark.homeserver(module_config={"profile_fields": {"m.tz": "timezone", "org.corp.dept": "name.familyName"}})
async def test_attributes_can_be_profile_fields(admin: Admin) -> None:
    """What `profile_fields` names is published, changed and removed with the attribute."""
    scim = admin.scim

    async def fields(user_id: str) -> dict[str, Any]:
        profile = await admin.synapse.request("GET", f"/_matrix/client/v3/profile/{user_id}")
        return {name: value for name, value in profile.json.items() if name not in {"displayname", "avatar_url"}}

    ann = await scim.create("ann", timezone="Europe/Vienna", name={"familyName": "Lee"})
    assert await fields(ann["id"]) == {"m.tz": "Europe/Vienna", "org.corp.dept": "Lee"}

    changed = await scim.patched(ann["id"], {"op": "replace", "path": "timezone", "value": "Asia/Tokyo"})
    assert changed["timezone"] == "Asia/Tokyo"
    assert await fields(ann["id"]) == {"m.tz": "Asia/Tokyo", "org.corp.dept": "Lee"}
    await scim.replaced(ann["id"], new_user("ann"))
    assert await fields(ann["id"]) == {}


@pytest.mark.homeserver(module_config={"photos": {"fetch": False}})
async def test_fetching_can_be_switched_off(admin: Admin) -> None:
    """With `photos.fetch: false` a photo elsewhere is a mere attribute, and nothing is asked of anybody."""
    photos = [{"value": "https://127.0.0.1:1/face.png"}]
    ann = await admin.scim.create("ann", photos=photos)

    assert ann["photos"] == photos
    assert await orders(admin) == []
    back = await admin.scim.read(ann["id"])
    assert without_meta(back) == without_meta(ann)


@pytest.mark.usefixtures("authority")
@pytest.mark.homeserver(config={"ip_range_whitelist": ["127.0.0.1/32"]})
async def test_pictures_elsewhere_are_fetched(admin: Admin, server: HttpsServer) -> None:
    """A `https:` photo becomes the avatar soon after the answer, again when it changed, and goes with the photo."""
    scim, synapse = admin.scim, admin.synapse
    server.answers["/ann"] = answer(image("PNG"))
    server.answers["/older"] = answer(image("JPEG"))
    photos = [{"value": server.url("/ann"), "type": "photo"}]

    async def has_another_avatar_than(former: str | None) -> bool:
        return await avatar(synapse, ann["id"]) != former

    ann = await scim.create("ann", photos=photos)
    await until(lambda: has_another_avatar_than(None))
    first = await avatar(synapse, ann["id"])
    assert first is not None
    assert first.startswith("mxc://example.org/")
    shown = await scim.read(ann["id"])
    assert without_meta(shown) == without_meta(ann)
    assert await scim.replaced(ann["id"], shown) == shown
    older = [{"value": server.url("/older"), "type": "photo"}]
    await scim.patched(ann["id"], {"op": "replace", "path": "photos", "value": older})
    await until(lambda: has_another_avatar_than(first))
    await scim.patched(ann["id"], {"op": "remove", "path": "photos"})
    assert await avatar(synapse, ann["id"]) is None
    assert await orders(admin) == []


@pytest.mark.usefixtures("authority")
@pytest.mark.homeserver(config={"ip_range_whitelist": ["127.0.0.1/32"]})
async def test_fetching_is_tried_again(admin: Admin, server: HttpsServer) -> None:
    """What is not there yet is fetched later; what is no picture is not asked for again, and the log says so."""
    server.answers["/late"] = answer(b"", status=503)
    server.answers["/never"] = answer(b"<svg/>")
    late = await admin.scim.create("late", photos=[{"value": server.url("/late")}])
    never = await admin.scim.create("never", photos=[{"value": server.url("/never")}])

    async def tried_both() -> bool:
        return await orders(admin) == [(late["id"], 1)]

    await until(tried_both)
    server.answers["/late"] = answer(image("GIF"))
    await execute(admin, "UPDATE synapse_scim_photos SET fetch_ts = 0")
    # Any other order makes the module look.
    await admin.scim.patched(
        never["id"], {"op": "replace", "path": "photos", "value": [{"value": server.url("/late")}]}
    )

    async def has_avatars() -> bool:
        return None not in {await avatar(admin.synapse, user["id"]) for user in (late, never)}

    await until(has_avatars)
    said = [r.getMessage() for r in admin.homeserver.log_records if "could not be fetched" in r.getMessage()]
    assert sorted("will not be" in text for text in said) == [False, True]
    assert not any(server.url("") in text for text in said)


async def orders(admin: Admin) -> list[tuple[str, int]]:
    """Return whose photos are to be fetched, and how often that was tried."""
    pool = admin.homeserver.hs.get_datastores().main.db_pool
    return sorted(await pool.simple_select_list("synapse_scim_photos", None, ("user_id", "attempts")))


async def execute(admin: Admin, sql: str) -> None:
    """Run a statement."""
    pool = admin.homeserver.hs.get_datastores().main.db_pool
    await pool.runInteraction("test", lambda txn: txn.execute(sql))


@pytest.mark.homeserver(config={"allowed_avatar_mimetypes": ["image/png"]})
async def test_avatars_that_the_homeserver_refuses(admin: Admin) -> None:
    """A refused avatar is no reason not to make an account; it is one to refuse a change, which then is none."""
    ann = await admin.scim.create("ann", title="Dr", photos=[{"value": FACE}])
    bob = await admin.scim.create("bob", title="Dr")

    refused = await admin.scim.patch(
        bob["id"],
        {"op": "replace", "path": "photos", "value": [{"value": FACE}]},
        {"op": "replace", "path": "title", "value": "Prof"},
    )

    assert ann["title"] == "Dr"
    assert await avatar(admin.synapse, ann["id"]) is None
    assert_error(refused, 403, naming="avatar")
    assert without_meta(await admin.scim.read(bob["id"])) == without_meta(bob)
    assert any("is not set" in record.getMessage() for record in admin.homeserver.log_records)


async def test_processes_without_media_leave_photos_to_others(admin: Admin) -> None:
    """A process that has no media repository does not touch what is to be fetched."""
    accounts = SynapseAccounts(admin.homeserver.hs)
    accounts.stores_photos = False
    await execute(admin, "INSERT INTO synapse_scim_photos VALUES ('@ann:example.org', 'https://127.0.0.1:1/', 0, 0)")

    application = build(Config(), admin.homeserver.hs, gateway=accounts)
    await application.maintenance.start()
    await application.maintenance.in_every_process()

    assert await orders(admin) == [("@ann:example.org", 0)]


class LastMoment(HomeserverDatabase):
    """A database where a photo is ordered just after nothing was found to be fetched."""

    photos: Photos
    is_late = False

    async def run(self, name, function, *args, **kwargs):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN002, ANN003, ANN201
        """Look for orders, and come too late with one."""
        found = await super().run(name, function, *args, **kwargs)
        if name == "synapse_scim_photos" and not self.is_late:
            self.is_late = True
            await super().run("order", photo_orders.place, "@ann:example.org", "https://127.0.0.1:1/", EPOCH)
            await self.photos.fetch_due()
        return found


async def test_no_order_is_overlooked(admin: Admin) -> None:
    """What is ordered while the last order is being done with is done at once, not after a minute."""
    database = LastMoment(admin.homeserver.hs, fold)
    application = build(Config(), admin.homeserver.hs, database=database)
    database.photos = application.store.photos
    await application.maintenance.start()

    await database.photos.fetch_due()

    # Nobody has such a photo any more.
    assert await orders(admin) == []


async def test_other_entries_keep_their_place(scim: Scim, synapse: Synapse) -> None:
    """Of several photos each is what it was, and the chosen one the avatar; what is no URL is a mere attribute."""
    ann = await scim.create("ann", photos=[{"value": "mxc://no"}, {"value": png(8), "primary": True}, {"value": FACE}])

    assert [photo["value"] for photo in ann["photos"]] == ["mxc://no", await avatar(synapse, ann["id"]), FACE]
    same = [*ann["photos"][:2], {"value": FACE, "type": "photo"}]
    changed = await scim.replaced(ann["id"], new_user("ann", photos=same))
    assert (changed["photos"], await avatar(synapse, ann["id"])) == (same, same[1]["value"])
    odd = await scim.replaced(ann["id"], new_user("ann", photos=[{"value": "mxc://no"}]))
    assert (odd["photos"], await avatar(synapse, ann["id"])) == ([{"value": "mxc://no"}], None)


@pytest.mark.usefixtures("authority")
@pytest.mark.homeserver(config={"ip_range_whitelist": ["127.0.0.1/32"]})
async def test_photos_that_change_while_they_are_fetched(admin: Admin, server: HttpsServer) -> None:
    """A photo that is gone when its picture arrives does not become the avatar, and nothing remains to be fetched."""
    asked: Deferred[Request] = Deferred()
    server.answers["/slow"] = asked.callback
    server.answers["/ann"] = answer(image("PNG"))
    ann = await admin.scim.create("ann", photos=[{"value": server.url("/slow")}])
    request = await asked
    await admin.scim.patched(ann["id"], {"op": "remove", "path": "photos"})
    answer(image("PNG"))(request)

    async def fetched(count: int) -> bool:
        media = await admin.homeserver.hs.get_datastores().main.db_pool.simple_select_list(
            "local_media_repository", None, ["media_id"]
        )
        return len(media) == count

    await until(lambda: fetched(1))
    kept = [{"value": server.url("/ann"), "type": "photo"}]
    await admin.scim.patched(ann["id"], {"op": "replace", "path": "photos", "value": kept})
    await until(lambda: fetched(2))

    async def has_avatar() -> bool:
        return await avatar(admin.synapse, ann["id"]) is not None

    await until(has_avatar)
    present = await avatar(admin.synapse, ann["id"])
    other = [{"value": server.url("/ann"), "type": "thumbnail"}]
    await admin.scim.patched(ann["id"], {"op": "replace", "path": "photos", "value": other})
    assert await avatar(admin.synapse, ann["id"]) == present
    await execute(admin, "INSERT INTO synapse_scim_photos VALUES ('@ann:example.org', 'https://former', 0, 0)")
    maintenance = build(Config(), admin.homeserver.hs).maintenance
    await maintenance.start()
    await maintenance.in_every_process()
    assert (await orders(admin), await fetched(2)) == ([], True)


async def test_photos_of_nobody_are_forgotten(admin: Admin) -> None:
    """What is ordered for an account that SCIM does not manage any more is not fetched."""
    await execute(admin, "INSERT INTO synapse_scim_photos VALUES ('@admin:example.org', 'https://127.0.0.1:1/', 0, 0)")
    maintenance = build(Config(), admin.homeserver.hs).maintenance
    await maintenance.start()

    await maintenance.in_every_process()

    assert await orders(admin) == []


@pytest.mark.homeserver(module_config={"profile_fields": {"org.corp.role": "roles.value", "org.corp.email": "emails"}})
async def test_profile_fields_of_several_values(admin: Admin) -> None:
    """Of several values the primary one is published, else the first; of entries their value."""
    roles = [{"value": "clerk"}, {"value": "boss", "primary": True}]
    ann = await admin.scim.create("ann", roles=roles, emails=[{"value": "ann@corp.example"}])

    profile = (await admin.synapse.request("GET", f"/_matrix/client/v3/profile/{ann['id']}")).json

    assert (profile["org.corp.role"], profile["org.corp.email"]) == ("boss", "ann@corp.example")


async def test_each_photo_is_fetched_by_one_process(admin: Admin) -> None:
    """Of two processes that see the same order at the same time, the one that comes second leaves it to the first."""
    await execute(admin, "INSERT INTO synapse_scim_photos VALUES ('@ann:example.org', 'https://127.0.0.1:1/', 1, 0)")
    photos = build(Config(), admin.homeserver.hs).store.photos

    with admin.homeserver._context():
        await photos._fetch_all([Order(user_id="@ann:example.org", source="https://127.0.0.1:1/", attempts=0)])

    assert await orders(admin) == [("@ann:example.org", 1)]
