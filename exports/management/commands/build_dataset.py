"""`manage.py build_dataset PROJECT NAME`: the same verb as the API's, in the foreground."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from annotate.models import Project
from exports.models import Dataset
from exports.services.datasets import DatasetError, create_dataset, start_build
from feedback_site.jobs.runner import run_job


class Command(BaseCommand):
    help = "Freeze the current judgements of a project as the next version of a dataset, and write its files."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("project", help="The project's slug.")
        parser.add_argument("name", help="The dataset; it is made if the project has none of this name.")
        parser.add_argument(
            "--kind", choices=Dataset.Kind.values, help="Of a new dataset; default: the project's kind."
        )
        parser.add_argument(
            "--recipe", default="{}", metavar="JSON", help='Of a new one, such as {"aggregation": "soft"}.'
        )

    def handle(self, *args: Any, **options: Any) -> None:
        project = Project.objects.filter(slug=options["project"]).first()
        if project is None:
            raise CommandError(f"There is no project “{options['project']}”.")
        dataset = Dataset.objects.filter(project=project, name=options["name"]).first()
        if dataset is None:
            dataset = self._create(project, options)
        version = start_build(dataset=dataset, created_by=None)
        assert version.job is not None
        run_job(version.job.pk)
        version.refresh_from_db()
        version.job.refresh_from_db()
        if version.status != version.Status.READY:
            raise CommandError(version.job.error or "Another worker took the job; see the jobs page.")
        rows = ", ".join(f"{count} {split}" for split, count in version.counts["rows"].items())
        self.stdout.write(f"{version}: {rows}. sha256 {version.sha256}")

    def _create(self, project: Project, options: dict[str, Any]) -> Dataset:
        try:
            recipe = json.loads(options["recipe"])
        except json.JSONDecodeError as error:
            raise CommandError(f"--recipe is not JSON: {error}.") from None
        try:
            return create_dataset(
                project=project,
                name=options["name"],
                kind=options["kind"] or project.kind,
                recipe=recipe,
                created_by=None,
            )
        except DatasetError as error:
            raise CommandError(f"{error.field}: {error.message}") from None
