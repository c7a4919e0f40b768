"""Show the module at work: a real Synapse, thirty people of an identity provider, and commands to go on with.

Run `make demo`; or run this file with a Python in which synapse-scim and rich are installed. Everything happens on the
loopback interface and in a temporary folder, which is removed at the end. With `DEMO_EXIT=1` in the environment it does
not wait for Ctrl-C.
"""

from __future__ import annotations

import io
import json
import os
import secrets
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import NoReturn

import requests
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.rule import Rule
from rich.table import Table
from throwaway_synapse import SCIM, SERVER_NAME, Client, Failure, Json, Synapse, running_synapse

PEOPLE = Path(__file__).with_name("people.json")
LOG_LINES = 30
WIDE = 92
"""From this many columns on there is room for whole user IDs."""

CLIENT = "/_matrix/client/v3"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
PATCH_OP = "urn:ietf:params:scim:api:messages:2.0:PatchOp"

COMMANDS = Template(r"""
# List three people
$curl '$users?count=3&attributes=userName,active' $show

# Find somebody
$curl -G --data-urlencode 'filter=userName eq "ann@example.net"' \
  '$users' $show

# Read somebody
$curl '$users/@hanako:example.org' $show

# Create somebody
$curl -X POST -H 'Content-Type: application/scim+json' \
  -d '{"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
       "userName": "mila@example.com", "displayName": "Mila Horáková",
       "emails": [{"value": "mila@example.com", "primary": true}]}' \
  '$users' $show

# Change somebody
$curl -X PATCH -H 'Content-Type: application/scim+json' \
  -d '{"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations":
       [{"op": "replace", "path": "title", "value": "Principal Engineer"}]}' \
  '$users/@jose:example.org' $show

# Disable somebody (true enables again)
$curl -X PATCH -H 'Content-Type: application/scim+json' \
  -d '{"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations":
       [{"op": "replace", "path": "active", "value": false}]}' \
  '$users/@emily:example.org' $show

# Delete somebody
$curl -X DELETE -i '$users/@ruth:example.org'

# What this server can do
$curl '$server/_scim/v2/ServiceProviderConfig' $show
""")
"""What to paste into a shell. Each stands alone: it needs nothing but the demo."""


class Demo:
    """The demonstration on a homeserver that runs, step by step.

    Attributes:
        client: Speaks to the homeserver.
        console: Where it all is shown.
        ids: The SCIM id of each person, by userName.
    """

    def __init__(self, client: Client, console: Console) -> None:
        """Begin with nobody."""
        self.client = client
        self.console = console
        self.ids: dict[str, str] = {}

    def provision(self, person: Json) -> None:
        """Create a person as an identity provider does."""
        user = self.client.call("POST", f"{SCIM}/Users", person, expected=201)
        self.ids[user["userName"]] = user["id"]

    def assign_manager(self, person: Json) -> None:
        """Tell who somebody's manager is: the provider knows an externalId, SCIM wants an id."""
        external_id = person[ENTERPRISE]["manager"]["value"]
        found = self.client.call("GET", f"{SCIM}/Users", query={"filter": f'externalId eq "{external_id}"'})
        if found["totalResults"] != 1:
            raise Failure(f"{found['totalResults']} people have the externalId {external_id}, not one")
        manager_id = found["Resources"][0]["id"]
        user = self.patch(person["userName"], f"{ENTERPRISE}:manager", {"value": manager_id})
        if user[ENTERPRISE].get("manager", {}).get("value") != manager_id:
            raise Failure(f"{person['userName']} has not become somebody whose manager is {manager_id}")

    def patch(self, user_name: str, path: str, value: object) -> Json:
        """Replace one attribute of a person and return the person."""
        operations = [{"op": "replace", "path": path, "value": value}]
        return self.client.call("PATCH", self.path(user_name), {"schemas": [PATCH_OP], "Operations": operations})

    def path(self, user_name: str) -> str:
        """Return the path of a person."""
        return f"{SCIM}/Users/{self.ids[user_name]}"

    def show_people(self) -> None:
        """Show what SCIM and Synapse say about everybody."""
        is_wide = self.console.width >= WIDE
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", row_styles=["", "dim"])
        for header in ("userName", "Matrix ID", "displayName", "E-mail\nbound", "Phones\nbound", "Active", "Manager"):
            table.add_column(header, no_wrap=True, vertical="bottom")
        for user_name in self.ids:
            user = self.client.call("GET", self.path(user_name))
            account = self.client.call("GET", f"/_synapse/admin/v2/users/{user['id']}")
            bound = [threepid["medium"] for threepid in account["threepids"]]
            manager = user[ENTERPRISE].get("manager", {}).get("value", "")
            table.add_row(
                user_name,
                user["id"] if is_wide else localpart(user["id"]),
                account["displayname"],
                "yes" if bound.count("email") == len(user["emails"]) else "no",
                f"{bound.count('msisdn')} of {len(user['phoneNumbers'])}",
                "yes" if user["active"] else "[yellow]locked" if account["locked"] else "[red]no",
                localpart(manager),
            )
        self.title("What became of them")
        self.console.print(table)
        self.console.print(
            "\nA name that is taken gets a number (@ann2). A fax number, an extension and a number that is somebody"
            " else's are kept as attributes, but not bound. Who is not active is locked, and has lost nothing.",
            style="dim",
        )

    def show_login(self, user_name: str) -> tuple[str, str]:
        """Give a person a password and log in with it.

        Returns:
            The password and an access token.
        """
        self.title(f"Logging in as {user_name}")
        user_id = self.ids[user_name]
        password = secrets.token_urlsafe()
        self.patch(user_name, "password", password)
        self.say("PATCH", self.path(user_name), 200, "password set")
        token = self.log_in(user_id, password)["access_token"]
        self.say("POST", f"{CLIENT}/login", 200, "logged in")
        owner = self.client.call("GET", f"{CLIENT}/account/whoami", token=token)["user_id"]
        self.say("GET", f"{CLIENT}/account/whoami", 200, owner)
        profile = self.client.call("GET", f"{CLIENT}/profile/{user_id}", token=token)
        self.say("GET", f"{CLIENT}/profile/{user_id}", 200, profile["displayname"])
        return password, token

    def show_off_boarding(self, user_name: str, password: str, token: str) -> None:
        """Disable a person who is logged in, and enable her again."""
        self.title("Off-boarding, and back")
        user_id = self.ids[user_name]
        whoami = f"{CLIENT}/account/whoami"
        self.patch(user_name, "active", value=False)
        self.say("PATCH", self.path(user_name), 200, "active: false")
        session = self.client.call("GET", whoami, token=token, expected=401)
        self.say("GET", whoami, 401, session["errcode"])
        login = self.log_in(user_id, password, expected=401)
        self.say("POST", f"{CLIENT}/login", 401, login["errcode"])
        if not session["errcode"] == login["errcode"] == "M_USER_LOCKED":
            raise Failure("A person who is disabled should be told that her account is locked")
        self.patch(user_name, "active", value=True)
        self.say("PATCH", self.path(user_name), 200, "active: true")
        self.client.call("GET", whoami, token=token)
        self.say("GET", whoami, 200, "her session goes on")

    def log_in(self, user_id: str, password: str, *, expected: int = 200) -> Json:
        """Log in by password and return the answer."""
        body = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": user_id}, "password": password}
        return self.client.call("POST", f"{CLIENT}/login", body, token="", expected=expected)

    def title(self, text: str) -> None:
        """Begin a part."""
        self.console.print()
        self.console.print(Rule(f"[bold]{text}", align="left", style="blue"))

    def say(self, method: str, path: str, status: int, outcome: str) -> None:
        """Show a request in a line."""
        colour = "green" if status < 400 else "yellow"  # noqa: PLR2004 - RFC 9110
        self.console.print(f"{method:<6}{path:<45}[{colour}]{status}[/]  {outcome}")


def localpart(user_id: str) -> str:
    """Return a user ID without the server's name."""
    return user_id.removesuffix(f":{SERVER_NAME}")


def set_up(demo: Demo, synapse: Synapse, people: Sequence[Json]) -> None:
    """Bring the homeserver and the people to where the show begins."""
    employees = [person for person in people if "manager" in person[ENTERPRISE]]
    columns = (TextColumn("{task.description:<20}"), BarColumn(20), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=demo.console) as progress:
        starting = progress.add_task("Starting Synapse", total=2)
        provisioning = progress.add_task("Provisioning people", total=len(people), start=False)
        assigning = progress.add_task("Assigning managers", total=len(employees), start=False)
        synapse.wait_until_ready()
        progress.advance(starting)
        synapse.register_administrator()
        progress.advance(starting)
        progress.start_task(provisioning)
        for person in people:
            demo.provision(person)
            progress.advance(provisioning)
        progress.start_task(assigning)
        for person in employees:
            demo.assign_manager(person)
            progress.advance(assigning)


def show_commands(demo: Demo) -> None:
    """Print the commands, in lines that can be pasted as they stand."""
    url = demo.client.url
    # A proxy that curl would ask does not know this machine's loopback interface.
    no_proxy = " --noproxy '*'" if requests.utils.get_environ_proxies(url).get("http") else ""
    reader = "jq ." if shutil.which("jq") else "python3 -m json.tool --no-ensure-ascii"
    commands = COMMANDS.substitute(
        curl=f"curl -sS{no_proxy} -H 'Authorization: Bearer {demo.client.token}' \\\n ",
        users=f"{url}{SCIM}/Users",
        server=url,
        show=f"\\\n  | {reader}",
    )
    demo.title("Your turn")
    for line in commands.splitlines():
        demo.console.print(line, style="bold" if line.startswith("#") else None, markup=False, soft_wrap=True)


def stay_up(console: Console, synapse: Synapse) -> None:
    """Wait for Ctrl-C, unless the environment says otherwise."""
    if os.environ.get("DEMO_EXIT") == "1":
        console.print("\n[bold]Synapse stops now, since DEMO_EXIT is set. Without it, it stays up for these commands.")
        return
    console.print("\n[bold]Synapse stays up until you press Ctrl-C.")
    try:
        raise Failure(f"Synapse ended by itself, with status {synapse.process.wait()}")
    except KeyboardInterrupt:
        console.print("\nStopping Synapse and removing its folder ...")


def run(folder: Path, log: Path, console: Console) -> None:
    """Show everything."""
    people: Sequence[Json] = json.loads(PEOPLE.read_text(encoding="utf-8"))["Resources"]
    with running_synapse(folder, log) as synapse:
        demo = Demo(synapse.client, console)
        set_up(demo, synapse, people)
        demo.show_people()
        password, token = demo.show_login("zoe@example.com")
        demo.show_off_boarding("zoe@example.com", password, token)
        show_commands(demo)
        stay_up(console, synapse)


def end(number: int, _frame: object) -> NoReturn:
    """End in order on a signal that would otherwise kill this process alone."""
    sys.exit(128 + number)


def main() -> int:
    """Run the demonstration and return its exit status."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # Names are written in more alphabets than some terminals know.
    console = Console(highlight=False)
    with tempfile.TemporaryDirectory(prefix="synapse-scim-demo-") as name:
        log = Path(name, "homeserver.log")
        console.print(
            f"[bold]synapse-scim demo[/]: starts a real Synapse ({SERVER_NAME}, SQLite) with the module, provisions the"
            " people of examples/people.json over SCIM, logs in as one of them, and disables her and enables her again."
        )
        console.print(f"Synapse's log: {log}\n", soft_wrap=True)
        try:
            run(Path(name), log, console)
        except KeyboardInterrupt:
            console.print("\nInterrupted.")
            return 128 + signal.SIGINT
        except (Failure, OSError, LookupError, TypeError, ValueError) as error:
            console.print("\n[bold red]It failed.[/] The end of Synapse's log:\n")
            lines = log.read_text(errors="replace").splitlines() if log.exists() else []
            console.print("\n".join(lines[-LOG_LINES:]), markup=False, soft_wrap=True, style="dim")
            console.print(f"\n{type(error).__name__}: {error}", markup=False, soft_wrap=True, style="red")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
