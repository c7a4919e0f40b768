"""The admin API of the stand-in for Matrix Authentication Service."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from tests.support.client import Response
from tests.support.mas_state import Email, Link, Session, State, Thing, User, now

ROOT = "/api/admin/v1"

_USERNAME = re.compile(r"[a-z0-9=\-./+][a-z0-9=_\-./+]{0,254}")
Synapse = Callable[[str, Mapping[str, Any]], Awaitable[Response]]
Schedule = Callable[[Callable[[], Awaitable[None]]], None]
Result = tuple[int, Any]


class Refused(Exception):
    """A request is refused.

    Attributes:
        status: The status of the answer.
    """

    def __init__(self, status: int, title: str) -> None:
        """Say why."""
        super().__init__(title)
        self.status = status


class AdminApi:
    """Does what the admin API is asked for, in the order in which the real one does it.

    Attributes:
        has_passwords: Whether people log in with passwords.
        complexity: How many different characters a password needs.
        refused_emails: What it does not take for addresses.
        ignored_filters: What it does not know to choose by.
    """

    def __init__(self, state: State, server_name: str, synapse: Synapse, schedule: Schedule) -> None:
        """Work on a state.

        Args:
            state: What the service keeps.
            server_name: The homeserver's name.
            synapse: Calls the homeserver.
            schedule: Does a job later.
        """
        self.has_passwords = True
        self.complexity = 6
        self.refused_emails: set[str] = set()
        self.ignored_filters: set[str] = set()
        self.server_name = server_name
        self._state = state
        self._synapse = synapse
        self._schedule = schedule

    async def perform(
        self, method: str, endpoint: str, arguments: Mapping[str, str], query: Mapping[str, str], body: Any
    ) -> Result:
        """Perform an operation.

        Raises:
            Refused: It is refused.
        """
        result: Result
        match method, endpoint.split("/"):
            case "get", ["site-config"]:
                result = HTTPStatus.OK, self._site_config()
            case "post", ["users"]:
                result = await self._add_user(body)
            case "get", ["users", "by-username", _]:
                result = HTTPStatus.OK, self._by_username(arguments["username"])
            case "post", ["users", _, action]:
                result = await self._act(self._user(arguments["id"]), action, body)
            case "post", [kind]:
                result = self._add_email(body) if kind == "user-emails" else self._add_link(body)
            case "delete", [kind, _]:
                result = self._delete(kind, arguments["id"])
            case "get", [kind]:
                result = HTTPStatus.OK, self._listed(kind, query)
            case _, [_, _, action]:
                result = self._end(arguments["id"], action)
        return result

    def provision(self, user: User) -> None:
        """Tell Synapse of a user, later: as it is then."""

        async def job() -> None:
            emails = self._state.emails_of(user.id)
            locked = user.locked_at is not None
            body = {"localpart": user.username, "set_emails": emails, "locked": locked}
            await self._synapse("provision_user", body)
            await self._sync_devices(user)

        self._schedule(job)

    async def _sync_devices(self, user: User) -> None:
        devices = [session.device_id for session in self._state.active_sessions(user.id) if session.device_id]
        await self._synapse("sync_devices", {"localpart": user.username, "devices": devices})

    # -- Users ----------------------------------------------------------------

    def _user(self, user_id: str) -> User:
        if user_id not in self._state.users:
            raise Refused(HTTPStatus.NOT_FOUND, f"User ID {user_id} not found")
        return self._state.users[user_id]

    def _by_username(self, username: str) -> dict[str, Any]:
        user = self._state.named(username)
        if user is None:
            raise Refused(HTTPStatus.NOT_FOUND, f"User with username {username} not found")
        return _single(user)

    async def _add_user(self, body: Any) -> Result:
        username = body["username"]
        if self._state.named(username) is not None:
            raise Refused(HTTPStatus.CONFLICT, "User already exists")
        if not _USERNAME.fullmatch(username):
            raise Refused(HTTPStatus.BAD_REQUEST, "Username is not valid")
        available = await self._synapse("is_localpart_available", {"localpart": username})
        if available.status != HTTPStatus.OK and not body.get("skip_homeserver_check", False):
            raise Refused(HTTPStatus.CONFLICT, "Username is reserved by the homeserver")
        user = User(username=username)
        profile = {f"set_{name}": body[name] for name in ("displayname", "avatar_url") if body.get(name) is not None}
        await self._synapse("provision_user", {"localpart": username, "locked": False, **profile})
        if self._state.named(username) is not None:
            raise Refused(HTTPStatus.INTERNAL_SERVER_ERROR, "Somebody else was faster")
        self._state.users[user.id] = user
        return HTTPStatus.CREATED, _single(user)

    async def _act(self, user: User, action: str, body: Any) -> Result:
        match action:
            case "set-password":
                return self._set_password(user, body)
            case "lock":
                user.locked_at = user.locked_at or now()
                self.provision(user)
            case "unlock":
                user.locked_at = None
                self.provision(user)
            case "deactivate":
                user.deactivated_at = user.deactivated_at or now()
                self._schedule(lambda: self._deactivate(user, erase=not body.get("skip_erase", False)))
            case "reactivate":
                await self._synapse("reactivate_user", {"localpart": user.username})
                user.deactivated_at = None
        return HTTPStatus.OK, _single(user)

    def _set_password(self, user: User, body: Any) -> Result:
        if not self.has_passwords:
            raise Refused(HTTPStatus.FORBIDDEN, "Password auth is disabled")
        if not body.get("skip_password_check") and len(set(body["password"])) < self.complexity:
            raise Refused(HTTPStatus.BAD_REQUEST, "Password is too weak")
        user.password = body["password"]
        return HTTPStatus.NO_CONTENT, None

    async def _deactivate(self, user: User, *, erase: bool) -> None:
        """Do the job of a deactivation."""
        user.deactivated_at = user.deactivated_at or now()
        for session in self._state.active_sessions(user.id):
            session.finished_at = now()
        for email in [email for email in self._state.emails.values() if email.user_id == user.id]:
            del self._state.emails[email.id]
        await self._synapse("delete_user", {"localpart": user.username, "erase": erase})

    # -- What users have ------------------------------------------------------

    def _add_email(self, body: Any) -> Result:
        user = self._user(body["user_id"])
        if body["email"] in self.refused_emails:
            raise Refused(HTTPStatus.BAD_REQUEST, "Email is not valid")
        if any(email.email.lower() == body["email"].lower() for email in self._state.emails.values()):
            raise Refused(HTTPStatus.CONFLICT, f"User email {body['email']} already in use")
        email = Email(user_id=user.id, email=body["email"])
        self._state.emails[email.id] = email
        self.provision(user)
        return HTTPStatus.CREATED, _single(email)

    def _add_link(self, body: Any) -> Result:
        user = self._user(body["user_id"])
        if body["provider_id"] not in self._state.providers:
            raise Refused(HTTPStatus.NOT_FOUND, f"Upstream OAuth 2.0 Provider ID {body['provider_id']} not found")
        wanted = (body["provider_id"], body["subject"])
        link = next((link for link in self._state.links.values() if (link.provider_id, link.subject) == wanted), None)
        if link is not None:
            if link.user_id is not None:
                raise Refused(HTTPStatus.CONFLICT, "The subject is already linked to a user")
            link.user_id = user.id
            return HTTPStatus.OK, _single(link)
        link = Link(provider_id=body["provider_id"], subject=body["subject"], user_id=user.id)
        self._state.links[link.id] = link
        return HTTPStatus.CREATED, _single(link)

    def _delete(self, kind: str, thing_id: str) -> Result:
        if kind == "user-emails":
            email = self._state.emails.pop(thing_id, None)
            if email is not None:
                self.provision(self._state.users[email.user_id])
                return HTTPStatus.NO_CONTENT, None
        elif self._state.links.pop(thing_id, None) is not None:
            return HTTPStatus.NO_CONTENT, None
        raise Refused(HTTPStatus.NOT_FOUND, f"{thing_id} not found")

    def _end(self, session_id: str, action: str) -> Result:
        session = self._state.sessions.get(session_id)
        if session is None:
            raise Refused(HTTPStatus.NOT_FOUND, f"Session {session_id} not found")
        if session.finished_at is not None:
            raise Refused(HTTPStatus.CONFLICT if action == "revoke" else HTTPStatus.BAD_REQUEST, "Already finished")
        session.finished_at = now()
        if session.device_id is not None:
            user = self._state.users[session.user_id]
            self._schedule(lambda: self._sync_devices(user))
        return HTTPStatus.OK, _single(session)

    # -- Lists ----------------------------------------------------------------

    def _listed(self, kind: str, query: Mapping[str, str]) -> dict[str, Any]:
        query = {name: value for name, value in query.items() if name not in self.ignored_filters}
        for name in ("filter[user]", "filter[actor_user]"):
            if name in query:
                self._user(query[name])
        first = int(query.get("page[first]", 10))
        after = query.get("page[after]", "")
        found = [thing for thing in self._things(kind, query) if thing.id > after]
        answer: dict[str, Any] = {
            "data": [_resource(thing, cursor=thing.id) for thing in found[:first]],
            "links": {"self": f"{ROOT}/{kind}"},
        }
        if query.get("count") != "false":
            answer["meta"] = {"count": len(found)}
        return answer

    def _things(self, kind: str, query: Mapping[str, str]) -> Sequence[Thing]:
        match kind:
            case "user-emails":
                wanted = query.get("filter[email]")
                return [
                    email
                    for email in self._state.emails.values()
                    if _fits(query, "filter[user]", email.user_id)
                    and (wanted is None or wanted.lower() == email.email.lower())
                ]
            case "upstream-oauth-links":
                return [
                    link
                    for link in self._state.links.values()
                    if _fits(query, "filter[user]", link.user_id)
                    and _fits(query, "filter[provider]", link.provider_id)
                    and _fits(query, "filter[subject]", link.subject)
                ]
        return [session for session in self._state.sessions.values() if self._is_listed(session, kind, query)]

    @staticmethod
    def _is_listed(session: Session, kind: str, query: Mapping[str, str]) -> bool:
        whose = "filter[actor_user]" if kind == "personal-sessions" else "filter[user]"
        status = "active" if session.finished_at is None else "finished"
        return (
            f"{session.kind}s" == kind
            and _fits(query, whose, session.user_id)
            and _fits(query, "filter[status]", status)
        )

    def _site_config(self) -> dict[str, Any]:
        return {
            "server_name": self.server_name,
            "password_login_enabled": self.has_passwords,
            "password_registration_enabled": False,
            "password_registration_email_required": True,
            "password_registration_token_required": False,
            "registration_token_required": False,
            "email_change_allowed": True,
            "displayname_change_allowed": True,
            "password_change_allowed": True,
            "account_recovery_allowed": False,
            "account_deactivation_allowed": True,
            "captcha_enabled": False,
            "minimum_password_complexity": 3,
        }


def _fits(query: Mapping[str, str], name: str, value: str | None) -> bool:
    return name not in query or query[name] == value


def _resource(thing: Thing, cursor: str | None = None) -> dict[str, Any]:
    path = f"{ROOT}/{thing.kind}s/{thing.id}"
    resource = {"type": thing.kind, "id": thing.id, "attributes": thing.attributes(), "links": {"self": path}}
    return resource if cursor is None else {**resource, "meta": {"page": {"cursor": cursor}}}


def _single(thing: Thing) -> dict[str, Any]:
    resource = _resource(thing)
    return {"data": resource, "links": resource["links"]}
