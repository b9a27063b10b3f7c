"""What phrases cost: clips a second with and without them, one process, CPU time.

    python tests/bench/bench_phrases.py [n_clips]

On 690 computed notes in EGFxSet's layout: 5 s, 48 kHz, 24 bit. Prints one table; run by hand.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from fxpipe.config import render_spec
from fxpipe.render import draw_clip
from fxpipe.renders import make_plan, render_shard, save_plan, shard_jobs, take_clip
from fxpipe.sources import clips, open_source
from fxtrain.contract import open_folder

sys.path.insert(0, str(Path(__file__).parent.parent))

from fixtures.datasets import EGFXSET_PICKUPS, OPEN_STRING_MIDI, pluck, write_wav

RATE_HZ = 48_000


def write_notes(root: Path) -> None:
    for number, pickup in enumerate(EGFXSET_PICKUPS):
        for string, midi in OPEN_STRING_MIDI.items():
            for fret in range(23):
                seed = 10 * string + number  # else one pitch on two strings is one recording
                note = pluck(midi + fret, 5.0, sample_rate_hz=RATE_HZ, peak=0.95, seed=seed)
                path = root / "Clean" / pickup / f"{string}-{fret}.wav"
                write_wav(path, note, sample_rate_hz=RATE_HZ, subtype="PCM_24")


def main(n_clips: int) -> None:
    print(f"{'phrases':>8}{'dry clips/s':>14}{'rendered clips/s':>18}")
    with tempfile.TemporaryDirectory() as path:
        write_notes(Path(path))
        source = open_source(f"egfxset:{path}")
        for share in (0.0, 0.7, 1.0):
            spec = render_spec(None, {"phrases": share})
            plan = make_plan(spec, source, 100 * n_clips, 0, progress=False)
            draws = {k: draw_clip(spec, 0, "train", k) for k in range(n_clips)}
            clips._kept.clear()
            began = time.process_time()
            for k in sorted(draws, key=lambda k: draws[k].item_u):
                take_clip(plan, "train", k, 0, draws[k])
            dry_s = time.process_time() - began
            folder = open_folder(Path(path) / f"renders-{share}")
            save_plan(folder, plan)
            clips._kept.clear()
            began = time.process_time()
            render_shard(shard_jobs(plan, folder)[0] | {"n": n_clips})
            wet_s = time.process_time() - began
            print(f"{share:8g}{n_clips / dry_s:14.1f}{n_clips / wet_s:18.1f}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 250)
