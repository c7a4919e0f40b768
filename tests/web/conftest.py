"""Fixtures: a server admin who calls."""

from __future__ import annotations

import pytest

from tests.support.homeserver import LocalHomeserver
from tests.support.runner import BlockingRunner
from tests.web.clients import Admin, Scim, Synapse


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
