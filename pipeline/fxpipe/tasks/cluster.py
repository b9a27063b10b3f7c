"""Workers that Slurm or Kubernetes start, as many as there is work for, by the user's dask YAML.

The libraries do the work; here is added what every worker of ours needs: its environment, and a
scheduler that asks for all the workers it may have as long as each has a task.
"""

from __future__ import annotations

import copy
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from fxpipe.tasks.where import WORKER_ENVIRONMENT
from fxtrain.contract import FxError, UsageError, at_home

PAGE = "docs/cluster.md has a file that works"
ADAPT_S = "100ms"
"""Only a few tasks a worker are ever at the scheduler. dask's 5 s would take that for little."""
SCHEDULER_ENVIRONMENT = {"DASK_DISTRIBUTED__ADAPTIVE__TARGET_DURATION": ADAPT_S}


@contextmanager
def open_cluster(name: str, at_most: int) -> Iterator[Any]:
    """A client of ``at_most`` workers, fewer where there is less to do; ended with the run."""
    import distributed

    with (
        _open_slurm(at_most) if name == "slurm" else _open_kubernetes(at_most) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


def at_least(at_most: int) -> int:
    """Workers that are kept even without work: ``distributed.adaptive.minimum`` of dask's YAML."""
    import dask

    return min(int(dask.config.get("distributed.adaptive.minimum")), at_most)


@contextmanager
def _open_slurm(at_most: int) -> Iterator[Any]:
    cluster = slurm_cluster()
    try:
        cluster.adapt(
            minimum=at_least(at_most), maximum=at_most, target_duration=ADAPT_S, interval="1s"
        )
        yield cluster
    finally:
        with suppress(Exception):  # what was not started cannot be ended
            cluster.close(timeout=20)


def slurm_cluster() -> Any:
    """``SLURMCluster`` by ``jobqueue.slurm`` of dask's YAML, after Slurm has looked at its job."""
    import dask
    from dask_jobqueue import SLURMCluster

    if shutil.which("sbatch") is None:
        raise FxError(
            "--cluster slurm: there is no sbatch on this machine; type this where jobs are "
            "submitted, on a login node"
        )
    for key in ("cores", "memory"):
        if dask.config.get(f"jobqueue.slurm.{key}") is None:
            raise UsageError(
                f"--cluster slurm: jobqueue.slurm.{key} is not set in dask's configuration; {PAGE}"
            )
    ours = [f"export {name}={value}" for name, value in WORKER_ENVIRONMENT.items()]
    theirs = dask.config.get("jobqueue.slurm.job-script-prologue") or []
    cluster = SLURMCluster(job_script_prologue=[*ours, *theirs], silence_logs="CRITICAL")
    tried = subprocess.run(
        ["sbatch", "--test-only"],
        input=cluster.job_script(),
        capture_output=True,
        text=True,
        check=False,
    )
    if tried.returncode:
        cluster.close(timeout=20)
        raise FxError(
            f"--cluster slurm: Slurm refuses the job ({' '.join(tried.stderr.split()):.400}); "
            "correct jobqueue.slurm in dask's configuration"
        )
    return cluster


@contextmanager
def _open_kubernetes(at_most: int) -> Iterator[Any]:
    from dask_kubernetes.operator import KubeCluster

    spec = kubernetes_spec()
    try:
        cluster = KubeCluster(custom_cluster_spec=spec, quiet=True)
    except Exception as error:  # the library's, the transport's or the API's own
        said = " ".join(str(error).split()) or type(error).__name__
        raise FxError(
            f"--cluster k8s: cluster {spec['metadata']['name']!r} cannot be started "
            f"({said:.200}); look whether kubectl reaches the cluster and the dask operator runs "
            "there"
        ) from None
    try:
        cluster.adapt(minimum=at_least(at_most), maximum=at_most)
        yield cluster
    finally:
        with suppress(Exception):
            cluster.close()


def kubernetes_spec() -> dict[str, Any]:
    """The ``DaskCluster`` resource: ``kubernetes.custom-cluster-spec`` of dask's YAML, a path or
    the resource itself, or one made of its other ``kubernetes`` keys; with our environment where
    it says nothing else."""
    import dask
    import yaml

    config = dask.config.get("kubernetes", {})
    custom = config.get("custom-cluster-spec")
    if custom is None:
        spec = _made_spec(config)
    elif isinstance(custom, str):
        try:
            spec = yaml.safe_load(at_home(custom).read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise UsageError(
                f"--cluster k8s: kubernetes.custom-cluster-spec {custom}: cannot be read "
                f"({' '.join(str(error).split())}); {PAGE}"
            ) from None
    else:
        spec = copy.deepcopy(custom)
    try:
        for part, wanted in (
            ("worker", WORKER_ENVIRONMENT),
            ("scheduler", SCHEDULER_ENVIRONMENT),
        ):
            for container in spec["spec"][part]["spec"]["containers"]:
                theirs = list(container.get("env") or [])
                named = {entry["name"] for entry in theirs}
                ours = [{"name": k, "value": v} for k, v in wanted.items() if k not in named]
                container["env"] = theirs + ours
        spec["metadata"]["name"]
    except (AttributeError, KeyError, TypeError):
        raise UsageError(
            f"--cluster k8s: {custom if isinstance(custom, str) else 'kubernetes'}: not a "
            f"DaskCluster with metadata.name and containers of worker and scheduler; {PAGE}"
        ) from None
    return dict(spec)


def _made_spec(config: dict[str, Any]) -> dict[str, Any]:
    import getpass
    import uuid

    from dask_kubernetes.operator import make_cluster_spec

    name = config["name"].format(user=getpass.getuser(), uuid=uuid.uuid4().hex[:10])
    spec: dict[str, Any] = make_cluster_spec(
        name=name,
        image=config["image"],
        n_workers=0,
        resources=config["resources"],
        env=config["env"],
        worker_command=config["worker-command"],
        scheduler_service_type=config["scheduler-service-type"],
    )
    return spec
