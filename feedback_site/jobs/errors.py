"""How a job can end other than well."""


class JobFailed(Exception):
    """An expected failure. Its text is a sentence that people read; the job is not tried again by itself."""


class Interrupted(BaseException):
    """Ends a handler from outside. Not an `Exception`, so that `except Exception` around a row does not swallow it."""


class JobCancelled(Interrupted):
    """Somebody asked for the job to be cancelled."""


class LeaseLost(Interrupted):
    """Another attempt holds the job now; whatever this one still writes must not count."""


class WorkerStopping(Interrupted):
    """The worker was asked to stop; the job goes back into the queue without losing a try."""


class JobConflict(Exception):
    """The job is not in a state that allows this. The text is a sentence that people read."""
