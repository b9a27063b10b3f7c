"""What docs/python.md shows is run as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fixtures.shards import make_shards
from fxpipe.sources.synth import SAMPLE_RATE_HZ, perform
from fxtrain.answers import Answers, save_clips
from fxtrain.decode import Candidate
from fxtrain.metrics import classes_of

PAGE = Path(__file__).parents[3] / "docs" / "python.md"
PIECES = re.findall(r"## (.+?)\n.*?```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip and a data set, where the page has them."""
    folder = tmp_path_factory.mktemp("here")
    wave, _ = perform(np.random.default_rng(1), 2 * SAMPLE_RATE_HZ)
    soundfile.write(folder / "clip.wav", wave, SAMPLE_RATE_HZ)
    make_shards(folder / "shards")
    truth, said = [("delay",), ("delay", "reverb")], [("reverb",), ("delay", "reverb")]
    heard = [(Candidate(names, 0.5, (names,)),) for names in said]
    answers = Answers("test", truth, heard, heard, classes_of(truth, frozenset()))
    save_clips(folder / "runs" / "demo", answers)
    return folder


def test_the_page_has_a_piece_of_code_under_every_heading():
    assert len(PIECES) == PAGE.read_text().count("\n## ") == 6


@pytest.mark.parametrize(("title", "code"), PIECES, ids=[title for title, _ in PIECES])
def test_it_runs(title: str, code: str, here: Path, monkeypatch, capsys):
    monkeypatch.chdir(here)
    exec(compile(code, f"{PAGE}: {title}", "exec"), {})
    assert capsys.readouterr().out.strip()
