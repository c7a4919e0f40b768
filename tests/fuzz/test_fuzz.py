"""Thousands of requests that are wrong in some way do no harm."""

from __future__ import annotations

import os
from itertools import product
from math import ceil
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.campaign import Campaign, Findings
from tests.fuzz.requests import OPERATIONS, Request, requests
from tests.fuzz.texts import POPULATION
from tests.support.configuration import scim_module
from tests.support.databases import Engine
from tests.support.homeserver import LocalHomeserver, StartHomeserver
from tests.support.runner import BlockingRunner
from tests.web.clients import Admin
from tests.web.tokens import client

REQUESTS = os.environ.get("FUZZ_REQUESTS")
"""How many requests to send, on both engines, each time others (`make fuzz`). By default a few, always the same."""

_EACH = 8
"""How many requests there are of each operation before others have their turn."""

_ROUNDS = 3
"""How many turns each has on one homeserver."""

_RATE = {"per_second": 100_000, "burst_count": 100_000}
CONFIG = {
    "clients": [
        client("client", adopt="any", rate=_RATE),
        client("basic", basic=True, rate=_RATE),
        client("reader", scopes=["users:read"], rate=_RATE),
        client("writer", scopes=["users:write"], rate=_RATE),
        client("other", domain="other", rate=_RATE),
        client("own", domain="other", visibility="own", rate=_RATE),
    ],
    "protected": ["@kept:.*"],
    # They are to reach the storage.
    "guard": {"max": None},
    # What is fetched, and found out, later would be taken for the work of a request that changes nothing.
    "photos": {"fetch": False},
    "reconcile": "1d",
}


async def _begin(start_homeserver: StartHomeserver, engine: Engine, findings: Findings) -> Campaign:
    """Begin a campaign against a homeserver, on which it makes some accounts."""
    homeserver: LocalHomeserver = await start_homeserver(module=scim_module(CONFIG), engine=engine)
    admin = await Admin.of(homeserver)
    person = await homeserver.access_token(await homeserver.register("local"))
    await homeserver.register("kept")
    for name in POPULATION:
        await admin.scim.create(name, externalId=f"of-{name}", emails=[{"value": f"{name}@people.example"}])
    return Campaign(homeserver, admin.token, person, findings)


def _fuzz(campaign: Campaign, runner: BlockingRunner, operation: str, number: int) -> None:
    """Send some requests for an operation, which a number decides."""

    # A failure would not come again: the accounts have changed. So all of them are gathered, and none is shrunk.
    @seed(number)
    @settings(
        max_examples=_EACH * OPERATIONS.count(operation),
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(requests(operation))
    def fuzz(request: Request) -> None:
        runner.run(campaign.send(request))

    fuzz()


@pytest.mark.blocking
def test_no_request_does_harm(start_homeserver: StartHomeserver, engine: Engine, runner: BlockingRunner) -> None:
    """Whatever is sent, there is an answer in time, no server error, and no change without a success.

    An error is SCIM's (RFC 7644 §3.12), and nothing is logged as an error. A third of the requests reach the storage.
    """
    rounds, share = {"sqlite": (3, 2 / 3), "postgres": (2, 1 / 3)}[engine]
    if REQUESTS is not None:
        rounds = ceil(int(REQUESTS) * share / (_EACH * len(OPERATIONS)))
    seeds = Random(0 if REQUESTS is None else None)  # noqa: S311 - no secret
    findings = Findings()
    try:
        for beginning in range(0, rounds, _ROUNDS):
            # Now and then on a new homeserver: in time, everybody has been deleted.
            campaign = runner.run(_begin(start_homeserver, engine, findings))
            for _, operation in product(range(beginning, min(beginning + _ROUNDS, rounds)), sorted(set(OPERATIONS))):
                _fuzz(campaign, runner, operation, seeds.getrandbits(32))
            runner.run(campaign.stop())
    finally:
        # An interrupted run shows what it has seen.
        print(f"\n{engine}, the slowest took {findings.slowest:.2f} s:\n{findings.table()}")  # noqa: T201 - `make fuzz`
    assert findings.problems == [], "\n\n".join([f"{len(findings.problems)} problems:", *findings.problems[:20]])
    assert findings.written
    assert findings.reached.total() >= 0.3 * findings.count
    for operation in set(OPERATIONS) - {"elsewhere", "wrong method"}:
        assert any(findings.outcomes[operation, status] for status in (200, 201, 204)), operation
