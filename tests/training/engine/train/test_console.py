"""A person at a terminal sees one line that moves; a log gets a line now and then."""

import io
import sys

import pytest

from training.engine.console import ERASE, Bar, remaining, say


class Terminal(io.StringIO):
    """Standard error where somebody looks at it."""

    def isatty(self):
        return True


def show(bar, message, fraction=0.5, **metrics):
    bar.show(message, fraction=fraction, metrics=metrics)


def test_a_log_gets_a_line_at_once_where_something_else_begins_and_not_for_every_step(capsys):
    bar = Bar()
    show(bar, "Reading the data")
    for step in range(1, 5):
        show(bar, f"Training: step {step} of 4", fraction=step / 4, loss=0.5, chosen_logp=-3.0)
    show(bar, "Evaluating on test: 3 examples")
    assert capsys.readouterr().err.splitlines() == [
        "Reading the data",
        "Training: step 1 of 4  loss 0.5000",
        "Evaluating on test: 3 examples",
    ]


def test_on_a_terminal_the_line_is_written_over_and_never_wraps(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("COLUMNS", "30")
    bar = Bar()
    show(bar, "Training: step 1 of 4", loss=0.5, accuracy=1.0)
    show(bar, "Evaluating")
    say("Done.")
    assert sys.stderr.getvalue() == f"{ERASE}Training: step 1 of 4  loss 0{ERASE}Evaluating{ERASE}Done.\n"


@pytest.mark.parametrize(
    ("seconds", "begun", "done", "said"),
    [
        (10, 0.0, 0.5, "0 min 10 s left"),
        (10, 0.5, 0.75, "0 min 10 s left"),
        (100, 0.0, 0.1, "15 min 0 s left"),
        (7200, 0.0, 0.5, "2 h 0 min left"),
        (0, 0.1, 0.1, ""),
        (9, 0.5, 0.4, ""),
    ],
)
def test_what_is_left_follows_from_the_share_that_is_done(seconds, begun, done, said):
    assert remaining(seconds, begun=begun, done=done) == said
