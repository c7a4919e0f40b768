"""Users of Matrix Authentication Service, and what they have there."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

import attrs

from synapse_scim.accounts import (
    Account,
    AccountChangeRefused,
    AccountError,
    AccountProtected,
    ExternalId,
    ExternalIdTaken,
    InvalidPassword,
    Threepid,
    ThreepidTaken,
)
from synapse_scim.homeserver.mas_api import MasApi, MasRefusal, as_expected, segment
from synapse_scim.steps import (
    AddExternalId,
    AddThreepid,
    DatabaseChange,
    RemoveExternalId,
    RemoveThreepid,
    SetLocked,
    SetPassword,
)

logger = logging.getLogger(__name__)

_SESSIONS: tuple[tuple[str, str, str], ...] = (
    ("user-sessions", "user", "finish"),
    ("oauth2-sessions", "user", "finish"),
    ("compat-sessions", "user", "finish"),
    ("personal-sessions", "actor_user", "revoke"),
)
"""The kinds of sessions: what a user is to them, and what ends one."""

_HAS_ENDED = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT})
"""How it is refused to end a session that has ended."""


@attrs.frozen(kw_only=True)
class MasUser:
    """A user of the service.

    Attributes:
        mas_id: What the service calls the user.
        is_admin: Whether the user may ask for the rights of an administrator.
        is_locked: Whether the user is locked there.
        is_deactivated: Whether the user is deactivated there; Synapse may not know yet.
    """

    mas_id: str
    is_admin: bool
    is_locked: bool
    is_deactivated: bool


@attrs.frozen(kw_only=True)
class MasUsers:
    """Reads and changes users.

    Attributes:
        api: The service.
        upstream_providers: What the service calls the providers of single sign-on, by Synapse's names.
        to_email: Returns the canonical form of an e-mail address, or raises `ValueError`.
    """

    api: MasApi
    upstream_providers: Mapping[str, str]
    to_email: Callable[[str], str]

    async def find(self, user_id: str) -> MasUser | None:
        """Return the user of an account, if the service knows it."""
        localpart = user_id[1:].partition(":")[0]
        try:
            answer = await self.api.get(f"users/by-username/{segment(localpart)}")
        except MasRefusal as refusal:
            if refusal.status != HTTPStatus.NOT_FOUND:
                raise
            return None
        with as_expected():
            attributes = answer["data"]["attributes"]
            if attributes["username"] != localpart:
                # It looks for names whatever their case, and finds somebody else.
                return None
            return MasUser(
                mas_id=str(answer["data"]["id"]),
                is_admin=bool(attributes["admin"]),
                is_locked=attributes["locked_at"] is not None,
                is_deactivated=attributes["deactivated_at"] is not None,
            )

    async def known(self, user_id: str) -> MasUser:
        """Return the user of an account.

        Raises:
            AccountChangeRefused: The service does not know it.
        """
        user = await self.find(user_id)
        if user is None:
            raise AccountChangeRefused(
                f"Matrix Authentication Service, to which accounts belong, does not know {user_id}"
            )
        return user

    async def act(self, user_id: str, action: str) -> None:
        """Do to a user what needs no more words."""
        await self.api.post(f"users/{(await self.known(user_id)).mas_id}/{action}")

    async def present(self, account: Account) -> Account:
        """Return an account with what the service has of it.

        Raises:
            AccountProtected: The user may administer the service.
        """
        user = await self.known(account.user_id)
        if user.is_admin:
            raise AccountProtected(f"The account {account.user_id} may administer Matrix Authentication Service")
        emails = await self._emails(user.mas_id)
        links = await self._of(user.mas_id, "upstream-oauth-links") if self.upstream_providers else {}
        names = {provider_id: name for name, provider_id in self.upstream_providers.items()}
        with as_expected():
            found = [(link["provider_id"], link["subject"]) for link in links.values()]
        subjects = {ExternalId(names[provider_id], subject) for provider_id, subject in found if provider_id in names}
        # Adoption loses nothing that Synapse knows from before.
        kept = {
            external_id
            for external_id in account.external_ids
            if account.record is None or external_id.auth_provider not in self.upstream_providers
        }
        return attrs.evolve(
            account,
            threepids=frozenset(
                {Threepid("email", address) for address in emails.values()}.union(
                    threepid for threepid in account.threepids if threepid.medium != "email"
                )
            ),
            external_ids=frozenset(subjects | kept),
            locked=user.is_locked,
            deactivated=account.deactivated or user.is_deactivated,
        )

    def hears_of(self, change: DatabaseChange) -> bool:
        """Tell whether the service has what a change is about."""
        match change:
            case AddThreepid(threepid) | RemoveThreepid(threepid):
                return threepid.medium == "email"
            case AddExternalId(external_id) | RemoveExternalId(external_id):
                return external_id.auth_provider in self.upstream_providers
            case _:
                return True

    async def change(self, user_id: str, change: DatabaseChange) -> None:
        """Make a change. Repeating it does no harm.

        Raises:
            ThreepidTaken: Another user has the address.
            ExternalIdTaken: Another user has the subject.
            InvalidPassword: The password is too weak.
            AccountChangeRefused: The service can do no such thing.
        """
        mas_id = (await self.known(user_id)).mas_id
        match change:
            case AddThreepid(threepid):
                await self._add_email(mas_id, threepid)
            case RemoveThreepid(threepid):
                await self._remove_email(mas_id, threepid)
            case AddExternalId(external_id):
                await self._add_link(mas_id, external_id)
            case RemoveExternalId(external_id):
                await self._empty(mas_id, "upstream-oauth-links", self._link_filter(external_id))
            case SetLocked(locked):
                await self.api.post(f"users/{mas_id}/{'lock' if locked else 'unlock'}")
            case SetPassword(password=str(password)):
                await self._set_password(mas_id, password)
            case _:
                await self._remove_password(mas_id)

    async def bar(self, user_id: str) -> None:
        """Let nobody be a user, and leave the user nothing that somebody else may want."""
        user = await self.find(user_id)
        if user is not None:
            await self.api.post(f"users/{user.mas_id}/lock")
            await self._empty(user.mas_id, "user-emails")
            await self._empty(user.mas_id, "upstream-oauth-links")
            await self._remove_password(user.mas_id)

    async def end_sessions(self, user_id: str) -> None:
        """End all sessions of a user, of every kind."""
        mas_id = (await self.known(user_id)).mas_id
        for kind, whose, end in _SESSIONS:
            for session in await self._of(mas_id, kind, {"filter[status]": "active"}, whose=whose):
                try:
                    await self.api.post(f"{kind}/{session}/{end}")
                except MasRefusal as refusal:
                    if refusal.status not in _HAS_ENDED:
                        raise
                    logger.info("A session of %s had ended: %s", user_id, refusal)

    async def _set_password(self, mas_id: str, password: str) -> None:
        means: dict[int, AccountError] = {
            HTTPStatus.BAD_REQUEST: InvalidPassword("'password' is too weak for Matrix Authentication Service"),
            HTTPStatus.FORBIDDEN: AccountChangeRefused(
                "'password' cannot be set: Matrix Authentication Service keeps no passwords"
            ),
        }
        with _refusals(means):
            await self._tell_password(mas_id, password, is_checked=True)

    async def _remove_password(self, mas_id: str) -> None:
        """Set a password that nobody knows."""
        try:
            await self._tell_password(mas_id, secrets.token_urlsafe(32), is_checked=False)
        except MasRefusal as refusal:
            # Where there are no passwords, there is none to remove.
            if refusal.status != HTTPStatus.FORBIDDEN:
                raise

    async def _tell_password(self, mas_id: str, password: str, *, is_checked: bool) -> None:
        body = {"password": password, "skip_password_check": not is_checked}
        await self.api.tell(f"users/{mas_id}/set-password", body)

    async def _add_email(self, mas_id: str, threepid: Threepid) -> None:
        means: dict[int, AccountError] = {
            HTTPStatus.BAD_REQUEST: AccountChangeRefused(
                "Matrix Authentication Service refuses one of the e-mail addresses ('emails.value')"
            ),
            HTTPStatus.CONFLICT: ThreepidTaken("Another account has one of the e-mail addresses ('emails.value')"),
        }
        with _refusals(means):
            await self._add(mas_id, "user-emails", {"email": threepid.address}, {"filter[email]": threepid.address})

    async def _remove_email(self, mas_id: str, threepid: Threepid) -> None:
        for email_id, address in (await self._emails(mas_id)).items():
            if address == threepid.address:
                await self.api.delete(f"user-emails/{email_id}")

    async def _add_link(self, mas_id: str, external_id: ExternalId) -> None:
        means: dict[int, AccountError] = {
            HTTPStatus.NOT_FOUND: AccountChangeRefused(
                "Matrix Authentication Service does not know the upstream provider ('mas.upstream_providers')"
            ),
            HTTPStatus.CONFLICT: ExternalIdTaken(
                "The single sign-on identity of this 'externalId' opens another account"
            ),
        }
        link = {"provider_id": self.upstream_providers[external_id.auth_provider], "subject": external_id.subject}
        with _refusals(means):
            await self._add(mas_id, "upstream-oauth-links", link, self._link_filter(external_id))

    async def _add(self, mas_id: str, path: str, attributes: Mapping[str, str], query: Mapping[str, str]) -> None:
        """Give a user something. If the user has it already, as the query finds it, that is fine."""
        try:
            await self.api.post(path, {"user_id": mas_id, **attributes})
        except MasRefusal as refusal:
            if refusal.status != HTTPStatus.CONFLICT or not await self._of(mas_id, path, query):
                raise

    def _link_filter(self, external_id: ExternalId) -> dict[str, str]:
        provider_id = self.upstream_providers[external_id.auth_provider]
        return {"filter[provider]": provider_id, "filter[subject]": external_id.subject}

    async def _emails(self, mas_id: str) -> dict[str, str]:
        """Return the addresses of a user, as Synapse would have them, by what the service calls each."""
        emails = await self._of(mas_id, "user-emails")
        with as_expected():
            return {email_id: self._canonical(email["email"]) for email_id, email in emails.items()}

    def _canonical(self, address: str) -> str:
        try:
            return self.to_email(address)
        except ValueError:
            # Synapse would not take it from anybody but the service.
            return address

    async def _empty(self, mas_id: str, path: str, query: Mapping[str, str] | None = None) -> None:
        """Remove everything of a user that a path lists."""
        for resource_id in await self._of(mas_id, path, query):
            await self.api.delete(f"{path}/{resource_id}")

    async def _of(
        self, mas_id: str, path: str, query: Mapping[str, str] | None = None, whose: str = "user"
    ) -> dict[str, dict[str, Any]]:
        """Return what a path lists of a user: the attributes of each resource, by ID.

        Raises:
            Unavailable: Something else is listed as well: nothing of anybody else's is to be removed.
        """
        resources = await self.api.all(path, {f"filter[{whose}]": mas_id, **(query or {})})
        with as_expected():
            found = {str(resource["id"]): dict(resource["attributes"]) for resource in resources}
            if any(attributes[f"{whose}_id"] != mas_id for attributes in found.values()):
                raise ValueError(path)
        return found


@contextmanager
def _refusals(means: Mapping[int, AccountError]) -> Iterator[None]:
    """Raise what a refusal within the block means, if its status tells."""
    try:
        yield
    except MasRefusal as refusal:
        if refusal.status not in means:
            raise
        raise means[refusal.status] from refusal
