"""A real Synapse homeserver in the test's process."""

from __future__ import annotations

import gc
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import attrs
import yaml
from synapse.app import _base
from synapse.app.homeserver import SynapseHomeServer, create_homeserver, setup, start
from synapse.config.homeserver import HomeServerConfig
from synapse.logging.context import SENTINEL_CONTEXT, LoggingContext, set_current_context
from synapse.types import UserID
from synapse.util.duration import Duration
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.python.threadpool import ThreadPool

from tests.support.confidential import check_log, keep_secret
from tests.support.configuration import SERVER_NAME, homeserver_configuration, merged, scim_module
from tests.support.databases import Database, Databases, Engine
from tests.support.mas import AuthenticationService

_SCIM_MODULE = scim_module()
_HARMLESS_ERRORS = (
    # A homeserver that ends as soon as it runs may cut off what the module asks of MAS at its start.
    "Background process re-entered without a proc: synapse_scim_start",
    # Metrics know homeservers by name. Synapse says this of its own second listener for `client` too.
    "Metric named .* already registered for server",
    # Whoever cancels a running task takes it off the list, and so does the task. It happens when a display name changes
    # while an earlier change is still being carried into rooms.
    "Background process 'task-.*' threw an exception(?s:.*)_running_tasks.pop(?s:.*)KeyError",
    # The same, cut off by the end of the homeserver.
    "Background process 'task-.*' threw an exception(?s:.*)CancelledError",
)


def is_harmless(logged: str, expected: Iterable[str] = ()) -> bool:
    """Tell whether a logged error, traceback included, is none of this project's, or matches an expected one."""
    return any(re.search(pattern, logged) for pattern in (*_HARMLESS_ERRORS, *expected))


class UnexpectedErrors(AssertionError):
    """A homeserver logged errors that its test did not expect."""


class LocalHomeserver:
    """A homeserver in this process, listening on loopback ports. Made by `start_homeserver`."""

    hs: SynapseHomeServer
    """Synapse's own object; another one after a restart."""

    ports: tuple[int, ...]
    """The port of each HTTP listener, in the order of the configuration; others after a restart."""

    def __init__(
        self, configuration: Mapping[str, Any], database: Database, mas: AuthenticationService | None = None
    ) -> None:
        """Describe a homeserver that does not run yet.

        Args:
            configuration: Synapse's configuration.
            database: Its database and its files, removed when it stops.
            mas: To whom its accounts belong, if that is not Synapse.
        """
        self.mas = mas
        if mas is not None:
            mas.homeserver_url = lambda: self.url
        self._configuration = dict(configuration)
        self._database = database
        self._log = _Log()
        self._runs = False

    @property
    def delegation(self) -> dict[str, Any]:
        """The part of the module's configuration that says to whom accounts belong, if that is not Synapse."""
        config = self._configuration["modules"][0]["config"]
        return {key: config[key] for key in ("mas",) if key in config}

    @property
    def port(self) -> int:
        """The port of the first HTTP listener."""
        return self.ports[0]

    @property
    def url(self) -> str:
        """The address of the first HTTP listener, without a slash at its end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log_records(self) -> list[logging.LogRecord]:
        """What this process logged while the homeserver ran, from INFO up, and from DEBUG up what the module logged.

        A restart does not empty it.
        """
        return self._log.records

    def write_configuration(self) -> Path:
        """Write its configuration into its folder, for a command that reads it, and return the file."""
        path = self._database.folder / "homeserver.yaml"
        path.write_text(yaml.safe_dump(dict(self._configuration)))
        return path

    async def start(self) -> None:
        """Start it on its database, as a deployment's main process does.

        Raises:
            ConfigError: Synapse, or the module, refuses the configuration.
        """
        config = HomeServerConfig()
        config.parse_config_dict(self._configuration, "", "")
        self.hs = create_homeserver(config)
        logging.getLogger().addHandler(self._log)
        logging.getLogger("synapse_scim").setLevel(logging.DEBUG)
        self._runs = True
        # A test may still be in the context of a process of the homeserver before, which has ended.
        set_current_context(SENTINEL_CONTEXT)
        try:
            with self._context():
                setup(self.hs)
                # Frozen objects would never be freed.
                await start(self.hs, freeze=False)
        except BaseException:
            await self._shut_down()
            raise
        self.ports = tuple(listener.getHost().port for listener in self.hs._listening_services)

    async def restart(self, config: Mapping[str, Any] | None = None) -> None:
        """Stop it, whatever it is doing, and start another one on the same database.

        Args:
            config: Changes to its configuration: mappings are merged key by key, anything else is replaced.
        """
        await self._shut_down()
        self._configuration = merged(self._configuration, config or {})
        await self.start()

    async def stop(self, expected_errors: Iterable[str] = ()) -> None:
        """Stop it and remove its files and its database. Nothing happens if it does not run.

        Args:
            expected_errors: Regular expressions. A logged error whose text, traceback included, matches one is fine.

        Raises:
            UnexpectedErrors: It logged another error, or a Deferred failed and nobody looked.
            Leaked: It logged what nobody may read in a log.
        """
        if not self._runs:
            return
        await self._shut_down()
        self._database.drop()
        expected = tuple(expected_errors)
        errors = [_FORMATTER.format(record) for record in self.log_records if record.levelno >= logging.ERROR]
        unexpected = [text for text in errors if not is_harmless(text, expected)]
        if unexpected:
            raise UnexpectedErrors("\n\n".join(["The homeserver logged errors:", *unexpected]))
        check_log("\n".join(map(_FORMATTER.format, self.log_records)))

    async def register(
        self, localpart: str, *, admin: bool = False, password: str | None = None, display_name: str | None = None
    ) -> str:
        """Register an account, past all that guards registration, and return its user ID."""
        keep_secret(password or "")
        if self.mas is not None:
            await self.mas.register(localpart, admin=admin, password=password, display_name=display_name)
            user_id = f"@{localpart}:{SERVER_NAME}"
            with self._context():
                await self.hs.get_datastores().main.set_server_admin(UserID.from_string(user_id), admin)
            return user_id
        with self._context():
            return await self.hs.get_registration_handler().register_user(
                localpart=localpart,
                password_hash=None if password is None else await self.hs.get_auth_handler().hash(password),
                admin=admin,
                default_display_name=display_name,
                by_admin=True,
            )

    async def register_legacy(self, localpart: str) -> str:
        """Make an account of a name that nobody gives away any more, and return its user ID."""
        user_id = f"@{localpart}:{SERVER_NAME}"
        with self._context():
            store = self.hs.get_datastores().main
            await store.register_user(user_id=user_id, create_profile_with_displayname="Old")
        if self.mas is not None:
            self.mas.migrate(localpart)
        return user_id

    async def access_token(self, user_id: str) -> str:
        """Return an access token of a new device of an account."""
        if self.mas is not None:
            user = self.mas.known(user_id)
            return (await self.mas.session(user, is_admin=user.admin)).token
        with self._context():
            _, token, _, _ = await self.hs.get_registration_handler().register_device(
                user_id, device_id=None, initial_display_name=None
            )
        keep_secret(token)
        return token

    def forget_introspections(self) -> None:
        """Let Synapse ask MAS about each token again, as it does after two minutes."""
        if self.mas is not None:
            cast("Any", self.hs.get_auth())._introspection_cache._result_cache.clear()

    async def _shut_down(self) -> None:
        self._runs = False
        # A Deferred tells of a failure that nobody looked at when it is freed.
        gc.collect()
        # What is cut off complains, which is no error: not of this homeserver, nor of the one that runs next.
        logging.disable()
        try:
            await self.hs.shutdown()
            # The results that threads have left in the reactor's queue are taken before this is.
            await deferLater(reactor, 0)
            del self.hs
            gc.collect()
        finally:
            logging.disable(logging.NOTSET)
            logging.getLogger().removeHandler(self._log)

    def _context(self) -> LoggingContext:
        return LoggingContext(name="test", server_name=SERVER_NAME)


StartHomeserver = Callable[..., Awaitable[LocalHomeserver]]
"""What the fixture `start_homeserver` is: the function below, given its first argument."""


async def start_homeserver(
    databases: Databases,
    *,
    engine: Engine = "sqlite",
    module: Mapping[str, Any] | None = _SCIM_MODULE,
    config: Mapping[str, Any] | None = None,
    listeners: Sequence[Mapping[str, Any]] | None = None,
    mas: AuthenticationService | None = None,
) -> LocalHomeserver:
    """Start a homeserver in this process, on a database of its own.

    Args:
        databases: Where the database comes from.
        engine: Which database engine.
        module: The one entry of `modules`; None for no module.
        config: Changes to the configuration: mappings are merged key by key, anything else is replaced.
        listeners: Its listeners, see `http_listener`; default: one that serves `client`.
        mas: To whom its accounts belong, if that is not Synapse.
    """
    database = await databases.create(engine)
    if mas is not None:
        config = merged(config or {}, mas.synapse_configuration())
        module = mas.with_module(database.folder, module) if module else None
        if "modules" in config:
            config["modules"] = [mas.with_module(database.folder, entry) for entry in config["modules"]]
    homeserver = _described(database, module=module, config=config, listeners=listeners, mas=mas)
    try:
        await homeserver.start()
    except BaseException:
        database.drop()
        raise
    return homeserver


async def prepare_database(database: Database) -> None:
    """Run a homeserver on an empty database until Synapse's background updates are finished."""
    homeserver = _described(
        attrs.evolve(database, drop=lambda: None),
        module=None,
        config={"background_updates": {"sleep_enabled": False}},
        listeners=None,
    )
    await homeserver.start()
    updates = homeserver.hs.get_datastores().main.db_pool.updates
    while not await updates.has_completed_background_updates():
        await homeserver.hs.get_clock().sleep(Duration(milliseconds=10))
    await homeserver.stop()


def _described(
    database: Database,
    *,
    module: Mapping[str, Any] | None,
    config: Mapping[str, Any] | None,
    listeners: Sequence[Mapping[str, Any]] | None,
    mas: AuthenticationService | None = None,
) -> LocalHomeserver:
    # Incremental: pytest's handlers stay.
    log_config = {"version": 1, "incremental": True, "root": {"level": "INFO"}}
    configuration = homeserver_configuration(
        database, log_config=log_config, module=module, config=config, listeners=listeners
    )
    return LocalHomeserver(configuration, database, mas)


class _Log(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        if record.levelno >= logging.INFO or record.name.startswith("synapse_scim"):
            self.records.append(record)


class _ResolverThreads(ThreadPool):
    """Threads that look up host names, for all homeservers of this process.

    Synapse makes a pool for each, whose threads end only with the reactor: thousands, in a run of the tests.
    """

    def stop(self) -> None:
        """Stop the threads, once: each homeserver asks for it when the reactor stops."""
        if self.started:
            super().stop()


_FORMATTER = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
_RESOLVER_THREADS = _ResolverThreads(minthreads=0, maxthreads=2)
_base.ThreadPool = lambda *_args, **_kwargs: _RESOLVER_THREADS  # type: ignore[misc, assignment]
# A hangup ends the tests; it is no wish to reload the configuration.
_base._already_setup_sighup_handling = True
