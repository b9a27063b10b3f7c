"""The command line of fxtrain: parse, call, print, exit code. Heavy imports inside commands.

Data goes to stdout, everything else to stderr. Exit codes: 0 done, 1 something failed, 2 usage,
130 interrupted.
"""

from __future__ import annotations

import io
import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fxtrain.app.verbs import serve
from fxtrain.export.verbs import export
from fxtrain.listen.commands import listen
from fxtrain.zeroshot.verbs import zeroshot

if TYPE_CHECKING:
    from fxtrain.config import Config
    from fxtrain.fit import FitResult

RUNS = "runs"
INTERRUPTED = 130


def run_cli(group: click.Group, prog: str, args: list[str] | None = None) -> int:
    """Run a click group; every expected error is one line on stderr and an exit code."""
    try:
        code = group.main(args, prog_name=prog, standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        message, code = error.format_message(), error.exit_code
    except (click.Abort, KeyboardInterrupt):
        message, code = "interrupted", INTERRUPTED
    except Exception as error:
        from fxtrain.contract import expected  # loads numpy, which --help can do without

        if (told := expected(error)) is None:
            raise
        message, code = told
    click.echo(f"{prog}: error: {' '.join(message.split())}", err=True)
    return code


def main(args: list[str] | None = None) -> None:
    for name in ("stdout", "stderr"):  # closed by a daemon, or by a shell (2>&-)
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # an arrow has no letter in Latin-1
    code = run_cli(cli, "fxtrain", args)
    if "torch" in sys.modules and "lightning" not in sys.modules:
        leave(code)
    sys.exit(code)


def leave(code: int) -> None:
    """End at once: taking torch down module by module takes a third of a second for nothing."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        return  # Python's own way out says what could not be written
    os._exit(code)


def show_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    from importlib import metadata  # half of what --help would take

    try:
        version = metadata.version("fxpipe")
    except metadata.PackageNotFoundError:
        version = "(not installed)"
    click.echo(f"fxtrain {version}")
    ctx.exit()


def log(text: str) -> None:
    click.echo(text, err=True)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=show_version,
    help="Print the version and exit.",
)  # fmt: skip
def cli() -> None:
    """Teach a translator from codec tokens to guitar pedals in order, score it, use it."""


@cli.command()
@click.argument("shards", nargs=-1, required=True)
@click.option("--model", "kind", type=click.Choice(["transformer", "gru"]), help="[transformer]")
@click.option("--epochs", type=click.IntRange(1), help="At most this many. [30]")
@click.option("--batch-size", type=click.IntRange(1), help="Samples a step. [64]")
@click.option("--lr", type=float, help="Peak learning rate. [0.001]")
@click.option("--seed", type=click.IntRange(0), help="Of weights, order, dropout. [0]")
@click.option("--precision", type=click.Choice(["auto", "32", "bf16", "16"]), help="[auto]")
@click.option("--mel/--no-mel", "use_mel", default=None, help="Hear log-mel. [if there]")
@click.option("--clues/--no-clues", "use_clues", default=None, help="Hear the wave. [if there]")
@click.option("--codes/--no-codes", "use_codes", default=None, help="Hear tokens. [if there]")
@click.option("--n-codebooks", type=click.IntRange(1), help="Read only the first. [all]")
@click.option("--config", "config_path", type=click.Path(), help="TOML with [model] and [train].")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help=f"Run directory [{RUNS}/<time>]."
)
@click.option("--resume", type=click.Path(path_type=Path), metavar="RUN", help="Go on with a run.")
@click.option(
    "--knobs", type=click.Choice(["too", "alone"]),
    help="Learn where knobs stand: beside all else, or alone, for the run it starts from.",
)  # fmt: skip
@click.option(
    "--start-from", metavar="RUN", help='Begin with the weights of RUN, or of the "shipped" model.'
)
@click.option(
    "--freeze-encoder", is_flag=True, default=None,
    help="Teach the run it starts from to answer, not to hear: quick.",
)  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace a run that is there.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option("--devices", type=click.IntRange(1), help="Train on N, a process each. [1]")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and about how long.")
@click.option("--json", "as_json", is_flag=True, help="Results as JSON on stdout.")
def fit(
    shards: tuple[str, ...],
    kind: str | None,
    epochs: int | None,
    batch_size: int | None,
    lr: float | None,
    seed: int | None,
    precision: str | None,
    use_mel: bool | None,
    use_clues: bool | None,
    use_codes: bool | None,
    n_codebooks: int | None,
    config_path: str | None,
    output: Path | None,
    resume: Path | None,
    knobs: str | None,
    start_from: str | None,
    freeze_encoder: bool | None,
    overwrite: bool,
    device: str,
    devices: int | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Train on SHARDS, one directory or several that were encoded alike.

    Flags stand above the config file, that above the defaults. The run directory holds the model,
    its settings and scores, a TensorBoard log and checkpoints.
    """
    from fxtrain.config import load_config
    from fxtrain.contract import UsageError

    model = {
        "kind": kind, "use_mel": use_mel, "use_clues": use_clues, "use_codes": use_codes,
        "n_codebooks": n_codebooks,
    }  # fmt: skip
    train = {
        "batch_size": batch_size, "lr": lr, "seed": seed, "precision": precision,
        "n_devices": devices, "start_from": start_from, "knobs": knobs,
        "freeze_encoder": freeze_encoder,
    }  # fmt: skip
    if start_from is not None and any(value is not None for value in model.values()):
        raise UsageError("--start-from takes the model's settings from RUN; leave them away")
    given = [*model.values(), *train.values(), config_path, output]
    if resume is not None and any(value is not None for value in given):
        raise UsageError("--resume takes all settings from RUN; only --epochs may be given with it")
    if resume is not None and overwrite:
        raise UsageError("--resume goes on with RUN, --overwrite begins anew: give one of them")
    config = load_config(config_path, {"model": model, "train": train | {"max_epochs": epochs}})

    from fxtrain.calm import share_taken_cores

    share_taken_cores()

    from fxtrain.data import open_shards

    dataset = open_shards(shards)

    from fxtrain import fit as training
    from fxtrain import runs

    if resume is not None:
        config = runs.load_run_config(resume, max_epochs=epochs)
    if dry_run:
        echo_plan(training.plan(dataset, config, device, resume), as_json)
        return
    result = training.fit(
        dataset,
        config,
        resume or output,
        resume=resume is not None,
        overwrite=overwrite,
        device=device,
        progress=sys.stderr.isatty(),
        say=log,
    )
    echo_fit(result, config, shlex.join(shards), as_json)


def echo_plan(plan: Any, as_json: bool) -> None:
    import dataclasses

    if as_json:
        click.echo(json.dumps(dataclasses.asdict(plan)))
        return
    click.echo(f"samples     {plan.n_train} to train on, {plan.n_valid} to validate on")
    click.echo(f"parameters  {plan.n_parameters:,}")
    done = f", {plan.n_done} of them done" if plan.n_done else ""
    click.echo(
        f"steps       {plan.steps_per_epoch} an epoch, {plan.max_epochs} epochs at most{done}"
    )
    click.echo(f"time        about {plan.seconds / 60:.1f} min at most on {plan.device} (a guess)")


def echo_fit(result: FitResult, config: Config, shards: str, as_json: bool) -> None:
    if as_json:
        from fxtrain.fit import metrics_json

        click.echo(json.dumps({"run": str(result.path), **json.loads(metrics_json(result))}))
        return
    exact, alike = result.valid["exact"], result.valid["exact_class"]
    log(
        f"best epoch {result.best_epoch} of at most {config.train.max_epochs}, "
        f"{result.seconds:.0f} s; "
        f"validation, decoding tuned on it: exact {exact.value:.3f} (null {result.null:.3f}, "
        f"ceiling {result.ceiling:.3f}), up to orders that sound alike {alike.value:.3f}"
    )
    run = shlex.quote(str(result.path))
    log(f"next: fxtrain evaluate {run} {shards}")
    log(f"      fxtrain predict CLIP --run {run}")
    click.echo(result.path)


@cli.command()
@click.argument("run", type=click.Path(path_type=Path), required=False)
@click.argument("shards", nargs=-1)
@click.option(
    "--manifest", type=click.Path(path_type=Path), metavar="CSV",
    help="Recordings of a zero-shot kit, instead of SHARDS.",
)  # fmt: skip
@click.option("--each-clip", is_flag=True, help="With --manifest: an answer for every phrase.")
@click.option(
    "--split", type=click.Choice(["train", "valid", "test"]), default="test", show_default=True
)
@click.option(
    "--against", type=click.Path(path_type=Path), metavar="RUN",
    help="Another run on the same clips: are the differences more than chance?",
)  # fmt: skip
@click.option(
    "--rerender", type=click.IntRange(1), metavar="N", help="Put N answers on dry guitar, measure."
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="DIR",
    help="Where evaluation.json, clips.jsonl and evaluation.html go. [RUN]",
)  # fmt: skip
@click.option("--html/--no-html", default=True, help="Write evaluation.html. [html]")
@click.option(
    "--clips", type=click.IntRange(0), default=3, metavar="N", help="Worst and best to hear. [3]"
)
@click.option(
    "--renders", type=click.Path(), help="Renders of SHARDS, to play recordings. [beside SHARDS]"
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of intervals.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option("--json", "as_json", is_flag=True, help="The evaluation as JSON on stdout.")
def evaluate(**options: Any) -> int:
    """Score RUN on SHARDS: every score with its interval, null and ceiling.

    Also written to evaluation.json in RUN, to clips.jsonl, what was answered to each clip, and to
    evaluation.html: one page with tables, drawings and clips to hear; of "shipped", the model in
    the package, to runs/shipped. Those of another test set are replaced, unless they go to a
    directory of their own. With --manifest on recordings of a kit (fxtrain zeroshot kit), by the
    model in the package where no RUN is named; json and html then lie beside the manifest.
    """
    from fxtrain.verbs import evaluate_command

    return evaluate_command(**options, say=log)


@cli.command()
@click.argument("clips", nargs=-1, required=True, type=click.Path())
@click.option("--run", type=click.Path(path_type=Path), help="Run directory [the shipped model].")
@click.option(
    "--n-best", type=click.IntRange(1), default=3, show_default=True, help="Chains shown."
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line and file.")
@click.option("--csv", "as_csv", is_flag=True, help="A table for spreadsheets, one row a file.")
@click.option("--anyway", is_flag=True, help="Guess also where it is no guitar.")
@click.option(
    "--export", "target", type=click.Path(path_type=Path), metavar="DIR",
    help="Each board as files for other programs, in a folder of its own below DIR.",
)  # fmt: skip
def predict(
    clips: tuple[str, ...],
    run: Path | None,
    n_best: int,
    device: str,
    as_json: bool,
    as_csv: bool,
    anyway: bool,
    target: Path | None,
) -> int:
    """Name the pedals on each of CLIPS, in order. A folder stands for the sound files in it, not
    for those in its sub-folders.

    A file that cannot be heard, and a board that cannot be exported, is named on stderr and the
    others go on; the exit code is then 1.
    """
    from fxtrain.calm import share_the_cores

    share_the_cores()

    from fxtrain.contract import FxError, UsageError, legible, printable

    if as_json and as_csv:
        raise UsageError("--json and --csv are two formats: give one of them")
    from fxtrain.card import read_card
    from fxtrain.device import check_device
    from fxtrain.errors import UnreadableFileError
    from fxtrain.export.files import Exports
    from fxtrain.finding import model_folder
    from fxtrain.heard import hear, named
    from fxtrain.telling import (
        NO_GUITAR,
        board_line,
        csv_header,
        csv_refusal,
        csv_row,
        for_terminal,
        prediction_lines,
    )

    check_device(device)
    clips = named(clips)
    exports, n_failed = Exports(target, clips), 0
    folder = model_folder(run)
    with hear(read_card(folder).ears, clips) as heard:
        from fxtrain import predict as hearing  # while another process hears the clips

        loaded = hearing.open_run(folder, device)
        if as_csv:
            click.echo(csv_header())
        for clip in clips:
            name, board = legible(clip), None
            try:
                found = hearing.predict_heard(loaded, heard.take(), clip)
            except UnreadableFileError as error:
                log(f"fxtrain: error: {error}")
                if as_csv:
                    click.echo(csv_refusal(name, str(error)))
                elif as_json:
                    click.echo(json.dumps({"file": name, "error": str(error)}, ensure_ascii=False))
                n_failed += 1
                continue
            if found.guitar is False and not anyway:
                if target is not None:
                    log(f"fxtrain: error: {name}: no board was written: {NO_GUITAR}; --anyway does")
                    n_failed += 1
            else:
                try:
                    board = exports.write(found, clip, loaded)
                except (FxError, OSError) as error:
                    log(f"fxtrain: error: {error}")
                    n_failed += 1
            if as_csv:
                click.echo(csv_row(found, name))
            elif as_json:
                data = hearing.prediction_dict(found, name, loaded, n_best)
                click.echo(json.dumps(data, ensure_ascii=False))
            else:
                lines = prediction_lines(found, printable(name), n_best, anyway=anyway)
                click.echo(for_terminal([*lines, *(board_line(board) if board else ())]))
    return 1 if n_failed else 0


cli.add_command(export)
cli.add_command(listen)
cli.add_command(serve)
cli.add_command(zeroshot)

if __name__ == "__main__":
    main()
