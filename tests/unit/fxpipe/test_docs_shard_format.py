"""docs/shard-format.md tells a reader without our code how to decode settings and make log-mel and
clues."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fixtures.audio import RATE_HZ, riff
from fixtures.shards import make_shards
from fxpipe.clues import clue_info, clues
from fxpipe.mel import log_mel, mel_info
from fxtrain.contract import CodecInfo, to_dict
from fxtrain.data import open_shards

PAGE = Path(__file__).parents[3] / "docs" / "shard-format.md"
SAMPLE = re.search(r"## A sample\n(.*?)\n## ", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the code under "A sample" defines, run beside a data set."""
    folder = tmp_path_factory.mktemp("here")
    make_shards(folder / "shards")
    names: dict[str, Any] = {"folder": folder}
    assert SAMPLE is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for code in re.findall(r"```python\n(.*?)```", SAMPLE[1], re.DOTALL):
            exec(compile(code, str(PAGE), "exec"), names)
    return names


def test_settings_are_decoded_by_what_the_page_says(page: dict[str, Any]) -> None:
    block = open_shards(page["folder"] / "shards").load("train")
    for order, params, record in zip(block.order, block.params, block.records, strict=True):
        found = page["settings"](order, params, page["index"])
        assert [name for name, _ in found] == [pedal["name"] for pedal in record["chain"]]
        for (_, settings), pedal in zip(found, record["chain"], strict=True):
            assert settings == pytest.approx(pedal["settings"], rel=1e-6)


@pytest.mark.parametrize(("rate_hz", "hop"), [(RATE_HZ, 512), (24_000, 320)])
@pytest.mark.parametrize("n_samples", [2 * RATE_HZ, 30_001, 700])
def test_log_mel_is_made_by_what_the_page_says(
    page: dict[str, Any], n_samples: int, rate_hz: int, hop: int
) -> None:
    info = mel_info(CodecInfo("t", "0" * 64, rate_hz, hop, 9, 1024, 8, "fp32", "none"))
    wave = riff(n_samples)
    ours = log_mel(wave, rate_hz, info).astype(int)
    told = page["log_mel"](wave, rate_hz, to_dict(info)).astype(int)
    assert told.shape == ours.shape
    assert np.abs(told - ours).max() <= 1
    assert (told == ours).mean() > 0.999


@pytest.mark.parametrize("rate_hz", [RATE_HZ, 24_000])
@pytest.mark.parametrize("n_samples", [2 * RATE_HZ, 30_001])
def test_clues_are_made_by_what_the_page_says(
    page: dict[str, Any], n_samples: int, rate_hz: int
) -> None:
    info = clue_info(CodecInfo("t", "0" * 64, rate_hz, 512, 9, 1024, 8, "fp32", "none"))
    for wave in (riff(n_samples), np.clip(riff(n_samples), -0.05, 0.1)):
        ours = clues(wave, rate_hz, info).astype(int)
        told = page["clues"](wave, rate_hz, to_dict(info)).astype(int)
        assert told.shape == ours.shape
        assert np.abs(told - ours).max() <= 1
        assert (told == ours).mean() > 0.99
