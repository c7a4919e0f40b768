"""What a locked account cannot do any more: renew a session, and be told of messages."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
from twisted.internet import reactor
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from tests.web.clients import Admin, until

OFF = {"op": "replace", "path": "active", "value": False}
ON = {"op": "replace", "path": "active", "value": True}
CLIENT = "/_matrix/client/v3"


@pytest.mark.homeserver(config={"refreshable_access_token_lifetime": "5m"})
async def test_locked_accounts_cannot_refresh(admin: Admin) -> None:
    """`/refresh` answers a locked account as every other endpoint does, and goes on when the lock is lifted."""
    ann = await admin.scim.create("ann", password="correct horse")
    identifier = {"type": "m.id.user", "user": "ann"}
    body = {"type": "m.login.password", "identifier": identifier, "password": "correct horse", "refresh_token": True}
    login = (await admin.synapse.request("POST", f"{CLIENT}/login", body, headers={"Authorization": None})).json

    async def refresh(token: Any) -> Any:
        return await admin.synapse.request(
            "POST", f"{CLIENT}/refresh", {"refresh_token": token}, headers={"Authorization": None}
        )

    await admin.scim.patched(ann["id"], OFF)
    refused = await refresh(login["refresh_token"])
    assert (refused.status, refused.json["errcode"], refused.json["soft_logout"]) == (401, "M_USER_LOCKED", True)

    await admin.scim.patched(ann["id"], ON)
    renewed = await refresh(login["refresh_token"])
    assert renewed.status == 200
    assert (await admin.synapse.whoami(renewed.json["access_token"])).status == 200
    assert (await refresh("unknown")).status == 401
    assert (await refresh(7)).status == 400


class PushGateway(Resource):
    """A push gateway that keeps what it is told."""

    isLeaf = True

    def __init__(self) -> None:
        """Keep nothing yet."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.notifications: list[dict[str, Any]] = []

    def render_POST(self, request: Request) -> bytes:
        """Take a notification."""
        assert request.content is not None
        self.notifications.append(json.loads(request.content.read())["notification"])
        request.setHeader("Content-Type", "application/json")
        return b'{"rejected": []}'


@pytest.mark.homeserver(config={"ip_range_whitelist": ["127.0.0.1"]})
@pytest.mark.usefixtures("owner")
async def test_no_pusher_tells_a_locked_person(admin: Admin) -> None:
    """A message to somebody who is locked reaches no push gateway; after the lock it does (SPEC, off-boarding)."""
    gateway = PushGateway()
    port = cast("Any", reactor).listenTCP(0, Site(gateway), interface="127.0.0.1")
    try:
        ann = await admin.scim.create("ann", password="correct horse")
        token = await admin.synapse.token("ann", "correct horse")

        async def call(method: str, path: str, body: Any, access_token: str) -> Any:
            headers = {"Authorization": f"Bearer {access_token}"}
            response = await admin.synapse.request(method, f"{CLIENT}{path}", body, headers=headers)
            assert response.status == 200, response.body
            return response.json

        room_id = (await call("POST", "/createRoom", {"invite": [ann["id"]], "is_direct": True}, admin.token))[
            "room_id"
        ]
        await call("POST", f"/join/{room_id}", {}, token)
        url = f"http://127.0.0.1:{port.getHost().port}/_matrix/push/v1/notify"
        pusher: dict[str, Any] = {"kind": "http", "app_id": "app", "pushkey": "key", "app_display_name": "App"}
        pusher |= {"device_display_name": "Phone", "lang": "en", "data": {"url": url}}
        await call("POST", "/pushers/set", pusher, token)

        async def say(text: str) -> None:
            path = f"/rooms/{room_id}/send/m.room.message/{text}"
            await call("PUT", path, {"msgtype": "m.text", "body": text}, admin.token)

        def heard() -> list[str]:
            contents = (notification.get("content") for notification in gateway.notifications)
            return [content["body"] for content in contents if content and "body" in content]

        async def has_heard(text: str) -> bool:
            return text in heard()

        await say("before")
        await until(lambda: has_heard("before"))
        await admin.scim.patched(ann["id"], OFF)
        await say("meanwhile")
        await admin.scim.patched(ann["id"], ON)
        await say("after")
        await until(lambda: has_heard("after"))
        assert "meanwhile" not in heard()
    finally:
        await port.stopListening()


@pytest.mark.homeserver(config={"refreshable_access_token_lifetime": None})
async def test_there_is_no_refreshing_where_synapse_has_none(admin: Admin) -> None:
    """Where Synapse lets nobody renew a session, the module does not either."""
    refused = await admin.synapse.request(
        "POST", f"{CLIENT}/refresh", {"refresh_token": "syr_x"}, headers={"Authorization": None}
    )

    assert (refused.status, refused.json["errcode"]) == (404, "M_UNRECOGNIZED")
