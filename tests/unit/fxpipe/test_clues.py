"""Clues of a wave: rails are told whatever is played, echoes where they lie."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import scipy.fft
import torch
from click.testing import CliRunner
from pedalboard import Clipping, Delay

from fxpipe.cli import cli
from fxpipe.clues import NEAR, STEP, clue_info, clues
from fxpipe.clues_gpu import clues as clues_of_batch
from fxpipe.errors import CodecError
from fxpipe.level import LEVEL_RULE
from fxpipe.sources.synth import SAMPLE_RATE_HZ, perform
from fxtrain.contract import (
    NOT_RUN,
    CodecInfo,
    ContractError,
    DamagedError,
    Hearing,
    LocalFolder,
    from_dict,
    open_frontend,
    to_dict,
    write_index,
)
from fxtrain.contract.schema import ClueInfo
from fxtrain.data import open_shards

RATE_HZ = SAMPLE_RATE_HZ
CODEC = CodecInfo("t", "0" * 64, RATE_HZ, 512, 9, 1024, 8, NOT_RUN, "none")
INFO = clue_info(CODEC)
N_LAGS = sum(INFO.n_lags)


def guitar(duration_s: float = 2.0, seed: int = 0) -> np.ndarray:
    """float32 [N] of the built-in guitar."""
    return perform(np.random.default_rng(seed), round(duration_s * RATE_HZ))[0]


def echoes(row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What agrees and what is contrary, by lag: [G] each, 1 for what is usual."""
    sizes = np.expm1(row[INFO.n_spread :].astype(float) * STEP)
    return sizes[:N_LAGS], sizes[N_LAGS:]


def lag_ms(place: int) -> float:
    """Where a step of lags begins."""
    for (first, _, step), n in zip(INFO.lags_ms, INFO.n_lags, strict=True):
        if place < n:
            return first + place * step
        place -= n
    raise AssertionError(place)


def near_the_peaks(row: np.ndarray) -> np.ndarray:
    """[2, len(NEAR)]: of the clip's samples, the share that lies so near to its upper peak, and to
    its lower."""
    whole = row[INFO.n_spread - INFO.n_shapes : INFO.n_spread].astype(float) / 255
    return np.square(whole[: 2 * len(NEAR)]).reshape(2, -1)


def test_a_row_is_as_long_as_its_description_says_whatever_the_clip() -> None:
    assert INFO.n_clues == 1163
    assert from_dict(ClueInfo, to_dict(INFO), "here") == INFO
    for n in (RATE_HZ // 10, RATE_HZ // 2, 2 * RATE_HZ, 5 * RATE_HZ):
        row = clues(guitar(n / RATE_HZ), RATE_HZ, INFO)
        assert row.shape == (INFO.n_clues,)
        assert row.dtype == np.uint8
        assert row.any()
    slow = clue_info(dataclasses.replace(CODEC, sample_rate_hz=16_000))
    assert clues(guitar()[:32_000], 16_000, slow).shape == (INFO.n_clues,)


def test_silence_has_none() -> None:
    assert not clues(np.zeros(RATE_HZ, np.float32), RATE_HZ, INFO).any()
    assert not clues_of_batch(torch.zeros(1, RATE_HZ), RATE_HZ, INFO).any()


def test_how_loud_a_clip_is_makes_no_difference() -> None:
    wave = guitar()
    loud, quiet = (clues(wave * gain, RATE_HZ, INFO) for gain in (1.0, 0.003))
    assert np.abs(loud.astype(int) - quiet).max() <= 1


def test_what_clips_leaves_samples_at_its_rails() -> None:
    wave = guitar()
    peak = float(np.abs(wave).max())
    clipped = Clipping(threshold_db=20 * np.log10(peak) - 12)(wave, RATE_HZ)
    free, at_rails = (near_the_peaks(clues(w, RATE_HZ, INFO))[:, :2] for w in (wave, clipped))
    assert free.max() < 0.01
    assert at_rails.min() > 0.02


def test_a_rail_on_one_side_is_told_from_two() -> None:
    wave = guitar()
    above, below = near_the_peaks(clues(np.minimum(wave, 0.3 * wave.max()), RATE_HZ, INFO))
    assert above[0] > 0.02
    assert below[0] < 0.01


@pytest.mark.parametrize("delay_ms", [83.0, 230.0, 415.0])
def test_an_echo_is_the_highest_peak_of_all_lags(delay_ms: float) -> None:
    wet = Delay(delay_seconds=delay_ms / 1000, feedback=0.0, mix=0.3)(guitar(), RATE_HZ)
    agrees, contrary = echoes(clues(wet, RATE_HZ, INFO))
    assert lag_ms(int(agrees.argmax())) == pytest.approx(delay_ms, abs=2)
    assert agrees.max() > 2 * contrary.max()
    assert agrees.max() > 2 * echoes(clues(guitar(), RATE_HZ, INFO))[0].max()


def test_an_echo_upside_down_is_contrary() -> None:
    dry = guitar()
    late = np.pad(dry, (round(0.23 * RATE_HZ), 0))[: len(dry)]
    agrees, contrary = echoes(clues(dry - 0.4 * late, RATE_HZ, INFO))
    assert lag_ms(int(contrary.argmax())) == pytest.approx(230, abs=2)
    assert contrary.max() > agrees.max()


def test_the_end_of_a_clip_does_not_meet_its_beginning() -> None:
    rng = np.random.default_rng(0)
    wave = 0.01 * rng.standard_normal(2 * RATE_HZ).astype(np.float32)
    click = rng.standard_normal(2000).astype(np.float32)
    for start_s in (0.0, 1.7):  # 0.3 s apart, if the clip went round
        wave[round(start_s * RATE_HZ) :][: len(click)] += click
    agrees, _ = echoes(clues(wave, RATE_HZ, INFO))
    around = agrees[INFO.n_lags[0] :][100:151]  # 250 to 352 ms
    assert around[23:28].max() <= np.sort(around)[-5]


def test_scipy_and_a_gpu_say_the_same() -> None:
    waves = np.stack([guitar(2, seed) for seed in range(4)]).astype(np.float32)
    waves[1] = np.clip(waves[1], -0.1, 0.2)
    waves[2, RATE_HZ // 2 :] *= 1e-4
    one_by_one = np.stack([clues(wave, RATE_HZ, INFO) for wave in waves]).astype(int)
    quick = np.stack([clues(wave, RATE_HZ, INFO, scipy.fft) for wave in waves])
    batch = clues_of_batch(torch.from_numpy(waves), RATE_HZ, INFO)
    assert batch.dtype == torch.uint8
    for found in (quick, batch.numpy()):
        assert np.abs(found - one_by_one).max() <= 1
        assert (found != one_by_one).mean() < 0.01


def test_shards_hold_what_a_prediction_hears(tmp_path: Path) -> None:
    for line in (
        f"render -o {tmp_path}/renders --n-chains 6 --seed 3 --clip-s 1",
        f"encode {tmp_path}/renders -o {tmp_path}/shards --codec embedded --mel-only",
    ):
        found = CliRunner().invoke(cli, line.split(), catch_exceptions=False)
        assert found.exit_code == 0, found.output
    dataset = open_shards(tmp_path / "shards")
    index = dataset.index
    assert index.clues == clue_info(index.codec)
    hearing = Hearing(index.codec, index.mel, LEVEL_RULE, index.n_audio_samples, index.clues)
    frontend = open_frontend(hearing)
    block = dataset.load("train")
    for row, record in zip(block.clues, block.records, strict=True):
        wet = frontend.remake(record, index.recipe, str(tmp_path / "renders")).wet
        heard = frontend.encode(wet, index.codec.sample_rate_hz).clues
        assert heard is not None
        assert np.abs(heard[0].astype(int) - row).max() <= 1


def test_a_model_of_other_clues_is_refused() -> None:
    others = dataclasses.replace(INFO, n_shapes=5)
    with pytest.raises(CodecError, match="other clues of the wave than this version makes"):
        open_frontend(Hearing(CODEC, None, LEVEL_RULE, RATE_HZ, others))


def test_an_index_without_what_its_shards_hold_is_found(tmp_path: Path) -> None:
    for line in (
        f"render -o {tmp_path}/renders --n-chains 6 --seed 3 --clip-s 1",
        f"encode {tmp_path}/renders -o {tmp_path}/shards --codec embedded --mel-only",
    ):
        assert CliRunner().invoke(cli, line.split()).exit_code == 0
    folder = LocalFolder(tmp_path / "shards")
    index = open_shards(tmp_path / "shards").index
    write_index(folder, dataclasses.replace(index, clues=None))
    with pytest.raises(DamagedError, match="block holds clues, the index says none"):
        open_shards(tmp_path / "shards").load("train")
    other = dataclasses.replace(INFO, n_quantiles=4)
    write_index(folder, dataclasses.replace(index, clues=other))
    with pytest.raises(DamagedError, match="clues is"):
        open_shards(tmp_path / "shards").load("train")


@pytest.mark.parametrize(
    "wrong",
    [
        {"n_shapes": 0},
        {"n_quantiles": 2**40},
        {"frame_samples": [0]},
        {"frame_samples": [2**30]},
        {"lags_ms": [[5.0, 5.0, 1.0]]},
        {"lags_ms": [[0.0, 1e9, 1.0]]},
        {"lags_ms": [[0.0, 9000.0, 1e-9]]},
        {"lags_ms": [[float("nan"), 10.0, 1.0]]},
    ],
)
def test_a_description_that_would_take_all_memory_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ContractError):
        from_dict(ClueInfo, to_dict(INFO) | wrong, "index.json")
