"""Canaille, an identity server with a SCIM client, in processes of its own.

`python -m tests.support.canaille` installs it, which the first test would do otherwise.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.support.child import end_child, free_port, start_child, tail

ENVIRONMENT = Path(__file__).parents[2] / ".venv-canaille"
"""Where it is installed, once for all runs."""

CLIENT_ID = "synapse"
"""The homeserver, to Canaille."""

_REQUIREMENTS = Path(__file__).with_name("canaille.txt")
_SECONDS = 60
_DIRECTLY = build_opener(ProxyHandler({}))

_CONFIGURATION = Template("""\
SECRET_KEY = "sessions-and-forms-of-canaille-are-signed-with-this"
SERVER_NAME = "127.0.0.1:$port"
PREFERRED_URL_SCHEME = "http"

[CANAILLE]
DATABASE = "sql"

[CANAILLE.LOGGING]
version = 1
disable_existing_loggers = false
formatters.line.format = "%(asctime)s %(levelname)s %(name)s: %(message)s"
handlers.output = {class = "logging.StreamHandler", stream = "ext://sys.stderr", formatter = "line"}
root = {level = "INFO", handlers = ["output"]}

[CANAILLE_SQL]
DATABASE_URI = "sqlite:///$folder/canaille.db"

[CANAILLE_SCIM]
ENABLE_CLIENT = true

[CANAILLE_OIDC]
TRUSTED_DOMAINS = ["127.0.0.1"]
ACTIVE_JWKS = ["$key"]

# People are to the homeserver, when they log in, what `externalId` says when they are provisioned.
[CANAILLE_OIDC.USERINFO_MAPPING]
SUB = "{{ user.id }}"
""")

_UNLOCK = """
import sys
from canaille import create_app
from canaille.app import models
app = create_app()
with app.app_context(), app.backend.session():
    user = app.backend.get(models.User, sys.argv[1])
    user.lock_date = None
    app.backend.save(user)
"""


class Canaille:
    """An identity server that tells a homeserver of its people. Its methods block."""

    def __init__(self, folder: Path, homeserver: str, scim_prefix: str) -> None:
        """Install it where it is not, make its database, tell it of the homeserver, and start it.

        Args:
            folder: Where it keeps everything.
            homeserver: Where the homeserver will be, without a slash at the end.
            scim_prefix: The path of the SCIM endpoints to which it sends each change.
        """
        install()
        port = free_port()
        self.issuer = f"http://127.0.0.1:{port}"
        self.log = ""
        """What its commands have logged so far: they call the homeserver themselves."""
        self.secret_path = folder / "synapse.secret"
        """The file with what the homeserver authenticates with to Canaille."""
        self._folder = folder
        self.secret_path.write_text(secrets.token_urlsafe())
        (folder / "canaille.toml").write_text(_CONFIGURATION.substitute(port=port, folder=folder, key=_key()))
        self._environment = {
            **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            "CANAILLE_CONFIG": str(folder / "canaille.toml"),
            # Whatever proxy the environment names could not reach the loopback interface.
            "NO_PROXY": "*",
        }
        self.run("install")
        self.create(
            "client",
            client_name="Synapse",
            client_uri=homeserver + scim_prefix,
            client_id=CLIENT_ID,
            client_secret=self.secret_path.read_text(),
            token_endpoint_auth_method="client_secret_basic",
            grant_types=["client_credentials", "authorization_code"],
            response_types="code",
            scope=["openid", "profile"],
            redirect_uris=f"{homeserver}/_synapse/client/oidc/callback",
        )
        self._server = start_child(
            [_PROGRAM, "run", "--bind", f"127.0.0.1:{port}"],
            folder=folder,
            output=folder / "output",
            environment=self._environment,
        )
        self._wait_until_it_answers()

    def create(self, model: str, **attributes: str | list[str]) -> dict[str, Any]:
        """Make a person or anything else, and return it. A list is an attribute with several values."""
        made: dict[str, Any] = json.loads(self.run("create", model, *_options(attributes)))
        return made

    def change(self, user: Mapping[str, Any], **attributes: str) -> None:
        """Change a person."""
        self.run("set", "user", user["id"], *_options(attributes))

    def unlock(self, user: Mapping[str, Any]) -> None:
        """Take a person's lock date away, which no command does: in the browser it is a button."""
        self._execute([_PROGRAM.with_name("python"), "-c", _UNLOCK, user["id"]])

    def delete(self, user: Mapping[str, Any]) -> None:
        """Delete a person."""
        self.run("delete", "user", "--noconfirm", "--user-name", user["user_name"])

    def run(self, *arguments: str) -> str:
        """Run a command of Canaille's, and return what it prints."""
        return self._execute([_PROGRAM, *arguments])

    def close(self) -> None:
        """End it."""
        # Its server keeps a worker, which would go on for ever.
        os.killpg(self._server.pid, signal.SIGKILL)
        end_child(self._server, signal.SIGKILL)

    def _execute(self, command: Sequence[str | Path]) -> str:
        finished = subprocess.run(
            command,
            cwd=self._folder,
            env=self._environment,
            check=False,
            capture_output=True,
            text=True,
        )
        if finished.returncode:
            raise RuntimeError(f"{command}:\n{finished.stdout}{finished.stderr}")
        self.log += finished.stderr
        return finished.stdout

    def _wait_until_it_answers(self) -> None:
        give_up = time.monotonic() + _SECONDS
        while True:
            try:
                _DIRECTLY.open(f"{self.issuer}/.well-known/oauth-authorization-server", timeout=_SECONDS).close()
            except (URLError, ConnectionError):
                if self._server.poll() is not None or time.monotonic() > give_up:
                    self.close()
                    raise RuntimeError(f"Canaille did not start:\n{tail(self._folder / 'output')}") from None
                time.sleep(0.05)
            else:
                return


_PROGRAM = ENVIRONMENT / "bin" / "canaille"


def install() -> None:
    """Install it in an environment of its own, unless it is there with the versions that are wanted."""
    wanted = f"{sys.version}\n{_REQUIREMENTS.read_text()}"
    installed = ENVIRONMENT / "installed"
    # One of the processes that test at once installs it; the others wait.
    with ENVIRONMENT.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if installed.exists() and installed.read_text() == wanted:
            return
        subprocess.run([sys.executable, "-m", "venv", "--clear", ENVIRONMENT], check=True)
        pip = [str(ENVIRONMENT / "bin" / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check"]
        # This project's own versions bind whoever installs this project.
        environment = {name: value for name, value in os.environ.items() if name != "PIP_CONSTRAINT"}
        subprocess.run([*pip, "install", "--requirement", str(_REQUIREMENTS)], env=environment, check=True)
        installed.write_text(wanted)


def _options(attributes: Mapping[str, str | list[str]]) -> list[str]:
    return [
        text
        for name, values in attributes.items()
        for value in ([values] if isinstance(values, str) else values)
        for text in (f"--{name.replace('_', '-')}", value)
    ]


def _key() -> str:
    """Return a key to sign ID tokens with."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode().replace("\n", "\\n")


if __name__ == "__main__":
    install()
