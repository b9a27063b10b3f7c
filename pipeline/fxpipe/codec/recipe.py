"""How the embedded codec is made: crops of clips that `fxpipe render` made, wet and dry.

Shapes: B batch, N audio sample.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from fxpipe.codec import CODECS
from fxpipe.codec.architecture import read_card
from fxpipe.codec.engine import find_device
from fxpipe.codec.rendered import RenderedCrops, levelled_clips
from fxpipe.codec.train import TrainConfig, TrainReport, train_codec
from fxpipe.sources.synth import SAMPLE_RATE_HZ

MOST_CLIPS = 24_000
"""Held on the device, 0.18 MB each."""

N_HELD_OUT = 64
DECODER_RATE = 1e-4
"""Largest learning rate of a decoder that is learnt further: at 5e-4 steps of 1.5 s of audio spoil
what steps of 24 s had learnt (mel loss 0.20 to 0.26)."""


def config_for(
    device: str, *, seed: int = 0, n_steps: int | None = None, decoder_of: Path | None = None
) -> TrainConfig:
    """The recipe for a CPU, where a step has 1.5 s of audio, or for a GPU, where it has 24 s.

    ``decoder_of`` as in `TrainConfig`: without the head, which teaches encoders, and without the L1
    of waveforms, with which the sound stays too quiet and further from the clip (docs/log.md,
    2026-11-30). Raises CodecError where it holds no codec.
    """
    config = TrainConfig(seed=seed)
    if decoder_of is not None:
        kwargs = dataclasses.asdict(read_card(decoder_of / CODECS["embedded"].file_name))
        config = replace(
            config,
            architecture=kwargs,
            decoder_of=str(decoder_of),
            learning_rate=DECODER_RATE,
            head_weight=0.0,
            l1_weight=0.0,
        )
    if _is_gpu(device):
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
    n_threads: int | None = None,
    log: Callable[[str], None] = print,
) -> TrainReport:
    """Begin or go on with a run; call again until finished. The renders' train split is learnt
    from, their test split scored. Raises CodecError.
    """
    find_device(device, "fp32")
    clips = levelled_clips(renders, "train", MOST_CLIPS, SAMPLE_RATE_HZ, device)
    unheard = levelled_clips(renders, "test", N_HELD_OUT, SAMPLE_RATE_HZ, device)
    log(f"{len(clips)} clips to learn from, {len(unheard)} held out")
    batch_size, crop_samples = (32, 32_768) if _is_gpu(device) else (4, 16_384)
    batches = RenderedCrops(
        clips, batch_size=batch_size, crop_samples=crop_samples, seed=config.seed
    )
    return train_codec(
        batches,
        run_dir,
        config,
        held_out=(unheard.float() / 32768).cpu().numpy(),
        minutes=minutes,
        n_threads=n_threads,
        device=device,
        log=log,
    )


def _is_gpu(device: str) -> bool:
    return device.startswith("cuda")
