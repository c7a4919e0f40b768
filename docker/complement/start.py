"""Start Synapse with the module as Complement wants a homeserver: what the image's entry point is.

Complement gives the server's name in SERVER_NAME and the certificate and key of its authority in /complement/ca. It
starts the same container more than once, and the homeserver then goes on with what it had.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import sys
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import NameOID

UNLIMITED = {"per_second": 9999, "burst_count": 9999}


def certify(folder: Path, authority: Path, server_name: str) -> None:
    """Write a certificate of Complement's authority for the server's name, and its key."""
    issuer = x509.load_pem_x509_certificate((authority / "ca.crt").read_bytes())
    issuer_key = load_pem_private_key((authority / "ca.key").read_bytes(), None)
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, server_name)]))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(server_name)]), critical=False)
        .sign(issuer_key, hashes.SHA256())  # type: ignore[arg-type] # It is a key that signs.
    )
    (folder / "tls.crt").write_bytes(certificate.public_bytes(Encoding.PEM))
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "tls.key").write_bytes(private)


def listener(port: int, *, tls: bool) -> Mapping[str, Any]:
    """Return a listener for clients and other homeservers."""
    resources = [{"names": ["client", "federation"], "compress": False}]
    return {"port": port, "tls": tls, "type": "http", "bind_addresses": ["0.0.0.0"], "resources": resources}  # noqa: S104 - in a container


def configuration(folder: Path, authority: Path, server_name: str, ports: tuple[int, int]) -> dict[str, Any]:
    """Return the configuration: nothing is limited, and Complement's secret registers administrators."""
    signing_key = b64encode(secrets.token_bytes(32)).decode().rstrip("=")
    return {
        "server_name": server_name,
        "public_baseurl": f"http://127.0.0.1:{ports[0]}/",
        "report_stats": False,
        "signing_key": f"ed25519 a_complement {signing_key}",
        "macaroon_secret_key": secrets.token_urlsafe(),
        "form_secret": secrets.token_urlsafe(),
        "registration_shared_secret": "complement",
        "enable_registration": True,
        "enable_registration_without_verification": True,
        "bcrypt_rounds": 4,
        "database": {"name": "sqlite3", "args": {"database": str(folder / "homeserver.db")}},
        "media_store_path": str(folder / "media"),
        "pid_file": str(folder / "homeserver.pid"),
        "trusted_key_servers": [],
        "suppress_key_server_warning": True,
        "tls_certificate_path": str(folder / "tls.crt"),
        "tls_private_key_path": str(folder / "tls.key"),
        "federation_custom_ca_list": [str(authority / "ca.crt")],
        "federation_ip_range_blocklist": [],
        "rc_message": UNLIMITED,
        "rc_registration": UNLIMITED,
        "rc_login": dict.fromkeys(("address", "account", "failed_attempts"), UNLIMITED),
        "listeners": [listener(ports[0], tls=False), listener(ports[1], tls=True)],
        "modules": [{"module": "synapse_scim.ScimModule", "config": {}}],
    }


def main() -> None:
    """Make what is not there yet, and become the homeserver."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, default=Path("/data"), help="where the homeserver keeps everything")
    parser.add_argument("--authority", type=Path, default=Path("/complement/ca"), help="where ca.crt and ca.key are")
    parser.add_argument("--ports", type=int, nargs=2, default=[8008, 8448], metavar=("CLIENT", "FEDERATION"))
    arguments = parser.parse_args()
    server_name = os.environ["SERVER_NAME"]
    arguments.folder.mkdir(exist_ok=True)
    certify(arguments.folder, arguments.authority, server_name)
    path = arguments.folder / "homeserver.yaml"
    if not path.exists():
        # JSON is YAML, too.
        made = configuration(arguments.folder, arguments.authority, server_name, tuple(arguments.ports))
        path.write_text(json.dumps(made, indent=2), encoding="utf-8")
    os.execv(sys.executable, [sys.executable, "-m", "synapse.app.homeserver", "--config-path", str(path)])  # noqa: S606


if __name__ == "__main__":
    main()
