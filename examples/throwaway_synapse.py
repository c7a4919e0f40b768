"""A real Synapse with the module, for as long as a script wants it, and a client for it."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import requests

SERVER_NAME = "example.org"
SCIM = "/_scim/v2"

_REPOSITORY = Path(__file__).parents[1]
_USUAL_PORT = 8008
_SECONDS_TO_START = 60
_SECONDS_TO_STOP = 15

Json = dict[str, Any]


class Failure(Exception):
    """Something did not go as it should; the text says what."""


class Client:
    """Sends requests to the homeserver.

    Attributes:
        url: Where the homeserver listens, without a slash at its end.
        token: The administrator's access token, once there is one.
    """

    def __init__(self, url: str) -> None:
        """Make a client that sends no token yet."""
        self.url = url
        self.token = ""
        self._session = requests.Session()
        self._session.trust_env = False  # No proxy leads to this machine's loopback interface.

    def call(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        *,
        query: Mapping[str, str] | None = None,
        token: str | None = None,
        expected: int = 200,
    ) -> Json:
        """Send a request and return the JSON of its answer.

        Args:
            method: The method.
            path: The path, with what is special in it percent-encoded.
            body: The body.
            query: The query.
            token: The access token to send instead of the administrator's; an empty one for none.
            expected: The status of the answer.

        Raises:
            Failure: The answer has another status.
        """
        headers = {"Content-Type": "application/scim+json" if path.startswith(SCIM) else "application/json"}
        sent_token = self.token if token is None else token
        if sent_token:
            headers["Authorization"] = f"Bearer {sent_token}"
        data = None if body is None else json.dumps(body).encode()
        answer = self._session.request(
            method, self.url + path, params=query, data=data, headers=headers, timeout=_SECONDS_TO_START
        )
        if answer.status_code != expected:
            raise Failure(f"{method} {path} was answered with {answer.status_code}, not {expected}: {answer.text}")
        content: Json = answer.json()
        return content


class Synapse:
    """A homeserver that runs.

    Attributes:
        client: Speaks to it.
        process: Its process.
    """

    def __init__(self, process: subprocess.Popen[bytes], port: int, shared_secret: str) -> None:
        """Take over a process that has just been started."""
        self.process = process
        self.client = Client(f"http://127.0.0.1:{port}")
        self._shared_secret = shared_secret

    def wait_until_ready(self) -> None:
        """Wait until it answers.

        Raises:
            Failure: It ended instead, or took too long.
        """
        give_up = time.monotonic() + _SECONDS_TO_START
        while time.monotonic() < give_up:
            if self.process.poll() is not None:
                raise Failure(f"Synapse did not start: it ended with status {self.process.returncode}")
            try:
                self.client.call("GET", "/_matrix/client/versions")
            except requests.ConnectionError:
                time.sleep(0.05)
            else:
                return
        raise Failure(f"Synapse did not start within {_SECONDS_TO_START} seconds")

    def register_administrator(self) -> None:
        """Register a server admin, whose token the client sends from now on."""
        path = "/_synapse/admin/v1/register"
        nonce = self.client.call("GET", path)["nonce"]
        password = secrets.token_urlsafe()
        signed = f"{nonce}\0admin\0{password}\0admin".encode()
        mac = hmac.new(self._shared_secret.encode(), signed, hashlib.sha1).hexdigest()
        body = {"nonce": nonce, "username": "admin", "password": password, "admin": True, "mac": mac}
        self.client.token = self.client.call("POST", path, body)["access_token"]


@contextlib.contextmanager
def running_synapse(folder: Path, log: Path) -> Iterator[Synapse]:
    """Run Synapse for as long as the context lasts; at its end, signals that would interrupt it are ignored for good.

    Args:
        folder: Where it keeps everything.
        log: The file for what it logs and prints.
    """
    port = _free_port()
    shared_secret = secrets.token_urlsafe()
    configuration = folder / "homeserver.yaml"
    configuration.write_text(json.dumps(_configuration(folder, port, shared_secret), indent=2))  # JSON is YAML, too.
    # It finds the module beside this folder, be it installed or not.
    python_path = [str(_REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - all of it is written here
            [sys.executable, "-m", "synapse.app.homeserver", "--config-path", str(configuration)],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(python_path)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches the script alone, which stops Synapse in order.
        )
    try:
        yield Synapse(process, port, shared_secret)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        process.terminate()
        try:
            process.wait(_SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    """Return Synapse's usual port, or another where that is taken."""
    for port in (_USUAL_PORT, 0):
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", port))
            chosen: int = listener.getsockname()[1]
            return chosen
    raise Failure("There is no free port on 127.0.0.1")


def _configuration(folder: Path, port: int, shared_secret: str) -> Json:
    """Return Synapse's configuration: its defaults, but for where it is and what it must not do."""
    return {
        "server_name": SERVER_NAME,
        "public_baseurl": f"http://127.0.0.1:{port}/",
        "media_store_path": str(folder / "media"),
        "report_stats": False,
        "signing_key": f"ed25519 a_demo {base64.b64encode(secrets.token_bytes(32)).decode().rstrip('=')}",
        "macaroon_secret_key": secrets.token_urlsafe(),
        "form_secret": secrets.token_urlsafe(),
        "registration_shared_secret": shared_secret,
        "trusted_key_servers": [],
        "suppress_key_server_warning": True,
        "database": {"name": "sqlite3", "args": {"database": str(folder / "homeserver.db")}},
        "listeners": [
            {"type": "http", "port": port, "bind_addresses": ["127.0.0.1"], "resources": [{"names": ["client"]}]}
        ],
        "modules": [{"module": "synapse_scim.ScimModule", "config": {}}],
    }
