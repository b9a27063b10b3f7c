"""``fxpipe demo``: the whole job once, small, offline, through the real programs.

Every step is the command a user would type, shown before it runs.
"""

from __future__ import annotations

import json
import shlex
import time
from pathlib import Path

import click

from fxpipe.steps import run_step, with_overwrite
from fxtrain.contract import arrow

SPLIT, SAMPLE = "test", 1
STEPS = (
    "fxpipe render --dataset synth --n-chains {n} --pool take4 --lengths 1-3",
    "fxpipe encode --codec embedded --with-mel",
    "fxtrain fit shards/ --output runs/demo --epochs 16",
    "fxtrain evaluate runs/demo shards/",
    f"fxpipe inspect renders --split {SPLIT} --sample {SAMPLE} --listen wet.wav --json",
    "fxtrain predict wet.wav --run runs/demo",
)


def run_demo(output: Path, n_chains: int, *, overwrite: bool = False) -> None:
    """Run the steps in ``output``; stop with one line at the first that fails.

    ``overwrite`` replaces what was made there with another number of clips.
    """
    output.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    again = f"fxpipe demo --output {shlex.quote(str(output))} --n-chains {n_chains}"
    answers = []
    for step in STEPS:
        line = with_overwrite(step.format(n=n_chains), output / "runs/demo", overwrite=overwrite)
        click.secho(f"\n$ {line}", bold=True)
        answers.append(run_step(line, output, again, quiet="inspect" in line))
    record = json.loads(answers[-2])
    true = tuple(pedal["name"] for pedal in record["chain"])
    predicted = json.loads(run_step(f"{STEPS[-1]} --json", output, again, quiet=True))
    named = tuple(pedal["name"] for pedal in predicted["pedals"])
    click.secho("\nWhat was on the clip, and what was heard", bold=True)
    click.echo(f"  true       {arrow(true)}")
    click.echo(f"  predicted  {arrow(named)}")
    click.echo(f"\nEverything lies in {output.resolve()}:")
    for name, what in (
        ("renders/", "wet clips with their records"),
        ("shards/", "codec tokens and labels"),
        (
            "runs/demo/",
            "the trained model, its scores (open evaluation.html) and a TensorBoard log",
        ),
        ("wet.wav", "the clip above, to listen to"),
    ):
        click.echo(f"  {name:<11}{what}")
    click.echo(f"Done in {time.monotonic() - began:.0f} s.")
