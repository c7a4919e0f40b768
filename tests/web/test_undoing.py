"""A change that the homeserver refuses is undone, whatever others have taken meanwhile."""

from __future__ import annotations

import pytest

from tests.web.clients import Scim, Synapse, assert_error, new_user, without_meta

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
