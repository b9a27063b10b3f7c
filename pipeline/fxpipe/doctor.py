"""``fxpipe doctor``: this machine as the pipeline sees it."""

from __future__ import annotations

import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from fxpipe.codec import CODECS
from fxpipe.codec.weights import weights_path
from fxpipe.sources import default_data_dir
from fxpipe.tasks import default_workers

PACKAGES = ("fxpipe", "torch", "descript-audio-codec", "pedalboard", "dask", "zarr", "webdataset")


def examine() -> dict[str, str]:
    """Fact -> finding, each with what to type where something is missing."""
    import torch

    facts = {"python": platform.python_version(), "cores": str(default_workers())}
    facts |= {name: _version(name) for name in PACKAGES}
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    facts["gpu"] = ", ".join(f"{i}: {name}" for i, name in enumerate(names)) or (
        "none that torch can use; leave --gpu away to encode on the CPU"
    )
    for name, spec in CODECS.items():
        if spec.url is not None:
            there = weights_path(spec).is_file()
            facts[f"codec {name}"] = (
                "weights are here" if there else f"type 'fxpipe codec fetch {name}'"
            )
    facts["codec embedded"] = "in the package"
    free = shutil.disk_usage(Path.cwd()).free
    facts["disk here"] = f"{free / 1e9:.0f} GB free, room for {free / 176_400 / 1e6:.1f} M clips"
    facts["data sets"] = str(default_data_dir())
    return facts


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed: pip install 'fxpipe[pipeline]'"
