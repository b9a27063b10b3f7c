"""Slurm and Kubernetes that are not there or refuse, and what is left open where they do."""

from __future__ import annotations

import copy
import getpass
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
from fxpipe.tasks.where import WORKER_ENVIRONMENT
from fxtrain.contract import FxError, UsageError

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


def test_the_resource_may_lie_under_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    file = tmp_path / "cluster.yaml"
    with dask.config.set({"kubernetes.custom-cluster-spec": "~/cluster.yaml"}):
        file.write_text(yaml.safe_dump(RESOURCE))
        assert cluster.kubernetes_spec()["metadata"]["name"] == "fxpipe"
        file.write_bytes("metadata: {name: für}\n".encode("latin-1"))
        with pytest.raises(UsageError, match=r"cluster\.yaml: cannot be read"):
            cluster.kubernetes_spec()


def test_what_the_library_makes_goes_by_the_users_settings() -> None:
    settings = {
        "kubernetes.name": "{user}s-{uuid}",
        "kubernetes.worker-command": "nice dask worker",
        "kubernetes.scheduler-service-type": "NodePort",
    }
    with dask.config.set(settings):
        made, again = cluster.kubernetes_spec(), cluster.kubernetes_spec()
    (container,) = made["spec"]["worker"]["spec"]["containers"]
    assert container["args"][:3] == ["nice", "dask", "worker"]
    assert made["spec"]["scheduler"]["service"]["type"] == "NodePort"
    assert made["spec"]["worker"]["replicas"] == 0
    assert made["metadata"]["name"].startswith(f"{getpass.getuser()}s-")
    assert made["metadata"]["name"] != again["metadata"]["name"]


def test_a_resource_without_environments_gets_ours_and_one_without_a_name_is_refused() -> None:
    resource = copy.deepcopy(RESOURCE)
    (container,) = resource["spec"]["worker"]["spec"]["containers"]
    container["env"] = None
    with dask.config.set({"kubernetes.custom-cluster-spec": resource}):
        (found,) = cluster.kubernetes_spec()["spec"]["worker"]["spec"]["containers"]
    assert {entry["name"] for entry in found["env"]} == set(WORKER_ENVIRONMENT)
    del resource["metadata"]["name"]
    with (
        dask.config.set({"kubernetes.custom-cluster-spec": resource}),
        pytest.raises(UsageError, match=r"kubernetes: not a DaskCluster with metadata\.name"),
    ):
        cluster.kubernetes_spec()


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
