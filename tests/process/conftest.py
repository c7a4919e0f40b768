"""Fixtures: homeservers of several processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.support import cluster
from tests.support.cluster import Cluster, SpawnCluster
from tests.support.databases import Databases
from tests.support.https import CertificateAuthority
from tests.support.zygote import Zygote


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CertificateAuthority]:
    """Whom the processes that `zygote` forks trust. They ask no proxy."""
    authority = CertificateAuthority(tmp_path_factory.mktemp("authority"))
    with pytest.MonkeyPatch.context() as patch:
        for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
            patch.delenv(name, raising=False)
        patch.setenv("SSL_CERT_FILE", str(authority.path))
        yield authority


@pytest.fixture(scope="module")
def zygote(authority: CertificateAuthority) -> Iterator[Zygote]:
    """What homeservers are forked from."""
    assert authority.path.exists()
    zygote = Zygote()
    yield zygote
    zygote.stop()


@pytest.fixture(scope="module")
def spawn_cluster(databases: Databases, zygote: Zygote) -> Iterator[SpawnCluster]:
    """Make homeservers of several processes; they end with the module's last test."""
    with ExitStack() as stack:

        async def spawn(**options: Any) -> Cluster:
            spawned = await cluster.spawn_cluster(databases, launch=zygote.launch, **options)
            stack.callback(spawned.remove)
            return spawned

        yield spawn
