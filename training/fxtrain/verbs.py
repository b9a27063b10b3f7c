"""``fxtrain evaluate`` once its options are read. Heavy imports inside."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from fxtrain.contract import UsageError

Say = Callable[[str], None]


def evaluate_command(
    *,
    run: Path | None,
    shards: Sequence[str],
    manifest: Path | None,
    each_clip: bool,
    split: str,
    against: Path | None,
    rerender: int | None,
    output: Path | None,
    html: bool,
    clips: int,
    renders: str | None,
    seed: int,
    device: str,
    as_json: bool,
    say: Say,
) -> int:
    """Score ``run``, and how it differs from ``against``; a model in the package is written about
    below ``runs/``. With ``manifest``, recordings of a kit are scored."""
    if manifest is not None:
        if shards or against or rerender or renders or output:
            raise UsageError(
                "--manifest takes no SHARDS, no --against, no --rerender, no --renders and no -o"
            )
        from fxtrain.zeroshot.verbs import judge_manifest

        return judge_manifest(
            run, manifest, each_clip=each_clip, html=html, clips=clips, seed=seed,
            device=device, as_json=as_json,
        )  # fmt: skip
    if run is None or not shards:
        named = f"; {run} was taken for RUN, and no SHARDS were named" if run is not None else ""
        raise UsageError(f"give RUN and SHARDS, or --manifest renders.csv{named}")

    from fxtrain.calm import keep_freed_memory, share_the_cores
    from fxtrain.data import open_shards
    from fxtrain.finding import RUNS, SHIPPED, model_folder, refuse_data_set

    share_the_cores()
    keep_freed_memory()
    folder = model_folder(run)
    output = output or (RUNS / SHIPPED.name if folder == SHIPPED else folder)
    refuse_data_set(output)
    other_folder = None if against is None else model_folder(against)
    dataset = open_shards(shards)

    from fxtrain import evaluate as answering
    from fxtrain import judging
    from fxtrain.answers import save_clips
    from fxtrain.checkpoint import check_data, load_run, warning_of_leak, warning_of_length
    from fxtrain.contract import VocabularyError
    from fxtrain.device import resolve_device
    from fxtrain.paired import difference_lines, differences, differences_dict
    from fxtrain.report import write_page
    from fxtrain.sounds import Sounds

    place = resolve_device(device)
    loaded, rival = load_run(folder, place), None
    if other_folder is not None:
        rival = load_run(other_folder, place)
        try:  # before the first has answered
            check_data(rival.card, dataset.index, dataset.folder.uri, all_codes=dataset.all_codes)
        except VocabularyError as error:
            raise VocabularyError(f"--against {against}: {error}") from None
    answers = answering.answer(loaded, dataset, split)
    if leak := warning_of_leak(loaded.card, dataset.index, split):
        say(leak)
    if other := warning_of_length(loaded.card, dataset.index):
        say(other)
    if loaded.card.model.use_codes and not dataset.all_codes:
        say("warning: some shards hold log-mel alone; of their clips the model hears no tokens")
    apart, told_apart = None, {}
    if rival is not None:
        theirs = answering.answer(rival, dataset, split)
        apart = differences(answers, theirs, loaded.card.vocabulary.families, seed=seed)
        told_apart = differences_dict(apart, str(against))
    sounds = Sounds(dataset, split, renders)
    evaluation = judging.judge(loaded, dataset.index.identity, answers, seed=seed)
    try:
        judging.save_evaluation(output, evaluation, told_apart)
        save_clips(output, answers)
        if rerender:
            evaluation = answering.by_ear(answers, evaluation, sounds, rerender, seed, say)
            judging.save_evaluation(output, evaluation, told_apart)
    finally:  # scores took minutes: they are told also where they cannot be written
        if as_json:
            data = judging.evaluation_dict(evaluation) | told_apart
            click.echo(json.dumps(data, ensure_ascii=False))
        else:
            for line in judging.table(evaluation):
                click.echo(line)
            if apart is not None:
                click.echo()
                for line in difference_lines(apart, str(run), str(against), evaluation.n_groups):
                    click.echo(line)
    if html:
        page = write_page(
            loaded, dataset, answers, evaluation, sounds, n_clips=clips, folder=output
        )
        say(f"page: {page}")
    return 0
