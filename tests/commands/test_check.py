"""What `check` says of homeservers that are set up well and badly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2
import pytest

from synapse_scim.client.answers import unreachable
from tests.commands.deployment import Deployment, bad
from tests.commands.line import CommandLine, invoke
from tests.support.configuration import scim_module
from tests.support.homeserver import StartHomeserver
from tests.support.https import Answer, CertificateAuthority, HttpsServer, answer, redirect
from tests.support.proxy import Habits, ReverseProxy
from tests.web.clients import MATRIX


async def test_good_set_up_is_all_green(deployment: Deployment) -> None:
    """Everything that can be looked at is looked at, and found good."""
    configuration = deployment.homeserver.write_configuration()

    findings = await deployment.check("--config", configuration)

    assert bad(findings) == {}
    assert {about for about, finding in findings.items() if finding["outcome"] == "good"} == {
        "configuration",
        "listeners",
        "database",
        "processes",
        "URL",
        "identity",
        "prefix /_scim",
        "prefix /_matrix/client/unstable/coop.yaal/scim",
        "encryption",
        "clock",
        "token file",
        "token",
        "writing",
        "path",
        "X-Forwarded-For",
    }


@pytest.mark.parametrize(
    ("habits", "wrong"),
    [
        ({"strips_authorization": True}, {"token": "does not arrive"}),
        ({"decodes_paths": True}, {"path": "%2F"}),
        ({"appends_address": True}, {"X-Forwarded-For": "callers can write into it"}),
        ({"methods": frozenset({b"GET", b"POST"})}, {"methods": "PATCH does not arrive"}),
        ({"passes": (b"/_scim",)}, {"prefix /_matrix/client/unstable/coop.yaal/scim": "does not answer"}),
        ({"date": "Thu, 01 Jan 2026 00:00:00 GMT"}, {"clock": "seconds apart"}),
    ],
)
async def test_what_a_proxy_does_is_named(
    habits: dict[str, Any], wrong: dict[str, str], deployment: Deployment
) -> None:
    """What a reverse proxy does to requests is told apart from what the token lacks."""
    found = bad(await deployment.check(**habits))

    assert found.keys() == wrong.keys(), found
    assert all(wrong[about] in said for about, said in found.items())


DISCOVERY = "/_scim/ServiceProviderConfig"
SCIM = "application/scim+json"


@pytest.mark.parametrize(
    ("path", "said", "advice"),
    [
        (
            "/_scmi",
            "what answers at {url}/_scmi/ServiceProviderConfig is not SCIM (HTTP 404",
            "{url}/_scim: use this URL",
        ),
        ("/_matrix/scim", "a Matrix homeserver answers at {url}/_matrix/scim", "{url}/_scim: use this URL"),
    ],
)
async def test_typo_in_the_url_is_named(path: str, said: str, advice: str, deployment: Deployment) -> None:
    """Where SCIM answers elsewhere on the same server, that URL is shown."""
    url = deployment.proxy.url

    findings = await deployment.check("--url", url + path, passes=(b"/_matrix", b"/_scim/", b"/_synapse"))

    assert bad(findings).keys() == {"URL"}
    assert findings["URL"]["said"].startswith(said.format(url=url)), findings["URL"]
    assert advice.format(url=url) in findings["URL"]["advice"]


async def test_another_homeserver_is_told_apart(deployment: Deployment, start_homeserver: StartHomeserver) -> None:
    """SCIM of another homeserver than the configuration's, or under another name than its own, is not the right one."""
    other = await start_homeserver(module=scim_module())

    configured = await deployment.check(
        "--url", f"{other.url}/_scim", "--config", deployment.homeserver.write_configuration()
    )
    unconfigured = await deployment.check("--url", f"{other.url}/_scim")

    assert "the configuration is that of" in bad(configured)["identity"]
    assert "says that it is https://matrix.example.org/_scim" in bad(unconfigured)["identity"]
    assert bad(configured).keys() == {"identity", "token"}


async def test_homeserver_without_the_module_is_told_apart(
    deployment: Deployment, start_homeserver: StartHomeserver
) -> None:
    """Nothing is asked with the token where SCIM does not answer."""
    other = await start_homeserver(module=None)

    findings = await deployment.check("--url", f"{other.url}/_scim", "--config", other.write_configuration())

    assert bad(findings).keys() == {"configuration", "database", "URL"}
    assert "or Synapse runs without the module" in bad(findings)["URL"]
    assert "the module is not loaded" in bad(findings)["configuration"]
    assert "the module's tables are not there" in bad(findings)["database"]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:1/_scim", "http://127.0.0.1:1/_scim/ServiceProviderConfig cannot be reached: "),
        ("https://nowhere.invalid/_scim", "https://nowhere.invalid/_scim/ServiceProviderConfig cannot be reached: "),
        ("matrix.example.org/_scim", "cannot be reached: "),
        ("http://[::1/_scim", "cannot be reached: "),
    ],
)
async def test_server_that_is_not_there_is_named(url: str, said: str, line: CommandLine) -> None:
    """The command says what it tried, and why that failed; the others end likewise."""
    checked = await line.run("check", "--url", url)
    planned = await line.run("plan", "--url", url, line.write_lines([{"userName": "ann"}]))

    assert (checked.exit_code, planned.exit_code) == (1, 2)
    assert "✘ URL: " in checked.output
    assert said in checked.output
    assert "cannot be reached: " in planned.output


async def test_certificate_that_nobody_trusts_is_named(line: CommandLine, tmp_path: Path) -> None:
    """It is a frequent reason why a server cannot be reached."""
    server = HttpsServer(CertificateAuthority(tmp_path))

    checked = await line.run("check", "--url", server.url("/_scim"))
    await server.stop()

    assert "is not trusted: " in checked.output


@pytest.mark.parametrize(
    ("path", "response", "said"),
    [
        (DISCOVERY, answer(b"<h1>It works</h1>", "text/html"), "is not SCIM (HTTP 200, text/html)"),
        (DISCOVERY, answer(b"", "text/html", status=502), "answers HTTP 502: it does not reach Synapse"),
        (DISCOVERY, redirect("https://elsewhere.example/"), "redirects to https://elsewhere.example/"),
        (DISCOVERY, answer(b"[]", SCIM), "is not SCIM (HTTP 200, application/scim+json)"),
        (DISCOVERY, answer(b"{}", SCIM, status=500), "is not SCIM (HTTP 500, application/scim+json)"),
        (f"/_scim/Schemas/{MATRIX}", answer(b"{}", SCIM, status=404), "a SCIM server answers at"),
    ],
)
async def test_what_is_not_the_module_is_named(path: str, response: Answer, said: str, deployment: Deployment) -> None:
    """Whatever else answers at a URL is told apart from SCIM, and other SCIM servers from this one."""
    deployment.proxy.own[path.encode()] = response

    findings = await deployment.check()

    assert bad(findings).keys() == {"URL"}
    assert said in bad(findings)["URL"]


@pytest.mark.parametrize(
    ("response", "said"),
    [
        (answer(b"<h1>Log in</h1>", "text/html", status=401), "is not SCIM (HTTP 401, text/html)"),
        (answer(b'{"detail": "not from here"}', SCIM, status=403), "it is refused (HTTP 403): not from here"),
        (answer(b'{"detail": "unknown"}', SCIM, status=401), "does not arrive"),
    ],
)
async def test_refusal_of_the_token_is_named(response: Answer, said: str, deployment: Deployment) -> None:
    """Who refuses the token, and why, is told."""
    deployment.proxy.own[b"/_scim/Users"] = response

    assert said in bad(await deployment.check())["token"]


async def test_wrong_token_is_named(deployment: Deployment) -> None:
    """It is told apart from a token that does not arrive, for the other commands too."""
    deployment.line.token_path.write_text("wrong")

    assert "it is not valid: " in bad(await deployment.check())["token"]
    planned = await deployment.line.run("plan", deployment.line.write_lines([{"userName": "ann"}]))
    assert planned.exit_code == 2
    assert "The server does not accept the token: " in planned.output


async def test_token_of_somebody_else_is_refused(deployment: Deployment) -> None:
    """Access tokens are good for SCIM in the hands of server administrators."""
    homeserver = deployment.homeserver
    deployment.line.token_path.write_text(await homeserver.access_token(await homeserver.register("ann")))

    assert "it is refused (HTTP 403): " in bad(await deployment.check())["token"]
    planned = await deployment.line.run("plan", deployment.line.write_lines([{"userName": "ann"}]))
    assert "The server refuses GET /Users (HTTP 403): " in planned.output


@pytest.mark.parametrize(
    ("content", "said"),
    [("", "must hold one token"), ("two tokens", "must hold one token"), ("é", "must hold one token")],
)
async def test_token_file_without_a_token_is_named(content: str, said: str, deployment: Deployment) -> None:
    """Nothing is sent that is no token."""
    deployment.line.token_path.write_text(content)

    assert said in bad(await deployment.check())["token file"]


async def test_token_file_that_is_not_there_is_named(deployment: Deployment) -> None:
    """A name is soon mistyped."""
    assert (
        "cannot be read: No such file or directory"
        in bad(await deployment.check("--token-file", "missing"))["token file"]
    )


async def test_token_file_that_others_can_read_is_named(deployment: Deployment) -> None:
    """Commands that use it say so, too, and go on."""
    deployment.line.token_path.chmod(0o644)

    findings = await deployment.check()
    planned = await deployment.line.run("plan", deployment.line.write_lines([{"userName": "ann"}]))

    assert bad(findings) == {"token file": "other users can read it"}
    assert f"Other users can read the token file {deployment.line.token_path}" in planned.output
    assert planned.exit_code == 0


async def test_server_that_changes_nothing_is_noted(deployment: Deployment) -> None:
    """It may be meant, so it is no error."""
    await deployment.homeserver.restart({"modules": [scim_module({"read_only": True})]})
    deployment.proxy.target = deployment.homeserver.port

    writing = (await deployment.check())["writing"]

    assert (writing["outcome"], "read_only" in writing["said"]) == ("open", True)


async def test_url_that_goes_too_far_is_named(line: CommandLine) -> None:
    """Whoever copies the URL of the people gets a 404 of SCIM's own."""
    line.url += "/Users"

    exported = await line.run("export")

    assert exported.exit_code == 2
    assert "There is no such user. The URL may be wrong: it ends with /_scim" in exported.output


async def test_url_may_name_the_version(deployment: Deployment) -> None:
    """A segment `/v2` behind the prefix is SCIM's."""
    assert bad(await deployment.check("--url", f"{deployment.proxy.url}/_scim/v2")) == {}


async def test_answers_without_date_say_nothing_of_the_clock(deployment: Deployment) -> None:
    """What cannot be told is no error."""
    assert (await deployment.check(date="today"))["clock"]["outcome"] == "open"


async def test_without_encryption_everybody_reads_the_token(deployment: Deployment) -> None:
    """It is said of every URL that leaves the machine."""
    elsewhere = ReverseProxy(Habits(), "127.0.0.2")
    elsewhere.target = deployment.homeserver.port

    findings = await deployment.check("--url", f"{elsewhere.url}/_scim")
    await elsewhere.stop()

    assert "everybody on the way reads the token" in bad(findings)["encryption"]


async def test_url_without_prefix_leads_to_none(deployment: Deployment) -> None:
    """A reverse proxy may have a name of its own for SCIM; then nobody knows where the other prefix is."""
    deployment.proxy.renames = (b"/provisioning", b"/_scim")

    findings = await deployment.check("--url", f"{deployment.proxy.url}/provisioning")

    assert findings["prefixes"]["outcome"] == "open"
    assert bad(findings).keys() == {"identity"}


def test_server_that_does_not_answer_in_time_is_named() -> None:
    """A slow server is another case than one that is not there."""
    assert unreachable(httpx2.ReadTimeout(""), "https://x.example") == "https://x.example does not answer in time"


async def test_something_has_to_be_named() -> None:
    """Without URL and configuration there is nothing to look at."""
    result = await invoke(["check"], {})

    assert result.exit_code == 2
    assert "--config" in result.output
