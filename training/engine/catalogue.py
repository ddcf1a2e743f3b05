"""The table of methods as text: what the command line prints and what docs/methods.md holds. Standard library only."""

from __future__ import annotations

from training.engine import columns
from training.engine.losses import LOSSES
from training.engine.methods import Method

BEGIN, END = "<!-- methods: begin -->", "<!-- methods: end -->"
# What a method learns from: a title, and what to know about all methods of the group.
GROUPS: dict[str, tuple[str, str]] = {
    "pairs": (
        "Pairs, with a reference policy",
        "One answer was preferred to another. The policy learns the difference and is held to where it began.",
    ),
    "pairs_alone": (
        "Pairs, without a reference",
        "The same data at half the work: nothing but the length or the likelihood holds the policy.",
    ),
    "thumbs": ("Thumbs up and down", "Single answers that somebody liked or did not; no pairs are needed."),
    "lists": ("Ranked lists", "Several answers to one prompt, ranked or scored, learnt together."),
    "demonstrations": ("Demonstrations", "Answers to imitate, such as corrections that people wrote."),
    "reward": ("Reward models", "Not a policy but a judge: gives every answer a number."),
}


def group_of(method: Method) -> str:
    """The group that a method is shown in, a key of GROUPS."""
    if method.trains == "reward":
        return "reward"
    if method.dataset_kind == "pairwise":
        return "pairs" if method.needs_reference else "pairs_alone"
    return {"binary": "thumbs", "listwise": "lists", "demonstration": "demonstrations"}[method.dataset_kind]


def methods_of(group: str) -> list[Method]:
    """The methods of a group, in the order of the table."""
    return [method for method in LOSSES.values() if group_of(method) == group]


def as_text() -> str:
    """Every method with its title and paper, by group."""
    width = max(map(len, LOSSES))
    parts = []
    for group, (title, _) in GROUPS.items():
        rows = [f"  {one.name:<{width}}  {one.title} ({one.paper.rstrip('.')})" for one in methods_of(group)]
        parts.append("\n".join((title, *rows)))
    return "\n\n".join(parts) + "\n"


def as_markdown() -> str:
    """The generated part of docs/methods.md: a table of each group, a section for every method, and the rows they learn
    from."""
    parts = []
    for group, (title, about) in GROUPS.items():
        rows = [
            f"| [`{one.name}`](#{one.name}) | {one.title} | {_formula_cell(one)} | {one.dataset_kind} |"
            f" {_settings(one)} | {_cell(one.paper)} |"
            for one in methods_of(group)
        ]
        head = "| Name | Method | Loss | Dataset | Settings | Paper |\n|---|---|---|---|---|---|"
        parts.append("\n\n".join((f"## {title}", about, "\n".join((head, *rows)))))
        parts += [_section(one) for one in methods_of(group)]
    parts.append(columns.as_markdown())
    return "\n\n".join(parts) + "\n"


def about(method: Method) -> str:
    """A method as its help shows it."""
    formula = "\n".join(f"    {line}" for line in method.formula.splitlines())
    return (
        f"{method.title}\n\n{formula}\n\n{method.summary}\n\nUse: {method.use}\nPitfall: {method.pitfall}\n"
        f"Learns from: a {method.dataset_kind} dataset (its rows are shown at the end)\nPaper: {method.paper}"
    )


def _section(method: Method) -> str:
    made = {"policy": "a policy", "reward": "a reward model", "either": "a policy or a reward model"}[method.trains]
    reference = " Compares with a reference policy." if method.needs_reference else ""
    shapes = f"- **In and out:** {method.shapes}\n" if method.shapes else ""
    lines = [
        f'<a id="{method.name}"></a>\n### {method.title}: `{method.name}`',
        f"```text\n{method.formula}\n```",
        method.summary,
        f"- **Use:** {method.use}\n- **Pitfall:** {method.pitfall}\n"
        f"- **Trains** {made} from a {method.dataset_kind} dataset, at a learning rate of {method.learning_rate:g}."
        f"{reference}\n{shapes}- **Paper:** {method.paper}",
    ]
    settings = [f"- `{one.name}` ({_shown(one.default)}): {one.help}" for one in method.parameters]
    return "\n\n".join([*lines, "\n".join(settings)] if settings else lines)


def _settings(method: Method) -> str:
    return ", ".join(f"`{one.name}` {_cell(_shown(one.default))}" for one in method.parameters) or "none"


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else f"`{value}`" if isinstance(value, str) else str(value)


def _formula_cell(method: Method) -> str:
    return "<br>".join(f"`{_cell(line.strip())}`" for line in method.formula.splitlines())


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
