"""An HTTPS server on the loopback interface, and the authority that certifies it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.internet import reactor
from twisted.internet.ssl import DefaultOpenSSLContextFactory
from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

Answer = Callable[[Request], None]
"""Answers a request, at once or later."""


class CertificateAuthority:
    """Certifies servers. Synapse trusts it if `SSL_CERT_FILE` names its certificate when Synapse starts."""

    def __init__(self, folder: Path) -> None:
        """Write its certificate, and those of its servers, into a folder."""
        self.path = folder / "authority.pem"
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "The tests' authority")])
        self._key = ec.generate_private_key(ec.SECP256R1())
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        self.path.write_bytes(_pem(self._signed(self._name, self._key, constraints)))

    def certify(self, addresses: Sequence[str]) -> Path:
        """Return the file of the key and the certificate of a server with these addresses, or with these names."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([_general_name(address) for address in addresses])
        path = self.path.with_name(f"{addresses[0]}.pem")
        path.write_bytes(_pem(key) + _pem(self._signed(x509.Name([]), key, names)))
        return path

    def write_as_complement(self) -> None:
        """Write its certificate and its key by the names that Complement gives them."""
        self.path.rename(self.path.with_name("ca.crt")).with_name("ca.key").write_bytes(_pem(self._key))

    def _signed(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, extension: x509.ExtensionType
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(extension, critical=True)
            .sign(self._key, hashes.SHA256())
        )


def _general_name(address: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(address))
    except ValueError:
        return x509.DNSName(address)


def _pem(thing: x509.Certificate | ec.EllipticCurvePrivateKey) -> bytes:
    if isinstance(thing, x509.Certificate):
        return thing.public_bytes(serialization.Encoding.PEM)
    return thing.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


class HttpsServer(Resource):
    """Answers GETs as it is told to, on one port of several addresses. It runs from construction to `stop`.

    Attributes:
        answers: What answers, by path.
        requested: The URL of each request so far.
    """

    isLeaf = True

    def __init__(
        self,
        authority: CertificateAuthority,
        addresses: Sequence[str] = ("127.0.0.1",),
        certified: Sequence[str] = ("127.0.0.1", "127.0.0.2", "localhost"),
    ) -> None:
        """Start the server.

        Args:
            authority: Who certifies it.
            addresses: The loopback addresses where it listens.
            certified: The addresses and names that its certificate is for.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        self.answers: dict[str, Answer] = {}
        self.requested: list[str] = []
        self._ports = []
        self.port = 0
        file = str(authority.certify(certified))
        contexts = DefaultOpenSSLContextFactory(file, file)
        for address in addresses:
            self._ports.append(reactor.listenSSL(self.port, Site(self), contexts, interface=address))  # type: ignore[attr-defined]
            self.port = self._ports[0].getHost().port

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        """Return the URL of a path."""
        return f"https://{host}:{self.port}{path}"

    def render_GET(self, request: Request) -> int:
        """Answer, and keep no connection."""
        path = request.uri.decode()
        self.requested.append(f"https://{request.requestHeaders.getRawHeaders('host')[0]}{path}")  # type: ignore[index]
        request.setHeader("Connection", "close")
        self.answers[path](request)
        return NOT_DONE_YET

    async def stop(self) -> None:
        """Stop the server, unless it has stopped."""
        while self._ports:
            await self._ports.pop().stopListening()


def answer(
    content: bytes, content_type: str = "image/png", *, status: int = 200, location: str | None = None
) -> Answer:
    """Return what gives a whole answer."""

    def whole(request: Request) -> None:
        request.setResponseCode(status)
        request.setHeader("Content-Type", content_type)
        request.setHeader("Content-Length", str(len(content)))
        if location is not None:
            request.setHeader("Location", location)
        request.write(content)
        request.finish()

    return whole


def redirect(location: str, status: int = 302) -> Answer:
    """Return what answers that something is elsewhere."""
    return answer(b"elsewhere", "text/plain", status=status, location=location)


class Held:
    """Answers when it is told to."""

    def __init__(self, then: Answer) -> None:
        """Answer nothing yet.

        Args:
            then: What answers at last.
        """
        self.requests: list[Request] = []
        self._then = then

    def __call__(self, request: Request) -> None:
        """Keep a request."""
        self.requests.append(request)

    def release(self) -> None:
        """Answer what was asked so far."""
        while self.requests:
            self._then(self.requests.pop())
