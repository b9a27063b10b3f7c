"""``fxpipe``: parse, call, print. Heavy imports happen inside the commands that need them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from fxpipe import console
from fxpipe.options import (
    MAX_CHAINS,
    MAX_COUNTED,
    chain_options,
    fractions_option,
    include_option,
    integer,
    resume_option,
    where_options,
)

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


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
@include_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line on stdout.")
def sources(
    name: str | None, data_dir: Path | None, include: tuple[str, ...], as_json: bool
) -> None:
    """List the sources of dry guitar, or tell all of one: licence, size, what is here of it.

    NAME may be the path of a manifest of your own, ./my-set.json.
    """
    from fxpipe.catalogue import describe_source, list_sources

    click.echo(
        describe_source(name, data_dir, as_json, include)
        if name
        else list_sources(data_dir, as_json)
    )


@cli.command()
@click.argument("name")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where to keep it.")
@click.option(
    "--archive",
    "archives",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Use this file instead of downloading it; may be given again.",
)
def fetch(name: str, data_dir: Path | None, archives: tuple[Path, ...]) -> None:
    """Download a data set: resumed, verified, unpacked.

    NAME may be the path of a manifest of your own, ./my-set.json.
    """
    from fxpipe.fetch.download import fetch_dataset

    click.echo(fetch_dataset(name, data_dir, archives=archives, progress=sys.stderr.isatty()))


@cli.command()
@click.option("--dataset", default="synth", show_default=True, help="See 'fxpipe sources'.")
@click.option("--n-chains", type=click.IntRange(3, MAX_CHAINS), default=1000, show_default=True)
@click.option("-o", "--output", default="renders", show_default=True, help="Directory or URI.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where the data set lies.")
@include_option
@chain_options
@click.option("--clip-s", type=float, help="Seconds a clip.  [default: 2.0]")
@click.option("--audible-db", type=float, help="Redraw pedals below this.  [default: -30]")
@click.option("--phrases", type=float, help="Share of clips from several notes.  [default: 0]")
@click.option("--guitars", type=float, help="Share of clips on other guitars.  [default: 0]")
@click.option("--band-limited", type=float, help="Share of clips without treble.  [default: 0]")
@click.option("--speakers", type=float, help="Share of clips from a loudspeaker.  [default: 0]")
@click.option("--amplifiers", type=float, help="Share of clips from an amplifier.  [default: 0]")
@click.option("--classes/--no-classes", default=None, help="List orders that sound the same.")
@click.option("--alike-db", type=float, help="For --classes, log-mel distance.  [default: 0.5]")
@click.option("--symmetry", type=click.Path(path_type=Path), help="Table of 'fxpipe symmetry'.")
@click.option("--kinds", help="Only recordings of these kinds: 'note,chord'.  [default: all]")
@fractions_option
@click.option("--seed", type=integer, default=0, show_default=True)
@click.option(
    "--split-seed",
    type=integer,
    help="Divides the recordings; one for all parts of a large set.  [default: --seed]",
)
@click.option(
    "--shard-size",
    type=click.IntRange(1, 10_000),
    help="Clips a file.  [default: 25 to 1000, more in a larger set]",
)
@where_options
@click.option("--overwrite", is_flag=True, help="Replace another data set in the output.")
@resume_option
@click.option("--dry-run", is_flag=True, help="Say what would be made, and stop.")
@click.option("--json", "as_json", is_flag=True, help="The summary as JSON on stdout.")
def render(**options: Any) -> None:
    """Draw chains, put them on clips of a data set, write renders/. Run again to go on."""
    from fxpipe.verbs import render_command

    render_command(**options)


@cli.command()
@click.argument("renders", required=False)
@click.option("--n-chains", type=click.IntRange(3, MAX_COUNTED), default=1000, show_default=True)
@chain_options
@fractions_option
@click.option("--seed", type=integer, default=0, show_default=True)
@click.option("--plot", type=click.Path(path_type=Path), help="A picture: FILE.png, .svg or .pdf.")
@click.option("--json", "as_json", is_flag=True, help="Everything counted, as JSON on stdout.")
def plan(**options: Any) -> None:
    """Show what 'render' would draw: lengths, pedals, positions, order, settings. No audio.

    With RENDERS, show what a finished renders directory holds.
    """
    from fxpipe.chains.report import plan_command

    plan_command(**options)


@cli.command()
@click.option("--dataset", default="synth", show_default=True, help="See 'fxpipe sources'.")
@click.option("-o", "--output", default="symmetry", show_default=True, help="Directory.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where the data set lies.")
@click.option("--pool", help="A pool or pedals: 'wah,fuzz'.  [default: all]")
@click.option("--n-clips", type=click.IntRange(1), default=60, show_default=True)
@click.option("--threshold-db", type=float, default=0.5, show_default=True, help="Log-mel.")
@click.option("--quantile", type=float, default=0.9, show_default=True, help="Of the clips.")
@click.option("--config", type=click.Path(path_type=Path), help="TOML, as for render.")
@click.option("--seed", type=integer, default=0, show_default=True)
@where_options
@click.option("--json", "as_json", is_flag=True, help="The table as JSON on stdout.")
def symmetry(**options: Any) -> None:
    """Measure which pairs of pedals commute: table, CSV and heat map."""
    from fxpipe.verbs_orders import symmetry_command

    symmetry_command(**options)


@cli.command()
@chain_options
@click.option("--symmetry", type=click.Path(path_type=Path), help="Table of 'fxpipe symmetry'.")
@click.option("--threshold-db", type=float, default=0.5, show_default=True, help="Log-mel.")
@click.option("--quantile", type=float, default=0.9, show_default=True, help="Of the clips.")
@click.option("--seed", type=integer, default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def ceiling(**options: Any) -> None:
    """What any listener can reach: null, ceiling and class-aware ceiling of exact match."""
    from fxpipe.verbs_orders import ceiling_command

    ceiling_command(**options)


@cli.command()
@click.argument("renders", default="renders")
@click.option("-o", "--output", default="shards", show_default=True, help="Directory or URI.")
@click.option("--codec", default="44khz", show_default=True, help="A name, or a DAC checkpoint.")
@click.option("--gpu", help="GPU number, or several: 0,1; one process each, or -j.")
@click.option("--precision", help="Of the encoder.  [default: fp32; with --gpu fp16]")
@click.option("--exact", is_flag=True, help="IEEE fp32 everywhere, through dac's own layers.")
@click.option(
    "--compile/--no-compile",
    "compile_it",
    default=None,
    help="On a GPU, and for bf16.  [default: if it pays]",
)
@click.option("--max-vram", "max_vram_gb", type=click.FloatRange(0.5), help="Cap, in GB, a GPU.")
@click.option("--format", "backend", default="webdataset", show_default=True, help="Or zarr.")
@click.option("--with-mel", is_flag=True, help="Store log-mel, and clues, beside the codes.")
@click.option("--mel-only", is_flag=True, help="Store log-mel and clues, no codes: much quicker.")
@click.option(
    "--window-s", type=click.FloatRange(0.1), help="Hear clips in windows, as predict does."
)
@click.option("--shard-size", type=click.IntRange(1), help="Samples a shard.")
@where_options
@click.option("--overwrite", is_flag=True, help="Replace another data set in the output.")
@resume_option
@click.option("--dry-run", is_flag=True, help="Say what would be made, and stop.")
@click.option("--json", "as_json", is_flag=True, help="The summary as JSON on stdout.")
def encode(**options: Any) -> None:
    """Turn renders/ into token shards/. Run again to go on."""
    from fxpipe.verbs import encode_command

    encode_command(**options)


@cli.command()
@click.argument("directory")
@click.option(
    "--against", metavar="OTHER", help="Say what differs from OTHER instead, byte by byte."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a problem on stdout.")
def check(directory: str, against: str | None, as_json: bool) -> None:
    """Verify every byte and record of renders/ or shards/; list all problems.

    In renders/ also: one performance on two sides of the split, told by its sound.
    With --against: do both hold the same data set, down to the byte?
    """
    from fxpipe.verify import check_command

    check_command(directory, against, as_json=as_json)


@cli.command()
@click.argument("pedal", required=False, type=click.Path(path_type=Path))
def pedals(pedal: Path | None) -> None:
    """List all pedals with their settings, or one PEDAL; of a .vst3 file the TOML to fill in."""
    from fxpipe.pedals.listing import list_pedals

    click.echo(list_pedals(pedal))


@cli.command()
@click.argument("shards")
@click.argument("output")
@click.option("--private", is_flag=True, help="Although it may not be shared: for yourself only.")
def export(shards: str, output: str, private: bool) -> None:
    """Write SHARDS as plain webdataset tars, one sample at a time, for other tools."""
    from fxpipe.verbs import export_command

    export_command(shards, output, private=private)


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
@click.option("--overwrite", is_flag=True, help="Replace a demo of another size there.")
def demo(output: Path, n_chains: int, overwrite: bool) -> None:
    """The whole job once, small and offline: render, encode, fit, evaluate, predict."""
    from fxpipe.demo import run_demo

    run_demo(output, n_chains, overwrite=overwrite)


@cli.command()
@click.argument("recordings", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), default=Path("my-guitar"), show_default=True
)
@click.option("--n-chains", type=click.IntRange(100), default=2000, show_default=True)
@click.option("--overwrite", is_flag=True, help="Replace what was learnt from others there.")
def teach(recordings: Path, output: Path, n_chains: int, overwrite: bool) -> None:
    """Teach the model in the package your guitar: RECORDINGS is a folder of it without effects.

    Three recordings or more, each of something else; half a minute of playing each is plenty.
    It takes a quarter of an hour on two slow cores.
    """
    from fxpipe.teach import teach as teach_guitar

    teach_guitar(recordings, output, n_chains, overwrite=overwrite)


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


@codec.command("listen")
@click.argument("clip", type=click.Path(path_type=Path, exists=True))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), default="tokens.wav", show_default=True
)
@click.option("--codebooks", type=click.IntRange(1), help="Only the first so many.  [default: all]")
@click.option("--weights", type=click.Path(path_type=Path), help="A folder of 'train --export'.")
def codec_listen(clip: Path, output: Path, codebooks: int | None, weights: Path | None) -> None:
    """Write what the embedded codec's tokens keep of CLIP, as a sound."""
    from fxpipe.codec import CODECS
    from fxpipe.codec.listen import decoded
    from fxpipe.describe import write_sound
    from fxpipe.ears import level
    from fxpipe.frontend import open_frontend

    rate = CODECS["embedded"].sample_rate_hz
    wave, _ = level(*open_frontend().read(clip), rate)
    write_sound(output, decoded(wave, codebooks, weights), rate)
    click.echo(output)


@codec.command("train")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--renders",
    multiple=True,
    required=True,
    help="Finished renders to learn from, with a test split; may be given again.",
)
@click.option("--device", default="cpu", show_default=True, help="Or cuda.")
@click.option("--minutes", type=float, default=9.0, show_default=True, help="Stop after these.")
@click.option("--steps", type=click.IntRange(1), help="Of the whole run.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads.")
@click.option("--seed", type=integer, default=0, show_default=True)
@click.option(
    "--decoder-of",
    type=click.Path(path_type=Path),
    help="A folder of --export: keep its encoder, and all tokens; learn its decoder further.",
)
@click.option("--export", type=click.Path(path_type=Path), help="Write encoder.safetensors there.")
def codec_train(
    run: Path,
    renders: tuple[str, ...],
    device: str,
    minutes: float,
    steps: int | None,
    threads: int | None,
    seed: int,
    decoder_of: Path | None,
    export: Path | None,
) -> None:
    """Train the embedded codec in RUN, a chunk of --minutes; run again to go on."""
    from fxpipe.codec import recipe
    from fxpipe.codec.train import export_encoder

    def log(line: str) -> None:
        click.echo(line, err=True)

    config = recipe.config_for(device, seed=seed, n_steps=steps, decoder_of=decoder_of)
    report = recipe.train_on_renders(
        run, renders, device=device, config=config, minutes=minutes, n_threads=threads, log=log
    )
    click.echo(
        f"step {report.step}: held-out mel error {report.score.mel_error_db:.2f} dB, "
        f"{'finished' if report.finished else 'type the same again to go on'}"
    )
    if export is not None:
        click.echo(export_encoder(run, export, {"name": "embedded"}))


@cli.command()
@click.option("--full", is_flag=True, help="Also start a dask worker and make one clip.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def doctor(full: bool, as_json: bool) -> int:
    """What is installed, which devices and weights are here, and what to do about the rest.

    Exit code 1 where something is a problem; warnings alone are 0.
    """
    from fxpipe import doctor as room

    findings = room.examine(full=full)
    if as_json:
        click.echo(json.dumps(room.as_json(findings), ensure_ascii=False))
    else:
        colour = room.wants_colour(sys.stdout.isatty())
        click.echo("\n".join(room.lines(findings, colour=colour)))
    return room.exit_code(findings)


def main() -> None:
    """Entry point; a missing library becomes one line that names the extra."""
    console.open_streams()
    try:
        code = console.run(cli, "fxpipe")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in ("fxpipe", "fxtrain"):
            raise
        from fxtrain.contract import to_install

        click.echo(
            f"fxpipe: error: this command needs the pipeline, and {error.name} is not installed: "
            f"{to_install('pipeline')}",
            err=True,
        )
        code = 1
    sys.exit(code)
