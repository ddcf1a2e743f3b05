"""The verdict on a pair: a ranking of two, how much better, and whether neither is acceptable."""

from collections.abc import Sequence

from annotate.models import Project
from annotate.tasktypes.shared import SHARED, check_flag, check_object, check_shared, check_uid
from annotate.tasktypes.types import Verdict, VerdictError

KEYS = ("ranking", "strength", "both_bad", *SHARED)


def check_verdict(verdict: object, uids: Sequence[str], project: Project) -> Verdict:
    """`{"ranking": [[better], [worse]]}` or `[[one, other]]` for a tie; "strength" 1..3 only where one is better.

    "both_bad": true says that neither is acceptable, which is not a tie: only then may the ranking be left out.
    """
    given = check_object(verdict, "", KEYS)
    both_bad = given.get("both_bad") is not None and check_flag(given["both_bad"], "both_bad")
    found: Verdict = {}
    if given.get("ranking") is not None:
        found["ranking"] = _ranking(given["ranking"], uids, project)
    elif not both_bad:
        raise VerdictError("ranking", "Say which completion is better: “ranking” is missing.")
    if given.get("strength") is not None:
        found["strength"] = _strength(given["strength"], found.get("ranking", []))
    if both_bad:
        found["both_bad"] = True
    return found | check_shared(given, uids)


def _ranking(value: object, uids: Sequence[str], project: Project) -> list[list[str]]:
    if not isinstance(value, list) or not all(isinstance(tied, list) and tied for tied in value):
        raise VerdictError("ranking", "“ranking” must be a list of lists of completions, best first.")
    named = [check_uid(uid, f"ranking.{n}", uids) for n, tied in enumerate(value) for uid in tied]
    if sorted(named) != sorted(uids):
        raise VerdictError("ranking", "“ranking” must name each of the two completions exactly once.")
    if len(value) == 1 and not project.allow_ties:
        raise VerdictError("ranking", "This project allows no ties. Decide which completion is better.")
    return [sorted(tied) for tied in value]


def _strength(value: object, ranking: list[list[str]]) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 3:
        raise VerdictError("strength", "“strength” must be 1 (slightly better), 2 (better) or 3 (much better).")
    if len(ranking) != 2:
        raise VerdictError("strength", "“strength” says how much better one completion is; leave it out of a tie.")
    return value
