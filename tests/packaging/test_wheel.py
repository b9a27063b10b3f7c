"""What a user installs: both packages, typed, with the codec and the manifests inside."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TRAINER = ROOT / "training/fxtrain"


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Built by the backend itself, which is a dev dependency: no network, no isolation."""
    target = tmp_path_factory.mktemp("wheel")
    code = f"import hatchling.build as b; b.build_wheel({str(target)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)
    (wheel,) = target.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_both_packages_are_there_and_typed(members):
    for name in (
        "fxpipe/py.typed",
        "fxtrain/py.typed",
        "fxpipe/cli.py",
        "fxtrain/contract/schema.py",
        "fxpipe/codec/embedded/encoder.safetensors",
        "fxpipe/data_manifests/idmt.json",
        "fxtrain/export/chain.schema.json",
        "fxtrain/report/page.html",
        "fxtrain/report/page.css",
        "fxtrain/report/page.js",
        "fxtrain/shipped/model.json",
        "fxtrain/shipped/model.safetensors",
        "fxtrain/shipped/MODEL_CARD.md",
        "fxtrain/app/static/vendor/wavesurfer.LICENSE",
    ):
        assert name in members


def test_every_file_of_the_pages_is_there(members):
    """One script that is missing, and the page stands still."""
    for folder in ("app/static", "listen/page", "web/static"):
        files = [path for path in (TRAINER / folder).rglob("*") if path.is_file()]
        names = {path.relative_to(TRAINER.parent).as_posix() for path in files}
        assert names
        assert names <= set(members)


def test_nothing_else_is_there(members):
    tops = {name.split("/")[0] for name in members}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"fxpipe", "fxtrain"}
    assert not [name for name in members if name.endswith((".pyc", ".pkl", ".pth", ".wav"))]
    assert "fxpipe/codec/embedded/decoder.safetensors" not in members  # 4 MB that only ears need


def test_entry_points():
    from importlib.metadata import distribution

    found = {(point.group, point.name) for point in distribution("fxpipe").entry_points}
    assert {
        ("console_scripts", "fxpipe"),
        ("console_scripts", "fxtrain"),
        ("fxtrain.frontends", "fxpipe"),
    } <= found
