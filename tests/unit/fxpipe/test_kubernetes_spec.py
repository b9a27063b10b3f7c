"""``--cluster k8s`` without a cluster: what would be asked of the dask operator."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import dask
import jsonschema
import pytest
import yaml

from fxpipe.tasks.cluster import SCHEDULER_ENVIRONMENT, at_least, kubernetes_spec
from fxpipe.tasks.where import WORKER_ENVIRONMENT
from fxtrain.contract import UsageError

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "docs/examples/cluster"


def environment(spec: dict[str, Any], part: str) -> dict[str, str]:
    (container,) = spec["spec"][part]["spec"]["containers"]
    return {entry["name"]: entry["value"] for entry in container["env"]}


def check_against_the_operators_schema(spec: dict[str, Any]) -> None:
    import dask_kubernetes

    (crd,) = Path(dask_kubernetes.__file__).parent.rglob("crds/daskcluster.yaml")
    (version,) = yaml.safe_load(crd.read_text())["spec"]["versions"]
    jsonschema.validate(spec, version["schema"]["openAPIV3Schema"])


def test_the_documented_files_make_a_resource_the_operator_knows(monkeypatch):
    monkeypatch.chdir(ROOT)
    with dask.config.set(yaml.safe_load((EXAMPLES / "kubernetes.yaml").read_text())):
        spec = kubernetes_spec()
        assert at_least(8) == 0
        with dask.config.set({"distributed.adaptive.minimum": 3}):
            assert [at_least(n) for n in (2, 8)] == [2, 3]
    check_against_the_operators_schema(spec)
    assert spec["metadata"]["name"] == "fxpipe"
    assert environment(spec, "worker") == WORKER_ENVIRONMENT
    assert environment(spec, "scheduler") == SCHEDULER_ENVIRONMENT
    assert spec["spec"]["worker"]["replicas"] == 0


def test_without_a_file_the_library_makes_it():
    settings = {"kubernetes.image": "example/fxpipe:1", "kubernetes.env": {"OMP_NUM_THREADS": "2"}}
    with dask.config.set(settings):
        spec = kubernetes_spec()
    check_against_the_operators_schema(spec)
    assert environment(spec, "worker") == WORKER_ENVIRONMENT | {"OMP_NUM_THREADS": "2"}
    (container,) = spec["spec"]["worker"]["spec"]["containers"]
    assert container["image"] == "example/fxpipe:1"


def test_a_resource_may_stand_in_the_configuration_itself():
    resource = yaml.safe_load((EXAMPLES / "fxpipe-cluster.yaml").read_text())
    before = copy.deepcopy(resource)
    with dask.config.set({"kubernetes.custom-cluster-spec": resource}):
        spec = kubernetes_spec()
        assert dask.config.get("kubernetes.custom-cluster-spec") == before
    assert environment(spec, "worker") == WORKER_ENVIRONMENT


TEXT_FOR_A_CONTAINER = "spec: {worker: {spec: {containers: [image]}}}\n"


@pytest.mark.parametrize(
    "text", ["metadata: {name: x}\n", "- 1\n", "a: [\n", TEXT_FOR_A_CONTAINER, None]
)
def test_a_file_that_does_not_do_is_one_line(tmp_path, text):
    file = tmp_path / "cluster.yaml"
    if text is not None:
        file.write_text(text)
    with (
        dask.config.set({"kubernetes.custom-cluster-spec": str(file)}),
        pytest.raises(UsageError, match=r"cluster\.yaml: (cannot be read|not a DaskCluster)"),
    ):
        kubernetes_spec()
