"""What ``fxtrain listen make`` was asked for -> specs -> a study."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
from fxtrain.listen.draw import clear_differences, doubtful_swaps, random_chains
from fxtrain.listen.dries import Dries
from fxtrain.listen.items import by_name, read_items
from fxtrain.listen.make import DEFAULTS, Plan, check_free, make_study, training_of
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
) -> Study:
    """The study, written to ``output``."""
    given = {"n_items": n_items, "trials": trials, "repeats": repeats, "catches": catches}
    settings = DEFAULTS[kind] | {name: n for name, n in given.items() if n is not None}
    plan = Plan(
        kind=kind, title=title, standard=standard or "", seed=seed, clip_s=clip_s, **settings
    )
    _check_sources(kind, items_file, run, shards)
    check_free(output, overwrite=overwrite)
    frontend = open_frontend()
    pedals = _pool(frontend, pool)
    dries = Dries(frontend, dry_files, clip_s=clip_s, seed=seed)
    recipe: dict[str, Any] = {"dry": [path.name for path in dry_files] or "built-in guitar"}
    if items_file is not None:
        specs = read_items(items_file, by_name(frontend.pedals()), kind, dries)
        recipe["items"] = items_file.name
    elif kind == "abx":
        chains = _abx_chains(pedals, shards, split, seed, band)
        specs = doubtful_swaps(frontend, dries, chains, plan.n_items, band)
        recipe |= {"band_db": list(band), "shards": [Path(uri).name for uri in shards]}
    else:
        assert run is not None
        from fxtrain.listen.predicted import predicted_items

        looked = predicted_items(
            run, shards, split, plan.n_items,
            seed=seed, also_right=also_right, pedals=by_name(frontend.pedals()), dries=dries,
        )  # fmt: skip
        specs = looked.specs
        recipe |= {
            "run": run.name, "split": split, "also_right": also_right,
            "looked_at": looked.n_looked_at, "right": looked.n_right,
        }  # fmt: skip
    if kind == "abx":
        easy = random_chains(pedals, np.random.default_rng([seed, 6]))
        clear = clear_differences(frontend, dries, easy, plan.catches + 1)
        specs, training = [*specs, *clear[1:]], clear[:1]
    else:
        training = training_of(specs)
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
    if kind != "abx" and (run is None or not shards):
        raise UsageError(
            f"--kind {kind} compares predictions with the truth: give --run RUN and --shards "
            "SHARDS, or chains of your own with --items FILE"
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


def _abx_chains(
    pedals: Sequence[PedalEntry],
    shards: Sequence[str],
    split: str,
    seed: int,
    band: tuple[float, float],
) -> Iterator[Chain]:
    rng = np.random.default_rng([seed, 0])
    if not shards:
        return random_chains(pedals, rng)
    from fxtrain.data import open_shards
    from fxtrain.listen.predicted import doubtful_first

    return doubtful_first(open_shards(shards), split, rng, band)


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
    if study.kind == "abx":
        far = [next(iter(study.items[i].distance_db.values())) for i in study.asked]
        lines.append(f"distance {min(far):.2f} to {max(far):.2f} dB of log-mel between A and B")
    elif "looked_at" in study.recipe:
        r = study.recipe
        lines.append(f"model    right on {r['right']} of the {r['looked_at']} clips looked at")
    return lines
