"""The audio of a data set's samples, made again from their records through the frontend."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

from fxtrain.contract import (
    INDEX_NAME,
    Chain,
    Frontend,
    FxError,
    LocalFolder,
    Pedal,
    Record,
    RemadeClip,
    open_frontend,
)
from fxtrain.data import Shard, ShardDataset

RENDERS = "renders"
"""What ``fxpipe render`` calls its directory, and where it is looked for: beside the shards."""


class Sounds:
    """Records and sounds of one split, by position. ``renders``: where it was encoded from."""

    def __init__(self, dataset: ShardDataset, split: str, renders: str | None = None) -> None:
        self._dataset, self._split, self._renders = dataset, split, renders
        self._known: dict[int, tuple[Record, Shard]] = {}

    def __getstate__(self) -> dict[str, object]:
        """Another process opens a frontend of its own."""
        return {name: value for name, value in vars(self).items() if name != "frontend"}

    @cached_property
    def frontend(self) -> Frontend:
        """Pedals and measures, no codec. MissingExtraError without the pipeline."""
        return open_frontend(None)

    def read(self, positions: Iterable[int]) -> None:
        """Read the records at these positions, each shard once."""
        wanted = sorted(set(positions) - set(self._known))
        for shard in self._dataset.shards_of(self._split):
            here = [p - shard.first for p in wanted if 0 <= p - shard.first < len(shard)]
            if not here:
                continue
            records = list(shard.records())
            self._known |= {shard.first + row: (records[row], shard) for row in here}

    def record(self, position: int) -> Record:
        self.read([position])
        return self._known[position][0]

    def shards_of(self, position: int) -> str:
        """Path or URI of the data set that holds the sample."""
        self.read([position])
        return self._known[position][1].folder.uri

    def chain(self, position: int) -> Chain:
        """The true chain with its knobs."""
        pedals = self.record(position).get("chain", [])
        return Chain(tuple(Pedal(p["name"], p["settings"]) for p in pedals))

    def remake(self, position: int) -> RemadeClip:
        """The audio at a position; an FxError says why there is none."""
        record = self.record(position)
        _, shard = self._known[position]
        places = [self._renders] if self._renders else [*_beside(shard), None]
        for place in places[:-1]:
            try:
                return self.frontend.remake(record, shard.index.recipe, place)
            except FxError:
                continue  # other renders than these shards', perhaps; there is one place more
        return self.frontend.remake(record, shard.index.recipe, places[-1])


def _beside(shard: Shard) -> list[str]:
    """``renders/`` next to the shards, where there is one."""
    if not isinstance(shard.folder, LocalFolder):
        return []
    renders = shard.folder.root.parent / RENDERS
    return [str(renders)] if (renders / INDEX_NAME).is_file() else []
