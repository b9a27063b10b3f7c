"""The page of an evaluation, for each implementation of a manifest, with the recordings to hear."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from pathlib import Path

from fxtrain.contract import (
    Chain,
    Frontend,
    FxError,
    Licence,
    LocalFolder,
    Record,
    RemadeClip,
)
from fxtrain.predict import AnyRun
from fxtrain.report import page
from fxtrain.sounds import Sounds
from fxtrain.zeroshot.manifest import Manifest
from fxtrain.zeroshot.returns import check_return, resampled, sent
from fxtrain.zeroshot.score import Judged, ZeroShot


class ReturnedSounds(Sounds):
    """The recordings of one implementation, by position, as a page asks for them."""

    def __init__(self, manifest: Manifest, judged: list[Judged], frontend: Frontend) -> None:
        self._manifest, self._judged = manifest, judged
        self.frontend = frontend

    def read(self, positions: Iterable[int]) -> None:
        """All is in memory."""

    def record(self, position: int) -> Record:
        row = self._judged[position].back.row
        return {"id": row.file, "source": row.implementation, "item": row.settings}

    def chain(self, position: int) -> Chain:
        """The chain as the kit drew it, where this is one of the kit's, played as it says."""
        row = self._judged[position].back.row
        kit = self._manifest.kit_of(row)
        for chain in kit.chains if kit else ():
            if chain.file == Path(row.file).name and chain.chain.names == row.names:
                return chain.chain
        return Chain(())

    def remake(self, position: int) -> RemadeClip:
        one = self._judged[position]
        row = one.back.row
        kit, folder = self._manifest.kit_of(row), self._manifest.folder_of(row)
        again = check_return(row, kit, folder, self.frontend)
        clip = next(clip for clip in again.clips if clip.number == one.clips[0])
        take = kit.take_named(clip.take) if kit else None
        dry = sent(clip, take, folder, self.frontend, run_in=True) if take else None
        if take is None or dry is None:
            raise FxError("the dry guitar that it was played with is not there")
        n_run_in = round(take.clips[clip.number].run_in_s * take.sample_rate_hz)
        wet = resampled(clip.wave, len(dry) - n_run_in)
        return RemadeClip(dry, wet, take.sample_rate_hz, n_run_in, self.chain(position))


def write_pages(run: AnyRun, found: ZeroShot, frontend: Frontend, *, n_clips: int) -> list[Path]:
    """``renders.evaluation.html`` beside the manifest, with the implementation's name where there
    are several; their paths."""
    own = {"own": Licence("that of whoever recorded them", "", shareable=True)}
    about = dataclasses.replace(run.card, licences=own, shareable=True)
    path = found.manifest.path
    written = []
    taken: set[str] = set()
    for number, (name, evaluation) in enumerate(found.evaluations.items(), start=1):
        short = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or str(number)
        while short in taken:
            short = f"{short}-{number}"
        taken.add(short)
        several = f".{short}" if len(found.evaluations) > 1 else ""
        sounds = ReturnedSounds(found.manifest, found.of(name), frontend)
        text = page(
            *(run, about, found.answers[name], evaluation, sounds),
            n_clips=n_clips,
            what="implementation",
        )
        file = f"{path.stem}.evaluation{several}.html"
        LocalFolder(path.parent).write(file, text.encode("utf-8", "backslashreplace"))
        written.append(path.parent / file)
    return written
