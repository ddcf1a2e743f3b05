"""`manage.py run_engine PROJECT TASK`: the same verb as `POST /api/v1/runs/`, in the foreground."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from annotate.models import Project
from exports.models import DatasetVersion
from feedback_site.jobs.runner import run_job
from training.engine.losses import LOSSES
from training.models import Model, Run
from training.services.runs import DEFAULT_PROMPTS, RunError, Selection, start_run


class Command(BaseCommand):
    help = "Train a model on a dataset version, sample a policy, or make the starter policy; wait for the end."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("project", help="The project's slug.")
        parser.add_argument("task", choices=Run.Task.values)
        parser.add_argument("--method", default="", choices=sorted(LOSSES), help="For train.")
        parser.add_argument("--model", help="Name of the model to start from, or to sample.")
        parser.add_argument("--dataset", metavar="NAME[:VERSION]", help="For train; else its latest ready version.")
        parser.add_argument("--config", default="{}", metavar="JSON", help='Settings of the engine: {"beta": 0.2}.')
        parser.add_argument("--prompts", type=int, default=DEFAULT_PROMPTS, help="For sample: how many prompts.")
        parser.add_argument("--no-items", action="store_true", help="For sample: keep the completions, make no items.")

    def handle(self, *args: Any, **options: Any) -> None:
        project = Project.objects.filter(slug=options["project"]).first()
        if project is None:
            raise CommandError(f"There is no project “{options['project']}”.")
        try:
            config = json.loads(options["config"])
        except json.JSONDecodeError as error:
            raise CommandError(f"--config is not JSON: {error}.") from None
        sampling = options["task"] == Run.Task.SAMPLE
        try:
            run = start_run(
                project=project,
                task=options["task"],
                method=options["method"],
                model=self._model(project, options["model"]),
                dataset_version=self._version(project, options["dataset"]),
                config=config,
                selection=Selection(options["prompts"], not options["no_items"]) if sampling else None,
            )
        except RunError as error:
            raise CommandError(f"{error.field}: {error.message}") from None
        assert run.job is not None
        run_job(run.job.pk)
        run.job.refresh_from_db()
        if run.job.status != run.job.Status.DONE:
            raise CommandError(run.job.error or f"Run {run.pk} is {run.job.status}; see the jobs page.")
        self.stdout.write(json.dumps(run.job.result))

    def _model(self, project: Project, name: str | None) -> Model | None:
        if name is None:
            return None
        model = project.models.filter(name=name).first()
        if model is None:
            known = ", ".join(project.models.values_list("name", flat=True)) or "none"
            raise CommandError(f"This project has no model “{name}”. It has: {known}.")
        return model

    def _version(self, project: Project, name: str | None) -> DatasetVersion | None:
        if name is None:
            return None
        dataset, _, number = name.partition(":")
        versions = DatasetVersion.objects.filter(dataset__project=project, dataset__name=dataset)
        ready = versions.filter(status=DatasetVersion.Status.READY).select_related("dataset")
        version = (ready.filter(number=number) if number.isdigit() else ready).order_by("-number").first()
        if version is None:
            raise CommandError(f"This project has no ready dataset version “{name}”; build it first.")
        return version
