"""Builds every object once and gives each what it needs."""

from __future__ import annotations

from functools import lru_cache
from importlib.metadata import version
from typing import TYPE_CHECKING

import attrs
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from synapse_scim.config import DEFAULT_DOMAIN, Config, ConfigurationError, read_secret
from synapse_scim.credentials.clients import ClientTokens
from synapse_scim.credentials.introspection import KnownTokens, introspected_tokens
from synapse_scim.credentials.jwt import trusted_issuers
from synapse_scim.homeserver import HomeServer, settings
from synapse_scim.homeserver.database import HomeserverDatabase
from synapse_scim.homeserver.gateway import SynapseAccounts
from synapse_scim.homeserver.limits import Buckets
from synapse_scim.homeserver.listeners import client_address, client_listeners
from synapse_scim.homeserver.mas import MasAccounts
from synapse_scim.homeserver.tokens import AccessTokens
from synapse_scim.homeserver.web import HomeserverWebClient
from synapse_scim.mapping.changes import Planner
from synapse_scim.mapping.identifiers import fold
from synapse_scim.mapping.profile import MAPPED_FIELDS, ProfileMapping
from synapse_scim.mapping.search_values import SearchValues
from synapse_scim.mapping.threepids import ThreepidMapping
from synapse_scim.mapping.user import UserMapping
from synapse_scim.protocol.handler import Handler
from synapse_scim.protocol.provider import composed_user, is_attribute, provider
from synapse_scim.protocol.service import Service
from synapse_scim.resources.activity import Activity
from synapse_scim.resources.audit_events import AuditEvents
from synapse_scim.resources.credentials import Authority, Credentials
from synapse_scim.resources.endpoint import Endpoint
from synapse_scim.resources.exchange import Observer
from synapse_scim.resources.limits import Limits
from synapse_scim.resources.trace import Trace
from synapse_scim.store.accounts import AccountReader
from synapse_scim.store.audit import Trail
from synapse_scim.store.columns import Columns
from synapse_scim.store.creation import Creation
from synapse_scim.store.guard import OffboardingGuard
from synapse_scim.store.historical import HistoricalUserIds
from synapse_scim.store.leavers import Leavers
from synapse_scim.store.maintenance import Maintenance, PreparedDatabase
from synapse_scim.store.offboarding import Offboarding
from synapse_scim.store.outside_changes import OutsideChanges
from synapse_scim.store.photos import Photos
from synapse_scim.store.processes import Processes
from synapse_scim.store.records import Records
from synapse_scim.store.rendering import Renderer
from synapse_scim.store.rights import Rights
from synapse_scim.store.search import Search
from synapse_scim.store.shared import Store
from synapse_scim.store.succession import Succession
from synapse_scim.store.traces import Traces
from synapse_scim.store.users import UserStorage
from synapse_scim.store.writes import Writer
from synapse_scim.subject import Subject

if TYPE_CHECKING:
    from scim2_models import ScimProvider

    from synapse_scim.gateway import AccountGateway

NOBODY = Subject(name="nobody", scopes=frozenset())


@attrs.frozen(kw_only=True)
class Application:
    """SCIM on one homeserver.

    Attributes:
        config: The module's configuration.
        provider: What is announced.
        store: Where Users are.
        service: The protocol.
        endpoint: What answers requests.
        maintenance: What has to be done besides.
    """

    config: Config
    provider: ScimProvider
    store: Store
    service: Service
    endpoint: Endpoint
    maintenance: Maintenance


def build(
    config: Config,
    hs: HomeServer,
    *,
    gateway: AccountGateway | None = None,
    database: PreparedDatabase | None = None,
) -> Application:
    """Return SCIM for a homeserver.

    Args:
        config: The module's configuration.
        hs: The homeserver; its listeners need not have started.
        gateway: What makes and changes accounts; by default Synapse itself.
        database: Where they are kept; by default Synapse's own database.

    Raises:
        ConfigurationError: A file that the configuration names cannot be used.
    """
    accounts = gateway or account_gateway(config, hs)
    database = database or HomeserverDatabase(hs, fold)
    description = provider(config, passwords=accounts.passwords_enabled)
    model = composed_user(description)
    for field, path in config.profile_fields.items():
        if field in MAPPED_FIELDS:
            raise ConfigurationError(("profile_fields", field), "is mapped already, by 'displayName' or 'photos'")
        if not is_attribute(model, path):
            raise ConfigurationError(("profile_fields", field), "does not name an attribute of a User")
    threepids = ThreepidMapping(config.threepids, accounts.to_email)
    users = UserMapping(accounts.server_name, threepids, config.sso)
    reader = AccountReader(
        server_name=accounts.server_name,
        hidden_user_ids=accounts.hidden_user_ids,
        reads_external_ids=bool(config.sso.providers),
    )
    historical = HistoricalUserIds(database)
    planner = Planner(
        users=users,
        profiles=ProfileMapping(
            display_name=config.display_name, fields=config.profile_fields, fetches=config.photos.fetch
        ),
        end_sessions=config.password.end_sessions,
        inactive=config.inactive,
    )
    records = Records(users=users, values=SearchValues(model))
    offboarding = Offboarding(
        gateway=accounts,
        records=records,
        guard=OffboardingGuard(settings=config.guard, database=database),
        inactive=config.inactive,
    )
    renderer = Renderer(database=database, reader=reader, users=users)
    writer = Writer(
        database=database,
        gateway=accounts,
        reader=reader,
        renderer=renderer,
        records=records,
        offboarding=offboarding,
    )
    leavers = Leavers(
        database=database,
        gateway=accounts,
        reader=reader,
        writer=writer,
        succession=Succession(
            settings=config.room_succession,
            database=database,
            gateway=accounts,
            reader=reader,
            protected=config.protected,
        ),
        deleted=config.deleted,
        secret=_derived(settings.macaroon_secret(hs), b"synapse-scim externalIds"),
    )
    trail = Trail(database=database, gateway=accounts, keep=config.audit.keep)
    traces = Traces(database=database, gateway=accounts)
    photos = Photos(database=database, gateway=accounts, reader=reader, writer=writer, trail=trail)
    columns = Columns(database=database, reader=reader, users=users, historical=historical)
    store = Store(
        database=database,
        gateway=accounts,
        model=model,
        users=users,
        reader=reader,
        planner=planner,
        writer=writer,
        creation=Creation(
            database=database,
            gateway=accounts,
            reader=reader,
            planner=planner,
            writer=writer,
            config=config,
            historical=historical,
            leavers=leavers,
            photos=photos,
        ),
        leavers=leavers,
        photos=photos,
        search=Search(
            database=database,
            renderer=renderer,
            columns=columns,
            model=model,
        ),
    )
    secret = _cursor_secret(config, settings.macaroon_secret(hs))
    service = Service(description, config, model=model, secret=secret)
    maintenance = Maintenance(
        database=database,
        writer=writer,
        historical=historical,
        leavers=leavers,
        photos=photos,
        trail=trail,
        server_name=accounts.server_name,
        indexes=config.allow_synapse_indexes,
        traces=traces,
        processes=Processes(
            database=database,
            gateway=accounts,
            name=hs.get_instance_name(),
            version=version("synapse-scim"),
            settings=config.digests,
            keeps_schedules=settings.keeps_schedules(hs),
        ),
        outside_changes=OutsideChanges(
            database=database, gateway=accounts, provider=config.sso.providers.get(DEFAULT_DOMAIN)
        ),
    )

    @lru_cache
    def other_variant(*, passwords: bool) -> tuple[Service, Store]:
        """Return the protocol and the Users for homeservers that have passwords now, or no longer have them."""
        other = provider(config, passwords=passwords)
        model = composed_user(other)
        search = attrs.evolve(store.search, model=model)
        return Service(other, config, model=model, secret=secret), attrs.evolve(store, model=model, search=search)

    passwords_at_first = accounts.passwords_enabled
    limits = Limits(
        buckets=Buckets(hs),
        credentials=Credentials(authorities=_authorities(config, hs, accounts), address=client_address),
        address=client_address,
    )
    activity = Activity(hs.get_reactor())

    def handler(subject: Subject | None, request_id: str) -> Handler:
        now = accounts.passwords_enabled
        present = (service, store) if now == passwords_at_first else other_variant(passwords=now)
        rights = Rights(subject=subject or NOBODY, protected=config.protected, users=users)
        return Handler(
            present[0],
            UserStorage(present[1], rights, request_id),
            admit=limits.admit_bulk,
            ensure_open=activity.ensure_open,
        )

    endpoint = Endpoint(
        service=service,
        handler=handler,
        limits=limits,
        listeners=client_listeners(hs),
        public_baseurl=accounts.public_baseurl,
        ready=maintenance.ready,
        audit_events=AuditEvents(trail=trail, page_size=config.limits.page_size),
        observer=Observer(trail=trail, gateway=accounts),
        trace=Trace(client=config.trace, traces=traces, gateway=accounts),
        activity=activity,
    )
    return Application(
        config=config,
        provider=description,
        store=store,
        service=service,
        endpoint=endpoint,
        maintenance=maintenance,
    )


def account_gateway(config: Config, hs: HomeServer) -> AccountGateway:
    """Return what makes and changes the accounts of a homeserver.

    Raises:
        ConfigurationError: The secret for Matrix Authentication Service cannot be read.
    """
    if config.mas is not None:
        return MasAccounts(hs, config.mas, max_photo_size=config.photos.max_size)
    return SynapseAccounts(hs, max_photo_size=config.photos.max_size)


def _authorities(config: Config, hs: HomeServer, accounts: AccountGateway) -> tuple[Authority, ...]:
    """Return who knows the credentials that are accepted, in the order in which they are asked.

    Raises:
        ConfigurationError: A file that the configuration names cannot be used.
    """
    web = HomeserverWebClient(hs)
    introspected = introspected_tokens(config.introspection, web, accounts.now)
    # Synapse logs, and looks in the database for, whatever it is asked about and does not know.
    authorities: list[Authority] = [ClientTokens(config.clients, accounts.now), KnownTokens(introspected)]
    # Even where no access token is accepted, other servers are not to be shown one.
    if config.admin_tokens or introspected:
        rate = config.limits.admin_rate
        authorities.append(AccessTokens(hs, config.visibility, rate, accepted=config.admin_tokens))
    return (*authorities, trusted_issuers(config.jwt, web, accounts.now), *introspected)


def _cursor_secret(config: Config, macaroon_secret: bytes) -> bytes:
    """Return what cursors are sealed with: the same in all processes and after a restart, and good for nothing else."""
    if config.cursor_secret_path is None:
        return _derived(macaroon_secret, b"synapse-scim cursors")
    return read_secret(config.cursor_secret_path, "cursor_secret_path")


def _derived(secret: bytes, purpose: bytes) -> bytes:
    """Return a secret that is good for one purpose only."""
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=purpose).derive(secret)
