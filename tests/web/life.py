"""Ann, and what happens to her."""

from __future__ import annotations

import json
from typing import Any

from synapse_scim.application import build
from synapse_scim.module import ScimModule
from tests.web.clients import Admin

OFF = {"op": "replace", "path": "active", "value": False}
ON = {"op": "replace", "path": "active", "value": True}
PERSON: dict[str, Any] = {
    "externalId": "7",
    "displayName": "Ann",
    "password": "correct horse",
    "title": "Boss",
    "emails": [{"value": "ann@corp.example", "type": "work", "primary": True}],
    "phoneNumbers": [{"value": "+49 30 123456"}],
}
ANN = "@ann:example.org"
OWN_EMAIL = "private@x.example"


class Life:
    """What happens to `@ann:example.org`, seen from outside."""

    def __init__(self, admin: Admin) -> None:
        """Watch a homeserver."""
        self.admin = admin
        self.scim, self.synapse = admin.scim, admin.synapse
        self._pool = admin.homeserver.hs.get_datastores().main.db_pool

    async def join(self, **attributes: Any) -> dict[str, Any]:
        """Make Ann, who then binds an e-mail address of her own."""
        ann = await self.scim.create("ann", **PERSON | attributes)
        await self.synapse.change(
            ANN,
            threepids=[
                {"medium": "email", "address": "ann@corp.example"},
                {"medium": "msisdn", "address": "4930123456"},
                {"medium": "email", "address": OWN_EMAIL},
            ],
        )
        return await self.scim.read(ann["id"])

    async def pass_time(self, days: int, config: dict[str, Any] | None = None) -> None:
        """Let time pass, for those who left, and do what is due then, as the next start of the homeserver does."""
        ms = days * 24 * 60 * 60 * 1000

        def earlier(txn: Any) -> None:
            txn.execute(
                "UPDATE synapse_scim_departures SET left_ts = left_ts - ?, deactivate_ts = deactivate_ts - ?", (ms, ms)
            )

        await self._pool.runInteraction("earlier", earlier)
        homeserver = self.admin.homeserver
        parsed = ScimModule.parse_config({**homeserver.delegation, **(config or {})})
        await build(parsed, homeserver.hs).maintenance.start()

    async def add_pusher(self, token: str, pushkey: str = "key") -> None:
        """Let Ann's device be notified through a push gateway."""
        body = {
            "kind": "http",
            "app_id": "app",
            "pushkey": pushkey,
            "app_display_name": "App",
            "device_display_name": "Phone",
            "lang": "en",
            "data": {"url": "https://push.example/_matrix/push/v1/notify", "format": "event_id_only"},
        }
        answer = await self.as_ann("POST", "/_matrix/client/v3/pushers/set", token, body)
        assert answer.status == 200, answer.body

    async def pushers(self) -> list[dict[str, Any]]:
        """Return Ann's pushers as Synapse keeps them, but for what differs with each."""
        pushers = await self.admin.homeserver.hs.get_datastores().main.get_pushers_by_user_id(ANN)
        return [pusher.as_dict() for pusher in pushers]

    async def as_ann(self, method: str, path: str, token: str, body: Any = None) -> Any:
        """Send a request as Ann."""
        return await self.synapse.request(method, path, body, headers={"Authorization": f"Bearer {token}"})

    async def tables(self) -> str:
        """Return everything that the module's tables hold, as text."""
        kept = []
        for table in ("users", "values", "writes", "departures", "guard", "photos"):
            rows = await self._pool.runInteraction("rows", _all_rows, f"synapse_scim_{table}")
            kept.append(json.dumps([[str(value) for value in row] for row in rows]))
        return "\n".join(kept)


def _all_rows(txn: Any, table: str) -> list[Any]:
    txn.execute(f"SELECT * FROM {table}")  # noqa: S608 - the names are above
    rows: list[Any] = txn.fetchall()
    return rows
