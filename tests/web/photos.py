"""Photos: what they are made of, where they come from, and where they go."""

from __future__ import annotations

import struct
import zlib
from base64 import b64encode
from io import BytesIO
from typing import Any, Self

import pytest
from PIL import Image
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.web.http import Request

from synapse_scim.homeserver.media import MediaRepository, PhotoRefused, PhotoUnavailable
from tests.support.client import ScimClient
from tests.support.homeserver import LocalHomeserver

MAX_SIZE = 100_000


class Photos:
    """A media repository, and what people see of it."""

    def __init__(self, homeserver: LocalHomeserver, user_id: str, token: str) -> None:
        """Store photos for an account."""
        self.user_id = user_id
        self._homeserver = homeserver
        self._client = ScimClient(homeserver.url, token, "/_matrix/client/v1/media")

    @classmethod
    async def of(cls, homeserver: LocalHomeserver) -> Self:
        """Make `@ann:example.org`, whose photos they are."""
        user_id = await homeserver.register("ann")
        return cls(homeserver, user_id, await homeserver.access_token(user_id))

    async def store(self, source: str, max_size: int = MAX_SIZE, **options: Any) -> str:
        """Store a photo."""
        with self._homeserver._context():
            repository = MediaRepository(self._homeserver.hs, max_size=max_size, **options)
            return await repository.store(self.user_id, source)

    async def shown(self, mxc: str, path: str = "download", query: str = "") -> tuple[str, bytes]:
        """Return type and bytes of what is stored, as a client gets them."""
        response = await self._client.request("GET", f"/{path}/{mxc.removeprefix('mxc://')}{query}")
        assert response.status == 200, response.body
        return response.headers["content-type"], response.body

    async def refused(self, source: str, reason: str, **options: Any) -> None:
        """Try to store what will never do."""
        with pytest.raises(PhotoRefused, match=reason):
            await self.store(source, **options)

    async def unavailable(self, source: str, reason: str, **options: Any) -> None:
        """Try to store what may do later."""
        with pytest.raises(PhotoUnavailable, match=reason):
            await self.store(source, **options)


def image(kind: str, size: tuple[int, int] = (64, 48), **options: Any) -> bytes:
    """Return an image."""
    file = BytesIO()
    Image.new("RGB", size, "teal").save(file, kind, **options)
    return file.getvalue()


def huge_png(width: int, height: int) -> bytes:
    """Return a PNG of a few bytes that says it has so many pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(100_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def data_url(content: bytes, media_type: str = "image/png") -> str:
    """Return a `data:` URL."""
    return f"data:{media_type};base64,{b64encode(content).decode()}"


class Unending:
    """Sends a little again and again, until the client has had enough."""

    def __init__(
        self, piece: bytes, seconds: float, *, at_once: bool = True, length: int | None = None, status: int = 200
    ) -> None:
        """Describe what is sent, how often, whether at once, what length it says it has, and with what status."""
        self.given_up: Deferred[None] = Deferred()
        self._piece = piece
        self._seconds = seconds
        self._at_once = at_once
        self._length = length
        self._status = status

    def __call__(self, request: Request) -> None:
        """Answer a request."""
        request.setResponseCode(self._status)
        request.setHeader("Content-Type", "image/png")
        if self._length is not None:
            request.setHeader("Content-Length", str(self._length))
        sending = LoopingCall(request.write, self._piece)

        def stop(_: object) -> None:
            sending.stop()
            self.given_up.callback(None)

        request.notifyFinish().addErrback(stop)  # type: ignore[unused-awaitable]
        sending.start(self._seconds, self._at_once)  # type: ignore[unused-awaitable]
