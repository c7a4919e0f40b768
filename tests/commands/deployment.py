"""A homeserver behind a reverse proxy, as `check` sees it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs

from tests.commands.line import CommandLine
from tests.support.homeserver import LocalHomeserver
from tests.support.proxy import Habits, ReverseProxy
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
