"""The site as it is, and the probes. Only for the processes that tests/feedback_site/jobs starts."""

from feedback_site.settings import *  # noqa: F403
from feedback_site.settings import INSTALLED_APPS as SITE_APPS

INSTALLED_APPS = [*SITE_APPS, "tests.feedback_site.jobs.probes"]
