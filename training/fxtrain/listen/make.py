"""What ``fxtrain listen make`` was asked for -> specs -> a study."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fxtrain.contract import (
    Chain,
    Frontend,
    PedalEntry,
    UsageError,
    open_frontend,
    unknown_name,
)
from fxtrain.finding import model_folder
from fxtrain.listen.build import DEFAULTS, Plan, check_free, make_study, training_of
from fxtrain.listen.draw import clear_differences, doubtful_swaps, random_chains
from fxtrain.listen.dries import Dries, Dry
from fxtrain.listen.items import ItemSpec, by_name, read_items
from fxtrain.listen.session import plan_session
from fxtrain.listen.study import KINDS, Study

SECONDS_A_TRIAL = {"abx": 20, "pairwise": 20, "mushra": 75}
"""Rough, for the estimate of a session's length."""


def make_from_options(
    output: Path,
    *,
    kind: str,
    items_file: Path | None,
    run: Path | None,
    shards: Sequence[str],
    split: str,
    renders: str | None,
    also_right: bool,
    dry_files: Sequence[Path],
    pool: str | None,
    band: tuple[float, float],
    n_items: int | None,
    trials: int | None,
    repeats: int | None,
    catches: int | None,
    clip_s: float,
    standard: str | None,
    title: str,
    seed: int,
    overwrite: bool,
    say: Callable[[str], None] = lambda text: None,
) -> Study:
    """The study, written to ``output``; ``say`` hears what takes a while."""
    given = {"n_items": n_items, "trials": trials, "repeats": repeats, "catches": catches}
    settings = DEFAULTS[kind] | {name: n for name, n in given.items() if n is not None}
    plan = Plan(
        kind=kind, title=title, standard=standard or "", seed=seed, clip_s=clip_s, **settings
    )
    _check_sources(kind, items_file, run, shards)
    check_free(output, overwrite=overwrite)
    frontend = open_frontend()
    dataset = None
    if shards:
        from fxtrain.data import open_shards

        dataset = open_shards(shards)
        pool = pool or ",".join(dataset.index.vocabulary.names)
    pedals = _pool(frontend, pool)
    dries = Dries(frontend, dry_files, clip_s=clip_s, seed=seed)
    recipe: dict[str, Any] = {"dry": [path.name for path in dry_files] or "built-in guitar"}
    if items_file is not None:
        specs = read_items(items_file, by_name(frontend.pedals()), kind, dries)
        recipe["items"] = items_file.name
    elif dataset is None:
        say(f"drawing chains and measuring swaps, until {plan.n_items} lie within the band")
        chains = random_chains(pedals, np.random.default_rng([seed, 0]))
        specs = doubtful_swaps(frontend, dries.under(chains), plan.n_items, band)
        recipe["band_db"] = list(band)
    else:
        from fxtrain.listen.predicted import Clips, doubtful_first, predicted_items
        from fxtrain.sounds import Sounds

        sounds = Sounds(dataset, split, renders)
        clips = Clips(sounds, frontend, dries, given=bool(dry_files))
        recipe |= {"shards": [Path(uri).name for uri in shards], "split": split}
        say(f"looking for {plan.n_items} clips of split {split!r} to ask about")
        if kind == "abx":
            rng = np.random.default_rng([seed, 0])
            played = doubtful_first(dataset, split, clips, rng, band)
            specs = doubtful_swaps(frontend, played, plan.n_items, band)
            recipe["band_db"] = list(band)
        else:
            model = model_folder(run)
            looked = predicted_items(
                model, dataset, split, plan.n_items, clips, seed=seed, also_right=also_right
            )
            specs = looked.specs
            recipe |= {
                "run": model.name, "also_right": also_right,
                "looked_at": looked.n_looked_at, "right": looked.n_right,
            }  # fmt: skip
        recipe["dry"] = clips.dry_words or recipe["dry"]
        recipe["shareable"] = dataset.index.shareable or not clips.n_own
    if kind == "abx":
        easy = random_chains(pedals, np.random.default_rng([seed, 6]))
        shelf = _like(specs, dries)
        clear = clear_differences(frontend, shelf(easy), plan.catches + 1)
        specs, training = [*specs, *clear[1:]], clear[:1]
    else:
        training = training_of(specs)
    say(f"rendering {len(specs)} items, {len(training)} for practice")
    return make_study(output, plan, specs, training, frontend, pedals, recipe)


def _check_sources(
    kind: str, items_file: Path | None, run: Path | None, shards: Sequence[str]
) -> None:
    if items_file is not None and (run is not None or shards):
        raise UsageError("--items names the chains; leave --run and --shards away, or --items")
    if items_file is not None:
        return
    if kind == "abx" and run is not None:
        raise UsageError("ABX asks about orders, not predictions: leave --run away")
    if kind != "abx" and not shards:
        raise UsageError(
            f"--kind {kind} compares predictions with the truth: give --shards SHARDS, or chains "
            "of your own with --items FILE"
        )


def _pool(frontend: Frontend, pool: str | None) -> tuple[PedalEntry, ...]:
    known = by_name(frontend.pedals())
    if pool is None:
        return tuple(known.values())
    names = [name.strip() for name in pool.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise UsageError(f"--pool: {unknown_name('pedal', name, known)}")
    return tuple(known[name] for name in dict.fromkeys(names))


def _like(
    specs: Sequence[ItemSpec], dries: Dries
) -> Callable[[Iterable[Chain]], Iterable[tuple[Dry, Chain]]]:
    """Chains on recordings as long as those of ``specs``: the next ones, or theirs again."""
    own = [spec.dry for spec in specs]
    if own[0].n_run_in:
        return lambda chains: zip(itertools.cycle(own), chains, strict=False)
    return dries.under


def study_lines(study: Study) -> list[str]:
    """For people: what was made, and what it asks of a listener."""
    trials = plan_session(study, 0)
    minutes = len(trials) * SECONDS_A_TRIAL[study.kind] / 60
    lines = [
        f"{study.kind}: {KINDS[study.kind]}",
        f"items    {len(study.asked)}, {study.duration_s:g} s each, conditions: "
        f"{', '.join(study.conditions)}",
        f"session  {len(trials)} trials, {sum(t.part == 'training' for t in trials)} of them "
        f"training, about {minutes:.0f} minutes",
    ]
    if study.caught:
        lines.append(f"catch    {len(study.caught)} of the trials tell who listens")
    if study.recipe.get("shareable") is False:
        lines.append("licence  the recordings may not be passed on, so neither may this test")
    if study.kind == "abx":
        far = [next(iter(study.items[i].distance_db.values())) for i in study.asked]
        lines.append(f"distance {min(far):.2f} to {max(far):.2f} dB of log-mel between A and B")
    elif "looked_at" in study.recipe:
        r = study.recipe
        lines.append(f"model    right on {r['right']} of the {r['looked_at']} clips looked at")
    return lines
