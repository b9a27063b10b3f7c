"""A recording whose clips are heard together or one by one, and what is said of those that fail."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fxtrain.contract import Features, FxError
from fxtrain.zeroshot import score
from fxtrain.zeroshot.manifest import Row
from fxtrain.zeroshot.returns import Clip, Return


class Ears:
    """A window a clip, as strange as its samples are large; nothing is heard of zeros."""

    def __init__(self, has_mel: bool = True) -> None:
        self.has_mel = has_mel

    def encode(self, wave: np.ndarray, rate: int) -> Features:
        if not wave.any():
            raise FxError("it is silent")
        mel = np.full((1, 2, 3), 7, np.uint8) if self.has_mel else None
        return Features(np.ones((1, 1, 3), np.uint16), mel, (0.0,), strangeness=(wave[0],))


@pytest.fixture(autouse=True)
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer says how many windows it is of, and how many of log-mel."""
    monkeypatch.setattr(
        score,
        "translate",
        lambda run, heard: (len(heard.codes), None if heard.mel is None else len(heard.mel), None),
    )


def judged(*loud: float, ears: Ears | None = None, each_clip: bool = False) -> list[score.Judged]:
    clips = tuple(Clip(np.full(4, x), 44_100, "dry-01.wav", k) for k, x in enumerate(loud))
    row = Row(2, "back.wav", Path("back.wav"), "dry-01.wav", ("fuzz",), "", "a board")
    back = Return(row, clips, "0" * 64, -3.0, notes=("hot",))
    return list(score._hear(None, ears or Ears(), back, each_clip=each_clip))  # type: ignore[arg-type]


def test_clips_are_heard_together_or_one_by_one() -> None:
    (one,) = judged(-1, -1, -1)
    assert (one.clips, one.heard, one.untuned) == ((0, 1, 2), 3, 3)
    each = judged(-1, -1, -1, each_clip=True)
    assert [(part.clips, part.heard, part.untuned) for part in each] == [
        ((k,), 1, 1) for k in range(3)
    ]
    assert {part.back.notes for part in (one, *each)} == {("hot",)}
    assert judged(-1, -1, ears=Ears(has_mel=False))[0].untuned is None


def test_a_clip_that_cannot_be_heard_is_left_out_and_named() -> None:
    (one,) = judged(-1, 0, -1)
    assert one.clips == (0, 2)
    assert one.back.notes == ("hot", "phrase 2 is left out: it is silent")
    with pytest.raises(FxError, match="nothing sounds in any of its clips"):
        judged(0, 0)
    with pytest.raises(FxError, match="it is silent"):  # its own words: there is no other clip
        judged(0)


@pytest.mark.parametrize(("loud", "strange"), [((1, 1, -1), True), ((1, -1, -1), False)])
def test_most_of_a_recording_has_to_sound_strange(loud: tuple[float, ...], strange: bool) -> None:
    (one,) = judged(*loud)
    assert any("does not sound like a guitar" in note for note in one.back.notes) == strange


def test_of_notes_that_many_recordings_have_three_are_told_and_the_rest_counted() -> None:
    told: list[str] = []
    notices = score._Notices(told.append)
    for k in range(5):
        notices.say(f"{k}.wav", f"very quiet (peak -{40 + k}.5 dBFS)")
    notices.say("5.wav", "turned over")
    notices.end()
    assert told == [
        *(f"{k}.wav: very quiet (peak -{40 + k}.5 dBFS)" for k in range(3)),
        "5.wav: turned over",
        "and 2 more: very quiet (peak … dBFS)",
    ]
