"""``fxpipe``: parse, call, print. Heavy imports happen inside the commands that need them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from fxpipe import console

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
EXTRA = (
    "this command needs the pipeline, and {name} is not installed: pip install 'fxpipe[pipeline]'"
)


@click.group(context_settings=CONTEXT)
@click.version_option(package_name="fxpipe", prog_name="fxpipe")
def cli() -> None:
    """Render pedal chains on dry guitar and turn the wet audio into token shards.

    \b
    fxpipe render --dataset synth --n-chains 600     renders/
    fxpipe encode --codec embedded                   renders/ -> shards/
    fxtrain fit shards/                              shards/ -> runs/
    """


@cli.command()
@click.argument("name", required=False)
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where data sets lie.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line on stdout.")
def sources(name: str | None, data_dir: Path | None, as_json: bool) -> None:
    """List the sources of dry guitar, or describe one: licence, size, where it lies."""
    from fxpipe.describe import describe_source, list_sources

    click.echo(describe_source(name, data_dir, as_json) if name else list_sources(as_json))


@cli.command()
@click.argument("name")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where to keep it.")
def fetch(name: str, data_dir: Path | None) -> None:
    """Download a data set: resumed, verified, unpacked."""
    from fxpipe.download import fetch_dataset
    from fxpipe.sources import default_data_dir

    click.echo(fetch_dataset(name, data_dir or default_data_dir(), progress=sys.stderr.isatty()))


@cli.command()
@click.option("--dataset", default="synth", show_default=True, help="See 'fxpipe sources'.")
@click.option("--n-chains", type=click.IntRange(3), default=1000, show_default=True)
@click.option("-o", "--output", default="renders", show_default=True, help="Directory or URI.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where the data set lies.")
@click.option("--pool", help="A pool's name or pedals separated by commas.  [default: stompbox]")
@click.option("--lengths", help="Chain lengths: '1-5', '2,3', or weighted '1:1,2:3'.")
@click.option("--order", help="uniform, realistic or fixed.  [default: uniform]")
@click.option("--temperature", type=float, help="How freely 'realistic' leaves the textbook.")
@click.option("--repeats/--no-repeats", default=None, help="May a pedal stand twice in a chain?")
@click.option("--clip-s", type=float, help="Seconds a clip.  [default: 2.0]")
@click.option("--audible-db", type=float, help="Redraw pedals below this.  [default: -30]")
@click.option("--config", type=click.Path(path_type=Path), help="TOML; flags go above it.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("-j", "--workers", type=click.IntRange(1), help="Processes.  [default: all cores]")
@click.option("--scheduler", help="A running dask scheduler, tcp://HOST:8786.")
@click.option("--overwrite", is_flag=True, help="Replace another data set in the output.")
@click.option("--repair", is_flag=True, help="Read every byte that is there; remake what differs.")
@click.option("--dry-run", is_flag=True, help="Say what would be made, and stop.")
@click.option("--json", "as_json", is_flag=True, help="The summary as JSON on stdout.")
def render(**options: Any) -> None:
    """Draw chains, put them on clips of a data set, write renders/. Run again to go on."""
    from fxpipe.verbs import render_command

    render_command(**options)


@cli.command()
@click.argument("renders", default="renders")
@click.option("-o", "--output", default="shards", show_default=True, help="Directory or URI.")
@click.option("--codec", default="44khz", show_default=True, help="A name, or a DAC checkpoint.")
@click.option("--gpu", help="GPU number, or several: 0,1. Without it: the CPU.")
@click.option("--precision", default="fp32", show_default=True, help="Of the encoder, on a GPU.")
@click.option("--format", "backend", default="webdataset", show_default=True, help="Or zarr.")
@click.option("--with-mel", is_flag=True, help="Store log-mel frames beside the codes.")
@click.option("--shard-size", type=click.IntRange(1), help="Samples a shard.")
@click.option("-j", "--workers", type=click.IntRange(1), help="Processes.  [default: all cores]")
@click.option("--scheduler", help="A running dask scheduler, tcp://HOST:8786.")
@click.option("--overwrite", is_flag=True, help="Replace another data set in the output.")
@click.option("--repair", is_flag=True, help="Read every byte that is there; remake what differs.")
@click.option("--dry-run", is_flag=True, help="Say what would be made, and stop.")
@click.option("--json", "as_json", is_flag=True, help="The summary as JSON on stdout.")
def encode(**options: Any) -> None:
    """Turn renders/ into token shards/. Run again to go on."""
    from fxpipe.verbs import encode_command

    encode_command(**options)


@cli.command()
@click.argument("directory")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a problem on stdout.")
def check(directory: str, as_json: bool) -> None:
    """Verify every byte and record of renders/ or shards/; list all problems."""
    from fxpipe.verify import check_directory
    from fxtrain.contract import FxError

    problems = check_directory(directory)
    for problem in problems:
        line = {"where": problem.where, "what": problem.what}
        click.echo(json.dumps(line) if as_json else str(problem))
    if problems:
        raise FxError(f"{directory}: {len(problems)} problem(s)")
    click.echo(f"{directory}: whole", err=True)


@cli.command()
@click.argument("directory")
@click.option("--sample", type=click.IntRange(0), help="Print the record of this sample.")
@click.option("--split", default="train", show_default=True)
@click.option("--listen", type=click.Path(path_type=Path), help="Write the sample as a wav.")
@click.option("--json", "as_json", is_flag=True, help="The summary as JSON on stdout.")
def inspect(directory: str, **options: Any) -> None:
    """Summarise renders/ or shards/: histograms, one sample's record, one sample to hear."""
    from fxpipe.describe import inspect_directory

    click.echo(inspect_directory(directory, **options))


@cli.command()
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), default=Path("demo"), show_default=True
)
@click.option("--n-chains", type=click.IntRange(30), default=800, show_default=True)
def demo(output: Path, n_chains: int) -> None:
    """The whole job once, small and offline: render, encode, fit, evaluate, predict."""
    from fxpipe.demo import run_demo

    run_demo(output, n_chains)


@cli.group()
def codec() -> None:
    """Codec weights: fetch the official ones, train the embedded one."""


@codec.command("fetch")
@click.argument("name", default="44khz")
@click.option("--base-url", help="A mirror that holds the files under their own names.")
def codec_fetch(name: str, base_url: str | None) -> None:
    """Download official DAC weights into DAC's own cache."""
    from fxpipe.codec import fetch_weights

    click.echo(fetch_weights(name, progress=sys.stderr.isatty(), base_url=base_url))


@codec.command("train")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--audio",
    multiple=True,
    type=click.Path(path_type=Path, exists=True),
    help="A folder of dry notes to mix with the synthetic guitar; may be given again.",
)
@click.option("--minutes", type=float, default=9.0, show_default=True, help="Stop after these.")
@click.option("--steps", type=click.IntRange(1), help="Of the whole run.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--export", type=click.Path(path_type=Path), help="Write encoder.safetensors there.")
def codec_train(
    run: Path,
    audio: tuple[Path, ...],
    minutes: float,
    steps: int | None,
    threads: int | None,
    seed: int,
    export: Path | None,
) -> None:
    """Train the embedded codec in RUN, a chunk of --minutes; run again to go on."""
    from fxpipe.codec.recipe import train_embedded
    from fxpipe.codec.train import TrainConfig, export_encoder

    config = TrainConfig(seed=seed) if steps is None else TrainConfig(seed=seed, n_steps=steps)
    report = train_embedded(
        run,
        audio=audio,
        minutes=minutes,
        config=config,
        seed=seed,
        n_threads=threads,
        log=lambda line: click.echo(line, err=True),
    )
    click.echo(
        f"step {report.step}: held-out mel error {report.score.mel_error_db:.2f} dB, "
        f"{'finished' if report.finished else 'type the same again to go on'}"
    )
    if export is not None:
        click.echo(export_encoder(run, export, {"name": "embedded"}))


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def doctor(as_json: bool) -> None:
    """What is installed, which devices and weights are here, and what to do about the rest."""
    from fxpipe.doctor import examine

    facts = examine()
    click.echo(json.dumps(facts) if as_json else "\n".join(f"{k}: {v}" for k, v in facts.items()))


def main() -> None:
    """Entry point; a missing library becomes one line that names the extra."""
    try:
        code = console.run(cli, "fxpipe")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in ("fxpipe", "fxtrain"):
            raise
        click.echo(f"fxpipe: error: {EXTRA.format(name=error.name)}", err=True)
        code = 1
    sys.exit(code)
