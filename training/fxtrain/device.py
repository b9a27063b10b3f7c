"""Names of devices to devices. Imports torch only where a name has to be looked up."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fxtrain.contract import UsageError

if TYPE_CHECKING:
    import torch


def check_device(name: str) -> None:
    """Raise UsageError for what names no device anywhere."""
    if not re.fullmatch(r"auto|(cpu|cuda)(:\d+)?", name):
        raise UsageError(f"unknown device {name!r}: known: auto, cpu, cuda, cuda:1 …")


def resolve_device(name: str) -> torch.device:
    """ "auto" (a GPU where there is one), "cpu", "cuda" or "cuda:1"."""
    check_device(name)
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cpu"):
        return torch.device("cpu")  # there is one, whatever its number
    device = torch.device(name)
    if not torch.cuda.is_available():
        raise UsageError(f"device {name!r}: no usable GPU here; use --device cpu")
    if (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"device {name!r}: the last GPU here is cuda:{torch.cuda.device_count() - 1}"
        )
    return device
