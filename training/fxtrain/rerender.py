"""How near a predicted chain comes by ear: put on dry guitar, and measured against the true one.

The predicted chain is played with typical knobs, as a guitarist would first set the pedals, with
the knobs as they were heard, where the model hears them, and with the true ones where the pedal is
really there. It stands beside the right chain with typical knobs (what not knowing the knobs
costs) and with those that were heard, the right pedals and knobs in the order that sounds most
wrong, a random chain and no effect. Each is played on the dry clip itself and on another of the
split, for a chain may fit one clip by chance. And each pedal of the chain is taken out once: those
that hardly move the sound are harder to name (`faint.py`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fxtrain.alternatives import other_orders, with_knobs_of
from fxtrain.contract import (
    NEARNESS_LIMITS,
    Chain,
    Frontend,
    FxError,
    MissingExtraError,
    Names,
    Nearness,
    RemadeClip,
)
from fxtrain.faint import Faint, faint, faint_lines
from fxtrain.intervals import Score, Within, mean_interval, of_difference
from fxtrain.knobs import Knobs, as_heard
from fxtrain.side_by_side import side_by_side
from fxtrain.sounds import Sounds

CONDITIONS = {
    "predicted": "predicted chain, typical knobs",
    "predicted_heard": "predicted chain, knobs as heard",
    "predicted_true_knobs": "predicted chain, true knobs where right",
    "right_typical": "right chain, typical knobs",
    "right_heard": "right chain, knobs as heard",
    "worst_order": "right pedals and knobs, worst order",
    "random": "random chain",
    "nothing": "no effect",
}
"""Those of knobs as heard only where the model hears them."""

DRIES = {"true": "the dry clip itself", "other": "another dry clip"}
MEASURES = {
    "si_sdr_db": ("SI-SDR, dB", True),
    "mr_stft": ("MR-STFT", False),
    "mel_stft": ("mel STFT", False),
    "loudness_db": ("loudness off, dB", False),
}
"""Name -> (what it is called, whether more is nearer)."""

QUIET_LUFS = -60.0
"""A true sound below this is no measure; another dry clip is taken, or the clip is left out."""

N_TRIES = 5


@dataclass(frozen=True)
class Row:
    """One condition on one kind of dry clip. ``ordered``: over clips of two or more pedals.

    ``off``: its scores less those of the answer, as a user gets it: the predicted chain with the
    knobs that were heard, or else with typical ones. Clip by clip, for some clips are hard to come
    near with any chain, and two intervals that overlap say little."""

    condition: str
    dry: str
    ordered: bool
    n: int
    scores: dict[str, Score]
    off: dict[str, Score]

    def is_clear(self, name: str) -> bool:
        """Is it nearer than the answer, or farther, by more than chance makes?"""
        return self.off[name].low > 0 or self.off[name].high < 0


@dataclass(frozen=True)
class Rerendered:
    """``n`` clips, ``n_ordered`` of them with two or more pedals; ``skipped`` were too quiet.

    ``faint``: how many pedals were named, by how far the sound moves without them."""

    n: int
    n_ordered: int
    skipped: int
    rows: tuple[Row, ...]
    faint: tuple[Faint, ...]


@dataclass(frozen=True)
class Asked:
    """One clip to be measured: its position, what was ``said`` of its pedals and their knobs.

    ``others``: positions of other clips, for a random chain. ``strangers``: of those of other
    groups, for other dry guitar.
    """

    position: int
    said: Names
    knobs: Knobs | None
    others: Sequence[int]
    strangers: Sequence[int]


@dataclass(frozen=True)
class Played:
    """One clip: nearness by (dry, condition), and log-mel dB without each pedal of its chain."""

    near: dict[tuple[str, str], Nearness]
    without_db: tuple[float, ...]


def rerender(
    truth: Sequence[Names],
    predicted: Sequence[Names],
    sounds: Sounds,
    n_clips: int,
    *,
    knobs: Sequence[Knobs] = (),
    groups: np.ndarray | None = None,
    seed: int = 0,
    say: Callable[[str], None] = lambda text: None,
    n_workers: int = 1,
) -> Rerendered:
    """Measure ``n_clips`` clips of the split, drawn by ``seed``; all where there are fewer.

    ``knobs``: as they were heard on every clip, nothing of a model that hears none. ``groups`` int
    [n]: clips of the same recordings; None where all are independent. ``n_workers``: processes that
    measure; 1 for this one.
    """
    if groups is not None and len(np.unique(groups)) < 2:
        raise FxError(
            f"the {len(truth)} clips play recordings of one group, so there is no other dry guitar "
            "to put an answer on; give another --split, or leave --rerender away for the page alone"
        )
    rng = np.random.default_rng(seed)
    drawn = rng.permutation(len(truth))[:n_clips].tolist()
    others = rng.integers(0, len(truth), (len(drawn), 2 * N_TRIES)).tolist()
    of = np.arange(len(truth)) if groups is None else groups
    strangers = [_of_others(at, near, of, rng) for at, near in zip(drawn, others, strict=True)]
    sounds.read([*drawn, *itertools.chain(*others, *strangers)])
    asked = [
        Asked(position, predicted[position], knobs[position] if knobs else None, *near)
        for position, *near in zip(drawn, others, strangers, strict=True)
    ]
    found: list[Played] = []
    measured_at: list[int] = []
    all_of_them = side_by_side(_one_clip, sounds, asked, n_workers)
    for number, (clip, measured) in enumerate(zip(asked, all_of_them, strict=True), start=1):
        if measured is not None:
            found.append(measured)
            measured_at.append(clip.position)
        if number % max(1, len(drawn) // 5) == 0:
            say(f"put {number} of {len(drawn)} predicted chains on dry guitar")
    if not found:
        raise FxError(
            f"none of {len(drawn)} clips can be measured: each has to be louder than "
            f"{QUIET_LUFS:g} LUFS, on its dry guitar and on another group's; give a larger split"
        )
    ordered = np.array([len(truth[position]) > 1 for position in measured_at])
    parts = [(False, np.arange(len(found)))]
    if ordered.all():
        parts = [(True, parts[0][1])]
    elif ordered.any():
        parts.append((True, np.flatnonzero(ordered)))
    heard = np.array(measured_at) if groups is None else groups[measured_at]
    return Rerendered(
        n=len(found),
        n_ordered=int(ordered.sum()),
        skipped=len(drawn) - len(found),
        rows=tuple(
            row
            for has_order, part in parts
            for row in _rows([found[i].near for i in part], heard[part], has_order, seed)
        ),
        faint=faint(
            [truth[position] for position in measured_at],
            [predicted[position] for position in measured_at],
            [clip.without_db for clip in found],
            heard,
        ),
    )


def _of_others(
    position: int, near: Sequence[int], groups: np.ndarray, rng: np.random.Generator
) -> list[int]:
    """Clips of other groups than this one's: the first of those drawn, or of all there are."""
    found = [p for p in near if groups[p] != groups[position]][:N_TRIES]
    if not found:
        elsewhere = np.flatnonzero(groups != groups[position])
        found = rng.choice(elsewhere, N_TRIES).tolist()
    return found


def _rows(
    clips: Sequence[dict[tuple[str, str], Nearness]], groups: np.ndarray, ordered: bool, seed: int
) -> Iterator[Row]:
    answer = "predicted_heard" if ("true", "predicted_heard") in clips[0] else "predicted"
    for dry, condition in itertools.product(DRIES, CONDITIONS):
        if (dry, condition) not in clips[0] or (condition == "worst_order" and not ordered):
            continue
        means, off = {}, {}
        for name in MEASURES:
            value, said = (
                np.array([getattr(clip[dry, which], name) for clip in clips])
                for which in (condition, answer)
            )
            within = NEARNESS_LIMITS[name]
            means[name] = _mean(value, groups, seed, within)
            off[name] = _mean(value - said, groups, seed, of_difference(within))
        yield Row(condition, dry, ordered, len(clips), means, off)


def _mean(values: np.ndarray, groups: np.ndarray, seed: int, within: Within) -> Score:
    """The mean with its 95 % interval, from the same draws for every row."""
    return Score(float(np.mean(values)), *mean_interval(values, groups, seed, within), len(values))


def _one_clip(sounds: Sounds, asked: Asked) -> Played | None:
    """Every condition on both dry clips; None where the truth is too quiet on either."""
    clip = _remade(asked.position, sounds)
    position = next((p for p in asked.others if p != asked.position), asked.position)
    random_chain = sounds.chain(position)
    other = next(
        (
            heard
            for heard in (_remade(p, sounds) for p in asked.strangers)
            if _is_loud(sounds.frontend, heard, clip.chain)
        ),
        None,
    )
    if other is None or not _is_loud(sounds.frontend, clip, clip.chain):
        return None
    right = clip.chain
    chains = {
        "predicted": sounds.frontend.example(asked.said),
        "predicted_true_knobs": with_knobs_of(sounds.frontend.example(asked.said), right),
        "right_typical": sounds.frontend.example(right.names),
        "random": random_chain,
        "nothing": Chain(()),
    }
    if asked.knobs is not None:
        chains["predicted_heard"] = as_heard(chains["predicted"], asked.knobs)
        chains["right_heard"] = as_heard(chains["right_typical"], asked.knobs)
    orders = other_orders(right)
    near, trues = {}, {}
    for dry, heard in (("true", clip), ("other", other)):
        true = trues[dry] = play(sounds.frontend, heard, right)
        rate = heard.sample_rate_hz
        waves = {name: play(sounds.frontend, heard, chain) for name, chain in chains.items()}
        played = [play(sounds.frontend, heard, order) for order in orders] or [true]
        far = [sounds.frontend.distance_db(true, wave, rate) for wave in played]
        waves["worst_order"] = played[int(np.argmax(far))]
        for name, wave in waves.items():
            near[dry, name] = sounds.frontend.nearness(true, wave, rate)
    return Played(near, _without_db(sounds.frontend, clip, trues["true"]))


def _without_db(frontend: Frontend, clip: RemadeClip, true: np.ndarray) -> tuple[float, ...]:
    """How far ``true``, what the clip's chain plays, moves without each pedal, log-mel dB."""
    pedals = clip.chain.pedals
    rest = [Chain((*pedals[:i], *pedals[i + 1 :])) for i in range(len(pedals))]
    waves = [play(frontend, clip, chain) for chain in rest]
    return tuple(frontend.distance_db(true, wave, clip.sample_rate_hz) for wave in waves)


def _remade(position: int, sounds: Sounds) -> RemadeClip:
    """The clip; where it cannot be made again, the error names the shards that it is from."""
    try:
        return sounds.remake(position)
    except MissingExtraError:  # of the machine, not of any shards
        raise
    except FxError as error:
        raise type(error)(f"{sounds.shards_of(position)}: {error}") from None


def play(frontend: Frontend, clip: RemadeClip, chain: Chain) -> np.ndarray:
    """float32 [N]: the dry clip through ``chain``, run-in dropped; no noise, no gain after it."""
    return frontend.render(clip.dry, clip.sample_rate_hz, chain)[clip.n_run_in :]


def _is_loud(frontend: Frontend, clip: RemadeClip, chain: Chain) -> bool:
    wave = play(frontend, clip, chain)
    loudness = frontend.loudness_lufs(wave, clip.sample_rate_hz)
    return math.isfinite(loudness) and loudness > QUIET_LUFS


def rerender_lines(found: Rerendered) -> list[str]:
    """For people: a block a group of clips and kind of dry clip."""
    lines = []
    key = None
    for row in found.rows:
        if key != (row.ordered, row.dry):
            key = (row.ordered, row.dry)
            clips = f"{row.n} clips" + (" of two or more pedals" if row.ordered else "")
            columns = " ".join(f"{label:>22}" for label, _ in MEASURES.values())
            lines += ["", f"put on {DRIES[row.dry]}, {clips}", f"{'':<40} {columns}"]
        cells = " ".join(
            f"{_cell(row.scores[name]) + '*' * row.is_clear(name):>22}" for name in MEASURES
        )
        lines.append(f"{CONDITIONS[row.condition]:<40} {cells}")
    lines.append("")
    lines.append("SI-SDR: more is nearer, 60 dB where equal. The other three: less is nearer.")
    lines.append(
        "random: the chain of another clip, knobs included. true knobs: of pedals really there."
    )
    lines.append(
        "*: on the same clips nearer or farther than the answer (the predicted chain, its knobs as "
        "heard, or else typical); the 95 % interval of the difference leaves out 0."
    )
    return [*lines, *faint_lines(found.faint)]


def _cell(score: Score) -> str:
    between = "all alike" if math.isnan(score.low) else f"{score.low:.2f}–{score.high:.2f}"
    return f"{score.value:.2f} ({between})"
