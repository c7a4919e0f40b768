"""Fixtures: the command line as an administrator uses it on a homeserver that runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands.deployment import Deployment
from tests.commands.line import CommandLine
from tests.support.configuration import http_listener, scim_module
from tests.support.homeserver import LocalHomeserver, StartHomeserver
from tests.support.proxy import Habits, ReverseProxy
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


@pytest.fixture
def proxy(runner: BlockingRunner) -> Iterator[ReverseProxy]:
    """A reverse proxy that has no homeserver yet."""
    proxy = ReverseProxy(Habits())
    yield proxy
    runner.run(proxy.stop())


@pytest.fixture
def deployment(
    proxy: ReverseProxy,
    start_homeserver: StartHomeserver,
    runner: BlockingRunner,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Deployment:
    """A homeserver that is set up well."""
    monkeypatch.setenv("NO_PROXY", "*")

    async def started() -> Deployment:
        homeserver = await start_homeserver(
            module=scim_module(),
            config={"public_baseurl": proxy.url + "/"},
            listeners=[http_listener("client", x_forwarded=True)],
        )
        proxy.target = homeserver.port
        admin = await Admin.of(homeserver)
        line = CommandLine(proxy.url + "/_scim", admin.token, tmp_path)
        return Deployment(proxy=proxy, homeserver=homeserver, admin=admin, line=line)

    return runner.run(started())
