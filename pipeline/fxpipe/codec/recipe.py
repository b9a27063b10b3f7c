"""How the embedded codec is made: notes and the synthetic guitar, through random chains.

Shapes: B batch, N audio sample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from fxpipe.chains.chain import ChainSpec, draw_length, draw_names, draw_settings
from fxpipe.codec.crops import CropSpec, Dry, Wet, crop_batches, splice_notes
from fxpipe.codec.rendered import RenderedCrops, levelled_clips
from fxpipe.codec.train import TrainConfig, TrainReport, train_codec
from fxpipe.errors import CodecError
from fxpipe.level import normalise
from fxpipe.pedals import PEDALS
from fxpipe.render import After, RenderSpec, finish, run_chain
from fxpipe.sources.synth import SAMPLE_RATE_HZ, perform

N_HELD_OUT = 32
HELD_OUT_EVERY = 8
"""Of the note files' groups (their first name part: the pitch), one in so many is held out."""


def train_embedded(
    run_dir: Path,
    *,
    audio: Sequence[Path] = (),
    minutes: float = 9.0,
    config: TrainConfig | None = None,
    synth_share: float = 0.5,
    seed: int = 0,
    n_threads: int | None = None,
    device: str = "cpu",
    log: Callable[[str], None] = print,
) -> TrainReport:
    """Begin or go on with a run of the embedded codec's recipe; call again until finished.

    ``audio``: folders of dry notes. Without any, the synthetic guitar alone. Raises CodecError.
    """
    notes = read_notes(audio) if audio else []
    unheard = read_notes(audio, held_out=True) if audio else []
    return train_codec(
        training_batches(notes, seed=seed, synth_share=synth_share),
        run_dir,
        config or TrainConfig(seed=seed),
        held_out=held_out_clips(unheard, N_HELD_OUT, seed=seed + 1),
        minutes=minutes,
        n_threads=n_threads,
        device=device,
        log=log,
    )


def config_for(device: str, *, seed: int = 0, n_steps: int | None = None) -> TrainConfig:
    """The recipe for a CPU, where a step has 1.5 s of audio, or for a GPU, where it has 24 s."""
    config = TrainConfig(seed=seed)
    if device.startswith("cuda"):
        config = replace(
            config, n_steps=6_000, free_steps=600, fit_batches=48, warmup_steps=200, compile=True
        )
    return config if n_steps is None else replace(config, n_steps=n_steps)


def train_on_renders(
    run_dir: Path,
    renders: Sequence[str],
    *,
    device: str,
    config: TrainConfig,
    minutes: float = 9.0,
    batch_size: int = 32,
    crop_samples: int = 32_768,
    most_clips: int = 24_000,
    n_held_out: int = 64,
    log: Callable[[str], None] = print,
) -> TrainReport:
    """The same on clips that `fxpipe render` made: their train split is learnt from, their test
    split scored. A GPU sees hundreds of clips a second, more than can be rendered beside it.

    ``most_clips`` are held on the device, 0.18 MB each. Raises CodecError.
    """
    clips = levelled_clips(renders, "train", most_clips, SAMPLE_RATE_HZ, device)
    unheard = levelled_clips(renders, "test", n_held_out, SAMPLE_RATE_HZ, device)
    log(f"{len(clips)} clips to learn from, {len(unheard)} held out")
    batches = RenderedCrops(
        clips, batch_size=batch_size, crop_samples=crop_samples, seed=config.seed
    )
    return train_codec(
        batches,
        run_dir,
        config,
        held_out=(unheard.float() / 32768).cpu().numpy(),
        minutes=minutes,
        device=device,
        log=log,
    )


def read_notes(folders: Sequence[Path], *, held_out: bool = False) -> list[np.ndarray]:
    """Mono 44.1 kHz notes float32 [N] of the folders' FLAC and WAV files, split by pitch.

    Files are named ``<pitch>_<…>``; a pitch is held out or trained on, in every folder alike.
    Raises CodecError where there is nothing to read.
    """
    import soundfile

    paths = sorted(
        path
        for folder in folders
        for path in folder.expanduser().rglob("*")
        if path.suffix.lower() in (".flac", ".wav")
    )
    groups = sorted({path.stem.partition("_")[0] for path in paths})
    apart = set(groups[::HELD_OUT_EVERY]) if len(groups) >= HELD_OUT_EVERY else set(groups[:1])
    notes = []
    for path in paths:
        if (path.stem.partition("_")[0] in apart) != held_out:
            continue
        audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
        if rate != SAMPLE_RATE_HZ:
            raise CodecError(f"{path}: {rate} Hz, expected {SAMPLE_RATE_HZ}; resample the folder")
        notes.append(audio.mean(1))
    if not notes:
        names = ", ".join(map(str, folders))
        raise CodecError(f"{names}: no {'held-out ' * held_out}FLAC or WAV notes found")
    return notes


def through_chain(spec: RenderSpec) -> Wet:
    """A wet maker: input level, chain and noise floor drawn as for a data set."""

    def wet(rng: np.random.Generator, dry: np.ndarray) -> np.ndarray:
        peak = float(np.abs(dry).max())
        if not peak:
            return dry
        gain = 10 ** (rng.uniform(*spec.input_peak_dbfs) / 20) / peak
        names = draw_names(spec.chain, draw_length(spec.chain, rng), rng, test=False)
        chain = draw_settings(spec.chain, names, rng)
        wave, _ = run_chain(dry * np.float32(gain), chain, spec.sample_rate_hz)
        if not np.any(wave):
            return dry
        low_hz, high_hz = np.log(spec.noise_cutoff_hz)
        after = After(
            noise_snr_db=rng.uniform(*spec.noise_snr_db),
            noise_cutoff_hz=float(np.exp(rng.uniform(low_hz, high_hz))),
            gain_db=0.0,  # loudness is normalised next
        )
        return finish(wave, after, spec.sample_rate_hz, rng)

    return wet


def default_spec() -> RenderSpec:
    """Chains of 1 to 5 out of all pedals."""
    return RenderSpec(chain=ChainSpec(pool=tuple(PEDALS)))


def training_batches(
    notes: Sequence[np.ndarray],
    *,
    seed: int = 0,
    synth_share: float = 0.5,
    spec: CropSpec | None = None,
) -> Callable[[int], Iterator[np.ndarray]]:
    """For `fxpipe.codec.train.train_codec`: the batches from a step on, float32 [B, N].

    Without ``notes`` everything comes from the synthetic guitar.
    """
    dry: list[tuple[float, Dry]] = [(synth_share if notes else 1.0, _synth)]
    if notes:
        dry.append((1 - synth_share, splice_notes(notes, SAMPLE_RATE_HZ)))
    wet = through_chain(default_spec())

    def batches(step: int) -> Iterator[np.ndarray]:
        rng = np.random.default_rng([seed, step])
        return crop_batches(rng, dry, wet, _level, spec or CropSpec())

    return batches


def held_out_clips(
    notes: Sequence[np.ndarray], n_clips: int, *, seed: int = 1, hop_samples: int = 512
) -> np.ndarray:
    """Wet clips float32 [B, N] at the codec's level, N padded to whole hops. No notes: synth."""
    rng = np.random.default_rng(seed)
    maker = splice_notes(notes, SAMPLE_RATE_HZ) if notes else _synth
    wet = through_chain(default_spec())
    n_samples = CropSpec().phrase_samples
    clips = np.zeros((n_clips, -(-n_samples // hop_samples) * hop_samples), np.float32)
    for row in clips:
        row[:n_samples] = _level(wet(rng, maker(rng, n_samples)))
    return clips


def _synth(rng: np.random.Generator, n_samples: int) -> np.ndarray:
    return perform(rng, n_samples)[0]


def _level(wave: np.ndarray) -> np.ndarray:
    return normalise(wave, SAMPLE_RATE_HZ)[0]
