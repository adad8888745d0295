"""Settings as they are shown: no secret, and where each comes from."""

from pathlib import Path

from treadle.config import SETTINGS, Config
from treadle.server.child_channel import encode_orders
from treadle.server.trace_files import list_shown_settings


def test_settings_are_shown_without_secrets(tmp_path: Path) -> None:
    secret = "s3cret-" * 6
    (tmp_path / "treadle.toml").write_text("load_rows = 500\n")
    config = Config.read(
        {"data": str(tmp_path), "workers": "2"},
        {
            "TREADLE_DESTINATION": f"postgresql://treadle:{secret}@db/shop",
            "TREADLE_STORE": f"postgresql://treadle:{secret}@db1,db2/treadle",
            "TREADLE_METRICS_TOKEN": secret,
            "TREADLE_SMTP_URL": f"smtps://me@example.com:{secret}@mail.example.com",
        },
    )
    shown = {one.name: one for one in list_shown_settings(config)}
    assert len(shown) == len(SETTINGS)
    assert secret not in repr(shown)
    assert (shown["workers"].value, shown["workers"].origin) == (2, "flag")
    assert (shown["load_rows"].value, shown["load_rows"].origin) == (500, "file")
    assert (shown["log_level"].value, shown["log_level"].origin) == ("info", "default")
    assert (shown["metrics_token"].value, shown["metrics_token"].origin) == ("set", "environment")
    assert shown["destination"].value == "postgresql://treadle:***@db/shop"
    assert shown["store"].value == "postgresql://treadle:***@db1,db2/treadle"
    assert shown["data"].value == str(tmp_path)
    assert b'"origins":{' in encode_orders(config)
    assert Config.read({"data": str(tmp_path)}, {}).origins == {"data": "flag", "load_rows": "file"}
