"""Jobs of BigQuery that can be asked for.

A job has an id that is chosen here. A request that was not answered is repeated with the same id,
and answered with 409 if it had arrived; then the job is asked what became of it. So nothing is done
twice, and no error of the network hides what was done. The client's own repetition of whole jobs,
`job_retry`, is off: what fails is planned anew.
"""

import random
import secrets
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from google.api_core import exceptions
from google.cloud import bigquery
from google.cloud.bigquery import QueryJob, QueryJobConfig

from treadle.destinations.bigquery.errors import ERRORS, is_conflict, is_uncertain
from treadle.destinations.protocol import DestinationUnavailableError
from treadle.destinations.sql.connection import STREAMED_ROWS

REQUEST_SECONDS_MAX: Final = 60.0
"""Of one request."""

JOB_SECONDS_MAX: Final = 900
"""A job that takes longer is taken for hung, and BigQuery ends it."""

CONFLICT_PAUSES: Final = (1.0, 4.0)
"""Seconds before a script that was aborted for another one is sent again."""

RETRY: Final = bigquery.DEFAULT_RETRY.with_timeout(120.0)
"""Of requests that may be repeated, as all here: they read, or carry the id of their job."""

REQUEST: Final[dict[str, Any]] = {"retry": RETRY, "timeout": REQUEST_SECONDS_MAX}
"""How each request is made."""

WAIT: Final[dict[str, Any]] = {"retry": RETRY, "timeout": JOB_SECONDS_MAX + REQUEST_SECONDS_MAX}
"""How the end of a job is waited for."""


class BigqueryJobs:
    """The jobs of one client.

    Args:
        driver: the client; closed with this.

    Attributes:
        title: the beginning of the ids of the jobs of a load; empty for none.
    """

    def __init__(self, driver: bigquery.Client) -> None:
        self.driver = driver
        self.title = ""
        self._named: Counter[str] = Counter()
        self._running = ""
        self._is_closed = False

    def begin_load(self, title: str) -> None:
        """Let the ids of jobs begin so from now on; empty for any."""
        self.title, self._named = title, Counter()

    def name_job(self, part: str = "") -> str:
        """Return the id of a job of the load; empty where there is none.

        Args:
            part: of the id, that tells what kind of job it is.
        """
        self._named[part] += 1
        return f"{self.title}_{part}{self._named[part]}" if self.title else ""

    def run_script(self, text: str) -> Any:
        """Run a script that is a transaction, and again where others change the same tables.

        Returns:
            Its rows.

        Raises:
            Exception: one of `ERRORS`.
        """
        for pause in CONFLICT_PAUSES:
            try:
                return self.run_job(text, self.name_job())[1]
            except ERRORS as error:
                if not is_conflict(error):
                    raise
            # With jitter, so that loaders do not meet again.
            time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - not for secrets
        return self.run_job(text, self.name_job())[1]

    def run_job(self, text: str, job_id: str = "", **settings: Any) -> tuple[QueryJob, Any]:
        """Run a statement or a script to its end; returns the job, and its rows to be read.

        Args:
            text: of it.
            job_id: of the job; empty for any.
            settings: of `QueryJobConfig`.

        Raises:
            Exception: one of `ERRORS`.
        """
        self._check_open()
        self._running = job_id = job_id or f"treadle_{secrets.token_hex(12)}"
        settings = {"job_timeout_ms": JOB_SECONDS_MAX * 1000, **settings}
        config = QueryJobConfig(use_legacy_sql=False, **settings)

        def begin() -> QueryJob:
            return self.driver.query(
                text,
                job_config=config,
                job_id=job_id,
                **REQUEST,
                job_retry=None,
            )

        job = self.settle(job_id, begin)
        if config.dry_run:
            return job, ()
        return job, job.result(page_size=STREAMED_ROWS, job_retry=None, **WAIT)

    def settle(self, job_id: str, begin: Callable[[], Any]) -> Any:
        """Begin a job, or find the one that an earlier request began."""
        try:
            return begin()
        except ERRORS as error:  # 409 where an earlier request had arrived
            try:
                return self.driver.get_job(job_id, **REQUEST)
            except exceptions.NotFound:
                raise error from None

    def await_jobs(self, *prefixes: str) -> list[str]:
        """Wait for the ends of jobs that an earlier process, or a broken request, left running.

        Args:
            prefixes: the beginnings of their ids.

        Returns:
            The ids of those that were still running.

        Raises:
            DestinationUnavailableError: one of them goes on.
        """
        self._check_open()
        found: list[str] = []
        for state in ("pending", "running"):
            for job in self.driver.list_jobs(
                state_filter=state,
                **REQUEST,
            ):
                if not str(job.job_id).startswith(prefixes):
                    continue
                found.append(job.job_id)
                try:
                    job.result(**REQUEST)
                except ERRORS as error:
                    if is_uncertain(error):
                        raise DestinationUnavailableError(
                            f"the job {job.job_id} of an earlier load has not ended yet"
                        ) from error
        return found

    def interrupt(self) -> None:
        """End the job that runs; from any thread. A script of a load is undone with that."""
        with suppress(*ERRORS):
            self.driver.cancel_job(self._running, timeout=REQUEST_SECONDS_MAX)

    def close(self) -> None:
        """Close the connection."""
        self._is_closed = True
        self.driver.close()

    def _check_open(self) -> None:
        if self._is_closed:  # the client would open another connection
            raise exceptions.ServiceUnavailable("the session is closed")
