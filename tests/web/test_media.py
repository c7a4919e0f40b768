"""What becomes of a photo in the media repository, and what is no photo."""

from __future__ import annotations

import random
import time
from base64 import b64encode
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

import pytest
from PIL import Image
from synapse import rest
from synapse.api.errors import Codes
from twisted.internet.task import LoopingCall

from synapse_scim.homeserver.media import MediaRepository
from tests.support.databases import Engine
from tests.support.homeserver import LocalHomeserver
from tests.support.https import HttpsServer, answer
from tests.support.runner import BlockingRunner
from tests.web.photos import MAX_SIZE, Photos, data_url, huge_png, image

pytestmark = [
    pytest.mark.usefixtures("authority"),
    pytest.mark.homeserver(config={"ip_range_whitelist": ["127.0.0.1/32"]}),
]

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "PNG": ("image/png", {}),
    "JPEG": ("image/jpeg", {}),
    "GIF": ("image/gif", {}),
    "WEBP": ("image/webp", {}),
    # As phones make them: a JPEG, with more in it.
    "MPO": ("image/jpeg", {"save_all": True, "append_images": [Image.new("RGB", (64, 48), "red")]}),
}


async def test_photo_is_stored(photos: Photos, server: HttpsServer, engine: Engine) -> None:
    """What stood at the source can be downloaded, unchanged, with its type, and as a thumbnail, on both engines."""
    for kind, (media_type, options) in KINDS.items():
        photo = image(kind, **options)
        server.answers[f"/{kind}"] = answer(photo, media_type)

        mxc = await photos.store(server.url(f"/{kind}"))

        assert mxc.startswith("mxc://example.org/"), engine
        assert await photos.shown(mxc) == (media_type, photo)
        shown, _ = await photos.shown(mxc, "thumbnail", "?width=32&height=32&method=crop")
        assert shown in {"image/png", "image/jpeg"}


async def test_photo_within_a_url(photos: Photos) -> None:
    """A `data:` URL holds its photo in base64 or percent-encoded (RFC 2397)."""
    photo = image("PNG")
    digits = b64encode(photo).decode()
    urls = [
        f"data:image/png;base64,{digits}",
        f"DATA:image/png;charset=utf-8;BASE64,{digits}",
        f"data:image/png,{quote_from_bytes(photo)}",
        f"data:image/png;base64,{quote_from_bytes(digits.encode())}",
        # What browsers read as well: no type, no padding, lines.
        f"data:,{quote_from_bytes(photo)}",
        f"data:image/png;base64,{digits.rstrip('=')}",
        f"data:image/png;base64,{digits[:76]}\r\n{digits[76:]}",
    ]
    for url in urls:
        assert await photos.shown(await photos.store(url)) == ("image/png", photo)


async def test_url_says_what_is_no_photo(photos: Photos) -> None:
    """A `data:` URL that cannot be decoded, or decodes to no image, is refused."""
    for url in ["data:image/png;base64,iVBORw0KGgo!", "data:image/png;base64,AAAAA", "data:image/png,\ud800"]:
        await photos.refused(url, "malformed")
    for url in ["data:", "data:image/png", "data:image/png;base64,", "data:image/png,iVBORw0KGgo"]:
        await photos.refused(url, "no JPEG, PNG, GIF or WebP")


async def test_content_says_what_it_is(photos: Photos, server: HttpsServer) -> None:
    """The type is decided by the bytes, whatever the server says of them."""
    photo = image("PNG")
    server.answers["/html"] = answer(photo, "text/html")
    server.answers["/lie"] = answer(photo, "image/svg+xml")

    for path in ["/html", "/lie"]:
        assert await photos.shown(await photos.store(server.url(path))) == ("image/png", photo)
    assert await photos.shown(await photos.store(data_url(photo, "text/html"))) == ("image/png", photo)


async def test_only_images_that_are_shown(photos: Photos, server: HttpsServer) -> None:
    """What is no image, and an image that browsers run or clients do not show, is refused, whatever it calls itself."""
    contents = {
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
        "html": b"<!DOCTYPE html><script>alert(1)</script>",
        "nothing": b"",
        "cut short": image("PNG")[:40],
        "damaged": image("PNG")[:-20] + bytes(20),
        "bmp": image("BMP"),
        "tiff": image("TIFF"),
        "avif": image("AVIF"),
    }
    for number, content in enumerate(contents.values()):
        server.answers[f"/{number}"] = answer(content, "image/png")
        await photos.refused(server.url(f"/{number}"), "no JPEG, PNG, GIF or WebP")
        await photos.refused(data_url(content), "no JPEG, PNG, GIF or WebP")


async def test_decompression_bomb(photos: Photos) -> None:
    """An image of few bytes and too many pixels is refused before it is unpacked."""
    assert len(huge_png(50_000, 50_000)) < 1000
    for width, height in [(50_000, 50_000), (6000, 6000)]:
        await photos.refused(data_url(huge_png(width, height)), "pixels or more")


@pytest.mark.homeserver(config={"max_image_pixels": 10_000})
async def test_pixels_that_synapse_allows(photos: Photos) -> None:
    """The limit is Synapse's own `max_image_pixels`, at which it stops to make thumbnails."""
    await photos.store(data_url(image("PNG", (100, 99))))
    await photos.refused(data_url(image("PNG", (100, 100))), "10000 pixels or more")


async def test_size(photos: Photos, server: HttpsServer) -> None:
    """A photo may have as many bytes as the limit says, and not one more."""
    photo = image("PNG")
    server.answers["/"] = answer(photo)
    for source in [server.url("/"), data_url(photo)]:
        await photos.store(source, max_size=len(photo))
        await photos.refused(source, f"more than {len(photo) - 1} bytes", max_size=len(photo) - 1)


@pytest.mark.parametrize(
    "config", [{"max_avatar_size": "1K"}, {"max_upload_size": "1K"}], ids=["max_avatar_size", "max_upload_size"]
)
async def test_limits_of_synapse(photos: Photos, homeserver: LocalHomeserver, config: dict[str, Any]) -> None:
    """Where Synapse itself allows less, that counts."""
    photo = image("PNG") + bytes(1024)
    await photos.store(data_url(photo))

    await homeserver.restart(config)

    await photos.refused(data_url(photo), "more than 1024 bytes")


@pytest.mark.homeserver(config={"allowed_avatar_mimetypes": ["image/png"]})
async def test_types_that_synapse_allows(photos: Photos) -> None:
    """What Synapse does not allow as an avatar is not stored."""
    await photos.store(data_url(image("PNG")))
    await photos.refused(data_url(image("JPEG"), "image/png"), "does not allow image/jpeg")


async def test_media_repository_elsewhere(
    photos: Photos, homeserver: LocalHomeserver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process without the media repository says so; another one can store the photo."""
    assert MediaRepository(homeserver.hs, max_size=MAX_SIZE).is_here

    # All homeservers of a process share what the first of them with a media repository puts here.
    monkeypatch.delitem(rest.SERVLET_GROUPS, "media")
    await homeserver.restart({"enable_media_repo": False})

    assert not MediaRepository(homeserver.hs, max_size=MAX_SIZE).is_here
    await photos.unavailable(data_url(image("PNG")), "no media repository")


@pytest.mark.homeserver(config={"media_upload_limits": [{"time_period": "1h", "max_size": "1K"}]})
async def test_limit_of_uploads(photos: Photos) -> None:
    """What a person may upload in a time counts for their photo too; it may be stored when that time has passed."""
    await photos.unavailable(data_url(image("PNG") + bytes(1024)), "as much as it may")


async def test_media_that_others_refuse(photos: Photos, homeserver: LocalHomeserver) -> None:
    """A module of the homeserver may refuse a photo, as it may any upload."""

    async def check(_file: object, _info: object) -> Codes:
        return Codes.FORBIDDEN

    homeserver.hs.get_module_api().register_spam_checker_callbacks(check_media_file_for_spam=check)

    await photos.refused(data_url(image("PNG")), "media repository refuses")


@pytest.mark.blocking
def test_media_that_cannot_be_written(photos: Photos, homeserver: LocalHomeserver, runner: BlockingRunner) -> None:
    """A full or broken disk may be repaired."""
    Path(homeserver.hs.config.media.media_store_path, "local_content").write_bytes(b"")

    runner.run(photos.unavailable(data_url(image("PNG")), "cannot store the photo: "))


async def test_reactor_is_not_held(photos: Photos) -> None:
    """The work on a large photo leaves the reactor to others (the documentation)."""
    noise = Image.frombytes("RGB", (1300, 1300), random.Random(1).randbytes(3 * 1300 * 1300))  # noqa: S311
    file = BytesIO()
    noise.save(file, "PNG")
    photo = file.getvalue()
    source = f"data:image/png,{quote_from_bytes(photo)}"
    seen = [time.thread_time()]
    looking = LoopingCall(lambda: seen.append(time.thread_time()))
    looking.start(0.001)  # type: ignore[unused-awaitable]

    mxc = await photos.store(source, max_size=len(photo))

    looking.stop()
    # Of this thread alone, whatever else the machine does; in one piece, the text alone would take a second.
    assert max(later - earlier for earlier, later in pairwise(seen)) < 0.3
    assert await photos.shown(mxc) == ("image/png", photo)
