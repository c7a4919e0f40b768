"""Imports that are broken off, and go on."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from synapse_scim.client.imports import Import, Limits, stopping
from synapse_scim.client.ledger import Ledger
from synapse_scim.client.server import Server
from tests.commands.line import CommandLine, counts
from tests.support.child import end_child, start_child
from tests.support.https import answer
from tests.support.proxy import Habits, ReverseProxy
from tests.support.runner import BlockingRunner
from tests.web.clients import Admin, until
from tests.web.tokens import client, token_of

PEOPLE = [{"userName": f"p{number}"} for number in range(400)]
SCIM = "application/scim+json"


@pytest.fixture
def proxy(admin: Admin, line: CommandLine, runner: BlockingRunner) -> Iterator[ReverseProxy]:
    """A reverse proxy between the command line and the homeserver."""
    proxy = ReverseProxy(Habits())
    proxy.target = admin.homeserver.port
    line.url = f"{proxy.url}/_scim"
    yield proxy
    runner.run(proxy.stop())


async def test_interrupted_import_goes_on_where_it_was(line: CommandLine, admin: Admin, tmp_path: Path) -> None:
    """Ctrl-C ends it with the counts so far; the same command does what is left, and nothing twice."""
    path = line.write_lines(PEOPLE)
    printed = tmp_path / "printed"
    child = start_child(
        [sys.executable, "-m", "synapse_scim", "import", path],
        folder=tmp_path,
        output=printed,
        environment={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "SYNAPSE_SCIM_URL": line.url,
            "SYNAPSE_SCIM_TOKEN_FILE": str(line.token_path),
        },
    )

    async def has_begun() -> bool:
        return len(await admin.scim.names(count=2)) > 1

    async def has_ended() -> bool:
        return child.poll() is not None

    await until(has_begun)
    child.send_signal(signal.SIGINT)
    await until(has_ended)
    end_child(child, signal.SIGKILL)

    assert child.returncode == 130, printed.read_text()
    assert "Ctrl-C again ends at once" in printed.read_text()
    assert "Not everything is done. The same command goes on from here." in printed.read_text()

    resumed = await line.run("import", path)
    assert resumed.exit_code == 0, resumed.output
    assert 0 < counts(resumed)["created"] < 400
    assert counts(await line.run("plan", path)) == {"unchanged": 400}


def test_second_interruption_ends_at_once() -> None:
    """The first one lets the request that is under way end; then all is as it was before."""
    former = signal.getsignal(signal.SIGINT)
    told: list[str] = []
    with Ledger() as ledger, Server("http://127.0.0.1:1", None) as server:
        importing = Import(ledger, server, Limits(operations=1, size=1))
        with stopping(importing, lambda: told.append("stops")):
            os.kill(os.getpid(), signal.SIGINT)
            assert (importing.stopped, told) == (True, ["stops"])
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)

    assert signal.getsignal(signal.SIGINT) is former


async def test_import_tells_what_was_done_before_the_server_went(line: CommandLine, proxy: ReverseProxy) -> None:
    """Where the server answers no longer, the counts are shown, and how to go on."""
    proxy.own[b"/_scim/Bulk"] = answer(b"<h1>Bad gateway</h1>", "text/html", status=502)

    imported = await line.run("import", line.write_lines(PEOPLE[:2]))

    assert (imported.exit_code, counts(imported)) == (2, {"created": 2})
    assert "The same command goes on from here" in imported.output
    assert "it does not reach Synapse" in imported.output


@pytest.mark.homeserver(module_config={"clients": [client("reader", scopes=["users:read"])]})
async def test_token_that_may_not_write_changes_nothing(line: CommandLine) -> None:
    """What the server says is told of each person."""
    line.token_path.write_text(token_of("reader"))

    imported = await line.run("import", line.write_lines(PEOPLE[:2]))

    assert (imported.exit_code, counts(imported)) == (1, {"created": 2})
    assert imported.output.count("This credential lacks the scope users:write (HTTP 403)") == 2


async def test_server_that_refuses_all_changes_ends_the_import(line: CommandLine, proxy: ReverseProxy) -> None:
    """What is refused as a whole would be refused again."""
    proxy.own[b"/_scim/Bulk"] = answer(b'{"detail": "You may not"}', SCIM, status=403)

    imported = await line.run("import", line.write_lines(PEOPLE[:2]))

    assert imported.exit_code == 2
    assert "The server refuses the changes (HTTP 403): You may not" in imported.output


async def test_single_change_needs_no_bulk_request(line: CommandLine, proxy: ReverseProxy, admin: Admin) -> None:
    """One person is deleted by one request."""
    await admin.scim.create("leaving")
    await admin.scim.create("staying")
    proxy.own[b"/_scim/Bulk"] = answer(b"{}", SCIM, status=500)

    imported = await line.run("import", "--off-board", "delete", line.write_lines([{"userName": "staying"}]))

    assert (imported.exit_code, counts(imported)) == (0, {"off-boarded": 1, "unchanged": 1})


@pytest.mark.homeserver(module_config={"clients": [client("entra")]})
async def test_client_adopts_whom_it_can_prove_to_know(line: CommandLine, admin: Admin) -> None:
    """Without a server administrator's token, an account is adopted for its e-mail address or SSO identity alone."""
    line.token_path.write_text(token_of("entra"))
    await admin.homeserver.register("carol")
    await admin.homeserver.register("dave")
    await admin.synapse.change("@dave:example.org", threepids=[{"medium": "email", "address": "dave@corp.example"}])
    path = line.write_lines(
        [{"userName": "carol"}, {"userName": "dave", "emails": [{"value": "Dave@corp.example"}]}, {"userName": "eve"}]
    )

    planned = await line.run("plan", path)
    assert counts(planned) == {"created": 1, "adopted": 1, "refused": 1}
    assert "line 1, carol: the account @carol:example.org was not made by SCIM" in planned.output

    imported = await line.run("import", "--keep-going", path)
    assert counts(imported) == {"created": 1, "adopted": 1, "refused beforehand": 1}
    assert (await admin.scim.read("@dave:example.org"))["emails"] == [{"value": "Dave@corp.example"}]


async def test_token_that_opens_nothing_ends_the_plan(line: CommandLine, proxy: ReverseProxy) -> None:
    """The server's reason is told."""
    proxy.own[b"/_scim/Me"] = answer(b'{"detail": "Not from here"}', SCIM, status=403)

    planned = await line.run("plan", line.write_lines(PEOPLE[:1]))

    assert planned.exit_code == 2
    assert "The server refuses the token (HTTP 403): Not from here" in planned.output
