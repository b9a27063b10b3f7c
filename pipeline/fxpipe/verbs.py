"""What ``fxpipe render``, ``encode`` and ``export`` do between their options and their summary."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from fxpipe.config import parse_fractions, parse_kinds, render_spec
from fxpipe.console import Progress
from fxpipe.differs import facts_of_plan, facts_of_recipe, facts_of_renders, facts_of_shards
from fxpipe.encode import (
    EncodeSpec,
    codec_of,
    encode_all,
    encode_identity,
    n_windows_of,
    shard_size_for,
)
from fxpipe.errors import DataMissingError, DownloadError, SourceError
from fxpipe.orders.commute import load_table
from fxpipe.renders import (
    Plan,
    RendersIndex,
    make_plan,
    read_renders_index,
    render_all,
)
from fxpipe.resume import (
    RENDERS,
    SHARDS,
    alone_in,
    is_begun,
    is_finished,
    is_same_place,
    refuse_altered,
)
from fxpipe.shard_size import settle_shard_size
from fxpipe.sources import Source, default_data_dir, open_source
from fxpipe.sources.manifest import load_manifest
from fxpipe.sources.splits import DEFAULT_FRACTIONS
from fxpipe.summary import encode_summary, render_summary
from fxpipe.tasks import choose_workers, seen_by
from fxpipe.verify import refuse_gaps
from fxtrain.contract import (
    DatasetIndex,
    Folder,
    FxError,
    UsageError,
    arrow,
    count_all,
    open_folder,
    read_index,
    to_dict,
)

BYTES_PER_SAMPLE = 2
SHOWN_SKIPS = 10


def render_command(
    *,
    dataset: str,
    n_chains: int,
    output: str,
    data_dir: Path | None,
    include: tuple[str, ...],
    config: Path | None,
    seed: int,
    kinds: str | None,
    fractions: str | None,
    split_seed: int | None,
    symmetry: Path | None,
    shard_size: int | None,
    workers: int | None,
    scheduler: str | None,
    cluster: str | None,
    overwrite: bool,
    resume: bool,
    dry_run: bool,
    as_json: bool,
    **chain_options: Any,
) -> None:
    refuse_both(resume=resume, overwrite=overwrite)
    where = choose_workers(workers, scheduler, cluster)
    spec = render_spec(config, chain_options)
    if spec.chain.solved is not None and spec.chain.solved.missed:
        click.echo(f"warning: {spec.chain.solved.missed}", err=True)
    if dry_run and (missing := what_to_fetch(dataset, data_dir, include)):
        click.echo(f"would fetch {missing}, then render {n_chains} chains on it into {output}")
        return
    source = open_or_fetch(dataset, data_dir, include)
    plan = make_plan(
        spec,
        source,
        n_chains,
        seed,
        progress=sys.stderr.isatty(),
        kinds=parse_kinds(kinds) if kinds is not None else (),
        fractions=parse_fractions(fractions) if fractions is not None else DEFAULT_FRACTIONS,
        symmetry=load_table(symmetry) if symmetry else None,
        split_seed=split_seed,
        shard_size=shard_size,
    )
    warn_skipped(plan)
    folder = open_folder(seen_by(where, output))
    n_bytes = n_chains * spec.n_samples * BYTES_PER_SAMPLE
    if dry_run:
        click.echo(
            f"would render {n_chains} chains of {arrow(spec.chain.pool)} at lengths "
            f"{sorted(spec.chain.lengths)} on {dataset} into {output}: {n_bytes / 1e9:.2f} GB"
        )
    if lacking := _lacks_room(folder, n_bytes):
        if not dry_run:
            raise FxError(lacking)
        click.echo(f"warning: {lacking}", err=True)
    if dry_run:
        return
    identity = plan.identity
    asked = facts_of_plan(plan)
    finished = not overwrite and is_finished(
        folder, RENDERS, read_renders_index, identity, facts_of_renders, asked
    )
    if finished and not resume:
        click.echo(f"{output}: already rendered, nothing to do", err=True)
        index = read_renders_index(folder)
        settle_shard_size(folder, plan, index.shards)
    else:
        with (
            alone_in(folder, RENDERS, identity, overwrite=overwrite, asked=asked),
            resumable(overwrite=overwrite),
            Progress(n_chains, "render") as bar,
        ):
            index = render_all(folder, plan, where, bar.shard, repair=resume, on_found=bar.found)
    click.echo(json.dumps(_summary(index)) if as_json else render_summary(index, output))


def encode_command(
    *,
    renders: str,
    output: str,
    codec: str,
    gpu: str | None,
    precision: str | None,
    exact: bool,
    compile_it: bool | None,
    max_vram_gb: float | None,
    backend: str,
    with_mel: bool,
    mel_only: bool,
    window_s: float | None,
    shard_size: int | None,
    workers: int | None,
    scheduler: str | None,
    cluster: str | None,
    overwrite: bool,
    resume: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    from fxpipe.arithmetic import choose_arithmetic, share_memory, workers_for
    from fxpipe.codec import CODECS, fetch_weights
    from fxpipe.store import ALSO_CALLED, open_writer, refuse_bad_size

    refuse_both(resume=resume, overwrite=overwrite)
    where = choose_workers(workers, scheduler, cluster)
    if codec not in CODECS and Path(codec).exists():
        codec = seen_by(where, codec)
    backend = ALSO_CALLED.get(backend, backend)
    open_writer(backend)
    renders_folder = open_folder(seen_by(where, renders))
    folder = open_folder(seen_by(where, output))
    if is_same_place(renders_folder.uri, folder.uri):
        raise UsageError(
            f"{output}: is where the renders lie that are to be read; give another -o for the "
            "shards"
        )
    try:
        refuse_bad_size(backend, shard_size)
    except UsageError:
        if overwrite or not is_begun(folder):  # one that was made so before can be gone on with
            raise
    index = read_renders_index(renders_folder)
    refuse_altered(renders_folder)
    refuse_gaps(renders_folder, index)
    n = count_all(index.counts)
    chosen = choose_arithmetic(
        gpu=gpu,
        precision=precision,
        exact=exact,
        compile_it=compile_it,
        max_vram_gb=max_vram_gb,
        n_clips=n,
        elsewhere=where.are_remote,
        mel_only=mel_only,
    )
    devices = chosen.devices
    if gpu is not None and not where.are_remote:
        where = choose_workers(workers_for(devices, workers), None, None)
        chosen = share_memory(chosen, where.n_workers)
    wanted = (with_mel or mel_only, backend, shard_size, window_s)
    spec = EncodeSpec(codec, chosen.precision, *wanted)
    n_windows_of(index, spec)  # refused here, before weights are fetched
    if dry_run:
        what = "as log-mel alone" if mel_only else f"with {codec} in {chosen.precision}"
        click.echo(
            f"would encode {n} clips of {renders} {what} on {', '.join(devices)} into {output}: "
            f"{backend} shards of {shard_size_for(spec, n)}"
        )
        return
    if codec in CODECS:
        try:
            fetch_weights(codec, progress=sys.stderr.isatty())
        except DownloadError as error:
            raise DownloadError(
                f"{error}; the weights of {codec!r} are needed: type 'fxpipe codec fetch {codec}' "
                "where there is a network, or use '--codec embedded', which is in the package"
            ) from None
    info, codebooks = codec_of(spec)
    identity, recipe = encode_identity(index, info, spec)
    asked = facts_of_recipe(recipe, info, index)
    finished = not overwrite and is_finished(
        folder, SHARDS, read_index, identity, facts_of_shards, asked
    )
    if finished and not resume:
        click.echo(f"{output}: already encoded, nothing to do", err=True)
        shards = read_index(folder)
    else:
        with (
            alone_in(folder, SHARDS, identity, overwrite=overwrite, asked=asked),
            resumable(overwrite=overwrite),
            Progress(n, "encode") as bar,
        ):
            shards = encode_all(
                renders_folder,
                index,
                folder,
                spec,
                where,
                devices,
                bar.shard,
                repair=resume,
                how=chosen.how,
                on_found=bar.found,
                codec=(info, codebooks),
            )
    click.echo(json.dumps(_summary(shards)) if as_json else encode_summary(shards, output))


def export_command(shards: str, output: str, *, private: bool) -> None:
    from fxpipe.export import export, is_exported, refuse_unshareable, tar_names

    source, folder = open_folder(shards), open_folder(output)
    index = read_index(source)
    refuse_altered(source)
    refuse_unshareable(index, shards, private=private)
    n = count_all(index.counts)
    if is_exported(folder, index):
        click.echo(f"{output}: already exported, nothing to do", err=True)
    else:
        with Progress(n, "export") as bar:
            export(shards, folder, private=private, on_sample=bar.add)
    n_tars = len(tar_names(index))
    click.echo(f"{n} samples in {n_tars} tars in {folder.uri}; licence: {folder.uri}/LICENCE.txt")


def refuse_both(*, resume: bool, overwrite: bool) -> None:
    """Together they would delete what was to be gone on with."""
    if resume and overwrite:
        raise UsageError(
            "--resume goes on with what is there, --overwrite deletes it: give one of them"
        )


def what_to_fetch(dataset: str, data_dir: Path | None, include: Sequence[str]) -> str | None:
    """Name and size of what ``open_or_fetch`` would download; None where it is here."""
    try:
        open_source(dataset, data_dir=data_dir, include=include)
    except DataMissingError:
        manifest = None if ":" in dataset or data_dir is not None else load_manifest(dataset)
        if manifest is None or not manifest.files:
            raise
        n_bytes = [file.expected_bytes for file in manifest.files]
        size = _size(sum(n_bytes)) if all(n_bytes) else "of a size that nobody stated"
        return f"{dataset} ({', '.join(file.name for file in manifest.files)}: {size})"
    return None


def open_or_fetch(dataset: str, data_dir: Path | None, include: Sequence[str] = ()) -> Source:
    """The source; one that is not on this machine is fetched, or the line says what to type."""
    from fxpipe.fetch.download import fetch_dataset

    try:
        return open_source(dataset, data_dir=data_dir, include=include)
    except DataMissingError as missing:
        if ":" in dataset or data_dir is not None:
            raise
        click.echo(f"{dataset} is not on this machine: fetching it", err=True)
        try:
            fetch_dataset(dataset, default_data_dir(), progress=sys.stderr.isatty())
        except (DownloadError, SourceError) as error:
            raise DataMissingError(f"{missing} (fetching it failed: {error})") from None
        return open_source(dataset, data_dir=data_dir, include=include)


def warn_skipped(plan: Plan) -> None:
    skipped = plan.scan.skipped
    if skipped:
        click.echo(
            f"skipped {len(skipped)} of {len(skipped) + len(plan.scan.items)} files", err=True
        )
        for entry in skipped[:SHOWN_SKIPS]:
            click.echo(f"  {entry.item_id}: {entry.reason}", err=True)
        if len(skipped) > SHOWN_SKIPS:
            click.echo(f"  … and {len(skipped) - SHOWN_SKIPS} more, all in the index", err=True)


def _lacks_room(folder: Folder, n_bytes: int) -> str:
    """Where a local disk cannot hold the output, how much is missing."""
    if "://" in folder.uri:
        return ""
    path = Path(folder.uri).absolute()
    existing = next(p for p in (path, *path.parents) if p.exists())
    have = sum(folder.size(name) or 0 for name in folder.names()) if path.is_dir() else 0
    free = shutil.disk_usage(existing).free
    if n_bytes - have <= free:
        return ""
    return (
        f"{path}: {_size(n_bytes - have)} are needed and {_size(free)} are free; free some space, "
        "or choose another --output"
    )


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.1f} MB"


@contextmanager
def resumable(*, overwrite: bool) -> Iterator[None]:
    """Stopped or failed, what is finished stays: Ctrl-C prints the line that goes on. The same line
    with ``overwrite`` would not."""
    try:
        yield
    except KeyboardInterrupt:
        program = Path(sys.argv[0]).name
        begun = ["python", "-m", "fxpipe"] if program == "__main__.py" else [program]
        typed = [word for word in sys.argv[1:] if word != "--overwrite"]
        what = "type this, without --overwrite" if overwrite else "type the same again"
        command = shlex.join([*begun, *typed])
        click.echo(f"\nwhat is finished is kept; to go on, {what}: {command}", err=True)
        raise
    except (FxError, OSError):
        if overwrite:
            click.echo("typed again with --overwrite it begins anew: leave that away", err=True)
        raise


def _summary(index: RendersIndex | DatasetIndex) -> dict[str, Any]:
    keys = ("kind", "identity", "licences", "shareable", "counts", "redraws", "skipped", "codec",
            "versions")  # fmt: skip
    return {key: to_dict(getattr(index, key)) for key in keys if hasattr(index, key)}
