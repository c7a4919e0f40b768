"""Photos, fetched into the homeserver's media repository."""

from __future__ import annotations

import re
from base64 import b64decode
from http import HTTPStatus
from io import BytesIO
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote_to_bytes, urljoin, urlsplit, urlunsplit

from PIL import Image
from synapse.api.errors import SynapseError, UserLimitExceededError
from synapse.logging.context import defer_to_thread, make_deferred_yieldable, run_in_background
from synapse.types import UserID
from synapse.util.async_helpers import timeout_deferred
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse

from synapse_scim.homeserver.downloads import DOWNLOAD_ERRORS, hang_up, read_body, reason

if TYPE_CHECKING:
    from synapse.server import HomeServer

_MEDIA_TYPES = {"JPEG": "image/jpeg", "MPO": "image/jpeg", "PNG": "image/png", "GIF": "image/gif", "WEBP": "image/webp"}
"""What Synapse makes thumbnails of, by Pillow's names: clients show avatars as thumbnails, so that no other image would
be seen. MPO is how Pillow calls a JPEG that holds further pictures, as phones make them."""
_FORMATS = ("JPEG", "PNG", "GIF", "WEBP")
_ACCEPTED = tuple(dict.fromkeys(_MEDIA_TYPES.values()))

_REDIRECTS = 5
_REDIRECTED = frozenset(
    {
        HTTPStatus.MOVED_PERMANENTLY,
        HTTPStatus.FOUND,
        HTTPStatus.SEE_OTHER,
        HTTPStatus.TEMPORARY_REDIRECT,
        HTTPStatus.PERMANENT_REDIRECT,
    }
)
_COMES_LATER = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})

_HOST = re.compile(r"[\w.:-]+", re.ASCII)
"""Nothing that Synapse, which looks for blocked addresses, and Twisted, which connects, could read differently."""
_PIECE = 2**16
_KEPT = "!$%&'()*+,/:;=?@[]~"


class PhotoRefused(Exception):
    """This source will never do: it is no image, too large, or not allowed. The text names no URL."""


class PhotoUnavailable(Exception):
    """This source may do later: somebody did not answer, or could not. The text names no URL."""


class MediaRepository:
    """Stores photos as if their owners had uploaded them.

    Synapse can do so only in a process that has the media repository. A deployment may give it to a media worker and
    switch it off everywhere else (`enable_media_repo: false`); Synapse has no way to hand media over to that worker,
    other than by an upload with an access token of the owner to an address that only the reverse proxy knows. As the
    module is loaded there too, photos that other processes could not store can be stored by the worker: `is_here` tells
    whether this is a process that can.

    Attributes:
        is_here: Whether this process has the media repository.
    """

    def __init__(self, hs: HomeServer, *, max_size: int, deadline_s: float = 30.0) -> None:
        """Use a homeserver's media repository, if this process has it.

        Args:
            hs: The homeserver.
            max_size: How many bytes a photo may have, if Synapse does not set a lower limit.
            deadline_s: How long a download may take, redirects included.
        """
        self._hs = hs
        self._deadline_s = deadline_s
        client = hs.get_proxied_blocklisted_http_client()
        # The agent below Synapse's client. It has the blocklist, for addresses and for what names resolve to, and the
        # proxy. What the client adds will not do: it writes URLs into the log, follows redirects to `http:`, expands
        # compressed bodies before their size is looked at, and lets a body that it has given up run on.
        self._agent = client.agent
        self._headers = Headers({b"User-Agent": [client.user_agent], b"Accept": [", ".join(_ACCEPTED).encode()]})
        self.is_here: bool = hs.config.media.can_load_media_repo
        limits = (max_size, hs.config.server.max_avatar_size, self.is_here and hs.config.media.max_upload_size)
        self._max_size = min(limit for limit in limits if limit)
        self._allowed = frozenset(hs.config.server.allowed_avatar_mimetypes or _ACCEPTED)

    async def store(self, user_id: str, source: str) -> str:
        """Store a photo, and return its `mxc:` URI. Storing it again makes another URI.

        What counts as a photo is what its bytes say: a JPEG, PNG, GIF or WebP image that Synapse makes thumbnails of
        and allows as an avatar. What a header, or the media type of a `data:` URL, says does not count.

        Args:
            user_id: Whose photo it is.
            source: An `https:` URL, or a `data:` URL (:rfc:`2397`).

        Raises:
            PhotoRefused: This will never do.
            PhotoUnavailable: This may do later. A name that resolves to a blocked address looks like one that resolves
                to nothing, and so belongs here; a blocked address in a URL is refused.
        """
        if not self.is_here:
            raise PhotoUnavailable("This process of the homeserver has no media repository")
        reactor = self._hs.get_reactor()
        if source[:5].lower() == "data:":
            content = await defer_to_thread(reactor, _decoded, source, self._max_size)
        else:
            content = await self._download(source)
        media_type = await defer_to_thread(reactor, _media_type, content, self._hs.config.media.max_image_pixels)
        if media_type not in self._allowed:
            raise PhotoRefused(f"The homeserver does not allow {media_type} as an avatar")
        try:
            return str(
                await self._hs.get_media_repository().create_or_update_content(
                    media_type=media_type,
                    upload_name=None,
                    content=BytesIO(content),
                    content_length=len(content),
                    auth_user=UserID.from_string(user_id),
                )
            )
        except UserLimitExceededError as error:
            raise PhotoUnavailable("The account has uploaded as much as it may for now") from error
        except SynapseError as error:
            raise PhotoRefused(f"The media repository refuses the photo: {error.msg}") from error
        except OSError as error:
            raise PhotoUnavailable(f"The media repository cannot store the photo: {error.strerror}") from error

    async def _download(self, url: str) -> bytes:
        downloading = timeout_deferred(
            deferred=run_in_background(self._follow, url), timeout=self._deadline_s, clock=self._hs.get_clock()
        )
        try:
            return await make_deferred_yieldable(downloading)
        except DOWNLOAD_ERRORS as error:
            raise PhotoUnavailable(f"The photo cannot be downloaded: {reason(error)}") from error
        except SynapseError as error:
            raise PhotoRefused("The photo stands at an address to which the homeserver may not connect") from error

    async def _follow(self, url: str) -> bytes:
        for _ in range(1 + _REDIRECTS):
            uri = _to_uri(url)
            response: IResponse = await make_deferred_yieldable(
                self._agent.request(b"GET", uri.encode("ascii"), self._headers)
            )
            if response.code == HTTPStatus.OK:
                return await make_deferred_yieldable(read_body(response, self._max_size, _too_large(self._max_size)))
            hang_up(response)
            if response.code not in _REDIRECTED:
                refusal = f"The photo's server answers {response.code}"
                if response.code >= HTTPStatus.INTERNAL_SERVER_ERROR or response.code in _COMES_LATER:
                    raise PhotoUnavailable(refusal)
                raise PhotoRefused(refusal)
            location = response.headers.getRawHeaders(b"location", [b""])[0]
            url = urljoin(uri, location.decode(errors="replace"))
        raise PhotoRefused(f"The photo is redirected more than {_REDIRECTS} times")


def _to_uri(url: str) -> str:
    try:
        parts = urlsplit(url)
        # It checks the lengths as well, over which Synapse's resolver would stumble and never answer.
        host = (parts.hostname or "").encode("idna").decode("ascii")
        port = "" if parts.port is None else f":{parts.port}"
        path, query = (quote(part, safe=_KEPT) for part in (parts.path, parts.query))
    except ValueError:
        raise PhotoRefused("The photo's URL is malformed") from None
    if parts.scheme != "https" or "@" in parts.netloc or not _HOST.fullmatch(host):
        raise PhotoRefused("A photo comes from a data: URL, or from an https: URL without user name and password")
    return urlunsplit(("https", (f"[{host}]" if ":" in host else host) + port, path, query, ""))


def _decoded(url: str, limit: int) -> bytes:
    """Return the content of a `data:` URL. It takes its time: not for the reactor's thread."""
    declared, _, text = url.partition(",")
    try:
        content = _unquoted(text)
        if declared.rstrip().lower().endswith(";base64"):
            # Some break it into lines, and some leave out the padding (https://infra.spec.whatwg.org/#forgiving-base64).
            digits = b"".join(content.split()).rstrip(b"=")
            content = b64decode(digits + b"=" * (-len(digits) % 4), validate=True)
    except ValueError:
        raise PhotoRefused("The photo's data: URL is malformed") from None
    if len(content) > limit:
        raise _too_large(limit)
    return content


def _unquoted(text: str) -> bytes:
    """Decode percent-encoding in pieces: the threads of this process stand still during each, the reactor's as well."""
    content = bytearray()
    start = 0
    while start < len(text):
        end = start + _PIECE
        # What begins with one of the last two characters may go on in the next piece.
        escape = text.find("%", end - 2, end)
        end = end if escape == -1 else escape
        content += unquote_to_bytes(text[start:end])
        start = end
    return bytes(content)


def _media_type(content: bytes, max_pixels: int) -> str:
    """Return what an image is. It takes its time: not for the reactor's thread.

    Raises:
        PhotoRefused: It is no image, or not one that Synapse makes thumbnails of.
    """
    too_many = PhotoRefused(f"The photo has {max_pixels} pixels or more, of which the homeserver makes no thumbnails")
    try:
        with Image.open(BytesIO(content), formats=_FORMATS) as image:
            media_type = _MEDIA_TYPES[image.format or ""]
            pixels = image.width * image.height
            image.verify()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise too_many from None
    except Exception:  # noqa: BLE001 - Pillow raises what it likes when bytes are no image.
        raise PhotoRefused("The photo is no JPEG, PNG, GIF or WebP image") from None
    if pixels >= max_pixels:
        raise too_many
    return media_type


def _too_large(limit: int) -> PhotoRefused:
    return PhotoRefused(f"The photo has more than {limit} bytes")
