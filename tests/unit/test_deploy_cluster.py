"""The files in `deploy/cluster`: their form, and that they agree with the program."""

import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.test_deploy import DEPLOY, PORT, UID, needs_systemd, section

from treadle import __version__
from treadle.cli.main import build_parser
from treadle.config import Config
from treadle.errors import OperatorError
from treadle.records.limits import BODY_BYTES_MAX
from treadle.server.main_process import LOADER_STOP_SECONDS

CLUSTER = DEPLOY / "cluster"
ROLES = {"gate": "ingest", "loader": "loader", "control": "control"}
PORTS = {"gate": PORT, "control": PORT + 1, "loader": PORT + 2}
URL = "postgresql://treadle@db/treadle"
KEY = "0" * 64
PARSER, _ = build_parser()


def read(name: str) -> str:
    return (CLUSTER / name).read_text()


def load(name: str) -> list[Any]:
    return list(yaml.safe_load_all(read(name)))


def read_unit(name: str) -> str:
    return read(f"systemd/treadle-{name}.service")


# systemd


@pytest.mark.parametrize("name", ROLES)
def test_a_unit_runs_its_role_as_a_user_without_rights(name: str) -> None:
    unit = section(read_unit(name), "Service")
    assert unit["User"] == ["treadle"]
    assert unit["CapabilityBoundingSet"] == unit["AmbientCapabilities"] == [""]
    assert unit["ProtectSystem"] == ["strict"]
    assert unit["EnvironmentFile"] == ["/etc/treadle/cluster.env"]
    assert int(unit["TimeoutStopSec"][0]) > LOADER_STOP_SECONDS
    program, *words = shlex.split(unit["ExecStart"][0])
    assert program == "/opt/treadle/bin/treadle"
    arguments = PARSER.parse_args(words)
    assert (arguments.role, arguments.port) == (ROLES[name], str(PORTS[name]))
    assert arguments.data == f"/var/lib/treadle/{name}"


def test_units_differ_in_their_role_alone() -> None:
    own = r"(?m)^(# /etc|Description=|ExecStart=|# (It|The loader)).*$"
    assert len({re.sub(own, "", read_unit(name)) for name in ROLES}) == 1


@needs_systemd
def test_systemd_takes_the_units_and_finds_little_exposed(tmp_path: Path) -> None:
    program = tmp_path / "treadle"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    units = []
    for name in ROLES:
        units.append(tmp_path / f"treadle-{name}.service")
        text = read_unit(name).replace("/opt/treadle/bin/treadle", str(program))
        units[-1].write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    judged = ["systemd-analyze", "security", "--offline=true", "--threshold=20", str(units[0])]
    done = subprocess.run(judged, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-300:]


def test_the_environment_of_the_units_is_read() -> None:
    path = CLUSTER / "systemd/cluster.env"
    # As the shell of an operator reads it; systemd takes the same quotes.
    done = subprocess.run(
        ["/bin/sh", "-c", 'set -a; . "$0"; env', path], capture_output=True, text=True, env={}
    )
    assert done.stderr == ""
    environment = dict(
        line.split("=", 1) for line in done.stdout.splitlines() if line.startswith("TREADLE_")
    )
    assert "PASSWORD@" in environment["TREADLE_STORE"]
    assert environment["TREADLE_STORE"].endswith("&sslrootcert=system")
    assert not re.search(r"[0-9a-f]{64}", environment["TREADLE_SECRET_KEY"]), "not a key for all"
    environment["TREADLE_SECRET_KEY"] = KEY
    for role in ROLES.values():
        config = Config.read({"role": role}, environment)
        assert (config.store_durability, config.log_durability) == ("replicated", "replicated")
        assert config.public_url == "https://treadle.example.com"


# compose


def test_compose_starts_every_role_on_one_store() -> None:
    services = load("compose.yaml")[0]["services"]
    commands = {name: services[name]["command"] for name in (*ROLES, "init")}
    for name, role in ROLES.items():
        assert PARSER.parse_args(commands[name]).role == role
        waits = services[name]["depends_on"]["init"]["condition"]
        assert waits == "service_completed_successfully"
    assert PARSER.parse_args(commands["init"]).logs == "2"
    environment = {
        name: re.sub(r"\$\{TREADLE_SECRET_KEY[^}]*\}", KEY, re.sub(r"\$\{STORE[^}]*\}", "x", value))
        for name, value in services["gate"]["environment"].items()
    }
    config = Config.read({"role": "ingest"}, environment)
    assert config.store == "postgresql://treadle:x@postgres/treadle"
    log = services["init"]["environment"]["TREADLE_LOG"]
    assert log == services["gate"]["environment"]["TREADLE_STORE"]


def test_compose_gives_containers_nothing_that_they_do_not_need() -> None:
    text = read("compose.yaml")
    secrets = {"POSTGRES_PASSWORD", "STORE_PASSWORD", "LOADER_PASSWORD", "TREADLE_SECRET_KEY"}
    assert set(re.findall(r"\$\{(\w+)", text)) == secrets
    services = load("compose.yaml")[0]["services"]
    for name in (*ROLES, "init"):
        assert services[name]["read_only"] is True
        assert services[name]["cap_drop"] == ["ALL"]
        assert "ports" not in services[name], "the balancer is asked"
        assert int(services[name]["stop_grace_period"].removesuffix("s")) > LOADER_STOP_SECONDS
    assert services["balancer"]["ports"] == [f"127.0.0.1:{PORT}:{PORT}"]
    mounted = [
        one.split(":")[0]
        for service in services.values()
        for one in service.get("volumes", [])
        if one[0] == "."
    ]
    assert [name for name in mounted if not (CLUSTER / name).exists()] == []
    assert (CLUSTER / "make-databases.sh").stat().st_mode & 0o111


# Kubernetes


def find_kind(name: str, kind: str) -> Any:
    [found] = [one for one in load(f"kubernetes/{name}.yaml") if one["kind"] == kind]
    return found


def test_kubernetes_has_a_deployment_and_a_budget_for_each_role() -> None:
    kustomization = load("kubernetes/kustomization.yaml")[0]
    assert sorted(kustomization["resources"]) == sorted(f"{name}.yaml" for name in ROLES)
    assert kustomization["images"][0]["newTag"] == __version__
    for name, role in ROLES.items():
        spec = find_kind(name, "Deployment")["spec"]
        labels = {"app.kubernetes.io/name": "treadle", "app.kubernetes.io/component": name}
        assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"] == labels
        assert spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
        budget = find_kind(name, "PodDisruptionBudget")["spec"]
        assert budget == {"maxUnavailable": 1, "selector": {"matchLabels": labels}}
        assert spec["replicas"] > budget["maxUnavailable"]
        [container] = spec["template"]["spec"]["containers"]
        assert PARSER.parse_args(container["args"]).role == role
        if name != "loader":
            service = find_kind(name, "Service")["spec"]
            assert service["selector"] == labels
            assert service["ports"] == [{"name": "http", "port": PORT, "targetPort": "http"}]


@pytest.mark.parametrize("name", ROLES)
def test_kubernetes_asks_a_pod_whether_it_is_ready_and_lets_it_drain(name: str) -> None:
    pod = find_kind(name, "Deployment")["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > LOADER_STOP_SECONDS
    [container] = pod["containers"]
    assert container["readinessProbe"]["httpGet"] == {"path": "/v1/ready", "port": "http"}
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
    values = {one["name"]: one.get("value") for one in container["env"]}
    config = read_environment(ROLES[name], container)
    if name != "loader":
        probe = container["readinessProbe"]
        assert config.drain_seconds > 2 * probe["periodSeconds"] * probe["failureThreshold"]
    else:
        assert "TREADLE_DRAIN_SECONDS" not in values, "nobody sends it requests"


def read_environment(role: str, container: Any) -> Any:
    """The settings of a container; those of the secret are any."""
    secret = {"store": URL, "secret-key": KEY}
    environment = {
        one["name"]: one["value"]
        if "value" in one
        else secret.get(one["valueFrom"].get("secretKeyRef", {}).get("key", ""), "pod-1")
        for one in container["env"]
    }
    return Config.read({"role": role}, environment)


@pytest.mark.parametrize("name", [*ROLES, "init-job"])
def test_kubernetes_runs_pods_without_root(name: str) -> None:
    kind = "Job" if name == "init-job" else "Deployment"
    pod = find_kind(name, kind)["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": UID,
        "runAsGroup": UID,
        "fsGroup": UID,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    [container] = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    mounted = {one["name"] for one in container["volumeMounts"]}
    assert mounted == {one["name"] for one in pod["volumes"]}
    secret = load("kubernetes/secret.yaml")[0]
    for one in container["env"]:
        key = one.get("valueFrom", {}).get("secretKeyRef")
        if key is not None:
            assert key["name"] == secret["metadata"]["name"]
            assert key["key"] in secret["stringData"]


def test_the_key_in_the_secret_is_none_until_one_is_made() -> None:
    [secret] = load("kubernetes/secret.yaml")
    with pytest.raises(OperatorError, match="is to be 64 hexadecimal digits"):
        Config.read({}, {"TREADLE_SECRET_KEY": secret["stringData"]["secret-key"]})


def test_the_job_makes_store_and_logs_with_the_image_of_this_version() -> None:
    [container] = find_kind("init-job", "Job")["spec"]["template"]["spec"]["containers"]
    assert container["image"].endswith(f"/treadle:{__version__}")
    assert PARSER.parse_args(container["args"]).command.words == ("cluster", "init")
    names = {one["name"] for one in container["env"]}
    assert {"TREADLE_STORE", "TREADLE_LOG", "TREADLE_SECRET_KEY"} <= names


# Balancers: which paths are for gates


def make_haproxy_rule() -> Callable[[str], bool]:
    text = read("haproxy.cfg")
    rules = dict(re.findall(r"(?m)^ +acl (\w+) path_(?:beg|end) (.+)$", text))
    assert "use_backend gates if for_gates or of_a_table of_records" in text
    return lambda path: (
        path.startswith(tuple(rules["for_gates"].split()))
        or (path.startswith(rules["of_a_table"]) and path.endswith(rules["of_records"]))
    )


def make_caddy_rule() -> Callable[[str], bool]:
    [paths] = re.findall(r"(?m)^\t@gates path (.+)$", read("Caddyfile"))
    patterns = [re.escape(one).replace(r"\*", ".*") for one in paths.split()]
    return lambda path: any(re.fullmatch(one, path) for one in patterns)


def make_ingress_rule() -> Callable[[str], bool]:
    [rule] = load("kubernetes/ingress.yaml")[0]["spec"]["rules"]
    backends = [(one["path"], one["backend"]["service"]["name"]) for one in rule["http"]["paths"]]
    # The longest expression that fits is taken.
    ordered = sorted(backends, key=lambda one: -len(one[0]))
    return lambda path: next(name for one, name in ordered if re.match(one, path)) == "treadle-gate"


@pytest.mark.parametrize("make", [make_haproxy_rule, make_caddy_rule, make_ingress_rule])
def test_a_balancer_sends_to_gates_what_gates_answer(make: Callable[[], Any]) -> None:
    is_for_gates = make()
    paths = [
        *("/v2/import/push", "/v2/import/batch", "/v2/import/validate", "/v2/import/status"),
        *("/v1/clients/1/token/wh_0", "/v1/receipts/r", "/v1/tables/orders/records"),
        *("/v1/tables/orders/schema", "/v1/tables", "/v1/rejects", "/v4/sources", "/v3/accounts"),
        *("/console", "/console/v1/receipts/", "/docs", "/openapi.json", "/healthz"),
    ]
    assert [path for path in paths if is_for_gates(path)] == paths[:7]


def test_balancers_ask_for_readiness_and_keep_metrics_and_bodies() -> None:
    haproxy = read("haproxy.cfg")
    assert haproxy.count("http-check send meth GET uri /v1/ready ") == 2
    assert haproxy.count(f":{PORT} check") == haproxy.count(f":{PORT + 1} check") == 3
    assert "deny_status 404 if { path /metrics }" in haproxy
    caddy = read("Caddyfile")
    assert caddy.count("{") == caddy.count("}")
    assert "respond @metrics 404" in caddy
    for text in (caddy, read("kubernetes/ingress.yaml")):
        [size] = re.findall(r"(?:max_size |proxy-body-size: )(\d+)", text)
        assert BODY_BYTES_MAX < int(size) * 2**20 < 2 * BODY_BYTES_MAX
