"""The command line of the engine, made from the tables of `spec` and `methods`.

Exit codes: 0 done, 2 refused (error.json says why), 3 stopped by SIGTERM or Ctrl-C (run again to go on),
4 another process is at work in the run folder, 1 crash (crash.log in the run folder).
"""

from __future__ import annotations

import argparse
import difflib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from training.engine import catalogue, columns
from training.engine.console import say
from training.engine.errors import Cancelled, EngineError
from training.engine.losses import LOSSES
from training.engine.methods import Method, Parameter
from training.engine.ranks import run_folder
from training.engine.runfolder import FolderBusy, is_done
from training.engine.spec import TRAIN_CONFIG, Spec, parameters, read_spec, validate
from training.engine.work import breakdown, do, look

DONE, CRASHED, REFUSED, STOPPED, BUSY = 0, 1, 2, 3, 4

EXAMPLE = """example:
  python -m training.engine train --method dpo --model models/starter \\
      --data train=pairs/train.parquet --data validation=pairs/validation.parquet \\
      --epochs 1 --beta 0.1 --out runs/dpo-1
  python -m training.engine run runs/dpo-1/spec.json --out runs/dpo-1     goes on where it was stopped
  python -m training.engine methods                                       what there is to train with

exit codes: 0 done, 2 refused (error.json), 3 stopped, 4 run folder in use, 1 crash (crash.log)"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    method = _method_named_in(arguments)
    parser = _parser(method)
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        parser.error(_unknown(unknown[0], method))
    if options.command == "methods":
        sys.stdout.write(catalogue.as_markdown() if options.markdown else catalogue.as_text())
        return DONE
    try:
        spec = _spec_of_options(options) if options.command == "train" else read_spec(options.spec)
        if options.command == "check" or options.dry_run:
            return check(spec)
        if options.out is None:
            raise EngineError("A run needs a folder. Name one with --out.", field="out")
        return run(spec, options.out)
    except EngineError as error:
        say(f"Refused: {error}")
        return REFUSED


def check(spec: Spec) -> int:
    """Do the start checks of a spec, write nothing, print what they found as JSON on standard output."""
    try:
        found = look(spec)
    except Cancelled as stopped:
        say(f"Stopped: {stopped}")
        return STOPPED
    sys.stdout.write(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    return DONE


def run(spec: Spec, out: Path) -> int:
    """Do the run, or go on with it, in the folder `out`; returns the exit code."""
    folder = run_folder(out)
    try:
        folder.open(spec)
    except FolderBusy as error:
        say(f"Refused: {error}")
        return BUSY
    try:
        if is_done(out):
            say(f"Done already: {out}")
            return DONE
        result = do(spec, folder)
        if result:  # what the other processes of the run have not
            for split, figures in result.get("eval", {}).items():
                say(f"On {split}: {_figures(figures)}")
            say(f"Done: {out} holds result.json and {'model/' if folder.model.is_dir() else 'completions.jsonl'}")
        return DONE
    except Cancelled as stopped:
        say(f"Stopped: {stopped} Run the same command again to go on.")
        return STOPPED
    except EngineError as error:
        _say_all(f"Refused: {error}", error)
        return REFUSED
    except Exception as error:
        _say_all(f"Failed: {breakdown(error, folder)}", error)
        return CRASHED
    finally:
        folder.close()


def _say_all(sentence: str, error: Exception) -> None:
    for one in (*getattr(error, "__notes__", ()), sentence):
        say(one)


def _figures(figures: Mapping[str, Any]) -> str:
    """The held-out figures that one looks at first; result.json has all of them."""
    said = [f"loss {figures['loss']:.4f}"] if "loss" in figures else []
    if "accuracy_low" in figures:
        interval = f"{figures['accuracy_low']:.3f} to {figures['accuracy_high']:.3f}"
        said.append(f"accuracy {figures['accuracy']:.3f} (95 %: {interval})")
    return ", ".join([*said, f"{figures['n']} examples"])


def _parser(method: Method | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.engine",
        description="Trains policies and reward models from preferences, and samples from policies.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    runner = commands.add_parser("run", help="do the run of a spec.json; the same command goes on after a stop")
    runner.add_argument("spec", type=Path, metavar="SPEC", help="the spec.json")
    _add_out(runner)
    checker = commands.add_parser("check", help="do the start checks of a spec.json only, and write nothing")
    checker.add_argument("spec", type=Path, metavar="SPEC", help="the spec.json")
    _add_train(commands, method)
    lister = commands.add_parser("methods", help="print the table of methods")
    lister.add_argument("--markdown", action="store_true", help="as docs/methods.md holds it")
    return parser


def _add_train(commands: Any, method: Method | None) -> None:
    trainer = commands.add_parser(
        "train",
        help="train without writing a spec first; --method NAME --help shows the settings of a method",
        description=catalogue.about(method) if method else f"Methods:\n\n{catalogue.as_text()}",
        epilog=f"rows of the data:\n{columns.as_text(method.dataset_kind)}" if method else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    trainer.add_argument("--method", required=True, choices=LOSSES, metavar="NAME", help=", ".join(LOSSES))
    trainer.add_argument("--model", required=True, help="folder (or hub name) of the model to start from")
    trainer.add_argument("--reference", help="folder of the reference policy; the model itself when left out")
    trainer.add_argument(
        "--data",
        required=True,
        action="append",
        metavar="[SPLIT=]FILE",
        help="Parquet, JSONL or JSON; SPLIT is train (when left out), validation or test; one --data for each",
    )
    _add_out(trainer)
    own = method.parameters if method else ()
    table = {one.name: one for one in parameters("train", method)}
    common = [table.pop(one.name) for one in TRAIN_CONFIG]
    further = [one for one in table.values() if one not in own]
    named = f"settings of {method.name}" if method else ""
    for title, knobs in ((named, own), ("settings of reward models", further), ("settings", common)):
        if knobs:
            group = trainer.add_argument_group(title)
            for parameter in knobs:
                _add_knob(group, parameter)


def _add_out(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, metavar="DIR", help="the run folder (made when it is not there)")
    parser.add_argument("--dry-run", action="store_true", help="do the start checks only, and write nothing")


def _add_knob(group: Any, parameter: Parameter) -> None:
    kind = type(parameter.default)
    default = (
        str(parameter.default).lower() if kind is bool else "none" if parameter.default == "" else parameter.default
    )
    choices = ("true", "false") if kind is bool else parameter.choices
    group.add_argument(
        f"--{parameter.name.replace('_', '-')}",
        dest=f"config.{parameter.name}",
        default=None,
        type=_boolean if kind is bool else kind,
        metavar="|".join(choices) if choices else kind.__name__.upper(),
        help=f"{parameter.help}{_bounds(parameter)} Default: {default}.".replace("%", "%%"),
    )


def _bounds(parameter: Parameter) -> str:
    if parameter.minimum is None:
        return ""
    return f" At least {parameter.minimum}" + ("." if parameter.maximum is None else f", at most {parameter.maximum}.")


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError("say true or false")
    return text.lower() == "true"


def _method_named_in(arguments: Sequence[str]) -> Method | None:
    """The method that the arguments name, looked up before the real parser so that it can offer its settings."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    first.add_argument("--method", nargs="?")
    known, _ = first.parse_known_args(arguments)
    return LOSSES.get(known.method or "")


def _unknown(given: str, method: Method | None) -> str:
    """What to say of an argument that there is none of."""
    name = given.split("=")[0]
    known = {f"--{one.name.replace('_', '-')}" for one in parameters("train", method)} if method else set()
    near = difflib.get_close_matches(name, known, n=1)
    what = f"{method.name} has no setting {name}" if method else f"unknown argument {name}"
    return f"{what}; " + (f"did you mean {near[0]}?" if near else "--help shows what there is")


def _spec_of_options(options: argparse.Namespace) -> Spec:
    data: dict[str, str] = {}
    for given in options.data:
        split, equals, path = given.partition("=")
        # A path may hold the sign as well.
        split, path = (split, path) if equals and split.isidentifier() else ("train", given)
        if split in data:
            raise EngineError(f"--data names {split} twice. Put its rows into one file.", field=f"data.{split}")
        data[split] = path
    settings = {
        name: value for name, value in vars(options).items() if name.startswith("config.") and value is not None
    }
    document = {
        "task": "train",
        "method": options.method,
        "model": options.model,
        "data": data,
        "config": {name.removeprefix("config."): value for name, value in settings.items()},
    }
    if options.reference is not None:
        document["reference"] = options.reference
    return validate(document)
