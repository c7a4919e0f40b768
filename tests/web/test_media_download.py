"""Photos at `https:` URLs: what is asked, of whom, and for how long."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from twisted.web.http import Request

from tests.support.homeserver import LocalHomeserver
from tests.support.https import CertificateAuthority, HttpsServer, answer, redirect
from tests.web.photos import Photos, Unending, data_url, image

pytestmark = [
    pytest.mark.usefixtures("authority"),
    pytest.mark.homeserver(config={"ip_range_whitelist": ["127.0.0.1/32"]}),
]


async def test_body_without_end(photos: Photos, server: HttpsServer) -> None:
    """Of a body that is too large, or that never ends, no more is read than the limit."""
    endless = server.answers["/endless"] = Unending(bytes(16_384), 0.001)
    refused = server.answers["/refused"] = Unending(bytes(16_384), 0.001, status=404)
    announced = server.answers["/announced"] = Unending(b"\x89PNG", 60, length=1_000_000_000)

    await photos.refused(server.url("/endless"), "more than 100000 bytes")
    await endless.given_up
    await photos.refused(server.url("/announced"), "more than 100000 bytes")
    await announced.given_up
    await photos.refused(server.url("/refused"), "answers 404")
    await refused.given_up


async def test_deadline(photos: Photos, server: HttpsServer) -> None:
    """A server that does not answer, or sends a byte now and then, is left when the time is up."""
    trickle = server.answers["/trickle"] = Unending(b"x", 0.05)
    silent = server.answers["/silent"] = Unending(b"x", 60, at_once=False)

    await photos.unavailable(server.url("/trickle"), "not arrive in time", deadline_s=0.3)
    await trickle.given_up
    await photos.unavailable(server.url("/silent"), "not arrive in time", deadline_s=0.3)
    await silent.given_up
    with socket.create_server(("127.0.0.1", 0)) as mute:
        await photos.unavailable(f"https://127.0.0.1:{mute.getsockname()[1]}/", "not arrive in time", deadline_s=0.3)


async def test_errors_of_the_server(photos: Photos, server: HttpsServer) -> None:
    """An error of the server may pass, as may one that says so; any other answer that is no photo stays."""
    for status in [500, 502, 503, 408, 429]:
        server.answers["/"] = answer(image("PNG"), status=status)
        await photos.unavailable(server.url("/"), f"answers {status}")
    for status in [400, 401, 403, 404, 410, 204, 206, 300, 304]:
        server.answers["/"] = answer(b"" if status in {204, 304} else image("PNG"), status=status)
        await photos.refused(server.url("/"), f"answers {status}")


async def test_body_that_breaks_off(photos: Photos, server: HttpsServer) -> None:
    """A body that is cut short by its connection is no photo yet."""

    def broken(request: Request) -> None:
        request.setHeader("Content-Length", "1000")
        request.write(image("PNG"))
        request.loseConnection()

    server.answers["/"] = broken

    await photos.unavailable(server.url("/"), "cannot be downloaded")


async def test_redirects(photos: Photos, server: HttpsServer) -> None:
    """A photo that has moved is found, whatever the kind of redirect, and however it names the place."""
    server.answers["/photo"] = answer(image("PNG"))
    for status, location in [
        (301, server.url("/photo")),
        (302, "/photo"),
        (303, "photo"),
        (307, f"//127.0.0.1:{server.port}/photo#here"),
        (308, "./a/../photo"),
    ]:
        server.answers["/moved"] = redirect(location, status)
        await photos.store(server.url("/moved"))

    for number in range(5):
        server.answers[f"/{number}"] = redirect(f"/{number + 1}")
    server.answers["/5"] = answer(image("PNG"))
    await photos.store(server.url("/0"))


async def test_redirects_without_end(photos: Photos, server: HttpsServer) -> None:
    """A redirect to itself is followed a few times, and no more."""
    server.answers["/loop"] = redirect("/loop")

    await photos.refused(server.url("/loop"), "redirected more than 5 times")

    assert server.requested == [server.url("/loop")] * 6


async def test_redirects_away_from_https(photos: Photos, server: HttpsServer) -> None:
    """A redirect is followed to `https:` URLs only."""
    server.answers["/photo"] = answer(image("PNG"))
    for location in [
        server.url("/photo").replace("https", "http"),
        data_url(image("PNG")),
        "file:///etc/passwd",
        f"https://user:secret@127.0.0.1:{server.port}/photo",
    ]:
        server.answers["/moved"] = redirect(location)
        await photos.refused(server.url("/moved"), "https: URL without")


async def test_addresses_that_are_blocked(photos: Photos, server: HttpsServer) -> None:
    """An address on Synapse's blocklist is not asked, by a source or by a redirect."""
    server.answers["/photo"] = answer(image("PNG"))
    blocked = [
        server.url("/photo", "127.0.0.2"),
        server.url("/photo", "[::1]"),
        server.url("/photo", "[::ffff:127.0.0.2]"),
        "https://10.0.0.1/photo",
        "https://169.254.169.254/latest/meta-data/",
    ]
    for source in blocked:
        await photos.refused(source, "may not connect")
    assert server.requested == []

    for source in blocked:
        server.answers["/moved"] = redirect(source)
        await photos.refused(server.url("/moved"), "may not connect")
    assert set(server.requested) == {server.url("/moved")}


@pytest.mark.homeserver(config={"ip_range_whitelist": []})
async def test_names_of_addresses_that_are_blocked(photos: Photos, server: HttpsServer) -> None:
    """A name that resolves to an address on the blocklist is a name that resolves to nothing."""
    server.answers["/photo"] = answer(image("PNG"))

    await photos.unavailable(server.url("/photo", "localhost"), "DNSLookupError")
    # Not what it looks like, but an address as the C library reads it.
    await photos.unavailable(server.url("/photo", "127.1"), "DNSLookupError")
    await photos.refused(server.url("/photo"), "may not connect")

    assert server.requested == []


async def test_urls_that_are_asked(photos: Photos, server: HttpsServer, homeserver: LocalHomeserver) -> None:
    """A URL is asked as it stands, but for what may not stand in one. The log does not repeat what gives access."""
    server.answers["/M%C3%BCller%201.png?sig=a%2Bb%3D&x=a+b&&y"] = answer(image("PNG"))

    await photos.store(server.url("/Müller 1.png?sig=a%2Bb%3D&x=a+b&&y#part"))
    await photos.store(server.url("/M%C3%BCller%201.png?sig=a%2Bb%3D&x=a+b&&y").replace("https", "HTTPS"))

    assert not [record for record in homeserver.log_records if "sig=" in record.getMessage()]


async def test_urls_that_are_not_asked(photos: Photos, server: HttpsServer) -> None:
    """Anything but a proper `https:` URL is refused, and no secret in it is repeated."""
    server.answers["/photo"] = answer(image("PNG"))
    secret = server.url("/photo", "ann:secret@127.0.0.1")
    for source in [
        server.url("/photo").replace("https", "http"),
        secret,
        "",
        "photo.png",
        "mxc://example.org/abc",
        "file:///etc/passwd",
        "ftp://127.0.0.1/photo",
        "https:photo.png",
        "https:///photo.png",
        "https://127.0.0.1\\@example.org/",
        "https://exa mple.org/",
    ]:
        await photos.refused(source, "^A photo comes from a data: URL, or from an https: URL without user name")
    for source in [
        "https://[::1/",
        "https://example.org:99999/",
        f"https://{'a' * 64}.example/",
        "https://a..example/",
        "https://example.org/\ud800",
    ]:
        await photos.refused(source, "malformed")

    assert server.requested == []


async def test_certificates_are_verified(photos: Photos, authority: CertificateAuthority, tmp_path: Path) -> None:
    """A server is asked nothing whose certificate is somebody else's, or from an authority that nobody trusts."""
    other = tmp_path / "other"
    other.mkdir()
    strangers = [HttpsServer(CertificateAuthority(other)), HttpsServer(authority, certified=["localhost"])]
    for stranger, error in zip(strangers, ["OpenSSL.SSL.Error", "VerificationError"], strict=True):
        await photos.unavailable(stranger.url("/photo"), error)
        assert stranger.requested == []
        await stranger.stop()


async def test_server_that_is_not_there(photos: Photos, server: HttpsServer) -> None:
    """A server that cannot be reached may be there later."""
    await server.stop()

    await photos.unavailable(server.url("/photo"), "ConnectionRefusedError")
    await photos.unavailable("https://nobody.invalid/photo", "DNSLookupError")
