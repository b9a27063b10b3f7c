"""What `at_scale.py` makes: the data sets, and the models taught and scored on them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

STOMPBOX = "--pool stompbox --lengths 0:0.4,1:1,2:1,3:1,4:1,5:1"
SYNTH = "--dataset synth --fractions 0.95,0.02,0.03"
NOTES = "--dataset folder:{audio} --split-seed 0 --fractions 0.88,0.04,0.08"
OTHERS = "--dataset folder:{others} --fractions 1,0,0 --phrases 0.6 --guitars 0.4"
CURVE = (2_500, 7_500, 15_000, 25_000)
"""Chains a part, of each source: 5, 20, 50 and 100 thousand of both together."""
MORE, N_MORE = 12_000, 20
"""Then as many parts of this size, of each source, as there is time for."""
MAKES = 0.5
"""Share of pedals of another make in those."""
AFTER = "--band-limited 0.2 --speakers 0.3 --amplifiers 0.3"
"""And what their clips go through, as those of the model in the package."""
FIRST = "both-3"
"""The run of the curve's last point, from which others start."""

UNIFORM = {  # lengths in proportion to how many ordered chains there are, as peers draw them
    "okita3": "1:3,2:6,3:6",
    "take4": "1:4,2:12,3:24,4:24",
    "seed5": "1:5,2:20,3:60,4:120,5:120",
    "rossi5": "1:5,2:20,3:60,4:120,5:120",
}
PRESENCE = (
    "compressor,overdrive,distortion,fuzz,bitcrusher,eq,wah,phaser,flanger,chorus,tremolo,"
    "delay,reverb"
)
"""Thirteen effects, as many as SFXlearner (Guo & McFee, DAFx23) has; ours, not SoX's."""
ONE_A_GROUP = (
    "--exclusive overdrive,distortion,fuzz,bitcrusher --exclusive phaser,flanger,chorus,tremolo"
)
PRESENCE_FLAGS = (
    f"--pool {PRESENCE} --lengths 1-5 --order fixed {ONE_A_GROUP} --config {{presence}}"
)


@dataclass(frozen=True)
class Part:
    """One data set: what `fxpipe render` is asked for. ``mel_only``: `fxpipe encode`, too, for
    lessons."""

    name: str
    n_chains: int
    flags: str
    if_time: bool = False
    mel_only: bool = False


@dataclass(frozen=True)
class Run:
    """One model: on which parts (none: those there was time for), with what settings, scored on
    which (label, part, split), started from which other run."""

    name: str
    parts: tuple[str, ...]
    tests: tuple[tuple[str, str, str], ...]
    model: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)
    after: str | None = None


def settings_of(run: Run, start_from: str | None, **more: Any) -> str:
    """TOML for `fxtrain fit`. A run that starts from another takes the model's settings from it."""
    train = run.train | more
    tables = {"model": run.model, "train": train}
    if start_from is not None:
        tables = {"train": train | {"start_from": start_from}}
    return "".join(
        f"[{table}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())
        for table, values in tables.items()
    )


def curve(last: int, sources: Iterable[str] = ("synth", "notes")) -> tuple[str, ...]:
    return tuple(f"{source}-{i}" for i in range(last + 1) for source in sources)


def stompbox(i: int, n: int, *, more: str = "", if_time: bool = False) -> list[Part]:
    flags = f"{STOMPBOX} {more}"
    return [
        Part(f"synth-{i}", n, f"{SYNTH} {flags} --seed {100 + i}", if_time),
        Part(f"notes-{i}", n, f"{NOTES} {flags} --phrases 0.7 --seed {200 + i}", if_time),
    ]


def parts() -> list[Part]:
    """In the order in which they are made."""
    found = [part for i, n in enumerate(CURVE) for part in stompbox(i, n)]
    to_test = "--pool stompbox --lengths 1-5 --fractions 0,0,1"
    found += [
        Part("test-synth", 2_000, f"--dataset synth {to_test} --seed 900"),
        Part("test-real", 2_000, f"--dataset folder:{{real}} {to_test} --seed 901"),
        Part("test-makes", 1_000, f"--dataset synth {to_test} --makes 1 --seed 907"),
        Part("test-speakers", 1_000, f"--dataset synth {to_test} --speakers 1 --seed 907"),
        Part("test-amplifiers", 1_000, f"--dataset synth {to_test} --amplifiers 1 --seed 907"),
    ]
    found += named_parts()
    for i in range(len(CURVE), len(CURVE) + N_MORE):
        found += stompbox(i, MORE, more=f"--makes {MAKES:g} {AFTER}", if_time=True)
    return found


def named_parts() -> list[Part]:
    """The benchmarks with a name."""
    found = []
    for pool, lengths in UNIFORM.items():
        flags = f"--pool {pool} --lengths {lengths}"
        n = 5_000
        if pool == "okita3":
            flags, n = f"{flags} --clip-s 10 --config {{okita3}}", 3_000
        found.append(Part(f"{pool}-synth", n, f"{SYNTH} {flags} --seed 300"))
        found.append(
            Part(
                f"{pool}-notes",
                2_000 if pool == "okita3" else 3_000,
                f"{NOTES} {flags} --phrases 1 --seed 301",
            )
        )
    found.append(Part("presence-synth", 8_000, f"{SYNTH} {PRESENCE_FLAGS} --seed 310"))
    cross = f"--dataset folder:{{audio}} {PRESENCE_FLAGS} --fractions 0,0,1 --seed 311"
    found.append(Part("presence-notes", 1_500, cross))
    return found


TESTS = (
    ("synth", "test-synth", "test"),
    ("notes", "notes-3", "test"),
    ("real", "test-real", "test"),
    ("makes", "test-makes", "test"),
    ("speakers", "test-speakers", "test"),
    ("amplifiers", "test-amplifiers", "test"),
)
PRESENCE_TESTS = (("same", "presence-synth", "test"), ("cross", "presence-notes", "test"))
LARGE = {"d_model": 256, "n_layers": 4, "n_decoder_layers": 2, "n_heads": 8}
SEEN = LARGE | {"mel_channels": 32}
MASKED = SEEN | {"frame_mask": 0.2, "band_mask": 0.2, "timbre_spread": 0.04}
VARIANTS = {
    "frames": LARGE | {"mel_channels": 0, "band_mask": 0.0, "timbre_spread": 0.0},
    "picture": SEEN,
    "picture-plain": SEEN | {"band_mask": 0.0, "timbre_spread": 0.0},
    "picture-wide": LARGE | {"mel_channels": 48, "dropout": 0.2},
    "picture-masked": MASKED,
    "picture-deep": MASKED | {"n_layers": 6, "mel_blocks": 3},
}
"""Ways to build the translator; the first is how the one of 58,000 chains was built."""
EPOCHS = (50, 30, 22, 14)
"""At each point of the curve. The variants are its second point."""
MOST_EPOCHS = 24
PLAIN_PART = 3
"""Of the last run's epochs the last third hears clips as they are (`plain_epochs`)."""


def fit_settings(epochs: int, **more: Any) -> dict[str, Any]:
    common = {"batch_size": 512, "lr": 7e-4, "warmup_steps": 300, "average_decay": 0.998}
    return common | {"max_epochs": epochs, "patience": 60} | more


def variants() -> list[Run]:
    train = fit_settings(EPOCHS[1])
    return [Run(name, curve(1), TESTS, model, train) for name, model in VARIANTS.items()]


def short_okita3(n_chains: int, n_rounds: int = 1) -> tuple[list[Run], list[Part]]:
    """``okita3`` taught on clips of two seconds, which cost a fifth; ten are heard in windows.

    Every round makes ``n_chains`` more and starts from the run of the round before it.
    """
    flags = f"--pool okita3 --lengths {UNIFORM['okita3']} --config {{okita3}}"
    tests = tuple((source, f"okita3-{source}", "test") for source in ("synth", "notes"))
    train = go_on(8, batch_size=256, average_decay=0.99)
    found: list[Run] = []
    made: list[Part] = []
    for i in range(n_rounds):
        name = "okita3-short" + (f"-{i + 1}" if i else "")
        seed = 302 + 2 * i
        made += [
            Part(f"{name}-synth", n_chains // 2, f"{SYNTH} {flags} --seed {seed}"),
            Part(f"{name}-notes", n_chains // 2, f"{NOTES} {flags} --phrases 1 --seed {seed + 1}"),
        ]
        found.append(Run(name, tuple(part.name for part in made), tests, train=train))
    return found, made


MORE_SEEDS = {"okita3": (306, 933), "take4": (341, 941), "seed5": (343, 943), "rossi5": (345, 945)}
"""Of a pool's lessons on the built-in guitar, and of its tests there; those of notes are next."""


def more_of(pool: str, n_chains: int) -> tuple[list[Run], list[Part]]:
    """A pool of ``UNIFORM`` on clips of two seconds as log-mel alone, three in four of the built-in
    guitar, and tests that no run before it was scored on: of two seconds, or of ten."""
    flags = f"--pool {pool} --lengths {UNIFORM[pool]}"
    asked_flags = flags
    if pool == "okita3":
        flags += " --config {okita3}"
        asked_flags = f"{flags} --clip-s 10"
    n_notes, (lessons, tests) = n_chains // 4, MORE_SEEDS[pool]
    taught = [
        Part(
            f"{pool}-more-synth",
            n_chains - n_notes,
            f"--dataset synth --fractions 0.985,0.015,0 {flags} --seed {lessons}",
            mel_only=True,
        ),
        Part(
            f"{pool}-more-notes",
            n_notes,
            f"{NOTES} {flags} --phrases 1 --seed {lessons + 1}",
            mel_only=True,
        ),
    ]
    new = [
        Part(
            f"{pool}-new-synth",
            300,
            f"--dataset synth --fractions 0,0,1 {asked_flags} --seed {tests}",
        ),
        Part(f"{pool}-new-notes", 3_750, f"{NOTES} {asked_flags} --phrases 1 --seed {tests + 1}"),
    ]
    asked = tuple((part.name.rpartition("-")[2], part.name, "test") for part in new)
    train = go_on(1, batch_size=128, average_decay=0.99, plain_epochs=1)
    run = Run(f"{pool}-more", tuple(part.name for part in taught), asked, train=train)
    return [run], [*taught, *new]


def more_presence(
    n_chains: int, n_rounds: int = 1, *, others: bool = False
) -> tuple[list[Run], list[Part]]:
    """``presence``, and every round ``n_chains`` more, as log-mel alone: of the built-in guitar, or
    of other instruments' recordings."""
    train = go_on(4, batch_size=256, average_decay=0.99)
    found: list[Run] = []
    made: list[Part] = []
    for i in range(n_rounds):
        name = "presence-more" + (f"-{i + 1}" if i else "")
        source, seed, kind = (OTHERS, 322, "others") if others else (SYNTH, 312, "synth")
        flags = f"{source} {PRESENCE_FLAGS} --seed {seed + i}"
        made.append(Part(f"{name}-{kind}", n_chains, flags, mel_only=True))
        taught = ("presence-synth", *(part.name for part in made))
        run = name.replace("more", "more-others") if others else name
        found.append(Run(run, taught, PRESENCE_TESTS, train=train))
    return found, made


def runs(best: dict[str, Any]) -> list[Run]:
    """In the order in which they are trained, built as ``best`` is."""
    hundred, some = curve(3), fit_settings(EPOCHS[3])
    no_clues = best | {"use_clues": False}
    codes, mel = no_clues | {"use_mel": False}, no_clues | {"use_codes": False}
    found = [Run(f"both-{i}", curve(i), TESTS, best, fit_settings(EPOCHS[i])) for i in (0, 2, 3)]
    found.append(Run("gru-3", hundred, TESTS, best | {"kind": "gru"}, some))
    found += [
        Run("notes-3", curve(3, ("notes",)), TESTS, best, fit_settings(22)),
        Run("synth-3", curve(3, ("synth",)), TESTS, best, fit_settings(22)),
        Run("codes-3", hundred, TESTS, codes, some),
        Run("mel-3", hundred, TESTS, mel, some),
        Run("mel-clues-3", hundred, TESTS, best | {"use_codes": False}, some),
        Run("codes-mel-3", hundred, TESTS, no_clues, some),
        Run("codes1-3", hundred, TESTS, codes | {"n_codebooks": 1}, some),
        Run("codes3-3", hundred, TESTS, codes | {"n_codebooks": 3}, some),
        Run("learned-3", hundred, TESTS, codes | {"learned_residual": True}, some),
        Run("both-3-seed1", hundred, TESTS, best, some | {"seed": 1}),
        Run("mel-3-seed1", hundred, TESTS, mel, some | {"seed": 1}),
        Run("codes-3-seed1", hundred, TESTS, codes, some | {"seed": 1}),
    ]
    return found + named_runs(best)


def go_on(epochs: int, **more: Any) -> dict[str, Any]:
    """Settings of a run that starts from another."""
    return fit_settings(epochs, **{"lr": 4e-4, "warmup_steps": 40} | more)


def named_runs(best: dict[str, Any]) -> list[Run]:
    found = []
    for pool in UNIFORM:
        tests = tuple((source, f"{pool}-{source}", "test") for source in ("synth", "notes"))
        epochs, batch_size = (10, 128) if pool == "okita3" else (16, 256)
        train = go_on(epochs, batch_size=batch_size, average_decay=0.99)
        found.append(Run(pool, (f"{pool}-synth", f"{pool}-notes"), tests, best, train, FIRST))
    train = go_on(12, batch_size=256, average_decay=0.99)
    found.append(Run("presence", ("presence-synth",), PRESENCE_TESTS, best, train, FIRST))
    return found
