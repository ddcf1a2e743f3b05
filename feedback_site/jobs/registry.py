"""Which function does the work of which kind of job. Each room registers its own in `<room>/jobs.py`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured

from feedback_site.jobs.errors import JobFailed

if TYPE_CHECKING:
    from feedback_site.jobs.context import JobContext

Run = Callable[["JobContext"], dict[str, Any] | None]


@dataclass(frozen=True, kw_only=True)
class Handler:
    kind: str
    title: str
    max_attempts: int
    whole_machine: bool
    run: Run


HANDLERS: dict[str, Handler] = {}


def handler(kind: str, *, title: str, max_attempts: int = 3, whole_machine: bool = False) -> Callable[[Run], Run]:
    """Register a function as the work of this kind of job.

    Jobs of a kind that uses the `whole_machine`, all processors or the GPU, are done one after the other by a worker
    process of `runworker`, whatever else it does beside them.

    The function may be started again after any line of it (a worker can be killed), so it writes its results inside
    `context.fenced()` and makes the last of them together with `context.finish(result)`. Heavy packages are imported
    inside the function: the web process imports these modules too.
    """

    def register(run: Run) -> Run:
        known = HANDLERS.get(kind)
        if known and known.run is not run:
            raise ImproperlyConfigured(f"Two functions want to do jobs of the kind {kind!r}: {known.run} and {run}.")
        HANDLERS[kind] = Handler(
            kind=kind, title=title, max_attempts=max_attempts, whole_machine=whole_machine, run=run
        )
        return run

    return register


def of_whole_machine() -> list[str]:
    """The kinds of which a worker does one job at a time."""
    return [one.kind for one in HANDLERS.values() if one.whole_machine]


def find(kind: str) -> Handler:
    """The handler of this kind. Raises JobFailed with a sentence when this installation has none."""
    if kind not in HANDLERS:
        raise JobFailed(f"This installation does not know jobs of the kind “{kind}”. Update the worker, then retry.")
    return HANDLERS[kind]
