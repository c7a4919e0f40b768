"""Fixtures: a server admin who calls, and photos with the server where they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.homeserver import LocalHomeserver
from tests.support.https import CertificateAuthority, HttpsServer
from tests.support.runner import BlockingRunner
from tests.web.clients import Admin, Scim, Synapse
from tests.web.photos import Photos


@pytest.fixture
def admin(homeserver: LocalHomeserver, runner: BlockingRunner) -> Admin:
    """`@admin:example.org`, a server admin of `homeserver`. The account is listed like any other."""
    return runner.run(Admin.of(homeserver))


@pytest.fixture
def scim(admin: Admin) -> Scim:
    """The admin's requests to the SCIM endpoints, under the stable prefix."""
    return admin.scim


@pytest.fixture
def synapse(admin: Admin) -> Synapse:
    """The admin's requests to Synapse's own APIs."""
    return admin.synapse


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CertificateAuthority:
    """Whom homeservers trust that start from now on: `usefixtures` makes it come before. They ask no proxy."""
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    authority = CertificateAuthority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.path))
    return authority


@pytest.fixture
def server(authority: CertificateAuthority, runner: BlockingRunner) -> Iterator[HttpsServer]:
    """Where photos are. It listens on 127.0.0.1, which tests allow, and on 127.0.0.2, which they do not."""
    server = HttpsServer(authority, ["127.0.0.1", "127.0.0.2"])
    yield server
    runner.run(server.stop())


@pytest.fixture
def photos(homeserver: LocalHomeserver, runner: BlockingRunner) -> Photos:
    """Photos of `@ann:example.org`."""
    return runner.run(Photos.of(homeserver))
