"""Settings: every one of them from every place, and what is said of a wrong one."""

import errno
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.cli.serve import check_encoding
from treadle.config import (
    FILE_NAME,
    PUSH_SETTINGS,
    SETTINGS,
    ChoiceKind,
    Config,
    FileKind,
    FolderKind,
    NetworksKind,
    NumberKind,
    OperatorWarning,
    PushConfig,
    SettingDefinition,
    SwitchKind,
    TextKind,
    UrlKind,
    WordsKind,
    mask_password,
)
from treadle.config.roles import MemberRole, format_roles
from treadle.errors import OperatorError
from treadle.http.hosts import AllowedHosts

FIXED = {
    "holds": ("duckdb:///a", "duckdb:///b", "duckdb:///a,duckdb:///b"),
    "socket_mode": ("0600", "0666", "640"),
    "console_path": ("/a", "/b/c", "/d"),
    "public_url": ("https://a.example", "http://b:80", "https://c.example/treadle"),
    "mail_from": ("a@example.com", "b@example.com", "c@localhost"),
}
"""Samples of settings whose values have a form of their own."""


def samples(setting: SettingDefinition) -> tuple[str, str, str]:
    """Three different values as text, none of them the default."""
    if setting.name in FIXED:
        return FIXED[setting.name]
    match setting.kind:
        case NumberKind(least):
            return str(least + 11), str(least + 12), str(least + 13)
        case ChoiceKind(words):
            other = [word for word in words if word != setting.default]
            return other[0], other[-1], other[0]
        case FolderKind() | FileKind():
            return "/a", "/b", "/c"
        case SwitchKind():
            return ("false", "false", "false") if setting.default else ("true", "true", "true")
        case NetworksKind():
            return "10.0.0.0/8", "::1/128", "unix"
        case WordsKind(words, lone):
            others = [word for word in words if word != lone]
            return others[0], ",".join(others[1:]), ",".join(others)
        case UrlKind(schemes=schemes):
            scheme = schemes[0] if schemes else "duckdb"
            return f"{scheme}://a", f"{scheme}://b", f"{scheme}://c"
        case TextKind(hidden=True):
            return "a" * 64, "b" * 64, "c" * 64
        case _:
            return "a", "b", "c"


def shown(value: object) -> str:
    """A value as the text it came from."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def in_toml(setting: SettingDefinition, text: str) -> str:
    bare = isinstance(setting.kind, NumberKind | SwitchKind)
    return f"{setting.name} = {text if bare else repr(text)}\n"


def without_content(settings: tuple[SettingDefinition, ...]) -> list[SettingDefinition]:
    """The settings whose value is not in a file that would have to be there."""
    return [setting for setting in settings if setting.content_of is None]


@pytest.mark.parametrize("setting", without_content(SETTINGS), ids=lambda s: s.name)
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


@pytest.mark.parametrize("setting", without_content(PUSH_SETTINGS), ids=lambda s: s.name)
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
        ({"data": "~no-such-user/x"}, {}, "--data is to be the path of a folder"),
        ({"log_file": "~no-such-user/x"}, {}, "--log-file is to be the path of a file"),
        ({"config": "~no-such-user/x"}, {}, "There is no home folder for the settings file ~no-"),
        ({"port": "9" * 400}, {}, "--port is to be a whole number from 0 to 65535, not '999"),
        ({"load_age_seconds": "1e400"}, {}, "--load-age-seconds is to be a number of seconds"),
    ],
)
def test_a_wrong_flag_or_variable_is_named(
    flags: dict[str, str | None], environ: dict[str, str], said: str
) -> None:
    with pytest.raises(OperatorError) as fault:
        Config.read(flags, environ)
    assert str(fault.value).startswith(said)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("port = " + "9" * 400, "'port' in {} is to be a whole number from 0 to 65535, not one "),
        (
            "port = 0x" + "f" * 9_000,
            "'port' in {} is to be a whole number from 0 to 65535, not one",
        ),
        ("load_age_seconds = " + "9" * 400, "'load_age_seconds' in {} is to be a number of second"),
        ("log_file = '~no-such-user/x'", "'log_file' in {} is to be the path of a file, not '~no-"),
        ("duckdb_folder = '~no-such-user'", "'duckdb_folder' in {} is to be the path of a folder"),
    ],
)
def test_a_wrong_value_of_the_file_is_named(line: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(line)
    with pytest.raises(OperatorError) as fault:
        Config.read({"config": str(file)}, {})
    assert str(fault.value).startswith(said.format(file))


def test_a_folder_that_is_gone_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(OperatorError, match="this command was started in cannot be used: No such"):
        Config.read({}, {})
    assert Config.read({"data": "/a"}, {}).data == Path("/a")


def test_a_server_takes_no_folder_whose_name_is_not_utf_8() -> None:
    named = os.fsdecode(b"/tmp/\xff")
    with pytest.raises(OperatorError, match=r"data is to be in UTF-8, not '/tmp/\\udcff'\."):
        check_encoding(Config(data=Path(named)))
    with pytest.raises(OperatorError, match="destination is to be in UTF-8, not what is there"):
        check_encoding(Config(destination=f"postgresql://u:p@h/{named}"))


@pytest.mark.parametrize(
    "url",
    [
        *("http://[x", "http://[x]", "https://[::1", "https://ho]st", "https://[::1]x"),
        *("http://:80", "http://.", "https://host:99999", "https://host:x", "https://a:1:2"),
        *("https://", "https://u@host", "https://host/?a=1", "ftp://host"),
    ],
)
def test_a_public_url_that_no_client_takes_is_refused(url: str) -> None:
    with pytest.raises(OperatorError, match="public_url is to be a URL such as"):
        Config(public_url=url)


@pytest.mark.parametrize(
    "url", ["https://host.example", "http://h:8484/a/b/", "https://[::1]:80", "http://10.0.0.1/"]
)
def test_a_public_url_stays_as_it_is(url: str) -> None:
    config = Config(public_url=url)
    assert config.public_url == url
    assert AllowedHosts.parse("localhost", None, url).names > {"localhost"}


def test_a_data_folder_that_is_closed_to_this_user_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> tuple[bytes, int]:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("treadle.config.lookup._read_file", refuse)  # root may open everything
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(OperatorError) as fault:
        Config.read({"data": str(tmp_path)}, {})
    assert str(fault.value) == (
        f"The data folder {tmp_path} cannot be opened by this user: Permission denied; run treadle "
        "as the user that it belongs to, or name another folder with --data."
    )
    with pytest.raises(OperatorError, match="Cannot read the settings file /named: Permission"):
        Config.read({"data": str(tmp_path), "config": "/named"}, {})


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


def test_a_url_of_the_environment_may_end_with_a_line_break() -> None:
    # A secret that Kubernetes made of a file of one line does.
    config = Config.read({}, {"TREADLE_DESTINATION": "postgresql://loader@db/warehouse\n"})
    assert config.destination == "postgresql://loader@db/warehouse"


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
        ("unix:/run/treadle.sock", "http://localhost"),
    ],
)
def test_the_url_for_clients_on_this_machine(host: str, url: str) -> None:
    assert Config(host=host).url == url
    with_tls = Config(host=host, tls_cert=Path("/c"), tls_key=Path("/k"))
    assert with_tls.url == url.replace("http:", "https:")


def test_the_data_folder_is_made_for_its_owner_only(tmp_path: Path) -> None:
    config = Config(data=tmp_path / "new" / "data")
    config.make_data_folder()
    config.make_data_folder()
    assert stat.S_IMODE(config.data.stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o720, 0o702, 0o1777])
def test_a_data_folder_that_others_can_write_to_is_refused(mode: int, tmp_path: Path) -> None:
    config = Config(data=tmp_path / "data")
    config.data.mkdir()
    config.data.chmod(mode)
    with pytest.raises(OperatorError, match=r"can be changed by .*chmod go-w /"):
        config.make_data_folder()


def test_a_data_folder_that_others_can_read_is_warned_about(tmp_path: Path) -> None:
    config = Config(data=tmp_path / "data")
    found: list[OperatorWarning] = []
    config.check_data_folder(found.append)
    config.make_data_folder()
    config.check_data_folder(found.append)
    assert found == []
    config.data.chmod(0o755)
    config.check_data_folder(found.append)
    [warning] = found
    assert f"{config.data} can be read by other users (mode 0755)" in str(warning)


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


@pytest.mark.parametrize(
    "place",
    [
        "smtps://me@example.com:{}@mail.example.com",
        "mysql://user@server:{}@db.example.com:3306/",
        "clickhouse://@:{}@db.example.com/d?tls=false",
        "mysql://a@b@c:{}@db/",
    ],
)
def test_a_password_behind_a_user_with_an_at_sign_is_hidden(place: str) -> None:
    url = place.format("5ecret")
    assert mask_password(url) == place.format("***")
    [smtp] = [setting for setting in SETTINGS if setting.name == "smtp_url"]
    assert smtp.holds_secret(url)


@given(st.text(st.characters(codec="utf-8", exclude_characters="@"), min_size=1))
def test_a_password_is_hidden_whatever_is_in_it(rest: str) -> None:
    password = f"5ecret{rest}5ecret"
    url = f"postgresql://user:{password}@db.example.com/warehouse"
    assert mask_password(url) == "postgresql://user:***@db.example.com/warehouse"


@pytest.mark.parametrize(
    "url",
    [
        "duckdb:///a/b.duckdb",
        "http://127.0.0.1:8484",
        "postgresql:///d?host=/run&port=1",
        "smtp://me@example.com@localhost",
        "mysql://me@db:3306/",
    ],
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


# --- addresses ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "0.0.0.0", "::", "fe80::1%eth0", "db-1.example.com", "unix:/run/t.sock"],  # noqa: S104
)
def test_an_address_or_a_socket_is_taken(host: str) -> None:
    assert Config(host=host).host == host


@pytest.mark.parametrize(
    "host",
    [
        "",
        " ",
        "unix:",
        "unix:/",
        "unix:relative.sock",
        "unix:/" + "a" * 107,
        "unix:/a\0b",
        "http://0.0.0.0",
        "[::1]",
        "a b",
        "user@host",
    ],
)
def test_what_is_no_address_is_refused(host: str) -> None:
    with pytest.raises(OperatorError, match="host is to be a host name, an address, or unix:"):
        Config(host=host)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("10.0.0.0/8, 192.0.2.1", ("10.0.0.0/8", "192.0.2.1/32")),
        ("::1,unix", ("::1/128", "unix")),
        (["2001:DB8::/32"], ("2001:db8::/32",)),
        ([], ()),
    ],
)
def test_networks_are_read(text: object, found: tuple[str, ...]) -> None:
    assert NetworksKind().check(text) == found
    assert NetworksKind().check(list(found)) == found


@pytest.mark.parametrize(
    "text", ["", "10.0.0.1/8", "localhost", "*", "10.0.0.0/33", "1.2.3.4,", 7, [7], None, True]
)
def test_what_are_no_networks_is_refused(text: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of any kind: all are told alike
        NetworksKind().check(text)


@pytest.mark.parametrize("text", ["True", "1", "yes", "on", ""])
def test_a_switch_is_true_or_false(text: str) -> None:
    with pytest.raises(OperatorError, match="--insecure-http is to be true or false, not "):
        Config.read({"insecure_http": text}, {})


@pytest.mark.parametrize("mode", ["888", "66", "07777", "rw-rw----", "-660"])
def test_permission_bits_are_octal(mode: str) -> None:
    with pytest.raises(OperatorError, match="the permission bits of a file such as 0660"):
        Config(socket_mode=mode)


# --- files with one secret ------------------------------------------------------------------------

URL = "postgresql://loader:5ecret@db.example.com/warehouse"
KEY = "ab" * 32


def write_secret(path: Path, text: str = f"{URL}\n", mode: int = 0o600) -> str:
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_a_file_holds_the_value_of_a_setting(tmp_path: Path) -> None:
    url = write_secret(tmp_path / "url")
    key = write_secret(tmp_path / "key", f"  {KEY}  ")
    token = write_secret(tmp_path / "token", "t" * 20)
    config = Config.read(
        {"destination_file": url, "secret_key_file": key}, {"TREADLE_METRICS_TOKEN_FILE": token}
    )
    assert (config.destination, config.secret_key, config.metrics_token) == (URL, KEY, "t" * 20)
    assert "5ecret" not in repr(config)
    assert PushConfig.read({"token_file": token}, {}).token == "t" * 20
    assert PushConfig.read({}, {"TREADLE_PUSH_TOKEN_FILE": token}).token == "t" * 20


def test_every_secret_can_be_in_a_file() -> None:
    for settings in (SETTINGS, PUSH_SETTINGS):
        named = {setting.content_of for setting in settings}
        hidden = {s.name for s in settings if isinstance(s.kind, TextKind) and s.kind.hidden}
        assert hidden <= named


def test_a_relative_path_in_a_settings_file_is_relative_to_it(tmp_path: Path) -> None:
    write_secret(tmp_path / "url")
    file = tmp_path / "settings.toml"
    file.write_text("destination_file = 'url'\ntls_cert = 'c.pem'\ntls_key = '/etc/k.pem'\n")
    config = Config.read({"config": str(file)}, {})
    assert config.destination == URL
    assert (config.tls_cert, config.tls_key) == (tmp_path / "c.pem", Path("/etc/k.pem"))


def test_the_first_place_decides_between_a_value_and_its_file(tmp_path: Path) -> None:
    url = write_secret(tmp_path / "url")
    other = write_secret(tmp_path / "other", "duckdb:///other")
    file = tmp_path / "settings.toml"
    file.write_text(f"destination_file = '{url}'\n")
    given: dict[str, str | None] = {"config": str(file)}
    assert Config.read(given, {}).destination == URL
    read = Config.read(given, {"TREADLE_DESTINATION": "duckdb:///a"})
    assert (read.destination, read.destination_file) == ("duckdb:///a", None)
    environ = {"TREADLE_DESTINATION": "duckdb:///a"}
    assert (
        Config.read(given | {"destination_file": other}, environ).destination == "duckdb:///other"
    )
    environ = {"TREADLE_DESTINATION_FILE": other}
    assert Config.read(given | {"destination": "duckdb:///a"}, environ).destination == "duckdb:///a"


def test_a_value_and_its_file_in_one_place_are_one_too_many(tmp_path: Path) -> None:
    url = write_secret(tmp_path / "url")
    with pytest.raises(OperatorError, match="destination and destination_file are both set"):
        Config.read({"destination": "duckdb:///a", "destination_file": url}, {})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is to hold one line, a URL such as"),
        ("a\nb", "is to hold one line"),
        ("loader:5ecret@db", "is to hold one line"),
        ("duckdb://" + "x" * 70_000, "is to hold one line"),
        ("duckdb://\udcff", "is to hold one line"),
    ],
)
def test_a_file_that_holds_no_value_is_not_quoted(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "url"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    path.chmod(0o600)
    with pytest.raises(OperatorError) as fault:
        Config.read({"destination_file": str(path)}, {})
    assert said in str(fault.value)
    assert "5ecret" not in str(fault.value)
    assert fault.value.__cause__ is None


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="that destination_file names cannot be read: No such"):
        Config.read({"destination_file": str(tmp_path / "url")}, {})


# --- who else can read and write them -------------------------------------------------------------


def read_warnings(
    flags: dict[str, str | None], environ: dict[str, str] | None = None
) -> list[OperatorWarning]:
    found: list[OperatorWarning] = []
    Config.read(flags, environ or {}, found.append)
    return found


@pytest.mark.parametrize("mode", [0o666, 0o660, 0o622, 0o606, 0o777])
@pytest.mark.parametrize("text", [f"secret_key = '{KEY}'", "workers = 2", ""])
def test_a_settings_file_that_others_can_write_is_refused(
    mode: int, text: str, tmp_path: Path
) -> None:
    file = write_secret(tmp_path / FILE_NAME, text, mode)
    with pytest.raises(OperatorError, match=r"can be changed by .* run `chmod go-w /"):
        Config.read({"data": str(tmp_path)}, {})
    with pytest.raises(OperatorError, match="can be changed by"):
        Config.read({"config": file}, {})


@pytest.mark.parametrize(
    ("text", "mode", "warnings"),
    [
        (f"secret_key = '{KEY}'", 0o644, 1),
        (f"secret_key = '{KEY}'", 0o640, 1),
        (f"secret_key = '{KEY}'", 0o600, 0),
        (f"destination = '{URL}'", 0o604, 1),
        ("destination = 'postgresql://loader@db/w?password=5ecret'", 0o644, 1),
        ("metrics_token = 'tttttttttttttttt'", 0o644, 1),
        ("destination = 'postgresql://loader@db/w'", 0o644, 0),
        ("workers = 2", 0o644, 0),
    ],
)
def test_a_settings_file_with_a_secret_that_others_can_read_is_warned_about(
    text: str, mode: int, warnings: int, tmp_path: Path
) -> None:
    file = write_secret(tmp_path / FILE_NAME, text, mode)
    found = read_warnings({"config": file})
    assert len(found) == warnings
    for warning in found:
        assert f"settings file {file} can be read by" in str(warning)
        assert "5ecret" not in str(warning)


def test_a_file_with_one_secret_is_judged_by_the_same_rule(tmp_path: Path) -> None:
    assert read_warnings({"destination_file": write_secret(tmp_path / "a")}) == []
    [warning] = read_warnings({"destination_file": write_secret(tmp_path / "b", mode=0o644)})
    assert "file of destination_file" in str(warning)
    with pytest.raises(OperatorError, match="can be changed by other users"):
        Config.read({"destination_file": write_secret(tmp_path / "c", mode=0o646)}, {})


def test_what_is_no_file_is_nobody_elses(tmp_path: Path) -> None:
    assert read_warnings({"config": "/dev/null"}) == []


@pytest.mark.parametrize(
    "url",
    [
        URL,
        "postgres://:5ecret@db/w",
        "postgresql:///w?user=u&password=5ecret",
        "postgresql://db/w?sslmode=verify-full&sslpassword=5ecret",
        "postgresql://u:5ecret@a,b/w",
    ],
)
def test_a_password_in_a_flag_is_warned_about(url: str) -> None:
    [warning] = read_warnings({"destination": url})
    assert "--destination holds a secret" in warning.found
    for word in ("TREADLE_DESTINATION,", "destination_file", "TREADLE_DESTINATION_FILE"):
        assert word in warning.remedy
    assert "5ecret" not in str(warning)


def test_a_token_in_a_flag_of_push_is_warned_about() -> None:
    found: list[OperatorWarning] = []
    PushConfig.read({"token": "at_5ecret", "url": "http://u:5ecret@h"}, {}, found.append)
    assert [warning.found for warning in found] == [
        "The flag --url holds a secret.",
        "The flag --token holds a secret.",
    ]
    assert "TREADLE_PUSH_TOKEN_FILE" in found[1].remedy
    assert "5ecret" not in "".join(map(str, found))


def test_what_is_no_secret_or_no_flag_is_not_warned_about() -> None:
    assert read_warnings({"destination": "postgresql://loader@db/w"}) == []
    assert read_warnings({"destination": "duckdb:///a:b/c.duckdb"}) == []
    environ = {"TREADLE_DESTINATION": URL, "TREADLE_SECRET_KEY": KEY}
    assert read_warnings({}, environ) == []


@pytest.mark.parametrize("path", ["/v4", "/v1/x", "/metrics", "/docs", "a", "/", "/a/", "/../a"])
def test_the_console_is_beside_the_apis(path: str) -> None:
    with pytest.raises(OperatorError, match="console_path"):
        Config(console_path=path)


@pytest.mark.parametrize("path", ["/console", "/v1ews", "/ops/treadle", "/docs-of-us"])
def test_the_console_may_be_at_any_other_path(path: str) -> None:
    assert Config(console_path=path).console_path == path


@pytest.mark.parametrize(
    ("text", "roles"),
    [
        ("all", "ingest,loader,control"),
        ("loader", "loader"),
        (" control , ingest", "ingest,control"),
        ("ingest,loader,control", "ingest,loader,control"),
    ],
)
def test_roles_are_named_in_any_order(text: str, roles: str) -> None:
    config = Config.read({"role": text}, {})
    assert format_roles(config.roles) == roles
    assert config.in_cluster is (text != "all")


@pytest.mark.parametrize("text", ["all,ingest", "gate", "ingest,", ""])
def test_what_names_no_roles_is_refused(text: str) -> None:
    with pytest.raises(OperatorError, match="role is to be all, or one or several of ingest, "):
        Config(role=text)  # type: ignore[arg-type]  # as a caller may


@pytest.mark.parametrize(
    ("role", "seconds", "pause"),
    [
        (("all",), None, 0.0),
        (("all",), 2.0, 2.0),
        ((MemberRole.INGEST.value,), None, 5.0),
        ((MemberRole.INGEST.value,), 0.0, 0.0),
        ((MemberRole.LOADER.value, MemberRole.CONTROL.value), None, 5.0),
        ((MemberRole.LOADER.value,), None, 0.0),
    ],
)
def test_a_member_waits_before_it_stops_where_others_take_its_requests(
    role: tuple[str, ...], seconds: float | None, pause: float
) -> None:
    assert Config(role=role, drain_seconds=seconds).drain_pause == pause
