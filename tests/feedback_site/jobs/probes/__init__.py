"""Work of no use, for workers that are killed: an app that only tests/feedback_site/jobs/site_settings.py installs."""
