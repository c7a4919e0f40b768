"""A homeserver whose main process has no media repository, since a worker has it."""

from __future__ import annotations

from tests.support.process import SpawnHomeserver
from tests.web.clients import STABLE, Scim, assert_error, new_user


async def test_photos_without_a_media_repository(spawn_homeserver: SpawnHomeserver) -> None:
    """A `data:` photo is answered with 503, saying why, and changes nothing; other photos are kept."""
    homeserver = await spawn_homeserver(config={"enable_media_repo": False})
    homeserver.start()
    homeserver.wait_until_logged("SCIM is ready")
    scim = Scim(homeserver.url, homeserver.register_admin(), STABLE)

    refused = await scim.post("/Users", new_user("ann", photos=[{"value": "data:image/png;base64,iVBORw0KGgo="}]))
    kept = await scim.create("ann", photos=[{"value": "https://127.0.0.1:1/face.png"}])

    assert_error(refused, 503, naming="media repository")
    assert refused.headers["retry-after"] == "5"
    assert (kept["id"], kept["photos"]) == ("@ann:example.org", [{"value": "https://127.0.0.1:1/face.png"}])
