"""Commands in a process of their own, with an environment of their own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
# What the person who runs the tests has set must not decide whether they pass.
OURS = (
    "SITE_URL", "DEBUG", "SECRET_KEY", "ALLOWED_HOSTS", "DATABASE_URL", "BROKER_URL", "PLUMB_DATA",
    "PLUMB_ENGINE_PYTHON", "PLUMB_BASE_MODEL", "BEHIND_PROXY", "LOG_LEVEL", "STATIC_ROOT",
    "DJANGO_ALLOW_ASYNC_UNSAFE",
)  # fmt: skip


def python(*arguments: str, data: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name.removesuffix("_FILE") not in OURS}
    return subprocess.run(
        [sys.executable, "-W", "ignore", *arguments],
        cwd=ROOT,
        env=clean | {"PLUMB_DATA": str(data)} | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def manage(*arguments: str, data: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return python("manage.py", *arguments, data=data, **environment)
