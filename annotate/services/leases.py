"""What belongs to a lease: the token that proves it, the order in which completions are shown, and the refusals."""

import secrets
import uuid
from collections.abc import Sequence

from django.utils.crypto import constant_time_compare, salted_hmac


class Refused(Exception):
    """Something that cannot be done with a slot or a judgement now: a code for programs, a sentence for people."""

    code = "refused"
    message = "This cannot be done now."

    def __init__(self) -> None:
        super().__init__(self.message)


class WrongLease(Refused):
    code = "wrong_lease"
    message = (
        "This lease belongs to another item or to somebody else, so nothing was stored. "
        "Your answer is still with you: claim the item again and send it with the new lease."
    )


class LeaseLost(Refused):
    code = "lease_lost"
    message = "Your time on this item ran out. You can still send your answer; it is kept, as an extra if need be."


class AlreadyJudged(Refused):
    code = "already_judged"
    message = "You have already judged this item, perhaps in another tab. Undo or revise that judgement to change it."


class SubmissionReused(Refused):
    code = "submission_reused"
    message = "This submission id was used for another answer. Nothing was stored: send this one under a new id."


class NotCurrent(Refused):
    code = "not_current"
    message = "This judgement has been revised or withdrawn meanwhile. Reload the page to see how it stands."


def new_token(*, slot_id: int, annotator_id: int) -> uuid.UUID:
    """A random token that only this site can make, for this slot and annotator alone.

    So a lease that was lost can be told from one that never was, without keeping a list of leases.
    """
    nonce = secrets.token_bytes(8)
    return uuid.UUID(bytes=nonce + _seal(nonce, slot_id, annotator_id))


def check_token(token: uuid.UUID, *, slot_id: int, annotator_id: int) -> None:
    """WrongLease unless this annotator was once given this token for this slot."""
    if not constant_time_compare(token.bytes[8:], _seal(token.bytes[:8], slot_id, annotator_id)):
        raise WrongLease


def _seal(nonce: bytes, slot_id: int, annotator_id: int) -> bytes:
    return _keyed("plumb.lease", nonce + f"{slot_id}:{annotator_id}".encode())[:8]


def display_order(*, item_id: int, number: int, uids: Sequence[str]) -> list[str]:
    """The completions from left to right for slot `number`: the same at every reload, and nobody can foresee it.

    A keyed hash shuffles the item's completions; each further slot begins one further on, so that over K slots each
    completion stands once at each place (two: AB, BA, AB, …), and every second round of K runs backwards.
    """
    order = sorted(uids, key=lambda uid: _keyed("plumb.display-order", f"{item_id}:{uid}".encode()))
    rounds, start = divmod(number, len(order))
    turned = order[start:] + order[:start]
    return turned[::-1] if rounds % 2 and len(order) > 2 else turned


def _keyed(purpose: str, value: bytes) -> bytes:
    """HMAC-SHA256 under SECRET_KEY and the purpose."""
    return salted_hmac(purpose, value, algorithm="sha256").digest()
