import os
import signal
import sys
import time
from pathlib import Path

from feedback_site.jobs.children import run_child
from feedback_site.jobs.registry import handler
from tests.feedback_site.jobs.probes.models import Outcome


@handler("count", title="Count")
def count(context):
    """A few steps, then a result that must be there once."""
    steps = context.params.get("steps", 5)
    for step in range(steps):
        context.check()
        context.progress(step / steps, f"step {step + 1} of {steps}")
        time.sleep(context.params.get("seconds", 0.02))
    with context.fenced():
        Outcome.objects.create(job_id=context.job_id, attempt=context.attempt)
        context.finish({"steps": steps})


@handler("deaf", title="Count without listening")
def deaf(context):
    """Never checks, so that only the fence can keep a stale attempt from writing."""
    time.sleep(context.params["seconds"])
    with context.fenced():
        Outcome.objects.create(job_id=context.job_id, attempt=context.attempt)
        context.finish()


@handler("greedy", title="Use the whole machine", whole_machine=True)
def greedy(context):
    """Fails where another one is at work."""
    mark = Path(context.params["folder"]) / "at-work"
    mark.touch(exist_ok=False)
    time.sleep(context.params["seconds"])
    mark.unlink()
    context.finish()


@handler("poison", title="Kill the worker")
def poison(context):
    os.kill(os.getpid(), signal.SIGKILL)


@handler("parent", title="Start a child that never ends")
def parent(context):
    """The child writes its process id and that of a grandchild in a session of its own."""
    folder = Path(context.params["folder"])
    script = (
        "import os, subprocess, sys, time\n"
        "nested = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)\n"
        "open('pids.new', 'w').write(f'{os.getpid()} {nested.pid}')\n"
        "os.rename('pids.new', 'pids')\n"
        "time.sleep(600)\n"
    )
    run_child(context, [sys.executable, "-c", script], cwd=folder, log=folder / "child.log", grace=1)
