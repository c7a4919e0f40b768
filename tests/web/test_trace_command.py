"""The trace that an administrator begins on the command line, for a homeserver that nobody restarts."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from twisted.internet.threads import deferToThread

from synapse_scim import module
from synapse_scim.commands import main
from tests.support.homeserver import LocalHomeserver
from tests.support.runner import BlockingRunner
from tests.web.clients import Admin, assert_scim, until
from tests.web.test_trace import traces
from tests.web.tokens import client, scim_of, token_of

RATE = {"per_second": 1000, "burst_count": 1000}
CLIENTS = {"clients": [client("okta", rate=RATE), client("entra", rate=RATE)]}
DAY_MS = 24 * 60 * 60 * 1000

pytestmark = pytest.mark.homeserver(module_config=CLIENTS)


@pytest.fixture(autouse=True)
def _haste(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the homeserver do 50 times a second what it does every minute. Asked for before `homeserver` is."""
    monkeypatch.setattr(module, "_EVERY_MS", 20)


@pytest.fixture(autouse=True)
def _ready(homeserver: LocalHomeserver, runner: BlockingRunner) -> None:
    """Wait for the module's tables."""
    runner.run(until_ready(homeserver))


async def until_ready(homeserver: LocalHomeserver) -> None:
    """Wait until the homeserver serves SCIM."""

    async def is_ready() -> bool:
        return (await scim_of(homeserver, token_of("okta")).get("/Users")).status == 200

    await until(is_ready)


async def run(homeserver: LocalHomeserver, *arguments: str) -> Result:
    """Run `trace` on the homeserver's machine."""
    path = homeserver.write_configuration()
    return await deferToThread(CliRunner().invoke, main, ["trace", *arguments, "--config", str(path)])


async def reads(homeserver: LocalHomeserver, name: str) -> bool:
    """Have a client ask for something, and tell whether that was traced."""
    before = len(traces(homeserver))
    assert_scim(await scim_of(homeserver, token_of(name)).get("/Users"), 200)
    shown = traces(homeserver)[before:]
    assert [trace["client"] for trace in shown] in ([], [name])
    return bool(shown)


async def until_traced(homeserver: LocalHomeserver, name: str, *, traced: bool = True) -> None:
    """Wait until what a client does is traced, or is not."""

    async def is_so() -> bool:
        return await reads(homeserver, name) is traced

    await until(is_so)


@pytest.mark.usefixtures("engine")
async def test_a_client_is_traced_until_it_is_said_to_stop(homeserver: LocalHomeserver) -> None:
    """Of the homeserver that runs; others are not, and the log says since when it is so."""
    assert not await reads(homeserver, "okta")
    said = await run(homeserver, "start", "okta")
    assert (said.exit_code, said.output[:50]) == (0, "Within a minute, each process logs what okta does,"), said.output

    await until_traced(homeserver, "okta")
    assert not await reads(homeserver, "entra")
    begun = [r.getMessage() for r in homeserver.log_records if r.getMessage().startswith("What okta does is traced")]
    assert len(begun) == 1

    assert (await run(homeserver, "stop")).exit_code == 0
    await until_traced(homeserver, "okta", traced=False)


async def test_a_trace_ends_by_itself(homeserver: LocalHomeserver, monkeypatch: pytest.MonkeyPatch) -> None:
    """When its time is over; it may have been made longer, and a restart does not make it forgotten."""
    for duration in ("10m", "24h"):
        assert (await run(homeserver, "start", "okta", "--for", duration)).exit_code == 0
    await homeserver.restart()
    await until_ready(homeserver)
    assert await reads(homeserver, "okta")

    clock = homeserver.hs.get_clock()
    real = clock.time_msec
    monkeypatch.setattr(clock, "time_msec", lambda: real() + DAY_MS - 60_000)
    assert await reads(homeserver, "okta")
    monkeypatch.setattr(clock, "time_msec", lambda: real() + DAY_MS)
    assert not await reads(homeserver, "okta")


async def test_several_may_be_traced(homeserver: LocalHomeserver, admin: Admin) -> None:
    """Each is an event of the audit, and so is their end."""
    for name in ("okta", "@admin:example.org", "entra"):
        assert (await run(homeserver, "start", name)).exit_code == 0
    await until_traced(homeserver, "okta")
    await until_traced(homeserver, "entra")
    assert (await run(homeserver, "stop")).exit_code == 0

    audit = assert_scim(await admin.scim.get("/AuditEvents"), 200)["Resources"]
    assert [(event["client"], event["operation"]) for event in audit] == [
        ("command line", operation)
        for operation in ("trace_stop", "trace_start entra", "trace_start @admin:example.org", "trace_start okta")
    ]


@pytest.mark.parametrize("duration", ["", "0", "-1", "5", "59s", "25h", "5x", "ten minutes", "9" * 400])
async def test_a_trace_has_an_end(homeserver: LocalHomeserver, duration: str) -> None:
    """Whoever forgets it fills no disk."""
    said = await run(homeserver, "start", "okta", "--for", duration)

    assert said.exit_code == 2
    assert "must be a duration of at least a minute and at most a day" in said.output


@pytest.mark.parametrize("name", ["otka", "@ann:example.org", "@nobody:example.org"])
async def test_a_client_that_nobody_can_be_is_refused(homeserver: LocalHomeserver, name: str) -> None:
    """A typo is said at once, or a user ID that is no server administrator's: nobody waits for what cannot come."""
    await homeserver.register("ann")

    said = await run(homeserver, "start", name)

    assert said.exit_code == 1
    assert said.output.startswith(f"Error: {name} can be nobody here: name one of 'clients'")


@pytest.mark.parametrize("command", [("start", "okta"), ("stop",)])
async def test_what_cannot_be_used_is_said_in_a_line(
    homeserver: LocalHomeserver, command: tuple[str, ...], tmp_path: Path
) -> None:
    """A configuration that is none, and a database on which this version of the module has not started."""
    configuration = yaml.safe_load(homeserver.write_configuration().read_text())
    configuration["database"]["args"]["database"] = str(tmp_path / "empty.db")
    (tmp_path / "empty.db").touch()
    nothing, older = tmp_path / "nothing.yaml", tmp_path / "older.yaml"
    nothing.write_text("server_name: example.org\n")
    older.write_text(yaml.safe_dump(configuration))

    said = [
        await deferToThread(CliRunner().invoke, main, ["trace", *command, "--config", str(path)])
        for path in (nothing, older)
    ]

    assert [result.exit_code for result in said] == [2, 2]
    assert said[0].output.startswith("Error: Synapse cannot use its configuration: ")
    assert "The database cannot be used: no such table: synapse_scim_traces. If it lacks a table" in said[1].output
