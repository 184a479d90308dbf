"""Static checks of the deployment: the manifest against KubeRay's fields, the container image against the tree."""

import json
import re
import shlex
from pathlib import Path

import jsonschema
import pytest
import ray
import yaml
from typer.main import get_command

from pgcn_cluster.cli.app import app
from pgcn_cluster.submission.job_server import STOP_WAIT_S

ROOT = Path(__file__).parents[2]
MANIFEST = ROOT / "deploy" / "rayjob.yaml"
SCHEMA = json.loads((Path(__file__).parent / "rayjob.schema.json").read_text())


@pytest.fixture
def manifest():
    return yaml.safe_load(MANIFEST.read_text())


def pods(manifest):
    spec = manifest["spec"]
    cluster = spec["rayClusterSpec"]
    head, workers = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
    return {"submitter": spec["submitterPodTemplate"]["spec"], "head": head["template"]["spec"]} | {
        group["groupName"]: group["template"]["spec"] for group in workers
    }


def test_the_manifest_has_the_fields_of_a_rayjob(manifest):
    jsonschema.validate(manifest, SCHEMA)


@pytest.mark.parametrize("field", ["shutdownAfterJobFinish", "rayClusterSpec.headGroupSpecs"])
def test_a_misspelt_field_is_found(manifest, field):
    *path, last = field.split(".")
    place = manifest["spec"]
    for name in path:
        place = place[name]
    place[last] = True
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(manifest, SCHEMA)


def test_the_manifest_runs_this_pgcn_on_this_ray(manifest):
    spec = manifest["spec"]
    program, command, *arguments = shlex.split(spec["entrypoint"])
    assert program == "pgcn"
    parsed = get_command(app).commands[command].make_context("pgcn run", arguments).params
    assert parsed["out"].startswith("s3://")
    assert spec["rayClusterSpec"]["rayVersion"] == ray.__version__
    assert float(yaml.safe_load(spec["runtimeEnvYAML"])["env_vars"]["RAY_JOB_STOP_WAIT_TIME_S"]) == STOP_WAIT_S
    assert len({container["image"] for pod in pods(manifest).values() for container in pod["containers"]}) == 1


def test_secrets_come_from_a_secret_and_where_they_are_needed(manifest):
    for name, pod in pods(manifest).items():
        (container,) = pod["containers"]
        sources = [source["secretRef"]["name"] for source in container.get("envFrom", [])]
        assert sources == ([] if name == "submitter" else ["pgcn-storage"]), name
    assert not re.search(r"(AWS_\w+:|name: AWS_)", MANIFEST.read_text())


def test_gpus_are_the_workers_and_pods_have_the_volumes_that_they_mount(manifest):
    cluster = manifest["spec"]["rayClusterSpec"]
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    for group in cluster["workerGroupSpecs"]:
        assert 1 <= group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    for name, pod in pods(manifest).items():
        (container,) = pod["containers"]
        assert ("nvidia.com/gpu" in container["resources"]["limits"]) == (name == "gpu")
        mounted = {mount["name"] for mount in container.get("volumeMounts", [])}
        assert mounted == {volume["name"] for volume in pod.get("volumes", [])}


def instructions():
    text = re.sub(r"^#.*\n", "", (ROOT / "deploy" / "Dockerfile").read_text(), flags=re.MULTILINE)
    return [line.split(maxsplit=1) for line in text.replace("\\\n", " ").splitlines() if line.strip()]


def test_the_image_is_built_from_files_that_are_there():
    found = instructions()
    assert found[0][0] == "FROM"
    assert {word for word, _ in found} <= {"FROM", "RUN", "WORKDIR", "COPY", "ARG", "USER", "ENV", "CMD"}
    copied = [source for word, rest in found if word == "COPY" for source in rest.split()[:-1]]
    assert [source for source in copied if not (ROOT / source).exists()] == []
    packaged = (ROOT / "pyproject.toml").read_text()
    for room in re.search(r'include = \["(.*)"\]', packaged)[1].replace("*", "").split('", "'):
        assert room in copied
    assert {"constraints.txt", "pyproject.toml", "README.md", "LICENSE"} <= set(copied), "what the build reads"


def test_the_image_has_a_python_that_pgcn_takes():
    wanted = re.search(r'requires-python = ">=(\d+)\.(\d+)"', (ROOT / "pyproject.toml").read_text()).groups()
    found = re.search(r"python:(\d+)\.(\d+)", instructions()[0][1]).groups()
    assert tuple(map(int, found)) >= tuple(map(int, wanted))
