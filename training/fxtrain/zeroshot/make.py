"""``fxtrain zeroshot kit``: dry files, chains, the sheet and an empty manifest, all from a seed."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fxtrain.card import read_card
from fxtrain.contract import (
    SOUND_SUFFIXES,
    Chain,
    Frontend,
    LocalFolder,
    PedalEntry,
    UsageError,
    Vocabulary,
    unknown_name,
)
from fxtrain.export.words import knobs, label
from fxtrain.finding import model_folder
from fxtrain.heard import sounds_in
from fxtrain.installed import versions_of
from fxtrain.listen.dries import Dries, Dry
from fxtrain.listen.sound import mono_wav
from fxtrain.zeroshot.draw import draw_names, draw_settings, hour, step_of
from fxtrain.zeroshot.form import (
    KIT_NAME,
    MANIFEST_NAME,
    SHEET_NAME,
    Kit,
    KitChain,
    KitClip,
    Marker,
    Take,
    write_kit,
)
from fxtrain.zeroshot.marker import marker_wave

RUN_IN_S = 0.5
"""As in the training data: echoes are already at work where listening begins."""

LEAD_S, GAP_S, REST_S, TAIL_S = 0.5, 3.5, 1.0, 2.0
"""Silence before the first marker; after it, so that its echoes die away; between clips; after the
last marker."""

STEP_S = 0.05
"""How much further apart the markers of each next take stand."""

MOST_TAKES = 99
MOST_CHAINS = 999
COLUMNS = ("file", "dry_file", "effects", "settings", "implementation")
OURS = "my board"


@dataclass(frozen=True)
class Wish:
    """What the command was asked for.

    ``lengths``: of the chains; without any, one to three pedals, where there are so many.
    ``names``: what a pedal is called on the user's own board.
    """

    n_chains: int = 20
    lengths: tuple[int, ...] = ()
    pedals: tuple[str, ...] = ()
    n_takes: int = 1
    n_clips: int = 3
    clip_s: float = 2.0
    seed: int = 0
    implementation: str = OURS
    names: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.n_chains <= MOST_CHAINS:
            raise UsageError(f"{self.n_chains} chains: expected 1 to {MOST_CHAINS}")
        if not 1 <= self.n_takes <= MOST_TAKES:
            raise UsageError(f"{self.n_takes} takes: expected 1 to {MOST_TAKES}")
        if not 1 <= self.n_clips <= 20:
            raise UsageError(f"{self.n_clips} clips in a take: expected 1 to 20")
        if not 1.0 <= self.clip_s <= 30.0:
            raise UsageError(f"clips of {self.clip_s:g} s: expected 1 to 30 s")


def known_pedals(run: Path | None) -> Vocabulary:
    """The pedals of a trained model, from its card alone: no torch."""
    return read_card(model_folder(run)).vocabulary


def make_kit(
    path: Path,
    wish: Wish,
    frontend: Frontend,
    known: Vocabulary,
    dry_files: Sequence[Path] = (),
    *,
    overwrite: bool = False,
) -> Kit:
    """Write the kit to ``path``; ``known`` are the pedals of the model that will be asked."""
    _check_free(path, overwrite=overwrite)
    entries = _entries(wish.pedals, frontend, known)
    for name, _ in wish.names:
        if name not in entries:
            raise UsageError(f"--name: {unknown_name('pedal', name, entries)}")
    dries = Dries(frontend, audio_files(dry_files), clip_s=RUN_IN_S + wish.clip_s, seed=wish.seed)
    rng = np.random.default_rng([wish.seed, 1])
    lengths = wish.lengths or tuple(range(1, min(3, len(entries)) + 1))
    drawn_names = list(draw_names(tuple(entries), lengths, wish.n_chains, rng))
    folder, marker = LocalFolder(path), Marker()
    folder.delete(KIT_NAME)  # from here on it is no whole kit
    takes: list[Take] = []
    firsts: list[Dry] = []
    for number in range(wish.n_takes):
        clips = [dries.take() for _ in range(wish.n_clips)]
        name = "dry.wav" if wish.n_takes == 1 else f"dry-{number + 1:02d}.wav"
        wave, first_s, last_s, starts = lay_out(clips, marker, number)
        rate = clips[0].sample_rate_hz
        takes.append(
            Take(
                file=folder.write(name, wav_bytes(wave, rate)),
                sample_rate_hz=rate,
                n_samples=len(wave),
                first_marker_s=first_s,
                last_marker_s=last_s,
                clips=tuple(
                    KitClip(clip.label, start, wish.clip_s, RUN_IN_S)
                    for clip, start in zip(clips, starts, strict=True)
                ),
            )
        )
        firsts.append(clips[0])
    digits = max(2, len(str(wish.n_chains)))
    chains = []
    for i, names in enumerate(drawn_names):
        turn = i % wish.n_takes
        settings = np.random.default_rng([wish.seed, 2, i])
        drawn = draw_settings(names, entries, frontend, firsts[turn], settings)
        file = f"chain-{i + 1:0{digits}d}.wav"
        chains.append(KitChain(file, takes[turn].name, drawn.chain, drawn.faint))
    kit = Kit(
        seed=wish.seed,
        lengths=lengths,
        pedals=tuple(entries.values()),
        takes=tuple(takes),
        chains=tuple(chains),
        names=dict(wish.names),
        marker=marker,
        versions=versions_of("fxpipe", "numpy", "pedalboard"),
    )
    folder.write(SHEET_NAME, _sheet(kit))
    folder.write(MANIFEST_NAME, manifest_text(kit, wish.implementation).encode())
    write_kit(folder, kit)
    return kit


def _sheet(kit: Kit) -> bytes:
    from fxtrain.zeroshot.sheet import sheet

    return sheet(kit).encode()


def _check_free(path: Path, *, overwrite: bool) -> None:
    """Recordings in a folder are somebody's evening: a manifest is never written over unasked."""
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path}: is a file; give a directory for the kit")
    if not overwrite and any((path / name).exists() for name in (KIT_NAME, MANIFEST_NAME)):
        raise UsageError(
            f"{path}: a kit is there already; choose another directory, or --overwrite replaces "
            f"it and its {MANIFEST_NAME} (recordings are left alone)"
        )


def _entries(wanted: Sequence[str], frontend: Frontend, known: Vocabulary) -> dict[str, PedalEntry]:
    """The pedals to draw from, by name, as they are built here."""
    built = {entry.name: entry for entry in frontend.pedals()}
    names = tuple(dict.fromkeys(wanted)) or known.names
    for name in names:
        if name not in known.names:
            raise UsageError(f"--pedals: {unknown_name('pedal', name, known.names)}")
        if name not in built:
            raise UsageError(
                f"pedal {name!r} cannot be rendered here; leave it away with --pedals, or name "
                "the file of plugins that has it (docs/vst3.md)"
            )
    return {name: built[name] for name in names}


def audio_files(given: Sequence[Path]) -> list[Path]:
    """Files as they are, folders as the recordings in them, by name."""
    found: list[Path] = []
    for path in given:
        if not path.is_dir():
            found.append(path)
            continue
        inside = [Path(file) for file in sounds_in(path)]
        if not inside:
            raise UsageError(
                f"--dry {path}: no recording in it ({', '.join(sorted(SOUND_SUFFIXES))})"
            )
        found += inside
    return found


def lay_out(
    clips: Sequence[Dry], marker: Marker, number: int
) -> tuple[np.ndarray, float, float, list[float]]:
    """(wave, first marker, last marker, where each clip is listened to from), times in seconds."""
    rate = clips[0].sample_rate_hz

    def silence(seconds: float) -> np.ndarray:
        return np.zeros(round(seconds * rate), np.float32)

    parts = [silence(LEAD_S), marker_wave(marker, rate, first=True), silence(GAP_S)]
    first = len(parts[0])
    starts = []
    for clip in clips:
        starts.append((sum(map(len, parts)) + round(RUN_IN_S * rate)) / rate)
        parts += [clip.wave, silence(REST_S)]
    parts.append(silence(REST_S / 2 + number * STEP_S))
    last = sum(map(len, parts))
    parts += [marker_wave(marker, rate, first=False), silence(TAIL_S)]
    return np.concatenate(parts), first / rate, last / rate, starts


def wav_bytes(wave: np.ndarray, sample_rate_hz: int) -> bytes:
    """24-bit mono WAV: every program reads it, and its own noise is far below a pedal's."""
    steps = np.clip(np.round(wave.astype(np.float64) * (2**23 - 1)), -(2**23), 2**23 - 1)
    raw = steps.astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3]
    return mono_wav(raw.tobytes(), 3, sample_rate_hz)


def manifest_text(kit: Kit, implementation: str) -> str:
    """renders.csv with a row for every chain, ready to be recorded."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for chain in kit.chains:
        effects = " > ".join(chain.chain.names)
        writer.writerow(
            (chain.file, chain.take, effects, in_words(chain.chain, kit), implementation)
        )
    return out.getvalue()


def in_words(chain: Chain, kit: Kit) -> str:
    """``overdrive: drive noon, tone 2 o'clock | delay: ...``"""
    entries = {entry.name: entry for entry in kit.pedals}
    said = []
    for pedal in chain.pedals:
        entry = entries[pedal.name]
        every = knobs(entry)
        turned = ", ".join(
            f"{label(param, every)} {hour(round(step_of(param, pedal.settings[param.name])))}"
            for param in every
        )
        said.append(f"{pedal.name}: {turned}")
    return " | ".join(said)


def kit_lines(kit: Kit, path: Path) -> list[str]:
    """For people: what is in the kit and how long it will take."""
    seconds = max(take.length_s for take in kit.takes)
    lengths = ", ".join(map(str, kit.lengths))
    takes = "one dry file" if len(kit.takes) == 1 else f"{len(kit.takes)} dry files"
    lines = [
        f"play     {takes}, {seconds:.0f} s, {len(kit.takes[0].clips)} phrases each",
        f"dial in  {len(kit.chains)} chains of {lengths} pedals, out of: "
        f"{', '.join(entry.name for entry in kit.pedals)}",
        f"print    {path / SHEET_NAME}",
    ]
    faint = sum(bool(chain.faint) for chain in kit.chains)
    if faint:
        lines.append(f"faint    {faint} chains hold a pedal that can hardly be heard; see kit.json")
    return lines


def kit_json(kit: Kit, path: Path) -> str:
    return json.dumps(
        {
            "kit": str(path),
            "seed": kit.seed,
            "chains": [list(chain.chain.names) for chain in kit.chains],
            "dry_files": [take.name for take in kit.takes],
        },
        ensure_ascii=False,
    )
