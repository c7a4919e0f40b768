"""The tests for every homeserver, run as anybody would: against what the image for Complement starts."""

from __future__ import annotations

import os
import re
import socket
import ssl
import subprocess
import sys
from http import HTTPStatus
from pathlib import Path

import yaml

from tests.support.child import start_child
from tests.support.configuration import http_listener
from tests.support.https import CertificateAuthority
from tests.support.process import Program, SpawnHomeserver
from tests.web.clients import STABLE, Scim, until

REPOSITORY = Path(__file__).parents[2]
SERVER_NAME = "hs1"
"""What Complement calls its first homeserver."""


class Image(Program):
    """Runs what the image runs, in the place of the homeserver that is described in a folder: on its ports."""

    def __init__(self, folder: Path, output: Path, _worker: str | None = None) -> None:
        """Start it."""
        described = yaml.safe_load((folder / "homeserver.yaml").read_text())
        ports = [str(listener["port"]) for listener in described["listeners"]]
        options = ["--folder", str(folder / "data"), "--authority", str(folder / "ca"), "--ports", *ports]
        self._child = start_child(
            [sys.executable, REPOSITORY / "docker/complement/start.py", *options],
            folder=folder,
            output=output,
            environment={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                "SERVER_NAME": SERVER_NAME,
            },
        )


async def test_suite_passes(spawn_homeserver: SpawnHomeserver) -> None:
    """Every test passes and none is skipped; Complement's authority certifies federation; a restart loses nothing."""
    homeserver = await spawn_homeserver(listeners=[http_listener("client"), http_listener("federation")], launch=Image)
    authority = homeserver._folder / "ca"
    authority.mkdir()
    CertificateAuthority(authority).write_as_complement()
    homeserver.start()
    token = homeserver.register_admin(secret="complement")
    scim = Scim(homeserver.url, token, STABLE)

    async def is_ready() -> bool:
        return (await scim.get("/Me")).status == HTTPStatus.OK

    await until(is_ready)
    homeserver.stop()
    homeserver.start()
    await until(is_ready)

    context = ssl.create_default_context(cafile=authority / "ca.crt")
    with socket.create_connection(("127.0.0.1", homeserver.ports[1])) as plain:
        context.wrap_socket(plain, server_hostname=SERVER_NAME).close()
    finished = run_suite(homeserver.url, token)
    assert finished.returncode == 0, finished.stdout
    assert re.fullmatch(r"\d+ passed in .*", finished.stdout.splitlines()[-1])


def run_suite(url: str, token: str) -> subprocess.CompletedProcess[str]:
    """Run the tests as docs/complement.md says, and return what they print."""
    environment = {"SCIM_BASE_URL": url, "SCIM_ADMIN_TOKEN": token, "SCIM_SERVER_NAME": SERVER_NAME}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/complement"],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        check=False,
        capture_output=True,
        text=True,
    )
