"""The demonstration, from its start to its end."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from tests.docs.markdown import REPOSITORY
from tests.support.child import end_child, start_child

SECONDS = 100


def people() -> list[dict[str, Any]]:
    """Return the people of the demonstration."""
    found: list[dict[str, Any]] = json.loads((REPOSITORY / "examples/people.json").read_text(encoding="utf-8"))[
        "Resources"
    ]
    return found


def row_of(lines: list[str], user_name: str) -> list[str]:
    """Return what stands in a person's row of the table."""
    rows = [line.split() for line in lines if line.startswith(f"{user_name} ")]
    assert len(rows) == 1, "\n".join(lines)
    return rows[0]


def test_demonstration_succeeds(tmp_path: Path) -> None:
    """It ends with status 0, and has shown everybody, a login, and how somebody was disabled and enabled again."""
    output = tmp_path / "output"
    # It stops its homeserver when it is terminated.
    demo = start_child(
        [sys.executable, REPOSITORY / "examples/demo.py"],
        folder=tmp_path,
        output=output,
        last_signal="TERM",
        environment={**os.environ, "DEMO_EXIT": "1", "COLUMNS": "120", "PYTHONIOENCODING": "utf-8"},
    )
    try:
        status = demo.wait(SECONDS)
    finally:
        end_child(demo, signal.SIGTERM)

    printed = output.read_text(encoding="utf-8")
    lines = printed.splitlines()
    assert status == 0, printed
    for person in people():
        row = row_of(lines, person["userName"])
        assert row[1].startswith("@"), row
        assert row[1].endswith(":example.org"), row
        assert " ".join(row[2:]).startswith(person["displayName"]), row
        assert ("yes" if person["active"] else "locked") in row, row
    answers = [(line.split()[0], line.split()[2]) for line in lines if line.startswith(("GET ", "POST ", "PATCH "))]
    password, login, whoami, profile, *off_boarding = answers
    assert (password, login, whoami, profile) == (("PATCH", "200"), ("POST", "200"), ("GET", "200"), ("GET", "200"))
    assert off_boarding == [("PATCH", "200"), ("GET", "401"), ("POST", "401"), ("PATCH", "200"), ("GET", "200")]
