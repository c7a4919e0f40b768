"""What is known of an account that was registered a moment ago."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from synapse.api.constants import UserTypes

if TYPE_CHECKING:
    from synapse.server import HomeServer


class Newborns:
    """Tells Synapse's caches of the accounts that this module registers.

    While it registers an account, Synapse asks the database, in a transaction for each question, whether the account is
    a deactivated one, and whether it is one for support. The answers are those that it was registered with.
    """

    def __init__(self, hs: HomeServer) -> None:
        """Expect no account yet."""
        store: Any = hs.get_datastores().main
        self._answers = (
            (store.get_user_deactivated_status, False),
            (store.is_support_user, hs.config.user_types.default_user_type == UserTypes.SUPPORT),
        )
        self._expected: set[str] = set()
        # Before what other modules do with a new account: the caches forget what they change.
        hs.get_module_api_callbacks().account_validity.on_user_registration_callbacks.insert(0, self._on_registration)

    @contextmanager
    def expected(self, user_id: str) -> Iterator[None]:
        """Register an account within the block. Its caller holds the account's lock."""
        self._expected.add(user_id)
        try:
            yield
        finally:
            self._expected.discard(user_id)

    async def _on_registration(self, user_id: str) -> None:
        """Synapse calls this when the account is stored."""
        if user_id in self._expected:
            for cached, answer in self._answers:
                cached.prefill((user_id,), answer)
