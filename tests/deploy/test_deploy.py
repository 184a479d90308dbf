"""Static checks of the deployment: the manifest against KubeRay's fields, the container image against the tree."""

import json
import re
import shlex
import subprocess
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
    assert {folder.parent.name for folder in ROOT.glob("pgcn*/__init__.py")} <= set(copied)
    assert {"constraints.txt", "pyproject.toml", "README.md", "LICENSE"} <= set(copied), "what the build reads"


def test_the_image_has_a_python_that_pgcn_takes():
    wanted = re.search(r'requires-python = ">=(\d+)\.(\d+)"', (ROOT / "pyproject.toml").read_text()).groups()
    found = re.search(r"python:(\d+)\.(\d+)", instructions()[0][1]).groups()
    assert tuple(map(int, found)) >= tuple(map(int, wanted))


def patched(whole, patch):
    """A merge patch as `kubectl patch --type merge` applies it (RFC 7386)."""
    if not isinstance(patch, dict):
        return patch
    kept = {**whole} if isinstance(whole, dict) else {}
    for name, value in patch.items():
        kept[name] = patched(kept.get(name), value)
    return {name: value for name, value in kept.items() if value is not None}


def test_kueue_takes_the_patched_manifest(manifest):
    """What Kueue's documentation asks of a RayJob."""
    queued = patched(manifest, yaml.safe_load((ROOT / "deploy" / "kueue.yaml").read_text()))
    labels = queued["metadata"].pop("labels")
    assert list(labels) == ["kueue.x-k8s.io/queue-name"]
    jsonschema.validate(queued, SCHEMA)
    cluster = queued["spec"]["rayClusterSpec"]
    assert cluster["enableInTreeAutoscaling"] is False
    assert "autoscalerOptions" not in cluster
    assert queued["spec"]["shutdownAfterJobFinishes"] is True
    assert cluster["workerGroupSpecs"] == manifest["spec"]["rayClusterSpec"]["workerGroupSpecs"]


def test_skypilots_task_runs_this_pgcn():
    """Its shell commands and the arguments of pgcn are read; SkyPilot itself is not installed."""
    task = yaml.safe_load((ROOT / "deploy" / "skypilot.yaml").read_text())
    assert set(task) == {"name", "workdir", "num_nodes", "resources", "envs", "secrets", "setup", "run"}
    assert not any(task["secrets"].values())
    assert subprocess.run(["bash", "-n"], input=task["setup"] + task["run"], text=True).returncode == 0
    line = next(line for line in task["run"].splitlines() if "pgcn run" in line)
    arguments = shlex.split(
        line.replace("$ADDRESS", "head:6399").replace("$IMAGES", "s3://a/b").replace("$RUN", "s3://a/c")
    )
    parsed = get_command(app).commands["run"].make_context("pgcn run", arguments[2:]).params
    assert parsed["ray_address"] == "head:6399"
    assert all((ROOT / name).exists() for name in re.findall(r"-c (\S+) \.", task["setup"]))


def test_the_dashboard_asks_for_metrics_that_there_are():
    dashboard = json.loads((ROOT / "deploy" / "grafana.json").read_text())
    folder = Path(ray.__file__).parent / "dashboard" / "modules" / "metrics" / "dashboards"
    of_ray = json.loads((folder / "default_grafana_dashboard_base.json").read_text())
    assert set(dashboard) <= {*of_ray, "uid"}
    meter = (ROOT / "pgcn_cluster" / "ray_cluster" / "ray_meter.py").read_text()
    made = {f"ray_{name}" for name in re.findall(r'"(pgcn_\w+)"', meter)}
    asked = set(re.findall(r"ray_pgcn_\w+", json.dumps(dashboard)))
    assert {re.sub("_(total|bucket)$", "", name) for name in asked} == made
    assert made == set(re.findall(r"ray_pgcn_\w+?(?=`|_total`)", (ROOT / "docs" / "cluster.md").read_text()))
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
