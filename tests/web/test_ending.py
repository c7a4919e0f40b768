"""A process that is told to end answers what has begun, and begins nothing else."""

from __future__ import annotations

from typing import Any, cast

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from synapse_scim.homeserver.shutdown import finish_first
from synapse_scim.resources.activity import Activity
from tests.web.clients import Admin, assert_error, assert_scim, bulk_of, new_user, until

PEOPLE = 40
LARGE = "x" * 5000


def told_to_end() -> list[Any]:
    """Do what the reactor does before its end, as far as it is this module's; the last homeserver's comes last."""
    triggers = cast("Any", reactor)._eventTriggers["shutdown"].before
    return [function for function, _, _ in triggers if function.__qualname__.startswith(finish_first.__name__)]


@pytest.mark.usefixtures("engine", "owner")
async def test_what_has_begun_is_answered(admin: Admin) -> None:
    """Of a Bulk request, what had begun is done and the rest is 503; so is whatever is asked then, and it ends."""
    operations = [
        {"method": "POST", "path": "/Users", "bulkId": f"{n}", "data": new_user(f"p{n}", title=LARGE)}
        for n in range(PEOPLE)
    ]

    async def some_are_made() -> bool:
        return len(admin.homeserver._database.execute("SELECT user_id FROM synapse_scim_users")) > 3

    request = Deferred.fromCoroutine(admin.scim.post("/Bulk", bulk_of(*operations)))
    await until(some_are_made)
    ended = told_to_end()[-1]()
    refused = await admin.scim.get("/Users")
    assert_error(refused, 503, naming="is being stopped")
    assert int(refused.headers["retry-after"]) > 0

    statuses = [operation["status"] for operation in assert_scim(await request, 200)["Operations"]]
    done = statuses.count("201")
    assert 3 < done < PEOPLE
    assert statuses == ["201"] * done + ["503"] * (PEOPLE - done)
    made = admin.homeserver._database.execute("SELECT user_id FROM synapse_scim_users WHERE state = 'active'")
    assert len(made) == done
    await ended


def test_a_homeserver_that_is_gone_is_not_waited_for() -> None:
    """Where homeservers come and go in one process, its end asks none that has gone."""
    activity = Activity(cast("Any", reactor))

    class Homeserver:
        """What is asked of one."""

        def get_reactor(self) -> Any:
            """Return the reactor of the process."""
            return reactor

    finish_first(cast("Any", Homeserver()), activity.end)
    del activity

    assert told_to_end()[-1]() is None
