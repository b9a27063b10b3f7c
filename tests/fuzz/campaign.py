"""Hostile input by the thousand: python tests/fuzz/campaign.py --examples 2000 [--target NAME]

Every target runs in a process of its own, whose memory is limited and measured and whose cases are
timed. A case must end in the ``FxError`` family, in one line, or be accepted; within the time
limit; and leave nothing outside its folder. Prints one table, and every failure with its seed:
--target NAME --only SEED runs that one case again.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from types import FrameType
from typing import Any

CASE_S = 10.0
"""CPU seconds of one case; what takes longer has hung. Waiting for ever meets ``--limit-s``."""

ROOM_BYTES = 2 * 2**30
"""Address space beyond what a process holds when its artefacts are made."""

GROWTH_BYTES = 512 * 2**20
"""Resident memory that cases may add; a claim of gigabytes must not be believed."""


class HungError(BaseException):
    """Not an Exception: no reader may take it for bytes it cannot read."""


def _alarm(signum: int, frame: FrameType | None) -> None:
    raise HungError


def run_target(name: str, seeds: list[int], note: Path | None = None) -> dict[str, Any]:
    """Run cases in this process; see the module's first lines. ``note``: where the seed is kept."""
    from fuzz.targets import TARGETS
    from fxtrain.contract import FxError

    warnings.simplefilter("ignore")
    found: dict[str, Any] = {
        **{"target": name, "cases": 0, "refused": 0, "accepted": 0, "slowest_s": 0.0},
        **{"crashes": [], "messages": {}},
    }
    with tempfile.TemporaryDirectory() as place:
        around = Path(place)
        canary = around / "canary"
        canary.write_text("alive")
        inside = around / "inside"
        inside.mkdir()
        case = TARGETS[name](inside)
        before = sorted(p.name for p in around.iterdir())
        held = _peak_bytes()
        _limit_memory()
        signal.signal(signal.SIGPROF, _alarm)
        for seed in seeds:
            if note is not None:
                note.write_text(str(seed))
            started, problem = time.process_time(), ""
            signal.setitimer(signal.ITIMER_PROF, CASE_S)
            try:
                case(random.Random(f"{name} {seed}"))
                found["accepted"] += 1
            except FxError as error:
                found["refused"] += 1
                text = " ".join(str(error).split())
                shown = text.encode("utf-8", "replace").decode()
                if not text or len(text) > 2000 or shown != text:
                    problem = f"a message of {len(text)} characters: {shown[:200]}"
                text = shown
                found["messages"].setdefault(type(error).__name__, text.replace(place, "…")[:300])
            except HungError:
                problem = "hung:\n" + traceback.format_exc(limit=-6)
            except Exception:
                problem = traceback.format_exc(limit=-8)
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
            found["cases"] += 1
            found["slowest_s"] = max(found["slowest_s"], time.process_time() - started)
            if canary.read_text() != "alive" or sorted(p.name for p in around.iterdir()) != before:
                problem += "something was written outside the folder"
                for left in around.iterdir():
                    if left.name not in before:
                        shutil.rmtree(left) if left.is_dir() else left.unlink()
                canary.write_text("alive")
            if problem:
                found["crashes"].append({"seed": seed, "what": problem})
        found["growth_mb"] = (_peak_bytes() - held) / 2**20
        found["peak_mb"] = _peak_bytes() / 2**20
    return found


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + ROOM_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))


def campaign(names: list[str], examples: int, first: int, limit_s: float) -> list[dict[str, Any]]:
    """One process a target; one that dies or never ends counts as a crash of its last seed."""
    rows = []
    for name in names:
        with tempfile.NamedTemporaryFile("r") as note:
            command = [sys.executable, __file__, "--child", "--target", name]
            command += ["--examples", str(examples), "--first", str(first), "--note", note.name]
            try:
                done = subprocess.run(
                    command, capture_output=True, text=True, timeout=limit_s, check=False
                )
                code, out, err = done.returncode, done.stdout, done.stderr
            except subprocess.TimeoutExpired:
                code, out, err = -1, "", f"did not end within {limit_s:g} s"
            if code == 0:
                (row,) = json.loads(out.splitlines()[-1])
            else:
                what = f"the process ended with {code}: {err[-2000:]}"
                row = {"target": name, "cases": 0, "refused": 0, "accepted": 0, "slowest_s": 0.0}
                row |= {"peak_mb": 0.0, "growth_mb": 0.0, "messages": {}}
                row["crashes"] = [{"seed": note.read(), "what": what}]
        rows.append(row)
        print(table([row]).splitlines()[-1], file=sys.stderr, flush=True)
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = [
        "| target | cases | refused (FxError) | accepted | crashes | slowest case | memory added |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {row['target']} | {row['cases']:,} | {row['refused']:,} | {row['accepted']:,} "
        f"| {len(row['crashes'])} | {row['slowest_s']:.2f} s | {row['growth_mb']:.0f} MB |"
        for row in rows
    ]
    return "\n".join(lines)


def main() -> int:
    sys.path[:0] = [str(Path(__file__).resolve().parents[1])]
    from fuzz.targets import TARGETS

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=200, help="cases of each target")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--target", action="append", choices=list(TARGETS), help="repeatable")
    parser.add_argument("--only", type=int, help="run the case of this seed alone, here")
    parser.add_argument("--limit-s", type=float, default=600.0, help="of one target's process")
    parser.add_argument("--show", action="store_true", help="print an example of each error")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--note", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    names = args.target or list(TARGETS)
    seeds = list(range(args.first, args.first + args.examples))
    if args.child:
        print(json.dumps([run_target(name, seeds, args.note) for name in names]))
        return 0
    if args.only is not None:
        rows = [run_target(name, [args.only]) for name in names]
    else:
        rows = campaign(names, args.examples, args.first, args.limit_s)
    print(table(rows))
    for row in rows:
        for crash in row["crashes"]:
            print(f"\n{row['target']}, seed {crash['seed']}:\n{crash['what']}")
        if args.show:
            print(row["target"], json.dumps(row["messages"], indent=1, ensure_ascii=False))
    return 1 if any(row["crashes"] for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
