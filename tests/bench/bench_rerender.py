"""What a perfect set of ears would still miss: the rows of ``evaluate --rerender`` without a model.

    python tests/bench/bench_rerender.py [--pool stompbox] [--n 40]

Chains on the built-in guitar, lengths 1 to 5. The "prediction" is the truth, so its row with
typical knobs is what not knowing the knobs costs; beside it the worst order, a random chain and no
effect. Prints the tables, and what a clip takes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable
from functools import cache

from fxpipe.chains.chain import ChainSpec
from fxpipe.frontend import open_frontend
from fxpipe.pedals import pool_of
from fxpipe.render import RenderSpec
from fxpipe.renders import chain_of, make_plan, render_clip
from fxpipe.sources import open_source
from fxtrain.contract import Chain, Record, RemadeClip, to_dict
from fxtrain.rerender import rerender, rerender_lines


class Rendered:
    """Stands for ``fxtrain.sounds.Sounds``: records of a plan that was never encoded."""

    def __init__(self, pool: str, n: int, seed: int) -> None:
        spec = RenderSpec(ChainSpec(pool_of(pool), dict.fromkeys(range(1, 6), 1.0)))
        source = open_source("synth")
        self.plan = make_plan(spec, source, n, seed, progress=False, fractions=(0.0, 0.0, 1.0))
        self.recipe = {
            "spec": to_dict(spec),
            "source": "synth",
            "source_digest": self.plan.scan.digest,
            "seed": seed,
        }
        self.frontend = open_frontend()
        self.record = cache(self._record)

    def _record(self, position: int) -> Record:
        return render_clip(self.plan, "test", position)[1]

    def read(self, positions: Iterable[int]) -> None:
        """Records are made when they are asked for."""

    def chain(self, position: int) -> Chain:
        return chain_of(self.record(position))

    def remake(self, position: int) -> RemadeClip:
        return self.frontend.remake(self.record(position), self.recipe)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pool", default="stompbox")
    parser.add_argument("--n", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rendered = Rendered(given.pool, given.n, given.seed)
    truth = [rendered.chain(position).names for position in range(given.n)]
    clip = rendered.remake(0)
    rendered.frontend.nearness(clip.wet, clip.wet, clip.sample_rate_hz)  # loads auraloss
    began, cpu = time.perf_counter(), time.process_time()
    found = rerender(truth, truth, rendered, given.n, seed=given.seed)
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    print(f"{given.pool}, lengths 1 to 5, the built-in guitar, seed {given.seed}")
    print("\n".join(rerender_lines(found)))
    print(f"a clip: {wall / given.n:.2f} s, {cpu / given.n:.2f} core-seconds")


if __name__ == "__main__":
    main()
