"""Slurm and Kubernetes that are not there or refuse, and what is left open where they do."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any, ClassVar

import dask
import dask_kubernetes.operator
import pytest
import yaml

from fxpipe.tasks import cluster
from fxpipe.tasks.farewell import dask_teardown
from fxtrain.contract import FxError

RESOURCE = yaml.safe_load(
    (Path(__file__).parents[3] / "docs/examples/cluster/fxpipe-cluster.yaml").read_text()
)


class Cluster:
    """Stands for dask's; ``told`` is what it was asked for."""

    told: ClassVar[list[Any]] = []

    def __init__(self, **options: Any) -> None:
        self.told.clear()

    def adapt(self, **options: Any) -> None:
        self.told.append(options)

    def close(self, **options: Any) -> None:
        self.told.append("close")
        raise TimeoutError


def open_either(kind: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    if kind == "slurm":
        monkeypatch.setattr(cluster, "slurm_cluster", Cluster)
        return cluster._open_slurm(5)
    monkeypatch.setattr(dask_kubernetes.operator, "KubeCluster", Cluster)
    return cluster._open_kubernetes(5)


@pytest.fixture
def settings() -> Any:
    minimum = {"distributed.adaptive.minimum": 2}
    with dask.config.set(minimum | {"kubernetes.custom-cluster-spec": RESOURCE}):
        yield


@pytest.mark.parametrize("kind", ["slurm", "k8s"])
def test_a_cluster_is_closed_whatever_ended_the_run(
    kind: str, settings: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyboardInterrupt), open_either(kind, monkeypatch):
        raise KeyboardInterrupt
    asked, closed = Cluster.told
    assert (asked["minimum"], asked["maximum"], closed) == (2, 5, "close")


def test_a_machine_without_sbatch_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(FxError, match="there is no sbatch on this machine; type this where jobs"):
        cluster.slurm_cluster()


@pytest.mark.parametrize(
    ("error", "said"), [(ValueError("no\n context"), "no context"), (OSError(), "OSError")]
)
def test_kubernetes_that_does_not_answer_is_one_line(
    settings: None, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    def refuse(**options: Any) -> None:
        raise error

    monkeypatch.setattr(dask_kubernetes.operator, "KubeCluster", refuse)
    with (
        pytest.raises(FxError, match=rf"cluster 'fxpipe' cannot be started \({said}\); look"),
        cluster._open_kubernetes(5),
    ):
        pytest.fail("it was opened")


def test_a_worker_says_nothing_after_its_farewell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "said").open("w") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        stderr.write("before\n")
        stderr.flush()
        dask_teardown(None)
        stderr.write("after\n")
    assert (tmp_path / "said").read_text() == "before\n"
