"""What Prometheus reads of SCIM at Synapse's own metrics (documentation, "Metrics")."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from synapse_scim.application import build
from synapse_scim.module import ScimModule
from tests.support.client import ScimClient
from tests.support.configuration import http_listener
from tests.web.clients import Admin, assert_error, assert_scim, bulk_of, new_user, url_of
from tests.web.life import ANN, OFF, Life
from tests.web.tokens import client, scim_of, token_of

pytestmark = pytest.mark.homeserver(
    config={"enable_metrics": True},
    listeners=[http_listener("client"), http_listener("metrics")],
)

SLOW = {"per_second": 0.01, "burst_count": 4}


class Metrics:
    """What is counted from now on: the counts of this process know homeservers by name, and all tests use one."""

    def __init__(self, admin: Admin) -> None:
        """Read from a homeserver."""
        self._client = ScimClient(f"http://127.0.0.1:{admin.homeserver.ports[1]}", None, "/_synapse/metrics")
        self._before: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}

    async def start(self) -> Metrics:
        """Count from here."""
        self._before = await self._read()
        return self

    async def _read(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        text = (await self._client.request("GET", "")).body.decode()
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            if family.name.startswith("synapse_scim")
            for sample in family.samples
        }

    async def counted(self, name: str, **labels: str) -> dict[tuple[str, ...], float]:
        """Return by how much counts have grown, by the values of the labels that are not given, in their order."""
        wanted = {("server_name", "example.org"), *labels.items()}
        grown = {}
        for (sample, has), value in (await self._read()).items():
            if sample == f"synapse_scim_{name}" and wanted <= has and value != self._before.get((sample, has), 0):
                rest = tuple(v for _, v in sorted(has - wanted))
                grown[rest] = value - self._before.get((sample, has), 0)
        return grown


@pytest.mark.homeserver(module_config={"clients": [client("okta")]})
async def test_requests_are_counted_by_who_asks_for_what(admin: Admin) -> None:
    """The operation, the status and the client; administrators are one, and strangers have no name."""
    metrics = await Metrics(admin).start()
    okta = scim_of(admin.homeserver, token_of("okta"))
    await okta.create("ann")
    assert_error(await okta.post("/Users", new_user("ann")), 409, "uniqueness")
    await admin.scim.read(ANN)
    await admin.scim.read(ANN)
    assert_error(await okta.get("/Groups"), 404)
    assert_scim(await okta.get("/Schemas"), 200)
    assert_scim(await admin.scim.get("/AuditEvents"), 200)
    assert_error(await okta.request("PUT", "/Users", {}), 405)
    assert_error(await scim_of(admin.homeserver, "wrong").get("/Users"), 401)

    assert await metrics.counted("requests_total") == {
        ("okta", "create", "201"): 1,
        ("okta", "create", "409"): 1,
        ("admin token", "query", "200"): 2,
        ("okta", "search", "404"): 1,
        ("", "schemas", "200"): 1,
        ("admin token", "audit", "200"): 1,
        ("okta", "unknown", "405"): 1,
        ("", "search", "401"): 1,
    }
    assert (await metrics.counted("request_duration_seconds_count"))[("query",)] == 2
    assert 0 < (await metrics.counted("request_duration_seconds_sum"))[("create",)] < 60


async def test_the_operations_of_a_bulk_are_counted(admin: Admin) -> None:
    """The request is one, and its operations are counted beside it."""
    metrics = await Metrics(admin).start()
    create: dict[str, Any] = {"method": "POST", "path": "/Users", "bulkId": "a", "data": new_user("ann")}
    gone = {"method": "DELETE", "path": url_of(ANN)}
    assert_scim(await admin.scim.post("/Bulk", bulk_of(create, {**create, "bulkId": "b"}, gone)), 200)

    assert await metrics.counted("requests_total") == {("admin token", "bulk", "200"): 1}
    assert await metrics.counted("bulk_operations_total", client="admin token") == {
        ("create", "201"): 1,
        ("create", "409"): 1,
        ("delete", "204"): 1,
    }


@pytest.mark.homeserver(module_config={"guard": {"max": 2, "at_least": 0}})
async def test_who_leaves_is_counted(admin: Admin) -> None:
    """Who is disabled, deleted, and deactivated later; what the guard refuses; and how many wait."""
    life, metrics = Life(admin), await Metrics(admin).start()
    for name in ("ann", "bob", "cat"):
        await admin.scim.create(name)
    await admin.scim.patched(ANN, OFF)
    await admin.scim.patched(ANN, OFF)
    assert (await admin.scim.delete("@bob:example.org")).status == 204
    assert_error(await admin.scim.delete("@cat:example.org"), 429)
    deletion = {"method": "DELETE", "path": url_of("@cat:example.org")}
    assert_scim(await admin.scim.post("/Bulk", bulk_of(deletion, deletion)), 200)

    assert await metrics.counted("offboardings_total") == {("disabled",): 1, ("deleted",): 1}
    assert await metrics.counted("guard_refusals_total") == {("admin token",): 3}
    maintenance = build(ScimModule.parse_config({}), admin.homeserver.hs).maintenance
    await maintenance.start()
    assert await pending(metrics) == {"deactivation": 1, "write": 0, "photo": 0}
    await life.pass_time(31)
    assert await metrics.counted("offboardings_total") == {("disabled",): 1, ("deleted",): 1, ("deactivated",): 1}
    assert await pending(metrics) == {"deactivation": 0, "write": 0, "photo": 0}


async def pending(metrics: Metrics) -> dict[str, float]:
    """Return what is still to be done."""
    samples = await metrics._read()
    return {dict(labels)["kind"]: value for (name, labels), value in samples.items() if name == "synapse_scim_pending"}


@pytest.mark.homeserver(module_config={"clients": [client("okta", rate=SLOW)]})
async def test_what_is_turned_away_is_counted(admin: Admin) -> None:
    """Requests beyond a limit by client, and credentials by what is wrong with them."""
    metrics = await Metrics(admin).start()
    okta = scim_of(admin.homeserver, token_of("okta"))
    for _ in range(6):
        await okta.get("/Users")
    person = await admin.homeserver.access_token(await admin.homeserver.register("person"))
    assert_error(await scim_of(admin.homeserver, person).get("/Users"), 403)
    assert_error(await scim_of(admin.homeserver, "wrong").get("/Users"), 401)
    assert_error(await admin.scim.get("/Schemas", params={"filter": "id pr"}), 403)
    assert_error(await admin.scim.patch("@admin:example.org", OFF), 403)

    assert await metrics.counted("rate_limit_refusals_total") == {("okta",): 2}
    assert (await metrics.counted("requests_total", client="okta"))[("search", "429")] == 2
    assert await metrics.counted("credential_failures_total") == {("401",): 1, ("403",): 1}
    assert await metrics.counted("guard_refusals_total") == {}
