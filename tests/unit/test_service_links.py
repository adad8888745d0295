"""The environment variables that Kubernetes sets for each Service are no settings."""

import pytest

from treadle.config import Config, PushConfig
from treadle.config.service_links import is_service_link
from treadle.errors import OperatorError


def kubernetes(service: str, address: str, port: int, port_name: str = "http") -> dict[str, str]:
    """What the kubelet sets for one Service with one named port."""
    name = service.upper().replace("-", "_")
    host = f"[{address}]" if ":" in address else address
    link = f"{name}_PORT_{port}_TCP"
    return {
        f"{name}_SERVICE_HOST": address,
        f"{name}_SERVICE_PORT": str(port),
        f"{name}_SERVICE_PORT_{port_name.upper().replace('-', '_')}": str(port),
        f"{name}_PORT": f"tcp://{host}:{port}",
        link: f"tcp://{host}:{port}",
        f"{link}_PROTO": "tcp",
        f"{link}_PORT": str(port),
        f"{link}_ADDR": address,
    }


@pytest.mark.parametrize("address", ["10.3.0.11", "fd00:10::3"])
@pytest.mark.parametrize(
    ("service", "port_name"),
    [
        ("treadle", "http"),
        ("treadle", "metrics-2"),
        ("treadle-postgres", "sql"),
        ("treadle-push", "http"),
        ("treadle-service-port", "p"),
    ],
)
def test_those_of_a_service_set_nothing(service: str, port_name: str, address: str) -> None:
    environ = kubernetes(service, address, 5432, port_name)
    assert len(environ) == 8
    config = Config.read({}, {**environ, "TREADLE_WORKERS": "3"})
    assert (config.port, config.host, config.workers) == (8484, "127.0.0.1", 3)
    assert config.origins == {"workers": "environment"}
    assert PushConfig.read({}, environ) == PushConfig.read({}, {})


def test_a_port_beside_them_is_taken_from_a_flag() -> None:
    assert Config.read({"port": "8720"}, kubernetes("treadle", "10.3.0.11", 8484)).port == 8720


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("TREADLE_SERVICE_HOTS", "10.3.0.11"),
        ("TREADLE_SERVICE_HOST", "treadle.example.com"),
        ("TREADLE_SERVICE_HOST", ""),
        ("TREADLE_SERVICE", "10.3.0.11"),
        ("TREADLE_SERVICE_PORT", "http"),
        ("TREADLE_SERVICE_PORT", "65536"),
        ("TREADLE_SERVICE_PORT_http", "8484"),
        ("TREADLE_PORT_8484", "tcp://10.3.0.11:8484"),
        ("TREADLE_PORT_8484_TCP", "10.3.0.11:8484"),
        ("TREADLE_PORT_8484_TCP", "tcp://db:8484"),
        ("TREADLE_PORT_8484_TCP_ADDR", "db"),
        ("TREADLE_PORT_8484_TCP_PROTO", "http"),
        ("TREADLE_PORTS", "tcp://10.3.0.11:8484"),
        ("TREADLE_SMTP_PORT", "25"),
        ("TREADLE_POSTGRES_HOST", "10.3.0.11"),
    ],
)
def test_a_wrong_name_or_value_is_still_an_error(name: str, text: str) -> None:
    assert not is_service_link(name, text)
    with pytest.raises(OperatorError, match=f"The environment variable {name} sets nothing"):
        Config.read({}, {name: text})


@pytest.mark.parametrize("text", ["tcp://10.3.0.11", "tcp://10.3.0.11:0", "http://10.3.0.11:80"])
def test_a_port_that_is_no_link_is_still_an_error(text: str) -> None:
    with pytest.raises(OperatorError, match="TREADLE_PORT is to be a whole number"):
        Config.read({}, {"TREADLE_PORT": text})
