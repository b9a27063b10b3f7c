"""What docs/python.md shows is run as it stands there; the settings in quickstart.md are true."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fixtures.shards import make_shards
from fxpipe.sources.synth import SAMPLE_RATE_HZ, perform
from fxtrain.answers import Answers, save_clips
from fxtrain.config import Config, load_config
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
    assert len(PIECES) == PAGE.read_text().count("\n## ") == 7


@pytest.mark.parametrize(("title", "code"), PIECES, ids=[title for title, _ in PIECES])
def test_it_runs(title: str, code: str, here: Path, monkeypatch, capsys):
    monkeypatch.chdir(here)
    exec(compile(code, f"{PAGE}: {title}", "exec"), {})
    assert capsys.readouterr().out.strip()


def test_the_settings_of_fit_in_the_quickstart_are_known_and_their_defaults_true(tmp_path: Path):
    page = (PAGE.parent / "quickstart.md").read_text()
    (text,) = re.findall(r"```toml\n(\[model\]\n.*?)```", page, re.DOTALL)
    (tmp_path / "fit.toml").write_text(text)
    load_config(tmp_path / "fit.toml", {})
    told = tomllib.loads(re.sub(r"= \S+ +# ([^:,\n]+).*", r"= \1", text))
    defaults = {"model": vars(Config().model), "train": vars(Config().train)}
    for table, values in told.items():
        for key, value in values.items():
            assert defaults[table][key] == value, key
