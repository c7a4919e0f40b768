"""Measures for how long single requests hold the homeserver's reactor, within which nobody else is answered."""

from __future__ import annotations

import time
from collections.abc import Callable
from random import Random
from threading import Event, Thread
from typing import Any
from urllib.parse import quote

import attrs

from benchmarks.floor import PATH as FLOOR
from benchmarks.load import Load, Slice
from benchmarks.operations import SCIM, Call, Operation
from benchmarks.people import person

_LARGE = 1000
_WALKED = 100
"""How many pages a walk has at most."""

_FILTER_LENGTH = 8 * 1024
_FILTER_TERMS = 200
_BULK = "urn:ietf:params:scim:api:messages:2.0:BulkRequest"
_PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
_REPEATED = 5
_TRAFFIC_S = 0.5
_SETTLE_S = 0.3


@attrs.frozen(kw_only=True)
class Held:
    """For how long the reactor was held.

    Attributes:
        held_ms: The longest time in which it answered nobody.
        worked_ms: The longest time that its thread worked at one thing.
        seconds: How long everything took.
        grown_mib: By how much the homeserver's memory grew.
        beside_ms: The 99th percentile of ordinary reads meanwhile; `None` if there were none.
    """

    held_ms: float
    worked_ms: float
    seconds: float
    grown_mib: float
    beside_ms: float | None = None


def watch(load: Load, read: Operation, size: int) -> dict[str, Held]:
    """Return for how long requests hold the reactor, by what they are.

    Args:
        load: Sends requests.
        read: What ordinary traffic does.
        size: How many people there are.
    """
    page = f"{SCIM}/Users?count={_LARGE}"
    found = {
        "nothing": _watched(load, lambda: time.sleep(1)),
        "a page of 1,000": _watched(load, lambda: _repeat(load, page)),
        "a page of 1,000, sorted": _watched(load, lambda: _repeat(load, f"{page}&sortBy=userName")),
        "a filter at the limit": _watched(load, lambda: _repeat(load, f"{SCIM}/Users?filter={quote(_filter())}")),
        "a bulk of 1,000 changes": _watched(load, lambda: load.once(_bulk(size))),
    }
    slices: list[Slice] = []
    walked = _watched(load, lambda: _beside(load, read, slices, lambda: _walk(load)))
    latencies = sorted(latency for one in slices for latency in one.latencies_s)
    found["a walk by cursor, 1,000 a page, beside reads"] = attrs.evolve(
        walked, beside_ms=1000 * latencies[int(0.99 * len(latencies))]
    )
    load.once(Call("GET", f"{FLOOR}/unwatch"))
    return found


def _watched(load: Load, run: Callable[[], Any]) -> Held:
    memory = load.processes.memory_mib
    load.once(Call("GET", f"{FLOOR}/watch"))
    start = time.perf_counter()
    run()
    seconds = time.perf_counter() - start
    time.sleep(_SETTLE_S)
    longest = load.once(Call("GET", f"{FLOOR}/watch"))
    return Held(**longest, seconds=seconds, grown_mib=load.processes.memory_mib - memory)


def _repeat(load: Load, path: str) -> None:
    for _ in range(_REPEATED):
        load.once(Call("GET", path))


def _filter() -> str:
    """Return a filter of as many comparisons and characters as there may be."""
    terms = [f'userName co "{number:07d}x"' for number in range(_FILTER_TERMS)]
    room = _FILTER_LENGTH - len(" or ".join(terms))
    return " or ".join(terms).replace("x", "x" * (1 + room // _FILTER_TERMS))


def _bulk(size: int) -> Call:
    random = Random()
    operations = [
        {
            "method": "PATCH",
            "path": f"/Users/{person(number % size).user_id}",
            "data": {
                "schemas": [_PATCH],
                "Operations": [{"op": "replace", "path": "title", "value": f"New {random.randrange(10**9)}"}],
            },
        }
        for number in range(_LARGE)
    ]
    return Call("POST", f"{SCIM}/Bulk", {"schemas": [_BULK], "Operations": operations})


def _walk(load: Load) -> None:
    """Read everybody, or as many as there is patience for, as a full synchronisation does."""
    cursor = ""
    for _ in range(_WALKED):
        page = load.once(Call("GET", f"{SCIM}/Users?count={_LARGE}&cursor={cursor}"))
        cursor = page.get("nextCursor")
        if not cursor:
            return


def _beside(load: Load, read: Operation, slices: list[Slice], run: Callable[[], None]) -> None:
    """Do something while others read."""
    done = Event()

    def others() -> None:
        while not done.is_set():
            slices.append(load.run(read.calls["ours"], _TRAFFIC_S))

    traffic = Thread(target=others)
    traffic.start()
    try:
        run()
    finally:
        done.set()
        traffic.join()
