"""Fixtures: the command line as an administrator uses it on a homeserver that runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands.line import CommandLine
from tests.support.homeserver import LocalHomeserver
from tests.support.runner import BlockingRunner
from tests.web.clients import Admin


@pytest.fixture
def admin(homeserver: LocalHomeserver, runner: BlockingRunner) -> Admin:
    """`@admin:example.org`, a server admin of `homeserver`."""
    return runner.run(Admin.of(homeserver))


@pytest.fixture
def line(admin: Admin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """The command line, with the admin's token in a file."""
    monkeypatch.setenv("NO_PROXY", "*")
    return CommandLine(admin.homeserver.url + "/_scim", admin.token, tmp_path)
