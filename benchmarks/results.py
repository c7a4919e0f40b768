"""What a benchmark has found, and where it is kept."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median, quantiles

import attrs
import cattrs

from benchmarks.load import Slice
from benchmarks.reactor import Held


@attrs.frozen(kw_only=True)
class Cost:
    """What one kind of operation cost, in one way.

    Attributes:
        cpu_ms: CPU time of homeserver and database for each operation, in each round.
        rate: Operations in a second, in the middle one of the rounds.
        latency_ms: The 50th, 95th and 99th percentile.
        transactions: The transactions of one operation, by their names.
    """

    cpu_ms: Sequence[float]
    rate: float
    latency_ms: tuple[float, float, float]
    transactions: Mapping[str, int]

    @classmethod
    def of(cls, slices: Sequence[Slice], transactions: Mapping[str, int]) -> Cost:
        """Sum slices up."""
        latencies = [1000 * latency for found in slices for latency in found.latencies_s]
        percentiles = quantiles(latencies, n=100, method="inclusive")
        return cls(
            cpu_ms=[found.cpu_ms for found in slices],
            rate=median(len(found.latencies_s) / found.seconds for found in slices),
            latency_ms=(percentiles[49], percentiles[94], percentiles[98]),
            transactions=transactions,
        )

    @property
    def middle_cpu_ms(self) -> float:
        """CPU time for each operation, in the middle one of the rounds."""
        return median(self.cpu_ms)

    def times(self, other: Cost) -> float:
        """Return how many times as much as another it costs; each turn is compared with the other's next to it."""
        return median(own / others for own, others in zip(self.cpu_ms, other.cpu_ms, strict=True))


@attrs.frozen(kw_only=True)
class Found:
    """What was found on one database.

    Attributes:
        engine: Which engine.
        size: How many accounts.
        memory_mib: The homeserver's memory before and after.
        costs: By operation, then by the way in which it was done.
        held: For how long requests held the reactor, by what they were.
    """

    engine: str
    size: int
    memory_mib: tuple[float, float]
    costs: Mapping[str, Mapping[str, Cost]]
    held: Mapping[str, Held] = attrs.field(factory=dict)


def load(file: Path) -> list[Found]:
    """Return what was found before, if anything was."""
    return cattrs.structure(json.loads(file.read_text()), list[Found]) if file.exists() else []


def keep(file: Path, found: Sequence[Found], new: Found) -> list[Found]:
    """Keep something new, in the place of what was found in the same way."""
    others = [old for old in found if (old.engine, old.size) != (new.engine, new.size)]
    kept = sorted([*others, new], key=lambda one: (one.engine != "sqlite", one.size))
    file.write_text(json.dumps(cattrs.unstructure(kept), indent=1))
    return kept
