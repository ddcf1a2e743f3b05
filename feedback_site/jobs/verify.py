"""What must always hold of jobs, as SQL that returns the rows for which it does not. Used by `manage.py verify`."""

CHECKS: list[tuple[str, str, str]] = [
    (
        "job_running_has_lease",
        "A job runs, but nobody holds a lease of it.",
        "SELECT id, kind FROM jobs_job WHERE status = 'running' AND (lease_until IS NULL OR attempt = 0)",
    ),
    (
        "job_lease_only_while_running",
        "A job does not run, but somebody holds a lease of it.",
        "SELECT id, kind, status FROM jobs_job WHERE status <> 'running' AND lease_until IS NOT NULL",
    ),
    (
        "job_over_has_end",
        "A job is over without a time at which it ended, or has such a time and is not over.",
        "SELECT id, kind, status FROM jobs_job"
        " WHERE (status IN ('done', 'failed', 'cancelled')) <> (finished_at IS NOT NULL)",
    ),
    (
        "job_within_its_tries",
        "A job was tried more often than it may be.",
        "SELECT id, kind, attempt, max_attempts FROM jobs_job WHERE attempt > max_attempts",
    ),
    (
        "job_failed_says_why",
        "A job failed without a reason, or has a reason for failing and did not fail.",
        "SELECT id, kind, status FROM jobs_job WHERE (status = 'failed') <> (error <> '')",
    ),
    (
        "job_result_only_when_done",
        "A job has a result and is not done.",
        "SELECT id, kind, status FROM jobs_job WHERE status <> 'done' AND result IS NOT NULL",
    ),
    (
        "job_done_is_complete",
        "A job is done, and its progress is not complete.",
        "SELECT id, kind, fraction FROM jobs_job WHERE status = 'done' AND fraction < 1",
    ),
    (
        "job_cancelled_by_request",
        "A job was cancelled, and nobody asked for it.",
        "SELECT id, kind FROM jobs_job WHERE status = 'cancelled' AND cancel_requested_at IS NULL",
    ),
    (
        "job_log_of_its_attempts",
        "A line of a job's log is of an attempt that never began.",
        "SELECT l.id, l.job_id, l.attempt FROM jobs_joblog l JOIN jobs_job j ON j.id = l.job_id"
        " WHERE l.attempt > j.attempt",
    ),
]
