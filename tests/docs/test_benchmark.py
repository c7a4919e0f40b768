"""The benchmark, made so small that what it finds says nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.operations import PROMISES
from tests.docs.markdown import REPOSITORY

SECONDS = 100


def test_benchmark_measures_every_operation_in_all_its_ways(tmp_path: Path) -> None:
    """It ends with status 0, and its page has a row for each operation, with numbers."""
    page = tmp_path / "performance.md"
    size = ["--engines", "sqlite", "--sizes", "200", "--rounds", "1", "--seconds", "0.01", "--no-reactor"]
    finished = subprocess.run(
        [sys.executable, "-m", "benchmarks.run", *size, "--output", page],
        cwd=REPOSITORY,
        check=False,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )

    assert finished.returncode == 0, finished.stdout + finished.stderr
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.read_text(encoding="utf-8").splitlines()]
    costs = {row[0]: row[1:4] for row in rows if len(row) == 12}
    for name, (title, _) in PROMISES.items():
        ours, floor, admin = costs[title]
        assert float(ours) > 0, name
        assert float(admin) > 0, name
        assert (float(floor) > 0) if name != "put" else floor == "", name
