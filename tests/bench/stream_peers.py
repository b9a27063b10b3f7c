"""How other libraries write and stream the same samples, for ``bench_stream.py``.

Each peer writes ``codes`` and ``order`` in the way its own documentation shows first, and reads
shuffled batches of int64 codes, in this process, without workers. They are no dependency of the
project: ``pip install -r tests/bench/requirements.txt`` says how to get them.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import webdataset as wds  # before our writer, which forbids it to open files by name

Arrays = dict[str, np.ndarray]
Batches = Callable[[], Iterator[torch.Tensor]]


def webdataset_per_sample(folder: Path, arrays: Arrays, batch_size: int) -> Batches:
    """One ``.npy`` and one ``.json`` a sample, the library's own shuffle of 1,000."""
    folder.mkdir()
    with wds.ShardWriter(str(folder / "%06d.tar"), maxcount=1000, verbose=0) as writer:
        for i, (codes, order) in enumerate(zip(arrays["codes"], arrays["order"], strict=True)):
            writer.write({"__key__": f"{i:08d}", "npy": codes, "json": {"order": order.tolist()}})
    urls = sorted(str(path) for path in folder.glob("*.tar"))

    def batches() -> Iterator[torch.Tensor]:
        stream = (
            wds.WebDataset(urls, shardshuffle=len(urls), seed=0)
            .shuffle(1000)
            .decode()
            .to_tuple("npy", "json")
            .batched(batch_size)
        )
        for codes, _ in stream:
            yield torch.from_numpy(np.asarray(codes).astype(np.int64))

    return batches


def hf_datasets(folder: Path, arrays: Arrays, batch_size: int) -> Batches:
    """An Arrow table read by a shuffling ``DataLoader``."""
    import datasets

    datasets.disable_progress_bars()
    shape = arrays["codes"].shape[1:]
    features = datasets.Features(
        codes=datasets.Array2D(shape, "uint16"),
        order=datasets.List(datasets.Value("uint8"), length=arrays["order"].shape[1]),
    )
    table = datasets.Dataset.from_dict(
        {"codes": list(arrays["codes"]), "order": list(arrays["order"])}, features=features
    )
    table.save_to_disk(str(folder))
    table = datasets.load_from_disk(str(folder)).with_format("numpy")
    loader: Any = torch.utils.data.DataLoader(
        table,  # type: ignore[arg-type]
        batch_size=batch_size,
        shuffle=True,
        collate_fn=lambda rows: np.stack([row["codes"] for row in rows]),
    )

    def batches() -> Iterator[torch.Tensor]:
        for codes in loader:
            yield torch.from_numpy(codes.astype(np.int64))

    return batches


def litdata(folder: Path, arrays: Arrays, batch_size: int) -> Batches:
    """Chunks of 16 MB, the library's own loader."""
    from litdata import StreamingDataLoader, StreamingDataset
    from litdata.streaming.writer import BinaryWriter

    folder.mkdir()
    writer = BinaryWriter(str(folder), chunk_bytes="16MB")
    for i, (codes, order) in enumerate(zip(arrays["codes"], arrays["order"], strict=True)):
        writer.add_item(i, {"codes": codes, "order": order})
    writer.done()
    writer.merge()
    data = StreamingDataset(str(folder), shuffle=True)
    loader = StreamingDataLoader(
        data,
        batch_size=batch_size,
        num_workers=0,
        collate_fn=lambda rows: np.stack([row["codes"] for row in rows]),
    )

    def batches() -> Iterator[torch.Tensor]:
        for codes in loader:
            yield torch.from_numpy(codes.astype(np.int64))

    return batches


def mosaicml_streaming(folder: Path, arrays: Arrays, batch_size: int) -> Batches:
    """MDS shards of 16 MB, shuffled by the library."""
    _stand_in_for_vision_and_text()
    from streaming import MDSWriter, StreamingDataset

    columns = {
        name: f"ndarray:{array.dtype}:{','.join(map(str, array.shape[1:]))}"
        for name, array in arrays.items()
    }
    with MDSWriter(out=str(folder), columns=columns, size_limit=2**24) as writer:
        for i in range(len(arrays["codes"])):
            writer.write({name: array[i] for name, array in arrays.items()})
    data = StreamingDataset(local=str(folder), shuffle=True, batch_size=batch_size)
    loader: Any = torch.utils.data.DataLoader(
        data,
        batch_size=batch_size,
        collate_fn=lambda rows: np.stack([row["codes"] for row in rows]),
    )

    def batches() -> Iterator[torch.Tensor]:
        for codes in loader:
            yield torch.from_numpy(codes.astype(np.int64))

    return batches


def _stand_in_for_vision_and_text() -> None:
    """``streaming`` imports torchvision and transformers for data sets that are not used here;

    torchvision has no build on the public index that loads beside the CPU build of torch.
    """
    unused = type("Unused", (), {})
    for name, members in {
        "torchvision": (),
        "torchvision.datasets": ("CIFAR10", "VisionDataset"),
        "torchvision.transforms": (),
        "torchvision.transforms.functional": ("to_tensor",),
        "transformers": (),
        "transformers.feature_extraction_utils": ("BatchFeature",),
        "transformers.tokenization_utils_base": ("BatchEncoding",),
        "transformers.models": (),
        "transformers.models.auto": (),
        "transformers.models.auto.tokenization_auto": ("AutoTokenizer",),
    }.items():
        module = types.ModuleType(name)
        for member in members:
            setattr(module, member, unused)
        sys.modules.setdefault(name, module)


PEERS: dict[str, Callable[[Path, Arrays, int], Batches]] = {
    "webdataset, a sample a member": webdataset_per_sample,
    "HF datasets": hf_datasets,
    "litdata": litdata,
    "MosaicML streaming": mosaicml_streaming,
}
