"""A write to an account that belongs to MAS happens whole or not at all, wherever it fails and the process dies."""

from __future__ import annotations

import pytest

from tests.contract.test_whole_writes import SSO, crash_everywhere, fail_everywhere, repeat_everywhere
from tests.support.homeserver import LocalHomeserver

pytestmark = [pytest.mark.usefixtures("mas"), pytest.mark.homeserver(module_config=SSO)]


@pytest.mark.parametrize("operation", ["create", "change", "revive"])
async def test_a_failure_at_any_step_leaves_the_old_state_or_the_new_one(
    homeserver: LocalHomeserver, operation: str
) -> None:
    """What MAS was told is taken back, or the write goes on when it can; a password alone has no way back."""
    await fail_everywhere(homeserver, operation, "after")


@pytest.mark.parametrize(
    ("operation", "engine"),
    [
        ("create", "sqlite"),
        ("change", "sqlite"),
        ("enable", "sqlite"),
        ("delete", "sqlite"),
        pytest.param("create", "postgres", marks=pytest.mark.postgres),
        pytest.param("change", "postgres", marks=pytest.mark.postgres),
    ],
    indirect=["engine"],
)
@pytest.mark.usefixtures("engine")
async def test_a_crash_at_any_step_leaves_what_the_next_start_makes_whole(
    homeserver: LocalHomeserver, operation: str
) -> None:
    """The journal holds what MAS was told, and the next start undoes or finishes it there as well."""
    await crash_everywhere(homeserver, operation, "after")


@pytest.mark.parametrize("operation", ["create"])
async def test_a_repeated_request_makes_whole_what_a_crash_left(homeserver: LocalHomeserver, operation: str) -> None:
    """The client need not wait for the next start; an account that was given up half-made becomes the new one."""
    await repeat_everywhere(homeserver, operation, "after")
