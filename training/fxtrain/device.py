"""Names of devices to devices. torch only."""

from __future__ import annotations

import torch

from fxtrain.contract import UsageError


def resolve_device(name: str) -> torch.device:
    """ "auto" (a GPU where there is one), "cpu", "cuda" or "cuda:1"."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"unknown device {name!r}: known: auto, cpu, cuda, cuda:1 …") from None
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"device {name!r} is not supported: use auto, cpu or cuda")
    if device.type == "cpu":
        return torch.device("cpu")  # there is one, whatever its number
    if not torch.cuda.is_available():
        raise UsageError(f"device {name!r}: no usable GPU here; use --device cpu")
    if (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"device {name!r}: the last GPU here is cuda:{torch.cuda.device_count() - 1}"
        )
    return device
