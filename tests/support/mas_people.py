"""What administrators do to people whose accounts belong to MAS."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.support.mas import AuthenticationService
from tests.support.mas_state import Email


async def changed_at_mas(mas: AuthenticationService, user_id: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Change a user there, or make one, and return what is left to change in Synapse.

    Args:
        mas: The service, whose jobs are all done afterwards.
        user_id: The Matrix user ID.
        changes: As Synapse's admin API takes them.
    """
    localpart = user_id[1:].partition(":")[0]
    user = mas.state.named(localpart) or await mas.register(localpart)
    left = dict(changes)
    if "password" in left:
        user.password = left.pop("password")
    if "admin" in left:
        user.admin = left["admin"]
    for flag, actions in (("locked", ("unlock", "lock")), ("deactivated", ("reactivate", "deactivate"))):
        if flag in left:
            action = actions[bool(left.pop(flag))]
            body = {"skip_erase": True} if action == "deactivate" else {}
            await mas.api.perform("post", f"users/{{id}}/{action}", {"id": user.id}, {}, body)
    if "threepids" in left:
        for email in [email for email in mas.state.emails.values() if email.user_id == user.id]:
            del mas.state.emails[email.id]
        for threepid in left["threepids"]:
            if threepid["medium"] == "email":
                email = Email(user_id=user.id, email=threepid["address"])
                mas.state.emails[email.id] = email
        mas.api.provision(user)
    await mas.do_jobs()
    return left
