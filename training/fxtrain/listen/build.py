"""Item specs -> a study: chains rendered, anchors added, all at one loudness, written to disk."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fxtrain.contract import Chain, FileEntry, Frontend, FxError, PedalEntry, UsageError
from fxtrain.installed import versions_of
from fxtrain.listen.draw import random_chain, worst_order
from fxtrain.listen.dries import Dry
from fxtrain.listen.dries import play as play_chain
from fxtrain.listen.items import ItemSpec
from fxtrain.listen.sound import (
    TARGET_LUFS,
    TRUE_PEAK_DBTP,
    fade,
    lowpass,
    true_peak_dbtp,
    wav_bytes,
)
from fxtrain.listen.store import count_answers
from fxtrain.listen.study import (
    ANCHOR_HZ,
    ANSWERS_NAME,
    DRY,
    KINDS,
    OWN_NAMES,
    RANDOM_CHAIN,
    REFERENCE,
    STANDARDS,
    STUDY_NAME,
    WORST_ORDER,
    Item,
    Sound,
    Study,
    sound_name,
    write_study,
)

MOST_CONDITIONS = 12
LONGEST_S = 12.0
"""Both from BS.1534: people lose hold of more."""

LEVEL_ROUNDS = 3
"""The gate of BS.1770 stands at -70 LUFS, so a quiet sound, made louder, is measured anew."""


@dataclass(frozen=True)
class Plan:
    """How a study asks. ``trials`` is what one listener hears of what counts; ``repeats`` how
    often each ABX item comes in it at most."""

    kind: str
    title: str = ""
    standard: str = ""
    seed: int = 0
    n_items: int = 8
    trials: int = 16
    repeats: int = 2
    catches: int = 4
    clip_s: float = 4.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS or self.standard not in STANDARDS:
            raise UsageError(f"no test {self.kind!r} by standard {self.standard!r}")
        if self.standard and self.kind != "mushra":
            raise UsageError(f"--standard {self.standard} is a standard for --kind mushra")
        if not 0.5 <= self.clip_s <= LONGEST_S:
            raise UsageError(f"clips of {self.clip_s:g} s: expected 0.5 to {LONGEST_S:g} s")


DEFAULTS: dict[str, dict[str, int]] = {
    "abx": {"n_items": 8, "trials": 16, "repeats": 2, "catches": 4},
    "pairwise": {"n_items": 4, "trials": 20, "repeats": 1, "catches": 0},
    "mushra": {"n_items": 10, "trials": 10, "repeats": 1, "catches": 0},
}


@dataclass(frozen=True, eq=False)
class Wet:
    """A condition before the level match; ``gain_of`` names the condition whose gain it takes."""

    wave: np.ndarray
    chain: Chain
    lowpass_hz: float
    gain_of: str


def check_free(path: Path, *, overwrite: bool) -> None:
    """Raise unless a study may be written to ``path``. Answers are never written over;
    with ``overwrite`` a file that holds none goes."""
    others = [each.name for each in path.iterdir()] if path.is_dir() else []
    others = sorted(set(others) - set(OWN_NAMES))
    if others or (path.exists() and not path.is_dir()):
        found = f"holds {others[0]!r}" if others else "is a file"
        raise UsageError(f"{path}: {found}, so it is no study; give a directory of its own")
    n = count_answers(path / ANSWERS_NAME)
    if n:
        raise UsageError(
            f"{path}: people have given {n} answers to the study there; choose another directory, "
            "or move it away"
        )
    if not overwrite and (path / STUDY_NAME).exists():
        raise UsageError(f"{path}: a study is there already; --overwrite replaces it")
    if overwrite:
        (path / ANSWERS_NAME).unlink(missing_ok=True)


def make_study(
    path: Path,
    plan: Plan,
    specs: Sequence[ItemSpec],
    training: Sequence[ItemSpec],
    frontend: Frontend,
    pedals: Sequence[PedalEntry],
    recipe: Mapping[str, Any],
) -> Study:
    """Render everything, match it, write it. ``pedals`` is what random chains are drawn from."""
    rng = np.random.default_rng([plan.seed, 1])
    specs, training = list(specs), list(training)
    _check_lengths([*specs, *training])
    if plan.kind != "abx":
        specs = [with_anchors(frontend, spec, pedals, rng) for spec in specs]
        training = [with_anchors(frontend, spec, pedals, rng) for spec in training]
    rendered = [play(frontend, spec, plan) for spec in (*specs, *training)]
    rate, n_samples = specs[0].dry.sample_rate_hz, specs[0].dry.n_samples
    matched = match_levels(frontend, rendered, rate)

    names = iter(_opaque_names(plan.seed, sum(map(len, rendered))))
    sounds: dict[str, Sound] = {}
    data: dict[str, bytes] = {}
    items = []
    for spec, wets, gains in zip((*specs, *training), rendered, matched, strict=True):
        ids = {}
        for name, wet in wets.items():
            ids[name] = sound_id = next(names)
            loudness, gain_db = gains[name]
            dither = np.random.default_rng([plan.seed, 2, len(data)])
            wave = wet.wave * np.float32(10 ** (gain_db / 20))
            data[sound_id] = wav_bytes(wave, rate, dither)
            digest = hashlib.sha256(data[sound_id]).hexdigest()
            entry = FileEntry(sound_name(sound_id), len(data[sound_id]), digest)
            sounds[sound_id] = Sound(
                entry, wet.chain, wet.lowpass_hz, round(loudness, 2), round(gain_db, 2)
            )
        truth = wets[REFERENCE].wave
        far = {
            name: round(frontend.distance_db(truth, wet.wave, rate), 3)
            for name, wet in wets.items()
            if name != REFERENCE
        }
        items.append(Item(spec.name, spec.dry.label, ids, far, spec.pair, spec.catch))
    study = Study(
        kind=plan.kind,
        title=plan.title or "Listening test",
        standard=plan.standard,
        seed=plan.seed,
        sample_rate_hz=rate,
        n_samples=n_samples,
        trials_per_session=plan.trials,
        repeats=plan.repeats,
        catches=sum(spec.catch for spec in specs),
        items=tuple(items[: len(specs)]),
        training=tuple(items[len(specs) :]),
        sounds=sounds,
        recipe=dict(recipe),
        versions=versions_of("fxpipe", "numpy", "scipy", "pedalboard"),
    )
    write_study(path, study, data)
    return study


def _check_lengths(specs: Sequence[ItemSpec]) -> None:
    """A test is heard at one rate and one length."""
    forms = {(spec.dry.n_samples, spec.dry.sample_rate_hz): spec.dry.label for spec in specs}
    if len(forms) > 1:
        said = ", ".join(f"{label}: {n} samples at {rate} Hz" for (n, rate), label in forms.items())
        raise UsageError(f"recordings of different lengths or rates in one test ({said})")
    ((n, rate),) = forms
    if n > LONGEST_S * rate:
        raise UsageError(f"clips of {n / rate:g} s; {LONGEST_S:g} s are the most people can hold")


def with_anchors(
    frontend: Frontend, spec: ItemSpec, pedals: Sequence[PedalEntry], rng: np.random.Generator
) -> ItemSpec:
    """The task's own anchors, where the spec has no condition of that name."""
    more = dict(spec.conditions)
    if DRY not in more:
        more[DRY] = Chain(())
    if WORST_ORDER not in more:
        more[WORST_ORDER] = worst_order(frontend, spec.dry, spec.reference)
    if RANDOM_CHAIN not in more:
        more[RANDOM_CHAIN] = random_chain(pedals, len(spec.reference.pedals), rng)
    return dataclasses.replace(spec, conditions=more)


def play(frontend: Frontend, spec: ItemSpec, plan: Plan) -> dict[str, Wet]:
    """Every condition of an item, the reference first, at the level it came out with."""
    dry = spec.dry
    wets = {}
    for name, chain in {REFERENCE: spec.reference, **spec.conditions}.items():
        wave = _render(frontend, dry, chain)
        if not math.isfinite(frontend.loudness_lufs(wave, dry.sample_rate_hz)):
            raise FxError(f"item {spec.name!r}: condition {name!r} ({chain}) is silent; change it")
        wets[name] = Wet(wave, chain, 0.0, name)
    if plan.standard:
        for name, edge_hz in ANCHOR_HZ.items():
            wave = lowpass(wets[REFERENCE].wave, dry.sample_rate_hz, edge_hz)
            wets[name] = Wet(wave, spec.reference, edge_hz, REFERENCE)
    if len(wets) > MOST_CONDITIONS:
        raise UsageError(
            f"item {spec.name!r}: {len(wets)} conditions, anchors included; {MOST_CONDITIONS} are "
            "the most that people can hold against each other"
        )
    return wets


def _render(frontend: Frontend, dry: Dry, chain: Chain) -> np.ndarray:
    wave = play_chain(frontend, dry, chain)
    if len(wave) != dry.n_samples:
        raise FxError(f"{chain}: {len(wave)} samples came out for {dry.n_samples} that went in")
    return fade(wave, dry.sample_rate_hz)


def match_levels(
    frontend: Frontend, rendered: Sequence[Mapping[str, Wet]], rate: int
) -> list[dict[str, tuple[float, float]]]:
    """(loudness before, gain in dB) by condition: one loudness for all, and one common attenuation
    where a true peak would lie above -1 dBTP. Standard anchors keep the reference's gain."""
    before = [_loudness(frontend, wets, dict.fromkeys(wets, 0.0), rate) for wets in rendered]
    gains = [dict.fromkeys(wets, 0.0) for wets in rendered]
    peaks = [{name: true_peak_dbtp(wet.wave) for name, wet in wets.items()} for wets in rendered]
    now, target = before, TARGET_LUFS
    for _ in range(LEVEL_ROUNDS):
        gains = [
            {name: gain[wet.gain_of] + target - was[wet.gain_of] for name, wet in wets.items()}
            for wets, gain, was in zip(rendered, gains, now, strict=True)
        ]
        highest = max(
            peak[name] + gain[name]
            for peak, gain in zip(peaks, gains, strict=True)
            for name in gain
        )
        down = min(TRUE_PEAK_DBTP - highest, TARGET_LUFS - target)
        gains = [{name: value + down for name, value in gain.items()} for gain in gains]
        target += down
        now = [_loudness(frontend, *pair, rate) for pair in zip(rendered, gains, strict=True)]
    return [
        {name: (was[name], gain[name]) for name in gain}
        for was, gain in zip(before, gains, strict=True)
    ]


def _loudness(
    frontend: Frontend, wets: Mapping[str, Wet], gain_db: Mapping[str, float], rate: int
) -> dict[str, float]:
    return {
        name: frontend.loudness_lufs(wet.wave * np.float32(10 ** (gain_db[name] / 20)), rate)
        for name, wet in wets.items()
    }


def _opaque_names(seed: int, n: int) -> list[str]:
    """Names that tell neither item nor condition, in an order that tells neither."""
    words = [hashlib.sha256(f"{seed}/{i}".encode()).hexdigest()[:16] for i in range(n)]
    return [words[i] for i in np.random.default_rng([seed, 3]).permutation(n)]


def training_of(specs: Sequence[ItemSpec]) -> list[ItemSpec]:
    """The first item's chains on the last one's recording: all conditions, before any counts."""
    first = specs[0]
    return [dataclasses.replace(first, dry=specs[-1].dry, name=f"training: {first.name}")]
