"""Settings: every one of them from every place, and what is said of a wrong one."""

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.config import (
    FILE_NAME,
    PUSH_SETTINGS,
    SETTINGS,
    ChoiceKind,
    Config,
    FolderKind,
    NumberKind,
    PushConfig,
    SettingDefinition,
    TextKind,
    UrlKind,
    mask_password,
)
from treadle.errors import OperatorError


def samples(setting: SettingDefinition) -> tuple[str, str, str]:
    """Three different values as text, none of them the default."""
    match setting.kind:
        case NumberKind(least):
            return str(least + 11), str(least + 12), str(least + 13)
        case ChoiceKind(words):
            other = [word for word in words if word != setting.default]
            return other[0], other[-1], other[0]
        case FolderKind():
            return "/a", "/b", "/c"
        case UrlKind(schemes=schemes):
            scheme = schemes[0] if schemes else "duckdb"
            return f"{scheme}://a", f"{scheme}://b", f"{scheme}://c"
        case TextKind(hidden=True):
            return "a" * 64, "b" * 64, "c" * 64
        case _:
            return "a", "b", "c"


def shown(value: object) -> str:
    """A value as the text it came from."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def in_toml(setting: SettingDefinition, text: str) -> str:
    return f"{setting.name} = {text if isinstance(setting.kind, NumberKind) else repr(text)}\n"


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: s.name)
def test_a_flag_wins_over_the_environment_over_the_file_over_the_default(
    setting: SettingDefinition, tmp_path: Path
) -> None:
    flag, variable, key = samples(setting)
    file = tmp_path / "settings.toml"
    file.write_text(in_toml(setting, key))
    flags: dict[str, str | None] = {"config": str(file)}
    environ = {setting.variable: variable}

    def found(flags: dict[str, str | None], environ: dict[str, str]) -> str:
        return shown(getattr(Config.read(flags, environ), setting.name))

    assert found(flags | {setting.name: flag}, environ) == flag
    assert found(flags, environ) == variable
    assert found(flags, {}) == key
    default = Config(data=tmp_path) if setting.name != "data" else Config()
    given_: dict[str, str | None] = {"data": str(tmp_path)} if setting.name != "data" else {}
    assert getattr(Config.read(given_, {}), setting.name) == getattr(default, setting.name)


@pytest.mark.parametrize("setting", PUSH_SETTINGS, ids=lambda s: s.name)
def test_a_setting_of_push_is_a_flag_or_a_variable(setting: SettingDefinition) -> None:
    flag, variable, _ = samples(setting)
    read = PushConfig.read({setting.name: flag}, {setting.variable: variable})
    assert shown(getattr(read, setting.name)) == flag
    read = PushConfig.read({}, {setting.variable: variable})
    assert shown(getattr(read, setting.name)) == variable
    assert getattr(PushConfig.read({}, {}), setting.name) == setting.default


@pytest.mark.parametrize("setting", [*SETTINGS, *PUSH_SETTINGS], ids=lambda s: s.variable)
def test_every_default_is_a_value_and_every_setting_says_what_it_is_for(
    setting: SettingDefinition,
) -> None:
    if setting.default is not None and setting.name != "data":
        assert setting.kind.check(setting.default) == setting.default
    assert setting.help
    assert not setting.help.endswith(".")
    assert "(" not in setting.help, "the reference splits help at a parenthesis"
    assert "|" not in setting.help + setting.kind.expected, "the reference is a table"


@pytest.mark.parametrize(
    ("flags", "environ", "said"),
    [
        (
            {"port": "80x"},
            {},
            "--port is to be a whole number from 0 to 65535, not '80x'.",
        ),
        (
            {},
            {"TREADLE_WORKERS": "0"},
            "The environment variable TREADLE_WORKERS is to be a whole number from 1 to 64",
        ),
        (
            {"surface": "moderm"},
            {},
            "--surface is to be seed or modern, not 'moderm'; did you mean modern?",
        ),
        (
            {},
            {"TREADLE_PROT": "1"},
            "The environment variable TREADLE_PROT sets nothing; did you mean TREADLE_PORT?",
        ),
        ({}, {"TREADLE_XYLOPHON": "1"}, "The environment variable TREADLE_XYLOPHON sets nothing."),
        ({"config": "/no/file"}, {}, "There is no settings file /no/file."),
        ({"load_age_seconds": "nan"}, {}, "--load-age-seconds is to be a number of seconds"),
        ({"data": ""}, {}, "--data is to be the path of a folder, without ? and #, not ''."),
        ({"data": "/a?b"}, {}, "--data is to be the path of a folder"),
    ],
)
def test_a_wrong_flag_or_variable_is_named(
    flags: dict[str, str | None], environ: dict[str, str], said: str
) -> None:
    with pytest.raises(OperatorError) as fault:
        Config.read(flags, environ)
    assert str(fault.value).startswith(said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prot = 1", "has the key 'prot', which sets nothing; did you mean port?"),
        ("port = '8484'", "is to be a whole number from 0 to 65535, not '8484'."),
        ("port = true", "is to be a whole number from 0 to 65535, not True."),
        ("port = 80.5", "is to be a whole number from 0 to 65535, not 80.5."),
        ("load_age_seconds = inf", "from 0 to 86400, not inf."),
        ("port = ", "is not TOML: "),
        ("data = '/elsewhere'", "was found in the data folder, so it cannot set 'data'"),
        ("[load]\nrows = 1", "has the key 'load', which sets nothing"),
    ],
)
def test_a_wrong_line_of_the_file_is_named(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / FILE_NAME
    file.write_text(text)
    with pytest.raises(OperatorError) as fault:
        Config.read({"data": str(tmp_path)}, {})
    assert said in str(fault.value)
    assert str(file) in str(fault.value)
    assert "\n" not in str(fault.value)


def test_the_file_in_the_data_folder_is_read_without_being_named(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("workers = 3\nload_age_seconds = 2\n")
    config = Config.read({}, {"TREADLE_DATA": str(tmp_path)})
    assert (config.workers, config.load_age_seconds) == (3, 2.0)
    assert isinstance(config.load_age_seconds, float)


def test_a_folder_in_a_named_file_is_relative_to_the_file(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("data = 'kept'\n")
    config = Config.read({}, {"TREADLE_CONFIG": str(file)})
    assert config.data == tmp_path / "kept"


def test_an_empty_variable_counts_as_not_set() -> None:
    assert Config.read({}, {"TREADLE_PORT": "", "TREADLE_DESTINATION": ""}).port == Config.port


def test_variables_of_push_are_known_to_every_command() -> None:
    assert Config.read({}, {"TREADLE_PUSH_TOKEN": "at_1"}) == Config.read({}, {})


def test_a_config_made_directly_is_checked_too() -> None:
    with pytest.raises(OperatorError, match="port is to be a whole number from 0 to 65535"):
        Config(port=-1)


@given(st.integers(), st.integers(0, 10), st.integers(11, 20))
def test_a_number_is_taken_exactly_within_its_bounds(value: int, least: int, most: int) -> None:
    kind = NumberKind(least, most)
    if least <= value <= most:
        assert kind.parse(str(value)) == value
    else:
        with pytest.raises(ValueError, match=str(value)):
            kind.parse(str(value))


def test_everything_kept_lies_in_the_data_folder(tmp_path: Path) -> None:
    config = Config(data=tmp_path / "a b%")
    paths = {
        config.store_path,
        config.log_path,
        config.key_path,
        config.warehouse_path,
        config.lock_path,
        config.push_path,
    }
    assert len(paths) == 6
    assert {path.parent for path in paths} == {config.data}
    assert config.store_url == f"sqlite:///{config.store_path}"
    assert config.destination_url == f"duckdb://{tmp_path}/a%20b%25/warehouse.duckdb"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8484"),
        ("0.0.0.0", "http://127.0.0.1:8484"),  # noqa: S104 - what the operator listens to
        ("::", "http://[::1]:8484"),
        ("db.example.com", "http://db.example.com:8484"),
    ],
)
def test_the_url_for_clients_on_this_machine(host: str, url: str) -> None:
    assert Config(host=host).url == url


def test_the_data_folder_is_made_for_its_owner_only(tmp_path: Path) -> None:
    config = Config(data=tmp_path / "new" / "data")
    config.make_data_folder()
    config.make_data_folder()
    assert stat.S_IMODE(config.data.stat().st_mode) == 0o700


def test_a_data_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OperatorError, match="cannot be made: Not a directory; name another one"):
        Config(data=tmp_path / "file" / "data").make_data_folder()


SECRET = "5ecret" + "0" * 58


@pytest.mark.parametrize(
    "environ",
    [
        {"TREADLE_SECRET_KEY": "5ecret"},
        {"TREADLE_DESTINATION": "loader:5ecret@db/warehouse"},
    ],
)
def test_no_message_shows_a_secret(environ: dict[str, str]) -> None:
    with pytest.raises(OperatorError) as fault:
        Config.read({}, environ)
    assert "5ecret" not in str(fault.value)
    assert fault.value.__cause__ is None


def test_a_broken_file_is_not_quoted(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text(f"secret_key = {SECRET}\n")
    with pytest.raises(OperatorError) as fault:
        Config.read({"data": str(tmp_path)}, {})
    assert "5ecret" not in str(fault.value)


def test_no_secret_is_in_repr() -> None:
    key = "5ec" + "e" * 61
    config = Config(destination="postgresql://u:5ecret@db/w?sslpassword=5ecret", secret_key=key)
    push = PushConfig(token="5ecret", url="http://u:5ecret@host")
    for text in (repr(config), str(config), repr(push), f"{push}"):
        assert "5ec" not in text
        assert "***" in text
    assert "postgresql://u:***@db/w?sslpassword=***" in repr(config)


@given(st.text(st.characters(codec="utf-8", exclude_characters="@"), min_size=1))
def test_a_password_is_hidden_whatever_is_in_it(rest: str) -> None:
    password = f"5ecret{rest}5ecret"
    url = f"postgresql://user:{password}@db.example.com/warehouse"
    assert mask_password(url) == "postgresql://user:***@db.example.com/warehouse"


@pytest.mark.parametrize(
    "url", ["duckdb:///a/b.duckdb", "http://127.0.0.1:8484", "postgresql:///d?host=/run&port=1"]
)
def test_a_url_without_a_password_stays_as_it_is(url: str) -> None:
    assert mask_password(url) == url


# --- a setting that had another name --------------------------------------------------------------


def read_era(
    tmp_path: Path,
    flags: dict[str, str | None] | None = None,
    environ: dict[str, str] | None = None,
    file: str = "",
) -> str:
    path = tmp_path / "settings.toml"
    path.write_text(file)
    return Config.read({"config": str(path)} | (flags or {}), environ or {}).connect_api_era


def test_a_former_name_sets_what_the_present_one_sets(tmp_path: Path) -> None:
    assert read_era(tmp_path) == "seed"
    assert read_era(tmp_path, {"surface": "modern"}) == "modern"
    assert read_era(tmp_path, environ={"TREADLE_SURFACE": "modern"}) == "modern"
    assert read_era(tmp_path, file="surface = 'modern'") == "modern"
    assert read_era(tmp_path, file="connect_api_era = 'modern'") == "modern"


def test_places_go_before_names(tmp_path: Path) -> None:
    variable = {"TREADLE_CONNECT_API_ERA": "modern"}
    assert read_era(tmp_path, {"surface": "seed"}, variable) == "seed"
    assert read_era(tmp_path, {}, variable | {"TREADLE_SURFACE": "seed"}) == "modern"
    assert read_era(tmp_path, {"connect_api_era": "modern", "surface": "seed"}) == "modern"


def test_a_wrong_value_is_told_under_the_name_it_was_given(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="variable TREADLE_SURFACE is to be seed or modern"):
        read_era(tmp_path, environ={"TREADLE_SURFACE": "old"})
    with pytest.raises(OperatorError, match=r"'surface' in .*toml is to be seed or modern"):
        read_era(tmp_path, file="surface = 'old'")


def test_a_file_sets_one_of_the_names(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="'connect_api_era' and 'surface', which are one"):
        read_era(tmp_path, file="surface = 'seed'\nconnect_api_era = 'modern'")
