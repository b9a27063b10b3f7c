"""Reading shards: whole, checked, and as batches (``fxtrain.data.stream``).

Both backends give equal samples; the index says which one it is. This module is free of torch.
"""

from __future__ import annotations

from fxtrain.data.dataset import Shard, ShardDataset, open_shards
from fxtrain.data.reader import BACKENDS, read_arrays, read_shard

__all__ = ["BACKENDS", "Shard", "ShardDataset", "open_shards", "read_arrays", "read_shard"]
