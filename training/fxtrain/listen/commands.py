"""``fxtrain listen``: make, serve, analyse and export a listening test. Heavy imports inside."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import click

STUDY = click.Path(path_type=Path)


class Band(click.ParamType[tuple[float, float]]):
    name = "LOW,HIGH"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[float, float]:
        if isinstance(value, tuple):
            return value
        try:
            low, high = (float(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not two numbers with a comma, such as 0.25,4", param, ctx)
        return low, high


@click.group()
def listen() -> None:
    """Ask people: can an order be heard, how near is a predicted board?"""


@listen.command()
@click.argument("output", type=STUDY)
@click.option(
    "--kind", type=click.Choice(["abx", "pairwise", "mushra"]), required=True,
    help="abx: can two orders be told apart. The others: how near is a predicted board.",
)  # fmt: skip
@click.option("--items", "items_file", type=STUDY, help="TOML or JSON with chains to compare.")
@click.option("--run", type=STUDY, help="Who predicts [the shipped model] ...")
@click.option("--shards", multiple=True, help="... on what; ABX takes chains from there.")
@click.option(
    "--split", type=click.Choice(["train", "valid", "test"]), default="test", show_default=True
)
@click.option("--renders", help="What the shards were encoded from [renders/ beside them].")
@click.option("--also-right", is_flag=True, help="Ask about clips that RUN got right, too.")
@click.option("--dry", "dry_files", type=STUDY, multiple=True, help="Dry guitar [built-in].")
@click.option("--pool", help="Pedals of random chains, with commas [those of the shards; all].")
@click.option(
    "--band", type=Band(), default="0.25,4", show_default=True,
    help="ABX: how far a swap may move the sound, log-mel dB.",
)  # fmt: skip
@click.option("--n-items", type=click.IntRange(1, 200), help="Questions [8; 4; 10].")
@click.option("--trials", type=click.IntRange(1, 200), help="A listener hears [16; 20; 10].")
@click.option("--repeats", type=click.IntRange(1, 20), help="ABX: of an item, a listener [2].")
@click.option("--catches", type=click.IntRange(0, 20), help="ABX: trials nobody misses [4].")
@click.option("--clip-s", type=float, default=4.0, show_default=True, help="Length of a sound.")
@click.option("--standard", type=click.Choice(["bs1534"]), help="MUSHRA as the standard has it.")
@click.option("--title", default="", help="What listeners read above the test.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--overwrite", is_flag=True, help="Replace a study that nobody has answered.")
@click.option("--json", "as_json", is_flag=True, help="The study as JSON on stdout.")
def make(output: Path, as_json: bool, **options: Any) -> None:
    """Render a listening test into the directory OUTPUT.

    Chains come from --items or --shards, or are drawn: ABX then asks about swaps of neighbours
    that lie in --band, where hearing is in doubt.
    """
    from fxtrain.contract import to_dict
    from fxtrain.listen.make import make_from_options, study_lines

    study = make_from_options(output, **options, say=lambda text: click.echo(text, err=True))
    if as_json:
        click.echo(json.dumps(to_dict(study), ensure_ascii=False))
        return
    for line in study_lines(study):
        click.echo(line, err=True)
    click.echo(f"next: fxtrain listen serve {shlex.quote(str(output))}", err=True)
    click.echo(output)


@listen.command()
@click.argument("study", type=STUDY)
@click.option("--host", default="127.0.0.1", show_default=True, help="0.0.0.0: the network, too.")
@click.option("--port", type=click.IntRange(0, 65535), default=8001, show_default=True)
def serve(study: Path, host: str, port: int) -> None:
    """Let people take the test in STUDY, in a browser. Ctrl-C ends it; every answer is kept."""
    from fxtrain.listen.serving import serve_study

    serve_study(study, host, port, lambda text: click.echo(text, err=True))


@listen.command()
@click.argument("study", type=STUDY)
@click.option("-o", "--output", type=STUDY, help="Directory for the report [STUDY/analysis].")
@click.option("--alpha", type=click.FloatRange(0.0001, 0.5), default=0.05, show_default=True)
@click.option("--no-screening", is_flag=True, help="Keep every listener.")
@click.option("--json", "as_json", is_flag=True, help="The analysis as JSON on stdout.")
def analyse(
    study: Path, output: Path | None, alpha: float, no_screening: bool, as_json: bool
) -> None:
    """Say what the answers in STUDY show: report.html, analysis.json and answers.csv."""
    from fxtrain.listen.analysis import analyse_study

    done = analyse_study(study, output, alpha=alpha, screening=not no_screening)
    if as_json:
        click.echo(json.dumps(done.data, ensure_ascii=False))
        return
    for line in done.lines:
        click.echo(line)
    click.echo(f"written: {done.folder}/report.html, analysis.json, answers.csv", err=True)


@listen.command("export-webmushra")
@click.argument("study", type=STUDY)
@click.argument("output", type=STUDY)
def export_webmushra(study: Path, output: Path) -> None:
    """Write STUDY as a webMUSHRA experiment: a YAML file and WAV files, for labs that run it."""
    from fxtrain.listen.webmushra import export

    for line in export(study, output):
        click.echo(line, err=True)
    click.echo(output)
