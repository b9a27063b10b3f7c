"""``fxpipe teach``: the model in the package learns a guitar from recordings of it without effects.

What a model takes for a pedal is often a guitar that it does not know. Random chains are put on the
recordings, and the model goes on learning from them, once; recordings that were kept back tell
whether it helped. Every step is the command a user would type.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import click

from fxpipe.sources.folder import FolderSource
from fxpipe.sources.scan import walk_audio
from fxpipe.steps import run_step, with_overwrite
from fxtrain.contract import SOUND_SUFFIXES, UsageError

MIN_RECORDINGS = 3
"""One to learn from, one to tune on, one to be tested with."""

RUN = "run"
STEPS = (
    "fxpipe render --dataset {source} --n-chains {n} --pool stompbox --lengths 1-5 -o renders",
    "fxpipe encode renders --codec embedded --with-mel -o shards",
    f"fxtrain fit shards --start-from shipped --knobs too --lr 2e-4 --epochs 1 -o {RUN}",
)
TEST = f"fxtrain evaluate {RUN} shards --against shipped --json"
TOLD = {"exact_class": "the whole board", "set": "all pedals, in any order", "f1_micro": "F1"}


def teach(recordings: Path, output: Path, n_chains: int, *, overwrite: bool = False) -> None:
    """Run the steps in ``output``, which is made; stop with one line at the first that fails.

    ``overwrite`` replaces what was made there of other recordings, or another number of clips.
    """
    if not recordings.is_dir():
        found = "is a file" if recordings.exists() else "is not there"
        raise UsageError(f"{recordings}: {found}, expected a folder of recordings of your guitar")
    files = [path for path, _ in walk_audio(recordings)]
    unread = [path.name for path in files if path.suffix.lower() not in SOUND_SUFFIXES]
    if (n_files := len(files) - len(unread)) < MIN_RECORDINGS:
        other = f" and {len(unread)} to save as WAV or FLAC ({unread[0]})" if unread else ""
        raise UsageError(
            f"{recordings}: {counted(n_files, 'recording')}{other}, expected a folder of "
            f"{MIN_RECORDINGS} or more of your guitar without any effects: one is learnt from, one "
            "kept back to tell whether it helped; half a minute each is plenty"
        )
    groups = sorted({item.group for item in FolderSource(recordings).scan().items})
    if len(groups) < MIN_RECORDINGS:
        raise UsageError(
            f"{recordings}: {counted(n_files, 'recording')}, but of {counted(len(groups), 'thing')}"
            f" only ({', '.join(groups)}), expected {MIN_RECORDINGS} or more: by their names some "
            "are takes of one (riff take 1, riff take 2), or they are copies or silent; name each "
            "by what is played on it (chords, riff, notes), or record more"
        )
    output.mkdir(parents=True, exist_ok=True)
    again = shlex.join(
        ["fxpipe", "teach", str(recordings), "-o", str(output), "--n-chains", str(n_chains)]
    )
    source = shlex.quote(f"folder:{recordings.absolute()}")
    for step in STEPS:
        line = step.format(source=source, n=n_chains)
        line = with_overwrite(line, output / RUN, overwrite=overwrite)
        click.secho(f"\n$ {line}", bold=True)
        run_step(line, output, again, quiet=line.startswith("fxtrain"))
    click.secho(f"\n$ {TEST.removesuffix(' --json')}", bold=True)
    found = json.loads(run_step(TEST, output, again, quiet=True))
    click.echo(f"On {found['n']} clips of recordings that it was not taught:")
    click.echo(f"  {'right':<26}{'in the package':>15}{'taught your guitar':>20}")
    for name, what in TOLD.items():
        row = found["differences"][name]
        click.echo(f"  {what:<26}{row['other']:>15.3f}{row['value']:>20.3f}")
    if found["n_groups"] == 1:
        click.echo(
            "They are of one group of recordings, which does not tell how far others differ."
        )
    run = shlex.quote(str(output / RUN))
    click.echo(f"\nnext: fxtrain predict CLIP --run {run}")
    click.echo(f"      fxtrain serve --run {run}")


def counted(n: int, what: str) -> str:
    return f"{n} {what}{'s' if n != 1 else ''}"
