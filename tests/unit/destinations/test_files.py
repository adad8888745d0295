"""Names of objects, URLs, forms and errors of files, as values."""

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.servers.files import MemoryStore

from treadle.destinations.conformance.builders import ORDERS
from treadle.destinations.duckdb_form import move_url
from treadle.destinations.files import FilesDestination
from treadle.destinations.files.errors import translate
from treadle.destinations.files.folder_store import FolderStore
from treadle.destinations.files.object_names import (
    FOLDER_BYTES_MAX,
    KEY_BYTES_MAX,
    PREFIX_BYTES_MAX,
    decode_folder,
    encode_folder,
    name_attempt_folder,
    name_file,
    name_record,
    name_relation_folder,
    name_table_records,
    read_attempt,
    read_number,
)
from treadle.destinations.files.object_store import ObjectExistsError
from treadle.destinations.files.record_chain import RecordChain
from treadle.destinations.files.store_probe import StoreProbe
from treadle.destinations.files.stored_tables import AskedTables, RelationFiles
from treadle.destinations.files.table_record import OwnerRecord, TableRecord
from treadle.destinations.files_form import FilesForm
from treadle.destinations.form import PathRefusedError, PropertiesRefusedError, merge_properties
from treadle.destinations.host_addresses import check_addresses
from treadle.destinations.protocol import (
    AccessDeniedError,
    DestinationUnavailableError,
    RowRefusedError,
)
from treadle.destinations.registry import find_type, is_exclusive, make_destination
from treadle.destinations.transport import find_transport_risk
from treadle.errors import OperatorError
from treadle.tables.model import OffsetCommit

FORM = FilesForm(Path("/var/lib/treadle"))
MARK = OffsetCommit("log", 7, "orders", 3, 4)


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("orders", "orders"),
        ("Orders Ünï 🧵", "Orders Ünï 🧵"),
        ("a/b", "a%2Fb"),
        ("..", "%2E%2E"),
        (".hidden", "%2Ehidden"),
        ("50%", "50%25"),
        ("day=1*?[x]{y}", "day%3D1%2A%3F%5Bx%5D%7By%7D"),
        ("a\0b\n", "a%00b%0A"),
        ("ends ", "ends%20"),
        ("", "%"),
        ("~", "%7E"),
    ],
)
def test_a_folder_is_called_as_its_relation_where_it_can_be(name: str, folder: str) -> None:
    assert encode_folder(name) == folder
    assert decode_folder(folder) == name


@given(st.text(), st.text())
def test_two_names_have_two_folders(one: str, two: str) -> None:
    folder = encode_folder(one)
    assert len(folder.encode()) <= FOLDER_BYTES_MAX
    assert "/" not in folder
    assert not folder.startswith(".")
    assert (folder == encode_folder(two)) == (one == two)
    assert decode_folder(folder) in (one, None)


def test_a_long_name_is_cut_with_a_digest() -> None:
    one, two = encode_folder("ü" * 300 + "1"), encode_folder("ü" * 300 + "2")
    assert one != two
    assert one.startswith("ü" * 70 + "~")
    assert decode_folder(one) is None


def test_no_key_is_longer_than_the_limit() -> None:
    name = "x" * 1000
    attempt = name_attempt_folder(name, name, 10**12 - 1, "f" * 32)
    file = name_file(MARK, name, version=2**62, batched_at=2**62, ending="parquet")
    keys = [
        f"{attempt}/0000.parquet",
        name_record(name_table_records(name, name), 10**12 - 1),
        f"{name_relation_folder(name, name)}/{file}",
    ]
    assert all(PREFIX_BYTES_MAX + 1 + len(key.encode()) <= KEY_BYTES_MAX for key in keys)


def test_a_file_is_called_by_what_is_in_it() -> None:
    def name(mark: OffsetCommit, relation: str = "orders") -> str:
        return name_file(
            mark, relation, version=2, batched_at=1_700_000_000_123_456, ending="parquet"
        )

    assert name(MARK).startswith("2_1700000000123456_")
    assert name(MARK) == name(OffsetCommit("log", 7, "orders", -1, 4, fence=9))
    others = [
        name(OffsetCommit("other", 7, "orders", 3, 4)),
        name(OffsetCommit("log", 8, "orders", 3, 4)),
        name(OffsetCommit("log", 7, "other", 3, 4)),
        name(OffsetCommit("log", 7, "orders", 3, 5)),
        name(MARK, "orders__items"),
    ]
    assert len({name(MARK), *others}) == 6


def test_numbers_are_read_from_keys() -> None:
    assert read_number(name_record("_treadle/tables/web/orders", 12)) == 12
    assert read_number("_treadle/tables/web/orders/notes.json") == -1
    assert read_attempt(f"{name_attempt_folder('web', 'orders', 7, 'ab')}/0000.parquet") == (
        7,
        "ab",
    )
    assert read_attempt("_treadle/pending/web/orders/mine/0000.parquet") == (-1, "")


# --- URLs -----------------------------------------------------------------------------------------


def test_a_folder_is_a_destination(tmp_path: Path) -> None:
    url = f"files://{tmp_path}/lake%20one"
    found = make_destination(url)
    assert isinstance(found, FilesDestination)
    assert found.kind == find_type(url) == "s3"
    assert found.identity == f"files://{tmp_path}/lake one"
    assert found.profile.append_only
    assert found.file is None
    assert not is_exclusive(url)
    assert find_transport_risk(found) is None


def test_a_bucket_is_a_destination() -> None:
    url = "files+s3://key:s%2Fecret@S3.example.com:9000/lake/raw/%C3%BC?region=eu-west-1&tls=false"
    found = FilesDestination(url)
    assert found.kind == find_type(url) == "s3"
    assert found.identity == "files+s3://s3.example.com:9000/lake/raw/ü"
    assert "ecret" not in found.identity
    risk = found.find_risk()
    assert risk is not None
    assert "s3.example.com" in str(risk)
    assert FilesDestination("files+s3://k:s@localhost/lake?tls=false").find_risk() is None
    assert FilesDestination("files+s3://k:s@far.example.com/lake").find_risk() is None


@pytest.mark.parametrize(
    "url",
    [
        "files://",
        "files:///",
        "files://host/folder",
        "files+s3://k:s@host",
        "files+s3:///bucket",
        "files+s3://k@host/bucket",
        "files+s3://k:s@host:port/bucket",
        "files:///folder?region=x",
        "files+s3://k:s@host/bucket?zone=x",
        "files+s3://k:s@host/bucket?request-timeout=never",
        "files+s3://k:s@host/bucket/" + "x" * (PREFIX_BYTES_MAX + 1),
    ],
)
def test_a_url_that_is_none_is_refused_without_its_secret(url: str) -> None:
    with pytest.raises(OperatorError) as refused:
        FilesDestination(url)
    assert "k:s@" not in str(refused.value)


def check_nothing(address: str) -> None:
    """Take every address."""


def test_an_account_names_a_folder_of_the_operators_and_its_own_key() -> None:
    FilesDestination("files:///var/lib/treadle/./lake", check_nothing)
    FilesDestination("files+s3://k:s@host/bucket", check_nothing)
    for url in ("files:///var/lib/treadle/lake", "files+s3://host/bucket"):
        with pytest.raises(AccessDeniedError, match="operator"):
            FilesDestination(url, check_nothing)


def test_an_address_is_checked_before_it_is_connected_to() -> None:
    def refuse(address: str) -> None:
        raise AccessDeniedError(f"not {address}")

    found = FilesDestination("files+s3://k:s@127.0.0.1:1/bucket", refuse)
    pytest.importorskip("obstore")
    with pytest.raises(AccessDeniedError, match=r"not 127\.0\.0\.1"):
        found.open()


def test_a_folder_in_a_folder_that_is_missing_is_the_operators(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="make it first"):
        FilesDestination(f"files://{tmp_path}/none/lake").open()
    (tmp_path / "file").touch()
    with pytest.raises(OperatorError, match="is a file"):
        FilesDestination(f"files://{tmp_path}/file").open()


# --- form -----------------------------------------------------------------------------------------


def test_a_bucket_of_amazon_needs_no_endpoint() -> None:
    given: dict[str, object] = {
        "s3_bucket": "my-bucket",
        "s3_prefix": "raw",
        "s3_region": "eu-central-1",
        "s3_access_key_id": "AKIA",
        "s3_secret_access_key": "a/b+c",
    }
    properties = merge_properties(FORM, given, None)
    url = FORM.write_url(properties, None)
    assert url == (
        "files+s3://AKIA:a%2Fb%2Bc@s3.eu-central-1.amazonaws.com/my-bucket/raw?region=eu-central-1"
    )
    assert FORM.read_url(url) == {**given, "output_file_format": "parquet"}
    assert FilesDestination(url).identity.endswith("amazonaws.com/my-bucket/raw")


def test_another_store_has_an_endpoint_and_keeps_other_parameters() -> None:
    former = "files+s3://k:s@store:9000/one?tls=false&request-timeout=5"
    held = FORM.read_url(former)
    assert held["s3_endpoint"] == "http://store:9000"
    changed = merge_properties(FORM, {"s3_bucket": "two"}, former)
    assert FORM.write_url(changed, former) == (
        "files+s3://k:s@store:9000/two?request-timeout=5&tls=false"
    )


def test_a_folder_is_inside_of_the_operators() -> None:
    url = FORM.write_url(merge_properties(FORM, {"path": "my lake.files"}, None), None)
    assert url == "files:///var/lib/treadle/./my%20lake.files"
    assert FORM.read_url(url) == {"output_file_format": "parquet", "path": "my lake.files"}
    assert FORM.read_url("files:///elsewhere/lake")["path"] == "lake"
    moved = move_url(url, Path("/other place"))
    assert moved == "files:///other%20place/./my%20lake.files"
    assert move_url(moved, Path("/other place")) == moved
    for path in ("../a.files", "/a.files", ".", "lake", "lake.files/_treadle/tables", "push"):
        with pytest.raises(PathRefusedError):
            FORM.write_url({"path": path}, None)


BUCKET = {"s3_bucket": "bucket", "s3_access_key_id": "k", "s3_secret_access_key": "s"}


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({}, ("s3_bucket",)),
        ({"path": "a.files", "s3_bucket": "bucket"}, ("s3_bucket",)),
        ({"path": "a"}, ("path",)),
        ({**BUCKET, "s3_endpoint": "https://store.example.com/inner"}, ("s3_endpoint",)),
        ({"s3_bucket": "bucket"}, ("s3_access_key_id", "s3_secret_access_key")),
        ({"s3_bucket": "bucket", "output_file_format": "csv"}, ("output_file_format",)),
        ({"s3_bucket": "No_Bucket"}, ("s3_bucket",)),
    ],
)
def test_properties_that_name_nothing_are_refused(
    given: dict[str, object], names: tuple[str, ...]
) -> None:
    with pytest.raises(PropertiesRefusedError) as refused:
        FORM.write_url(merge_properties(FORM, given, None), None)
    assert refused.value.names == names


# --- a folder -------------------------------------------------------------------------------------


def test_of_two_who_put_a_new_object_one_does(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.put_new("a/b/one", b"1")
    with pytest.raises(ObjectExistsError):
        store.put_new("a/b/one", b"2")
    assert store.get("a/b/one") == b"1"
    assert store.list_keys("_treadle") == []
    assert store.list_keys("a") == ["a/b/one"]
    assert store.list_folders("") == ["a"]


def test_a_file_is_shown_once(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.put("_treadle/pending/x", b"1")
    store.show("_treadle/pending/x", "web/t/x")
    store.show("_treadle/pending/x", "web/t/x")
    store.put("_treadle/pending/x", b"2")
    store.show("_treadle/pending/x", "web/t/x")
    assert store.get("web/t/x") == b"1"
    assert store.get("_treadle/pending/x") is None


def test_a_folder_that_was_removed_is_made_again(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    for number in range(2):
        store.put(f"pending/{number}", b"1")
        store.show(f"pending/{number}", f"web/t/{number}")
        (tmp_path / f"web/t/{number}").unlink()
        (tmp_path / "web/t").rmdir()
    store.put("pending/3", b"1")
    store.show("pending/3", "web/t/3")
    assert store.list_keys("web") == ["web/t/3"]


def test_a_folder_may_be_removed_before_a_file_gets_its_name_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    removals = 2

    def link_later(source: Path, target: Path) -> None:
        nonlocal removals
        if removals:
            removals -= 1
            target.parent.rmdir()
        link(source, target)

    link = os.link
    monkeypatch.setattr("os.link", link_later)
    FolderStore(tmp_path).put_new("probes/one", b"1")
    assert FolderStore(tmp_path).get("probes/one") == b"1"
    assert removals == 0


def test_empty_folders_go_with_their_last_file(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.put("a/b/c/one", b"")
    store.put("a/two", b"")
    store.remove(["a/b/c/one", "a/b/c/none"])
    assert not (tmp_path / "a/b").exists()
    assert store.get("a/two") == b""
    assert store.holds_any("a")
    assert not store.holds_any("a/b")


def test_a_file_system_without_links_is_the_operators(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    with pytest.raises(OperatorError, match="no hard links"):
        FolderStore(tmp_path).put_new("one", b"1")


def test_a_load_leaves_no_folder_of_its_attempt(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    for name in ("1", "2"):
        store.put(f"_treadle/pending/web/orders/7_ab/{name}", b"1")
    store.show("_treadle/pending/web/orders/7_ab/1", "web/orders/1")
    store.show("_treadle/pending/web/orders/7_ab/2", "web/orders/2")
    assert list((tmp_path / "_treadle/pending/web/orders").iterdir()) == []
    assert store.list_keys("web") == ["web/orders/1", "web/orders/2"]


def test_a_folder_that_the_operator_made_stays(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.put("a/one", b"")
    store.remove(["a/one"])
    assert list(tmp_path.iterdir()) == []
    made = FolderStore(tmp_path / "lake")
    made.put("a/one", b"")
    made.remove(["a/one"])
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_listed_is_not_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(place: Any) -> None:
        raise PermissionError(13, "Permission denied", str(place))

    store = FolderStore(tmp_path)
    assert store.list_keys("a") == []
    assert not store.holds_any("a")
    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(PermissionError):
        store.list_keys("a")
    with pytest.raises(PermissionError):
        store.holds_any("a")


def test_records_are_those_in_a_folder_itself() -> None:
    store = MemoryStore()
    chain = RecordChain(store, OwnerRecord)
    chain.append("owners/web", OwnerRecord("web", None, "a", "", 1))
    store.objects[name_record("owners/web/inner", 9)] = b"{}"
    found = RecordChain(store, OwnerRecord).read("owners/web")
    assert found is not None
    assert found.number == 1


def test_a_store_is_tried_out_once_for_all_sessions() -> None:
    store, probe = MemoryStore(), StoreProbe()
    probe.require(store)
    calls = store.calls
    probe.require(store)
    assert store.calls == calls > 0


def test_a_question_reads_a_schema_once() -> None:
    reads: list[str] = []

    class CountingStore(MemoryStore):
        def list_keys(self, folder: str) -> list[str]:
            reads.append(folder)
            return super().list_keys(folder)

    store = CountingStore()
    tables = AskedTables(store, RecordChain(store, TableRecord), RecordChain(store, OwnerRecord))
    for name in tables.list_tables("web"):
        tables.find_table("web", name)
    assert tables.find_table("web", "none") is None
    assert len(reads) == 1


def test_a_file_that_is_damaged_is_named(tmp_path: Path) -> None:
    (tmp_path / "web/orders").mkdir(parents=True)
    (tmp_path / "web/orders/1.parquet").write_bytes(b"no Parquet")
    files = RelationFiles(FolderStore(tmp_path), "web", ORDERS)
    with pytest.raises(OperatorError, match=r"web/orders/1\.parquet cannot be read"):
        files.read(ORDERS.columns).read_all()


@pytest.mark.parametrize("seconds", ["inf", "nan", "1e30", "0", "-1", "x"])
def test_seconds_are_a_number_of_use(seconds: str) -> None:
    url = f"files+s3://k:s@store.example.com/bucket?connect-timeout={seconds}"
    with pytest.raises(OperatorError, match="connect-timeout"):
        make_destination(url)


@pytest.mark.parametrize("host", ["a..b", "a" * 64 + ".example.com"])
def test_a_host_that_is_no_name_has_no_address(host: str) -> None:
    with pytest.raises(OSError, match="no name of a host"):
        check_addresses([(host, 443)], lambda address: None)


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (PermissionError(13, "no"), AccessDeniedError),
        (OSError(30, "read-only file system"), AccessDeniedError),
        (OSError(28, "no space"), DestinationUnavailableError),
        (NotADirectoryError(20, "no folder"), OperatorError),
        (pa.ArrowInvalid("what"), RowRefusedError),
        (OperatorError("as it is"), OperatorError),
    ],
)
def test_errors_say_whose_they_are(error: Exception, meaning: type[Exception]) -> None:
    assert type(translate(error)) is meaning


def test_errors_of_a_store_say_whose_they_are() -> None:
    pytest.importorskip("obstore")
    from obstore import exceptions

    from treadle.destinations.files.bucket_store import BucketStore, StoreLogin
    from treadle.destinations.files.bucket_store import translate as translate_store

    denied = exceptions.PermissionDeniedError("no")
    assert type(translate_store(denied, "b")) is AccessDeniedError
    listed = exceptions.GenericError("list request: 403 Forbidden: SignatureDoesNotMatch")
    assert type(translate_store(listed, "b")) is AccessDeniedError
    assert type(translate_store(FileNotFoundError("b"), "b")) is OperatorError
    away = exceptions.GenericError("error sending request\n\nDebug source: x")
    found = translate_store(away, "the bucket 'b'")
    assert type(found) is DestinationUnavailableError
    assert str(found) == "the bucket 'b' cannot be reached now: error sending request"
    login = StoreLogin("key", "", "a-token")
    place = BucketStore("b", "", {}, login=login, seconds=(1, 1), is_encrypted=True)
    assert place._secrets == ["a-token"]  # an empty one is between any two letters
    repeated = exceptions.GenericError("x-amz-security-token: a-token is not one")
    assert "a-token" not in str(translate_store(repeated, "b", ["secret", "a-token"]))
