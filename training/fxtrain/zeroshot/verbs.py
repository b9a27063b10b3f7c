"""``fxtrain zeroshot kit``, ``evaluate --manifest``. Parse, call, print; heavy imports inside."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import click

PATH = click.Path(path_type=Path)


class Lengths(click.ParamType[tuple[int, ...]]):
    name = "1-3"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        found: list[int] = []
        for part in str(value).split(","):
            low, _, high = part.strip().partition("-")
            try:
                found += range(int(low), int(high or low) + 1)
            except ValueError:
                self.fail(f"{value!r} is no length, such as 2, 1-3 or 1,3", param, ctx)
        if not found or len(found) > 100:
            self.fail(f"{value!r} is no length, such as 2, 1-3 or 1,3", param, ctx)
        return tuple(sorted(set(found)))


class Called(click.ParamType[tuple[str, str]]):
    name = "PEDAL=NAME"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        ours, sign, yours = str(value).partition("=")
        if not sign or not ours.strip() or not yours.strip():
            self.fail(f"{value!r}: expected our pedal and yours, as in fuzz=Big Muff", param, ctx)
        return ours.strip(), yours.strip()


@click.group()
def zeroshot() -> None:
    """Ask a model about pedals it never heard: your own board, or a studio program's."""


@zeroshot.command()
@click.argument("output", type=PATH)
@click.option("--n-chains", type=click.IntRange(1, 999), default=20, show_default=True)
@click.option("--lengths", type=Lengths(), help="Pedals in a chain [1-3, or as many as you have].")
@click.option("--pedals", help="Those you have, with commas [all that the model knows].")
@click.option(
    "--name", "names", type=Called(), multiple=True, help="What a pedal is called on your board."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Draws it all.")
@click.option(
    "--dry", "dry_files", type=PATH, multiple=True,
    help="Your dry guitar, files or folders [the built-in guitar].",
)  # fmt: skip
@click.option(
    "--takes", type=click.IntRange(1, 99), default=1, show_default=True,
    help="Dry files; chains use them in turn.",
)  # fmt: skip
@click.option(
    "--clips", type=click.IntRange(1, 20), default=3, show_default=True, help="Phrases in each."
)
@click.option("--clip-s", type=float, default=2.0, show_default=True, help="Length of a phrase.")
@click.option("--implementation", default="my board", show_default=True, help="What plays it.")
@click.option("--run", type=PATH, help="Whose pedals [the shipped model's].")
@click.option("--overwrite", is_flag=True, help="Replace the kit that is there.")
@click.option("--json", "as_json", is_flag=True, help="What was made, as JSON on stdout.")
def kit(
    output: Path,
    n_chains: int,
    lengths: tuple[int, ...] | None,
    pedals: str | None,
    names: tuple[tuple[str, str], ...],
    seed: int,
    dry_files: tuple[Path, ...],
    takes: int,
    clips: int,
    clip_s: float,
    implementation: str,
    run: Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Write a kit into OUTPUT: dry guitar to play, chains to dial in, a table to fill.

    Print sheet.html, play the dry file through each chain, save what comes back beside renders.csv,
    then: fxtrain evaluate --manifest OUTPUT/renders.csv
    """
    from fxtrain.contract import open_frontend
    from fxtrain.zeroshot import make
    from fxtrain.zeroshot.form import MANIFEST_NAME

    wish = make.Wish(
        n_chains=n_chains,
        lengths=lengths or (),
        pedals=tuple(name.strip() for name in (pedals or "").split(",") if name.strip()),
        n_takes=takes,
        n_clips=clips,
        clip_s=clip_s,
        seed=seed,
        implementation=implementation,
        names=names,
    )
    known = make.known_pedals(run)
    made = make.make_kit(output, wish, open_frontend(), known, dry_files, overwrite=overwrite)
    if as_json:
        click.echo(make.kit_json(made, output))
        return
    for line in make.kit_lines(made, output):
        click.echo(line, err=True)
    table = shlex.quote(str(output / MANIFEST_NAME))
    click.echo(f"next: fxtrain evaluate --manifest {table}", err=True)
    click.echo(output)


def judge_manifest(
    run: Path | None,
    manifest: Path,
    *,
    each_clip: bool,
    html: bool,
    clips: int,
    seed: int,
    device: str,
    as_json: bool,
) -> int:
    """``fxtrain evaluate --manifest``; 1 where a row could not be scored."""
    from fxtrain.calm import share_the_cores

    share_the_cores()
    from fxtrain.contract import UsageError, open_frontend
    from fxtrain.finding import model_folder
    from fxtrain.predict import open_run
    from fxtrain.zeroshot import score
    from fxtrain.zeroshot.pages import write_pages

    def say(text: str) -> None:
        click.echo(text, err=True)

    if not manifest.is_file():  # before a model is loaded
        raise UsageError(f"{manifest}: no such file; 'fxtrain zeroshot kit' writes one to fill")
    loaded = open_run(model_folder(run), device)
    frontend = open_frontend(loaded.card.ears)
    found = score.evaluate_manifest(
        loaded, frontend, manifest, each_clip=each_clip, seed=seed, say=say
    )
    try:
        say(f"scores: {score.save(found)}")
    finally:  # told also where they cannot be written
        if as_json:
            click.echo(json.dumps(score.zero_shot_dict(found), ensure_ascii=False))
        else:
            for line in score.zero_shot_lines(found):
                click.echo(line)
    if html:
        for page in write_pages(loaded, found, frontend, n_clips=clips):
            say(f"page: {page}")
    return 1 if found.left_out else 0
