"""docs/img/symmetry.png, from the shipped table: python docs/pictures/symmetry.py"""

from __future__ import annotations

from pathlib import Path

from fxpipe.orders.commute import Rule, shipped_table
from fxpipe.orders.symmetry import heat_map

IMAGES = Path(__file__).resolve().parents[1] / "img"

if __name__ == "__main__":
    (IMAGES / "symmetry.png").write_bytes(heat_map(shipped_table(), Rule(), "png"))
