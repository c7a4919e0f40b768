"""Writes docs/conformance.md from a run: what other people's software says of this project."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from scim2_tester import CheckResult, Status

from tests.docs.markdown import REPOSITORY

PAGE = REPOSITORY / "docs/conformance.md"

_PINNED = re.compile(r"^([\w-]+)==(\S+)$", re.MULTILINE)
_SUITES = {
    "tests/contract/test_users.py": (
        "scim2-server's contract for storages, over a homeserver, on both engines and with both owners of accounts"
    ),
    "tests/complement": "[MSC4098 as any homeserver should have it](complement.md), under both prefixes",
    "tests/web/test_sessions.py": "sessions of identity providers, with both owners",
}
_RANDOM = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

_HEAD = """\
# Conformance

This page is written by a run: `make conformance` writes it, and a test (`tests/docs/test_conformance_page.py`) fails
when it is not what a run says. [](standards.md) says what is adapted, and why.

## Versions

{versions}

## Clients and suites

{clients}

## scim2-tester

[scim2-tester](https://scim2-tester.readthedocs.io/) knows nothing of a server but what discovery announces, and tries
whether it is true. `tests/process/test_conformance.py` demands the same result on SQLite and PostgreSQL, under both
prefixes.

**{succeeded} checks succeed, {failed} do not.** Those that do not write to the extension
`urn:matrix:params:scim:schemas:extension:1.0:User` as a whole and want back what they wrote. All of its attributes are
read-only, and RFC 7644 §3.5.2 says that no PATCH changes those: it is answered with 400 and `mutability`.

{checks}
"""


def page(results: Sequence[CheckResult]) -> str:
    """Return the page.

    Args:
        results: What scim2-tester found.
    """
    states = Counter(result.status is Status.SUCCESS for result in results)
    return _HEAD.format(
        versions=_table(("what", "release"), _versions()),
        clients=_table(("what", "how", "tests"), _clients()),
        succeeded=states[True],
        failed=states[False],
        checks=_table(("check", "what it found", "result"), _checks(results)),
    )


def _versions() -> Iterator[tuple[str, str]]:
    pinned = dict(_PINNED.findall((REPOSITORY / "constraints.txt").read_text(encoding="utf-8")))
    for name in ("matrix-synapse", "scim2-server", "scim2-models", "scim2-tester", "scim2-client", "scim2-cli"):
        yield name, pinned[name]
    canaille = dict(_PINNED.findall((REPOSITORY / "tests/support/canaille.txt").read_text(encoding="utf-8")))
    yield "Canaille", canaille["Canaille"]


def _clients() -> Iterator[tuple[str, str, str]]:
    for path, what in _SUITES.items():
        yield f"`{path}`", what, str(collected(path))
    for file in sorted((REPOSITORY / "tests/sessions").glob("*.yaml")):
        session: Mapping[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
        yield session["client"], f"replayed from `tests/sessions/{file.name}`", f"{len(session['steps'])} requests"
    yield "Canaille", "run as it is, provisions with its own OAuth token", "`tests/process/test_canaille.py`"
    yield "scim2-cli, scim2-client", "run as they are", "`tests/process/test_clients.py`"


def collected(path: str) -> int:
    """Return how many tests there are in a file or folder. They all pass, or the run fails."""
    finished = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", path],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
        text=True,
    )
    return sum("::" in line for line in finished.stdout.splitlines())


def _checks(results: Sequence[CheckResult]) -> Iterator[tuple[str, str, str]]:
    for result in results:
        # What did not succeed says so in values that it made up.
        data: Any = result.data
        found = result.reason or "" if result.status is Status.SUCCESS else f"'{data['urn']}' is read-only"
        shown = _RANDOM.sub("…", found.replace("[EnterpriseUser, MatrixUser]", "")).replace("|", "\\|")
        yield f"`{result.title}`", shown.replace("\n", " "), result.status.name.lower()


def _table(head: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write(text: str, path: Path = PAGE) -> None:
    """Write the page."""
    path.write_text(text, encoding="utf-8")
