"""What a slow store costs: `fxpipe render` and `fxpipe encode --mel-only` in a folder, and in S3 by
the time of an answer.

    python tests/bench/bench_store.py [--chains 1500] [--workers 2] [--delays-ms 0,50,100]

The S3 server is moto's, on this machine; every answer is held back by the delay. It takes some of
the same cores, so compare with the row of no delay. Starting and stopping the workers is left out:
the seconds are those of their last lines. Run by hand; nothing is asserted.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

REGION = "us-east-1"


@contextmanager
def s3(delay_s: float) -> Iterator[dict[str, str]]:
    """What a client needs to know of a server with a bucket called ``bench``."""
    import boto3
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    answer = DomainDispatcherApplication(create_backend_app)

    def late(environ: Any, start: Any) -> Any:
        time.sleep(delay_s)
        return answer(environ, start)

    class Quiet(WSGIRequestHandler):
        def log(self, *_: Any) -> None:
            pass

    server = make_server("127.0.0.1", 0, late, threaded=True, request_handler=Quiet)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    known = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
        "AWS_DEFAULT_REGION": REGION,
    }
    session = boto3.Session("bench", "bench", region_name=REGION)
    session.client("s3", endpoint_url=known["AWS_ENDPOINT_URL"]).create_bucket(Bucket="bench")
    try:
        yield known
    finally:
        server.shutdown()
        server.server_close()


def measured(place: str, options: argparse.Namespace, known: dict[str, str]) -> list[float]:
    """Seconds of render and of encode."""
    lines = (
        f"fxpipe render -o {place}/renders --n-chains {options.chains} --seed 1"
        f" --dataset {options.dataset} --pool stompbox",
        f"fxpipe encode {place}/renders -o {place}/shards --codec embedded --mel-only",
    )
    return [seconds(f"{line} -j {options.workers}", known) for line in lines]


def seconds(line: str, known: dict[str, str]) -> float:
    done = subprocess.run(line.split(), env=os.environ | known, capture_output=True, text=True)
    found = re.search(r"finished at .* after ([\d.]+) s", done.stderr)
    if found is None:
        sys.exit(done.stderr)
    return float(found[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chains", type=int, default=1500)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--dataset", default="synth")
    parser.add_argument("--delays-ms", default="0,50,100")
    options = parser.parse_args()
    print("| in | render, s | encode, s |\n| --- | ---: | ---: |")

    def show(name: str, found: list[float]) -> None:
        print(f"| {name} | {' | '.join(f'{value:.1f}' for value in found)} |", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        show("a folder", measured(folder, options, {}))
    for delay in options.delays_ms.split(","):
        with s3(float(delay) / 1000) as known:
            # Another place each: moto keeps what a server before held.
            show(f"S3, {delay} ms an answer", measured(f"s3://bench/{delay}", options, known))


if __name__ == "__main__":
    main()
