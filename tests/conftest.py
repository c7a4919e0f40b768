"""Fixtures: a real homeserver for each test that asks for one."""

from __future__ import annotations

import gc
import inspect
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Literal, cast

import greenlet
import pytest
import pytest_twisted

from tests.support import confidential, process
from tests.support import homeserver as local
from tests.support.configuration import SERVER_NAME, scim_module
from tests.support.databases import Databases, Engine
from tests.support.homeserver import LocalHomeserver, StartHomeserver, prepare_database
from tests.support.issuer import TokenIssuer
from tests.support.mas import AuthenticationService
from tests.support.process import SpawnedHomeserver, SpawnHomeserver
from tests.support.runner import BlockingRunner

# Its tests are for any homeserver, and read a configuration of their own: tests/process/test_complement.py runs them.
collect_ignore = ["complement"]

Owner = Literal["synapse", "mas"]


def pytest_configure() -> None:
    """Let Ctrl-C end an asynchronous test: Twisted's main loop would log the exception and go on."""
    main = greenlet.getcurrent()

    def interrupt(_number: int, _frame: object) -> None:
        # Raised where pytest waits for the reactor, which goes on from here when a fixture needs it to clean up.
        main.throw(KeyboardInterrupt)

    signal.signal(signal.SIGINT, interrupt)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Hand `async def` tests to pytest-twisted, and mark those that need PostgreSQL."""
    for item in items:
        if isinstance(item, pytest.Function):
            function = inspect.unwrap(getattr(item.obj, "__func__", item.obj))
            if inspect.iscoroutinefunction(function):
                pytest_twisted.ensureDeferred(function)
        if _homeserver_options(item).get("engine") == "postgres":
            item.add_marker("postgres")
    items[:] = [item for item in items if not (_is_mas_on_postgres(item) and item.get_closest_marker("mas_on_sqlite"))]


def pytest_collection_finish() -> None:
    """Take what was imported out of the garbage collector's sight: each homeserver has it run twice."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> object:
    """Call a test marked `blocking` here, outside the reactor, where pytest-twisted would call it within."""
    if pyfuncitem.get_closest_marker("blocking") is None or inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames})
    return True


def pytest_runtest_setup() -> None:
    """Have each homeserver's log searched for what its test sent, and not for what others did."""
    confidential.forget()


@pytest.fixture
def runner() -> BlockingRunner:
    """Run a coroutine from code outside the reactor."""
    return BlockingRunner()


@pytest.fixture(scope="session")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    """Databases for homeservers."""
    databases = Databases(tmp_path_factory.mktemp("databases"), prepare_database)
    yield databases
    databases.close()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Each database engine in turn; `homeserver` of the same test runs on it."""
    return cast("Engine", request.param)


@pytest.fixture(params=["synapse", "mas"])
def owner(request: pytest.FixtureRequest) -> Owner:
    """To whom accounts belong, in turn; `homeserver` of the same test has it so."""
    return cast("Owner", request.param)


@pytest.fixture
def mas(runner: BlockingRunner) -> Iterator[AuthenticationService]:
    """A stand-in for Matrix Authentication Service, to which the accounts of `homeserver` belong."""
    mas = AuthenticationService(SERVER_NAME)
    yield mas
    runner.run(mas.stop())


@pytest.fixture
def homeserver(
    request: pytest.FixtureRequest, databases: Databases, runner: BlockingRunner
) -> Iterator[LocalHomeserver]:
    """A homeserver in this process, with this project's module.

    The marker `homeserver` changes it: `module_config`, `config`, `engine` and `listeners`. Markers of a class and of a
    module count too; the closest one that names an option decides it. An error that it logs fails the test, unless the
    marker `expected_errors` names it.
    """
    options = _homeserver_options(request.node)
    module = scim_module(options.pop("module_config", None))
    if "engine" in request.fixturenames:
        options.setdefault("engine", request.getfixturevalue("engine"))
    if "mas" in request.fixturenames or _is_mas(request):
        options["mas"] = request.getfixturevalue("mas")
    homeserver = runner.run(local.start_homeserver(databases, module=module, **options))
    yield homeserver
    runner.run(homeserver.stop(_expected_errors(request)))


@pytest.fixture
def issuer(runner: BlockingRunner) -> Iterator[TokenIssuer]:
    """An authorization server that issues tokens for SCIM."""
    issuer = TokenIssuer()
    yield issuer
    runner.run(issuer.stop())


@pytest.fixture
def start_homeserver(
    request: pytest.FixtureRequest, databases: Databases, runner: BlockingRunner
) -> Iterator[StartHomeserver]:
    """Start homeservers in this process; for a test that needs several, or one that it starts itself.

    If the same test has `owner`, accounts belong to whom that names.
    """
    with ExitStack() as stack:

        async def start(**options: Any) -> LocalHomeserver:
            if _is_mas(request):
                options.setdefault("mas", request.getfixturevalue("mas"))
            homeserver = await local.start_homeserver(databases, **options)
            stack.callback(lambda: runner.run(homeserver.stop(_expected_errors(request))))
            return homeserver

        yield start


@pytest.fixture
def spawn_homeserver(databases: Databases) -> Iterator[SpawnHomeserver]:
    """Make homeservers in processes of their own."""
    with ExitStack() as stack:

        async def spawn(**options: Any) -> SpawnedHomeserver:
            homeserver = await process.spawn_homeserver(databases, **options)
            stack.callback(homeserver.remove)
            return homeserver

        yield spawn


def _is_mas(request: pytest.FixtureRequest) -> bool:
    """Tell whether the accounts of a test's homeservers are MAS's, because `owner` says so."""
    return "owner" in request.fixturenames and request.getfixturevalue("owner") == "mas"


def _is_mas_on_postgres(item: pytest.Item) -> bool:
    """Tell whether a test runs with accounts of MAS's on PostgreSQL, because both fixtures say so."""
    callspec = getattr(item, "callspec", None)
    return callspec is not None and {("owner", "mas"), ("engine", "postgres")} <= callspec.params.items()


def _homeserver_options(node: pytest.Item) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for marker in reversed(list(node.iter_markers("homeserver"))):
        options |= marker.kwargs
    return options


def _expected_errors(request: pytest.FixtureRequest) -> list[str]:
    return [pattern for marker in request.node.iter_markers("expected_errors") for pattern in marker.args]
