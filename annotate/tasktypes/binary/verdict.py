"""The verdict on one completion: thumbs up or down."""

from collections.abc import Sequence

from annotate.models import Project
from annotate.tasktypes.shared import SHARED, check_flag, check_object, check_shared
from annotate.tasktypes.types import Verdict, VerdictError

KEYS = ("labels", *SHARED)


def check_verdict(verdict: object, uids: Sequence[str], project: Project) -> Verdict:
    """`{"labels": {uid: true}}`, one label for each completion of the item."""
    given = check_object(verdict, "", KEYS, required=("labels",))
    labels = given["labels"]
    if not isinstance(labels, dict) or sorted(labels) != sorted(uids):
        raise VerdictError("labels", "“labels” must say true or false for each completion of the item, and no other.")
    return {"labels": {uid: check_flag(labels[uid], f"labels.{uid}") for uid in uids}} | check_shared(given, uids)
