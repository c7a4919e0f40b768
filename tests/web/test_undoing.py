"""A change that the homeserver refuses is undone, whatever others have taken meanwhile."""

from __future__ import annotations

import pytest

from tests.web.clients import Admin, Scim, Synapse, assert_error, new_user, without_meta

pytestmark = [
    pytest.mark.usefixtures("engine", "owner"),
    # An avatar that is no image of this kind is refused, when all else is done already.
    pytest.mark.homeserver(config={"allowed_avatar_mimetypes": ["image/png"]}),
]

ANN = "@ann:example.org"
REFUSED = {"photos": [{"value": "mxc://example.org/face"}]}


async def test_a_return_that_is_refused_is_undone_though_the_name_is_another_persons(scim: Scim) -> None:
    """Whoever was deleted stays deleted, and can be created again, under another name."""
    await scim.create("ann", externalId="7", title="Boss")
    await scim.delete(ANN)
    other = await scim.create("ann", externalId="8")

    refused = await scim.post("/Users", new_user("ann.lee", externalId="7", **REFUSED))

    assert_error(refused, 403, naming="avatar")
    assert_error(await scim.get(f"/Users/{ANN}"), 404)
    assert await scim.names() == ["admin", "ann"]
    back = await scim.create("ann.lee", externalId="7")
    assert (back["id"], back["title"]) == (ANN, "Boss")
    assert without_meta(await scim.read(other["id"])) == without_meta(other)


async def test_an_account_whose_localpart_is_anothers_name_can_be_deleted(scim: Scim, synapse: Synapse) -> None:
    """What is recorded of an account that SCIM did not manage claims no name."""
    bob = await scim.create("bob")
    await synapse.change(ANN, password="correct horse")
    await scim.patched(bob["id"], {"op": "replace", "path": "userName", "value": "ann"})

    assert (await scim.delete(ANN)).status == 204

    assert_error(await scim.get(f"/Users/{ANN}"), 404)
    assert await scim.names() == ["admin", "ann"]


async def test_an_avatar_that_could_not_be_set_again_is_no_obstacle(admin: Admin) -> None:
    """A refused change is undone, though the homeserver would refuse what is there already; it can be changed then."""
    await admin.scim.create("ann", displayName="Ann", title="Boss")
    # Set before that was forbidden, or before its media were removed.
    admin.homeserver._database.execute("UPDATE profiles SET avatar_url = 'mxc://example.org/former'")
    before = await admin.scim.read(ANN)

    refused = await admin.scim.patch(
        ANN, {"op": "replace", "value": {"displayName": "Annie", "title": "Clerk", **REFUSED}}
    )

    assert_error(refused, 403, naming="avatar")
    assert without_meta(await admin.scim.read(ANN)) == without_meta(before)
    changed = await admin.scim.patched(ANN, {"op": "replace", "path": "title", "value": "Clerk"})
    assert (changed["title"], changed["photos"]) == ("Clerk", before["photos"])
