"""The web server's entry: `gunicorn feedback_site.wsgi`."""

import os

from django.core.exceptions import ImproperlyConfigured
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "feedback_site.settings")
try:
    application = get_wsgi_application()
except ImproperlyConfigured as error:
    raise SystemExit(f"The site cannot start. {error}") from None

from feedback_site.checks import check_before_serving  # needs the settings

check_before_serving()
