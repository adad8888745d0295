"""The control API of one worker, with what it tells of the server."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from fastapi import FastAPI

from treadle import __version__
from treadle.config import Config
from treadle.control.app import create_control_app
from treadle.control.event_hub import EventHub
from treadle.control.event_readings import EventReadings
from treadle.control.examination_operations import ExaminationRunner
from treadle.control.partner import PartnerCredentials
from treadle.control.problem_operations import ProblemWatch
from treadle.control.query_operations import QuerySettings
from treadle.control.query_routes import QueryRoom
from treadle.control.reject_preview import PlanDryRun
from treadle.control.routes import OperationRunner
from treadle.control.settings import ConnectApiSettings
from treadle.control.traces import TraceFiles
from treadle.control.trials import TrialSender
from treadle.control.waiting_view import WaitingView
from treadle.http.address_policy import AddressPolicy
from treadle.http.hosts import AllowedHosts
from treadle.http.openapi import merge_documents
from treadle.ingest.openapi_document import load_document as ingest_document
from treadle.log.protocol import LogReader
from treadle.log.registry import open_glance
from treadle.questions.client import DeskClient
from treadle.server.outbound_trials import OutboundTrials
from treadle.server.trace_files import make_trace_files
from treadle.store.store import Store


@dataclass(frozen=True, slots=True)
class ControlDoors:
    """What the control API has of the worker around it.

    Attributes:
        follow_change: called on the event loop after every change of the store.
        count_use: called with the id of each account token that was used, and the client's address.
        count_refusal: called with the SHA-256 of each token that is no account token now.
        note_stranger: called with the address of a client without the partner's credentials.
        plan_dry_run: plans what a load would do.
        wake: has a child, named by its argument, look for what it is to do.
    """

    follow_change: Callable[[], None]
    count_use: Callable[[int, str | None], None]
    count_refusal: Callable[[bytes], None]
    note_stranger: Callable[[str], None]
    plan_dry_run: PlanDryRun
    wake: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ControlService:
    """The control API, and what the pages of the console share with it.

    Attributes:
        app: answers requests.
        events: streams of what happens.
        problems: finds problems.
        traces: what the server remembers of itself.
        trials: sends deliveries and mails on trial.
        plan_dry_run: plans what a load would do.
    """

    app: FastAPI
    events: EventHub
    problems: ProblemWatch
    traces: TraceFiles
    trials: TrialSender
    plan_dry_run: PlanDryRun

    @property
    def work(self) -> OperationRunner:
        """Runs operations."""
        runner: OperationRunner = self.app.state.work
        return runner

    @property
    def examinations(self) -> ExaminationRunner:
        """Starts examinations."""
        runner: ExaminationRunner = self.app.state.examinations
        return runner

    @property
    def query(self) -> QueryRoom:
        """Runs statements."""
        room: QueryRoom = self.app.state.query
        return room

    @property
    def waiting(self) -> WaitingView:
        """What waits in the log."""
        view: WaitingView = self.app.state.waiting
        return view

    async def aclose(self) -> None:
        """Close what was opened; the store stays open."""
        await self.events.aclose()
        self.problems.close()
        self.waiting.close()


def make_control_service(
    config: Config, store: Store, hosts: AllowedHosts, doors: ControlDoors
) -> ControlService:
    """Make the control API of a worker.

    Args:
        config: the settings.
        store: open; the caller closes it.
        hosts: the names under which pages are served.
        doors: of the worker.
    """

    def read_log() -> LogReader:
        return open_glance(config, store.logs)

    traces = make_trace_files(config, store)
    problems = ProblemWatch(store, read_log, traces, load_age_us=int(config.load_age * 1_000_000))
    events = EventHub(EventReadings(store, traces, read_log, problems))
    trials = OutboundTrials(config, store.installation_id)
    app = create_control_app(
        store,
        ConnectApiSettings(
            config.connect_api_era,
            config.token_list,
            config.quota_account_sources,
            lists_streams=config.list_streams == "on",
            partner=_read_partner(config),
            accounts_max=config.accounts_max,
            hook_urls=config.hook_urls,
            destinations_max=config.destinations_max,
            duckdb_folder=config.duckdb_path,
        ),
        changed=doors.follow_change,
        count_use=doors.count_use,
        open_reader=read_log,
        plan_dry_run=doors.plan_dry_run,
        trials=trials,
        count_refusal=doors.count_refusal,
        allowed_hosts=hosts,
        serves_docs=config.docs_page == "on",
        note_stranger=doors.note_stranger,
        traces=traces,
        problems=problems,
        query=QuerySettings(
            config.console_query == "on",
            config.query_seconds,
            config.query_url,
            config.turns_path,
            AddressPolicy(allows_loopback=config.destinations_local),
        ),
        desk=DeskClient(config.data, partial(doors.wake, "desk")),
        join_document=lambda document: merge_documents(
            "treadle", __version__, [ingest_document(), document], config.public_path
        ),
        public_path=config.public_path,
        events=events,
    )
    return ControlService(app, events, problems, traces, trials, doors.plan_dry_run)


def _read_partner(config: Config) -> PartnerCredentials | None:
    if config.partner_id is None or config.partner_secret is None:
        return None
    return PartnerCredentials(config.partner_id, config.partner_secret)
