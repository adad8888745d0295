"""The files in `deploy/`: their form, and that they agree with the program and with each other."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from treadle import __version__
from treadle.config import FILE_SETTING, PUSH_SETTINGS, SETTINGS, Config
from treadle.records.limits import BODY_BYTES_MAX
from treadle.server.main_process import LOADER_STOP_SECONDS

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
PORT = Config.port
UID = 10001
VARIABLES = {
    variable for one in (FILE_SETTING, *SETTINGS, *PUSH_SETTINGS) for variable in one.variables
}
needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def read(name: str) -> str:
    return (DEPLOY / name).read_text()


def load(name: str) -> Any:
    return yaml.safe_load(read(name))


def section(unit: str, name: str) -> dict[str, list[str]]:
    """One section of a unit: key -> its values, as a key may stand there several times."""
    [text] = re.findall(rf"(?ms)^\[{name}\]\n(.*?)(?=^\[|\Z)", unit)
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            key, equals, value = line.partition("=")
            assert equals, line
            found.setdefault(key, []).append(value)
    return found


@pytest.mark.parametrize("path", sorted(DEPLOY.rglob("*")), ids=lambda path: path.name)
def test_every_variable_is_one_of_a_setting(path: Path) -> None:
    if path.is_file():
        assert set(re.findall(r"TREADLE_[A-Z_]+", path.read_text())) <= VARIABLES


def test_every_page_that_a_file_names_is_there() -> None:
    named = {
        page
        for path in DEPLOY.rglob("*")
        if path.is_file()
        for page in re.findall(r"docs/[\w/-]+\.md", path.read_text())
    }
    assert len(named) >= 4
    assert [page for page in sorted(named) if not (ROOT / page).exists()] == []


def test_a_page_shows_no_path_below_deploy_that_is_not_there() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    named = {
        name
        for page in pages
        for name in re.findall(r"(?:deploy|share/treadle)/([\w./-]+\w)", page.read_text())
    }
    assert len(named) >= 6
    named -= {"container/.env", "cluster/.env"}  # the pages make them
    assert [name for name in sorted(named) if not (DEPLOY / name).exists()] == []


def test_the_unit_runs_as_a_user_of_its_own_without_rights() -> None:
    unit = section(read("systemd/treadle.service"), "Service")
    assert unit["User"] == ["treadle"]
    assert unit["CapabilityBoundingSet"] == unit["AmbientCapabilities"] == [""]
    assert unit["NoNewPrivileges"] == ["yes"]
    assert unit["ProtectSystem"] == ["strict"]
    assert unit["StateDirectoryMode"] == ["0700"]
    assert unit["UMask"] == ["0077"]
    assert int(unit["TimeoutStopSec"][0]) > LOADER_STOP_SECONDS
    [command] = unit["ExecStart"]
    assert command == "/opt/treadle/bin/treadle serve --config /etc/treadle/treadle.toml"


@needs_systemd
def test_systemd_takes_the_unit_and_finds_little_exposed(tmp_path: Path) -> None:
    program = tmp_path / "treadle"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = tmp_path / "treadle.service"
    text = read("systemd/treadle.service")
    unit.write_text(text.replace("/opt/treadle/bin/treadle", str(program)))
    # With what is commented out as well.
    full = tmp_path / "treadle-full.service"
    full.write_text(re.sub(r"(?m)^#(?=(LoadCredential|Environment)=)", "", unit.read_text()))
    done = subprocess.run(
        ["systemd-analyze", "verify", unit, full], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    judged = ["systemd-analyze", "security", "--offline=true", "--threshold=20", str(unit)]
    done = subprocess.run(judged, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-300:]


def test_the_settings_of_the_service_are_read(tmp_path: Path) -> None:
    text = read("systemd/treadle.toml")
    file = tmp_path / "treadle.toml"
    file.write_text(text)
    config = Config.read({"config": str(file)}, {})
    assert (config.data, config.url) == (Path("/var/lib/treadle"), f"http://127.0.0.1:{PORT}")
    file.write_text(re.sub(r"(?m)^#(?=\w+ = )", "", text))
    config = Config.read({"config": str(file)}, {})
    assert config.public_url == "https://treadle.example.com"
    assert config.destination is not None
    assert [str(one) for one in config.trusted_proxies] == ["127.0.0.1/32"]


def test_the_image_runs_without_root_and_is_asked_for_its_health() -> None:
    text = read("container/Containerfile").replace("\\\n", "")
    last = text.rpartition("\nFROM ")[2]
    assert f"USER {UID}:{UID}\n" in last
    assert f"EXPOSE {PORT}\n" in last
    assert f"http://127.0.0.1:{PORT}/healthz" in last
    assert re.findall(r"(?m)^(?:ENTRYPOINT|CMD) (.*)$", last) == ['["treadle"]', '["serve"]']
    assert "COPY --from=build" in last
    assert "pip" not in last, "what installs is left behind in the first stage"
    assert re.findall(r"(?m)^ARG PYTHON=(\S+):(\d+)\.(\d+)-slim$", text)
    assert "--require-hashes" in text
    assert ":latest" not in text
    environment = dict(re.findall(r"(TREADLE_\w+)=(\S+)", last))
    config = Config.read({}, environment)
    assert config.data.is_relative_to("/data")
    assert config.data != Path("/data"), "a volume's own folder may be writable by a group"
    assert config.insecure_http


def test_compose_gives_the_container_nothing_that_it_does_not_need() -> None:
    services = load("container/compose.yaml")["services"]
    treadle = services["treadle"]
    assert treadle["read_only"] is True
    assert treadle["cap_drop"] == ["ALL"]
    assert treadle["ports"] == [f"127.0.0.1:{PORT}:{PORT}"]
    assert treadle["volumes"] == ["treadle:/data"]
    assert treadle["depends_on"]["postgres"]["condition"] == "service_healthy"
    assert int(treadle["stop_grace_period"].removesuffix("s")) > LOADER_STOP_SECONDS
    assert "ports" not in services["postgres"]
    assert "healthcheck" in services["postgres"]
    assert "healthcheck" not in treadle, "the image has one"


def test_compose_has_no_password_and_names_files_that_are_there() -> None:
    text = read("container/compose.yaml")
    assert set(re.findall(r"\$\{(\w+)", text)) == {"POSTGRES_PASSWORD", "LOADER_PASSWORD"}
    for value in re.findall(r"PASSWORD: (.+)", text):
        assert value.startswith("${"), value
    services = load("container/compose.yaml")["services"]
    build = services["treadle"]["build"]
    context = DEPLOY / "container" / build["context"]
    assert context.resolve() == ROOT / "dist"
    assert (ROOT / "dist" / build["dockerfile"]).resolve() == DEPLOY / "container/Containerfile"
    mounted = [one.split(":")[0] for one in services["postgres"]["volumes"] if one[0] == "."]
    assert mounted == ["./make-loader.sh"]
    assert (DEPLOY / "container" / mounted[0]).stat().st_mode & 0o111


def resources() -> dict[str, Any]:
    """What kustomization.yaml names, by kind."""
    names = load("kubernetes/kustomization.yaml")["resources"]
    loaded = [load(f"kubernetes/{name}") for name in names]
    return {one["kind"]: one for one in loaded}


def test_kubernetes_runs_one_pod_without_root() -> None:
    spec = resources()["StatefulSet"]["spec"]
    assert spec["replicas"] == 1
    pod = spec["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert pod["terminationGracePeriodSeconds"] > LOADER_STOP_SECONDS
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": UID,
        "runAsGroup": UID,
        "fsGroup": UID,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    [container] = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "memory" in container["resources"]["limits"]
    claimed = {one["metadata"]["name"] for one in spec["volumeClaimTemplates"]}
    claimed |= {one["name"] for one in pod["volumes"]}
    mounted = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
    assert mounted == {"data": "/data", "tmp": "/tmp"}  # noqa: S108 - inside the pod
    assert claimed == mounted.keys()


def test_kubernetes_asks_the_port_that_treadle_listens_at() -> None:
    found = resources()
    [container] = found["StatefulSet"]["spec"]["template"]["spec"]["containers"]
    assert container["ports"] == [{"name": "http", "containerPort": PORT}]
    probes = {
        name: container[name]["httpGet"]
        for name in ("startupProbe", "livenessProbe", "readinessProbe")
    }
    assert probes == {
        "startupProbe": {"path": "/healthz", "port": "http"},
        "livenessProbe": {"path": "/healthz", "port": "http"},
        "readinessProbe": {"path": "/readyz", "port": "http"},
    }
    [port] = found["Service"]["spec"]["ports"]
    assert port == {"name": "http", "port": PORT, "targetPort": "http"}
    assert found["StatefulSet"]["spec"]["serviceName"] == found["Service"]["metadata"]["name"]


def test_the_service_and_the_set_find_the_pod() -> None:
    found = resources()
    labels = {"app.kubernetes.io/name": "treadle"}
    spec = found["StatefulSet"]["spec"]
    assert spec["template"]["metadata"]["labels"] == labels
    assert spec["selector"] == {"matchLabels": labels}
    assert found["Service"]["spec"]["selector"] == labels


def test_kubernetes_takes_the_image_of_this_version_and_the_url_of_the_secret() -> None:
    kustomization = load("kubernetes/kustomization.yaml")
    [image] = kustomization["images"]
    [container] = resources()["StatefulSet"]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == image["name"]
    assert image["newTag"] == __version__
    secret = load("kubernetes/secret.yaml")
    [variable] = container["env"]
    named = variable["valueFrom"]["secretKeyRef"]
    assert (named["name"], named["optional"]) == (secret["metadata"]["name"], True)
    assert Config.read({}, {variable["name"]: secret["stringData"][named["key"]]}).destination
    backend = load("kubernetes/ingress.yaml")["spec"]["rules"][0]["http"]["paths"][0]["backend"]
    service = resources()["Service"]
    assert backend["service"]["name"] == service["metadata"]["name"]


@pytest.mark.parametrize(
    ("name", "pattern", "unit"),
    [
        ("nginx/treadle.conf", r"client_max_body_size +(\d+)m;", 2**20),
        ("nginx/treadle-path.conf", r"client_max_body_size +(\d+)m;", 2**20),
        ("caddy/Caddyfile", r"max_size (\d+)MiB", 2**20),
        ("caddy/Caddyfile.path", r"max_size (\d+)MiB", 2**20),
        ("kubernetes/ingress.yaml", r"proxy-body-size: (\d+)m", 2**20),
    ],
)
def test_a_proxy_takes_larger_bodies_than_treadle(name: str, pattern: str, unit: int) -> None:
    sizes = re.findall(pattern, read(name))
    assert sizes
    for size in sizes:
        assert BODY_BYTES_MAX < int(size) * unit < 2 * BODY_BYTES_MAX


@pytest.mark.parametrize("name", ["nginx/treadle.conf", "nginx/treadle-path.conf"])
def test_nginx_says_whom_a_request_comes_from_and_keeps_metrics(name: str) -> None:
    text = read(name)
    assert text.count("{") == text.count("}")
    for header in ("X-Forwarded-For   $remote_addr", "X-Forwarded-Proto $scheme"):
        assert f"proxy_set_header {header};" in text
    assert re.search(r"location = \S*/metrics \{[^}]*\n +return 404;", text)


@pytest.mark.parametrize("name", ["caddy/Caddyfile", "caddy/Caddyfile.path"])
def test_caddy_keeps_metrics(name: str) -> None:
    text = read(name)
    assert text.count("{") == text.count("}")
    assert "respond @metrics 404" in text
    assert f"reverse_proxy 127.0.0.1:{PORT}" in text
