"""Which accounts a caller sees, may change, and may take over."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import attrs

from synapse_scim.accounts import Account, AccountNotFound, AccountProtected
from synapse_scim.mapping.user import UserMapping
from synapse_scim.mapping.wanted import WantedUser
from synapse_scim.subject import Subject


def protection(account: Account, protected: Iterable[re.Pattern[str]]) -> str | None:
    """Return why nobody writes to an account over SCIM, if nobody does.

    Args:
        account: The account.
        protected: Patterns of whole user IDs.
    """
    if account.admin:
        return "is a server administrator's, which SCIM does not change"
    if any(pattern.fullmatch(account.user_id) for pattern in protected):
        return "is protected by the server's configuration ('protected')"
    return None


@attrs.frozen(kw_only=True)
class Rights:
    """The rights of one caller.

    Attributes:
        subject: The caller.
        protected: Patterns of user IDs that SCIM never writes to. Server admins always are among them.
        users: How accounts look as Users.
    """

    subject: Subject
    protected: tuple[re.Pattern[str], ...]
    users: UserMapping

    def visible_sql(self) -> tuple[str, list[Any]]:
        """Return the SQL, with its parameters, of what the caller sees of `users u` with its record `s`."""
        if self.subject.visibility == "own":
            return "s.domain = ?", [self.subject.domain]
        return "s.user_id IS NOT NULL" if self.subject.visibility == "managed" else "1 = 1", []

    def visible(self, account: Account | None) -> Account:
        """Return an account that the caller sees.

        Raises:
            AccountNotFound: There is none, or the caller must not know.
        """
        record = account.record if account else None
        hidden = (self.subject.visibility == "managed" and record is None) or (
            self.subject.visibility == "own" and (record is None or record.domain != self.subject.domain)
        )
        if account is None or hidden:
            raise AccountNotFound("There is no such user")
        return account

    def ensure_writable(self, account: Account) -> None:
        """Check that SCIM may write to an account at all, and this caller to one that SCIM manages.

        Raises:
            AccountProtected: It may not.
        """
        reason = protection(account, self.protected)
        if reason is None and account.user_id == self.subject.user_id:
            reason = "is the one whose access token makes this request"
        if reason is None and account.record is not None and account.record.domain != self.subject.domain:
            reason = "belongs to another provisioning domain"
        if reason is not None:
            raise AccountProtected(f"The account {account.user_id} {reason}")

    def ensure_adoptable(self, account: Account, wanted: WantedUser | None) -> None:
        """Check that the caller may take over an account that SCIM did not make.

        Args:
            account: The account; a managed one passes.
            wanted: What the request says of the person; `None` if it says nothing, as for a deletion.

        Raises:
            AccountProtected: Nothing proves that the request is about the person whose account it is.
        """
        if account.record is not None or self.subject.adopt == "any":
            return
        if self.subject.adopt == "verified" and wanted is not None and self._is_same_person(account, wanted):
            return
        raise AccountProtected(
            f"The account {account.user_id} was not made by SCIM. A server administrator can adopt it with a PUT under"
            " an access token of theirs, or bind the person's e-mail address or single sign-on identity to it"
        )

    def _is_same_person(self, account: Account, wanted: WantedUser) -> bool:
        provider = self.users.sso.providers.get(self.subject.domain)
        subjects = {e.subject for e in account.external_ids if e.auth_provider == provider}
        named = self.users.threepids.threepids(wanted.attributes)
        emails = {threepid for threepid in named if threepid.medium == "email"}
        return (wanted.external_id is not None and wanted.external_id in subjects) or bool(emails & account.threepids)
