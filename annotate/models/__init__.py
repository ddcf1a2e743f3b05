"""What people are shown and what they say (design, sections 1 and 3)."""

from annotate.models.content import Completion, Prompt
from annotate.models.imports import ImportProblem, ItemImport
from annotate.models.items import Item, ItemCompletion, Skip, Slot
from annotate.models.judgements import Judgement
from annotate.models.projects import Annotator, Invitation, Membership, Project

__all__ = [
    "Annotator",
    "Completion",
    "ImportProblem",
    "Invitation",
    "Item",
    "ItemCompletion",
    "ItemImport",
    "Judgement",
    "Membership",
    "Project",
    "Prompt",
    "Skip",
    "Slot",
]
