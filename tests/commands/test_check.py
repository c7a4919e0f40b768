"""What `check` says of homeservers that are set up well and badly."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.commands.line import CommandLine, invoke
from tests.support.configuration import http_listener, scim_module
from tests.support.homeserver import LocalHomeserver, StartHomeserver
from tests.support.https import CertificateAuthority, HttpsServer, answer
from tests.support.proxy import Habits, ReverseProxy
from tests.support.runner import BlockingRunner
from tests.web.clients import Admin


@attrs.frozen(kw_only=True)
class Deployment:
    """A homeserver behind a reverse proxy."""

    proxy: ReverseProxy
    homeserver: LocalHomeserver
    admin: Admin
    line: CommandLine

    async def check(self, *arguments: str | Path, **habits: Any) -> dict[str, dict[str, str]]:
        """Return what is found, by what it is about, with a proxy of some habits."""
        self.proxy.habits = Habits(**habits)
        result = await self.line.run("check", "--json", *arguments)
        findings = {finding["about"]: finding for finding in json.loads(result.stdout)}
        assert result.exit_code == int(any(finding["outcome"] == "bad" for finding in findings.values()))
        return findings


def bad(findings: dict[str, dict[str, str]]) -> dict[str, str]:
    """Return what is wrong."""
    return {about: finding["said"] for about, finding in findings.items() if finding["outcome"] == "bad"}


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


async def test_good_set_up_is_all_green(deployment: Deployment) -> None:
    """Everything that can be looked at is looked at, and found good."""
    configuration = deployment.homeserver.write_configuration()

    findings = await deployment.check("--config", configuration)

    assert bad(findings) == {}
    assert {about for about, finding in findings.items() if finding["outcome"] == "good"} == {
        "configuration",
        "listeners",
        "database",
        "URL",
        "identity",
        "prefix /_scim",
        "prefix /_matrix/client/unstable/coop.yaal/scim",
        "encryption",
        "clock",
        "token file",
        "token",
        "writing",
        "path",
        "X-Forwarded-For",
    }


@pytest.mark.parametrize(
    ("habits", "wrong"),
    [
        ({"strips_authorization": True}, {"token": "does not arrive"}),
        ({"decodes_paths": True}, {"path": "%2F"}),
        ({"appends_address": True}, {"X-Forwarded-For": "callers can write into it"}),
        ({"methods": frozenset({b"GET", b"POST"})}, {"methods": "PATCH does not arrive"}),
        ({"passes": (b"/_scim",)}, {"prefix /_matrix/client/unstable/coop.yaal/scim": "does not answer"}),
        ({"date": "Thu, 01 Jan 2026 00:00:00 GMT"}, {"clock": "seconds apart"}),
    ],
)
async def test_what_a_proxy_does_is_named(habits: dict[str, Any], wrong: dict[str, str], deployment: Deployment) -> None:
    """What a reverse proxy does to requests is told apart from what the token lacks."""
    found = bad(await deployment.check(**habits))

    assert found.keys() == wrong.keys(), found
    assert all(wrong[about] in said for about, said in found.items())
