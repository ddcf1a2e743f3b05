"""`manage.py sweep`: take jobs back from workers that stopped answering, once."""

from typing import Any

from django.core.management.base import BaseCommand

from feedback_site.jobs.sweeping import sweep


class Command(BaseCommand):
    help = "Put the jobs of dead workers back into the queue and ring again for those that nobody came for."

    def handle(self, **options: Any) -> None:
        taken = sweep()
        self.stdout.write(f"{taken} {'job was' if taken == 1 else 'jobs were'} taken back.")
