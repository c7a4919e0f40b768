"""The bare work, as a module of Synapse: what SCIM would cost if it were nothing but the database.

Each endpoint does what the work of one operation comes to behind the same authentication (`/_floor/...`). It also looks
at the process from within: how long the reactor was held, and how many transactions there were.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from prometheus_client import REGISTRY
from synapse.http.server import respond_with_json_bytes
from synapse.module_api import DirectServeJsonResource, ModuleApi, SynapseRequest
from synapse.types import UserID, create_requester
from twisted.internet.task import LoopingCall

from benchmarks.people import ENTERPRISE, USER
from synapse_scim.config import Rate
from synapse_scim.homeserver.tokens import AccessTokens
from synapse_scim.resources.credentials import read_credential

PATH = "/_floor"
PROVIDER = "oidc-benchmark"
"""The single sign-on provider whose subjects the externalIds are."""

_TICK_S = 0.001
_COLUMNS = (
    "u.name, u.admin, u.locked, u.suspended, u.deactivated, p.displayname, s.user_name, s.external_id, s.attributes,"
    " s.created_ts, s.modified_ts"
)
_FROM = (
    "FROM users u LEFT JOIN profiles p ON p.full_user_id = u.name LEFT JOIN synapse_scim_users s ON s.user_id = u.name"
)
_USED = "u.is_guest = 0 AND u.appservice_id IS NULL AND (u.user_type IS NULL OR u.user_type NOT IN ('bot', 'support'))"
_SHOWN = f"{_USED} AND (s.state IS NULL OR s.state = 'active')"
_PAGE = "(SELECT * FROM users WHERE name > ? ORDER BY name LIMIT 100) u"
"""The accounts of a page, found before the joins: PostgreSQL would read the other tables from their beginning."""

_COUNT = (
    f"SELECT COUNT(*) FROM users u WHERE {_USED}"
    " AND u.name NOT IN (SELECT user_id FROM synapse_scim_users WHERE state <> 'active')"
)
_LOOKUPS = {
    "userName": "u.name = (SELECT user_id FROM synapse_scim_users WHERE user_name_key = ?)",
    "externalId": "u.name = (SELECT user_id FROM synapse_scim_users WHERE external_id = ? AND domain = 'default')",
    "email": "u.name = (SELECT user_id FROM user_threepids WHERE medium = 'email' AND address = ?)",
    "msisdn": "u.name = (SELECT user_id FROM user_threepids WHERE medium = 'msisdn' AND address = ?)",
}


class ReactorWatch:
    """Measures for how long the reactor does not come back to a call that it should make every millisecond.

    Time goes by on a busy machine without anybody's fault: what the reactor's thread itself worked is measured too.
    """

    def __init__(self) -> None:
        """Do not watch yet."""
        self._loop = LoopingCall(self._tick)
        self._last = (0.0, 0.0)
        self._longest = (0.0, 0.0)

    def restart(self) -> dict[str, float]:
        """Return what was seen since it was last asked, in milliseconds, and watch on."""
        held, worked = self._longest
        self._longest = (0.0, 0.0)
        if not self._loop.running:
            self._last = _times()
            _ = self._loop.start(_TICK_S, now=False)
        return {"held_ms": 1000 * held, "worked_ms": 1000 * worked}

    def stop(self) -> None:
        """Watch no longer."""
        self._loop.stop()

    def _tick(self) -> None:
        now = _times()
        self._longest = max(self._longest[0], now[0] - self._last[0]), max(self._longest[1], now[1] - self._last[1])
        self._last = now


class Floor(DirectServeJsonResource):
    """The endpoints."""

    isLeaf = True

    def __init__(self, api: ModuleApi) -> None:
        """Serve on a homeserver."""
        self._hs = api._hs
        super().__init__(clock=self._hs.get_clock())
        self._tokens = AccessTokens(self._hs, "all", Rate())
        self._pool = self._hs.get_datastores().main.db_pool
        self._strpos = (
            "instr" if self._hs.config.database.get_single_database().config["name"] == "sqlite3" else "strpos"
        )
        self._watch = ReactorWatch()
        self._callbacks: dict[str, Any] = {}

    async def _async_render(self, request: SynapseRequest) -> None:
        await self._tokens.subject(request, read_credential(request, ""))
        name = request.path.decode().removeprefix(PATH).strip("/").replace("-", "_")
        arguments = {key.decode(): values[0].decode() for key, values in (request.args or {}).items()}
        body = await getattr(self, f"answer_{name}")(request, **arguments)
        respond_with_json_bytes(request, 200, body)

    async def answer_one(self, _request: SynapseRequest, user_id: str) -> bytes:
        """Read one account."""
        return await self._query(f"SELECT {_COLUMNS} {_FROM} WHERE u.name = ?", (user_id,), single=True)

    async def answer_lookup(self, _request: SynapseRequest, by: str, value: str) -> bytes:
        """Look an account up."""
        return await self._query(f"SELECT {_COLUMNS} {_FROM} WHERE {_LOOKUPS[by]}", (value,))

    async def answer_page(self, _request: SynapseRequest, after: str = "", total: str = "") -> bytes:
        """Return a page of a hundred by keyset, with the number of all accounts if that is asked for."""
        sql = f"SELECT {_COLUMNS} {_FROM.replace('users u', _PAGE)} ORDER BY u.name"
        return await self._query(sql, (after,), count=bool(total))

    async def answer_contains(self, _request: SynapseRequest, text: str) -> bytes:
        """Return the accounts whose userName contains a text, at most a hundred."""
        sql = (
            f"SELECT {_COLUMNS} {_FROM} WHERE {_SHOWN} AND {self._strpos}(CASE WHEN s.user_id IS NOT NULL"
            " THEN s.user_name_key ELSE lower(u.name) END, ?) > 0 ORDER BY u.name LIMIT 100"
        )
        return await self._query(sql, (text,), scans=True)

    async def answer_count(self, _request: SynapseRequest) -> bytes:
        """Count the accounts."""
        return await self._query(None, (), count=True)

    async def answer_create(self, request: SynapseRequest) -> bytes:
        """Register an account, with its third-party identifiers and its external ID."""
        wanted = _body(request)
        user_id = await self._hs.get_registration_handler().register_user(
            localpart=wanted["localpart"],
            default_display_name=wanted["displayname"],
            by_admin=True,
            approved=True,
        )
        now_ms = self._hs.get_clock().time_msec()

        def insert(txn: Any) -> None:
            txn.execute_batch(
                "INSERT INTO user_threepids (user_id, medium, address, validated_at, added_at) VALUES (?, ?, ?, ?, ?)",
                [(user_id, *threepid, now_ms, now_ms) for threepid in wanted["threepids"]],
            )
            txn.execute(
                "INSERT INTO user_external_ids (auth_provider, external_id, user_id) VALUES (?, ?, ?)",
                (PROVIDER, wanted["external_id"], user_id),
            )

        await self._pool.runInteraction("floor_create", insert)
        return json.dumps({"id": user_id}).encode()

    async def answer_change(self, request: SynapseRequest) -> bytes:
        """Change a display name."""
        wanted = _body(request)
        await self._hs.get_profile_handler().dispatch_set_profile_field(
            target_user=UserID.from_string(wanted["user_id"]),
            requester=create_requester(wanted["user_id"], authenticated_entity=self._hs.hostname),
            field_name="displayname",
            new_value=wanted["displayname"],
            by_admin=True,
        )
        return b"{}"

    async def answer_callbacks(self, _request: SynapseRequest, enabled: str = "") -> bytes:
        """Call the modules' callbacks, or do not: only SCIM pays for what SCIM's callbacks do."""
        rules = self._hs.get_module_api_callbacks().third_party_event_rules
        for name, callbacks in self._callbacks.items() or list(vars(rules).items()):
            if name.endswith("_callbacks"):
                self._callbacks[name] = callbacks
                setattr(rules, name, callbacks if enabled else [])
        return b"{}"

    async def answer_watch(self, _request: SynapseRequest) -> bytes:
        """Return how long the reactor was held since this was last asked for, and watch it."""
        return json.dumps(self._watch.restart()).encode()

    async def answer_unwatch(self, _request: SynapseRequest) -> bytes:
        """Watch the reactor no longer, which costs time."""
        self._watch.stop()
        return b"{}"

    async def answer_transactions(self, _request: SynapseRequest) -> bytes:
        """Return how many transactions of each name there were."""
        counts = {
            sample.labels["desc"]: sample.value
            for metric in REGISTRY.collect()
            if metric.name == "synapse_storage_transaction_time_count"
            for sample in metric.samples
            if sample.name.endswith("_total")
        }
        return json.dumps(counts).encode()

    async def _query(
        self,
        sql: str | None,
        parameters: tuple[Any, ...],
        *,
        single: bool = False,
        count: bool = False,
        scans: bool = False,
    ) -> bytes:
        def run(txn: Any) -> bytes:
            if (count or scans) and self._strpos == "strpos":
                txn.execute("SET LOCAL jit = off")
            rows = []
            if sql is not None:
                txn.execute(sql, parameters)
                rows = txn.fetchall()
            total = len(rows)
            if count:
                txn.execute(_COUNT)
                total = txn.fetchone()[0]
            users = [_user(row) for row in rows]
            answer = users[0] if single else {"totalResults": total, "Resources": users}
            return json.dumps(answer, separators=(",", ":"), ensure_ascii=False).encode()

        return await self._pool.runInteraction("floor_query", run)


def _times() -> tuple[float, float]:
    """Return the time, and how much of it this thread has worked."""
    return time.perf_counter(), time.thread_time()


def _body(request: SynapseRequest) -> Any:
    content: Any = request.content
    return json.load(content)


def _user(row: tuple[Any, ...]) -> Mapping[str, Any]:
    """Return what a SCIM answer has to hold, from one row."""
    (user_id, admin, locked, suspended, deactivated, displayname, user_name, external_id, attributes, *times) = row
    return {
        "schemas": [USER, ENTERPRISE],
        "id": user_id,
        "externalId": external_id,
        "meta": {
            "resourceType": "User",
            "created": times[0],
            "lastModified": times[1],
            "location": f"https://matrix.example.org/_scim/Users/{user_id}",
            "version": 'W/"00000000000000000000000000000000"',
        },
        "userName": user_name,
        **json.loads(attributes or "{}"),
        "displayName": displayname,
        "active": not (locked or deactivated),
        "urn:matrix:params:scim:schemas:extension:1.0:User": {
            "userId": user_id,
            "serverAdmin": bool(admin),
            "locked": bool(locked),
            "suspended": bool(suspended),
            "deactivated": bool(deactivated),
            "managed": user_name is not None,
        },
    }


class FloorModule:
    """Serves the bare work."""

    def __init__(self, _config: Mapping[str, Any], api: ModuleApi) -> None:
        """Register the endpoints."""
        api.register_web_resource(PATH, Floor(api))
