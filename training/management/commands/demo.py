"""`manage.py demo`, which `make up` runs: migrate, make the demo project, serve it with a worker until Ctrl-C."""

import socket
from argparse import ArgumentParser
from functools import partial
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from annotate.models import Project
from training.demo.seed import Login, seed_demo
from training.demo.serve import ServeError, keep_alive, revive_all, serving
from training.demo.simulate import SimulationError, simulate_turn
from training.services.models import ModelError


class Command(BaseCommand):
    help = "Serve a demo project that can be judged at once, with a worker that makes its first policy."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, default=8000, help="Where the site listens on this machine (8000).")
        parser.add_argument(
            "--simulate",
            action="store_true",
            help="Let scripted annotators, marked as machines, drive one whole turn: judge, train, sample, judge.",
        )
        parser.add_argument("--judgements", type=int, default=50, help="With --simulate: judgements in each pass (50).")
        parser.add_argument("--exit", action="store_true", help="With --simulate: stop when the turn is done.")

    def handle(self, *args: Any, **options: Any) -> None:
        port = options["port"]
        check_port(port)
        call_command("migrate", interactive=False, verbosity=0)
        call_command("collectstatic", interactive=False, verbosity=0)
        try:
            project, logins = seed_demo()
            with serving(port) as children:
                self.greet(port, project, logins)
                if options["simulate"]:
                    simulate_turn(
                        address=f"http://127.0.0.1:{port}",
                        project=project,
                        judgements=options["judgements"],
                        say=self.stdout.write,
                        revive=partial(revive_all, children),
                    )
                    if options["exit"]:
                        return
                keep_alive(children)
        except (ServeError, ModelError, SimulationError) as error:
            raise CommandError(str(error)) from None
        except KeyboardInterrupt:
            self.stdout.write("Stopped.")

    def greet(self, port: int, project: Project, logins: list[Login]) -> None:
        lines = [
            "",
            f"  Plumb is up:  http://127.0.0.1:{port}/projects/{project.slug}/",
            "",
            *(f"  {login.user.username:<10} password  {login.password}" for login in logins),
            "",
            "  The first policy is being made; its progress is on the jobs page. Ctrl-C stops everything.",
            "",
        ]
        self.stdout.write("\n".join(lines))


def check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise CommandError(f"Port {port} is taken. Choose another: make up ARGS='--port {port + 1}'") from None
