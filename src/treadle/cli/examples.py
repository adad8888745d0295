"""An example of every command, which its `--help` and the reference page show.

The examples are one story, in the order in which they can be typed on a new data folder with a
server that runs: a test does so. So each id in them is the one that is there at that moment.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

EXAMPLE_FILES: Final = {
    "orders.ndjson": (
        '{"id": 1, "customer": "Ann", "price": 3.5}\n'
        '{"id": 2, "customer": "Bob", "price": 4}\n'
        '{"id": 3, "customer": "Cid", "price": 5}\n'
    ),
    "refunds.ndjson": '{"id": 1, "cents": 350}\n{"id": 2, "cents": 1000000000000000000000000}\n',
    "orders.schema.json": '{"properties": {"price": {"type": ["number", "null"]}}}\n',
    "visits.csv": "at,page\n2026-01-31T12:00:00Z,1\n2026-01-31T12:00:01Z,2\n",
    "people.singer": (
        '{"type": "SCHEMA", "stream": "people", "key_properties": ["id"], "schema": {}}\n'
        '{"type": "RECORD", "stream": "people", "record": {"id": 1, "name": "Ann"}}\n'
        '{"type": "STATE", "value": {"people": 1}}\n'
    ),
    "token.txt": "at_0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n",
    "reader.url": "duckdb://other.duckdb\n",
}
"""The files that the examples read: name -> content."""


@dataclass(frozen=True, slots=True)
class CommandExample:
    """A line that somebody types.

    Attributes:
        words: of the command.
        line: the whole of it, for a POSIX shell.
        needs: what it needs that a new server has not, in words; empty for nothing. Tests do not
            type it.
    """

    words: tuple[str, ...]
    line: str
    needs: str = ""


def _write_story(lines: Sequence[str | tuple[str, str]]) -> tuple[CommandExample, ...]:
    """Return the examples of lines `WORDS OF THE COMMAND | ARGUMENTS`."""
    story = []
    for each in lines:
        text, needs = (each, "") if isinstance(each, str) else each
        called, _, more = text.partition("|")
        words = tuple(called.split())
        story.append(
            CommandExample(words, " ".join(("treadle", *words, more.strip())).rstrip(), needs)
        )
    return tuple(story)


EXAMPLES: Final = _write_story(
    (
        ("serve | --port 8720", "runs until it is stopped"),
        ("init | --store postgresql://treadle@db1,db2/treadle", "a server of PostgreSQL"),
        (
            "cluster init | --store postgresql://db1,db2/treadle --log postgresql://db1,db2/treadle",
            "a server of PostgreSQL",
        ),
        (
            "cluster import | --store postgresql://db1,db2/treadle --log postgresql://db1,db2/treadle",
            "a server of PostgreSQL, and no server",
        ),
        ("cluster status | --store postgresql://db1,db2/treadle", "a cluster"),
        "version",
        "help | source create",
        "completion | bash > treadle-completion.bash",
        "account list",
        "source create | Shop --json",
        "source list",
        "source options | shop split_mode=widen",
        "source schema | shop orders --set orders.schema.json",
        "plan | orders.ndjson --source shop --table orders --key id",
        "push | orders.ndjson --table orders --key id --wait",
        "push | refunds.ndjson --table refunds --key id --sequence-field id",
        'query | "select * from shop.orders"',
        'query | "select customer, price from shop.orders" --csv > orders.csv',
        "status",
        "problems",
        "doctor | --quick",
        "members",
        ("upgrade check", "members of two releases"),
        ("upgrade finish", "members of one release"),
        "console | --role viewer",
        "requests | --source shop --limit 10",
        "loads | --source shop --table orders",
        "ledger | --source shop",
        "audit | --source shop --table orders",
        "dbt | --source shop --out analytics --freshness 6h,2d",
        "push | visits.csv --source shop --table visits --types page=text",
        "singer | --source shop < people.singer",
        "table list | shop --state idle",
        "table show | shop orders",
        "table history | shop orders",
        "table load | shop orders",
        ("table retry | shop orders", "a table that failed"),
        "trail | --limit 20",
        "rejects causes | --source shop",
        "rejects list | --source shop --open",
        "rejects show | 2.1",
        "rejects resend | 2.1 --set cents=400",
        "replay | --source shop --table orders --dry-run",
        "log stats",
        "log verify",
        ("log add | --log postgresql://treadle@db1,db2/treadle --logs 4", "a store on PostgreSQL"),
        "log list",
        ("log close | 1", "a second log"),
        ("log open | 1", "a second log"),
        "log cat | --source shop --table orders --records > accepted.ndjson",
        "backup | backup-of-today --with-key",
        "restore | backup-of-today --verify",
        "export | > installation.toml",
        "apply | installation.toml --dry-run",
        "source show | shop",
        "source quota | shop requests=100",
        "source pause | shop",
        "source unpause | shop",
        "source webhook | shop table=events",
        "token create | shop --description website",
        "token list | shop",
        "token note | shop 3 mobile",
        "token expire | shop 3 90d",
        "token replace | shop 3 --overlap 0s",
        "token revoke | shop 4",
        "token import | shop < token.txt",
        "account quota | sources=20",
        "account token create | --description deployment --expires 90d",
        "account token list",
        "account token note | 6 laptop",
        "account token expire | 6 2030-01-01",
        "account token replace | 6 --overlap 1d",
        "account token disable | 6",
        "account token enable | 6",
        "account token revoke | 6",
        "account token delete | 7",
        "metrics token create | --description Prometheus",
        "metrics token list",
        "metrics token note | 8 Grafana",
        "metrics token expire | 8 never",
        "metrics token replace | 8 --overlap 1h",
        "metrics token revoke | 8",
        "user add | ann@example.com --name Ann --role admin",
        "user add | bob@example.com --role viewer",
        "user list",
        "user invite | bob@example.com",
        "user role | bob@example.com operator",
        "user disable | bob@example.com",
        "user enable | bob@example.com",
        "user delete | bob@example.com",
        "recipient add | ops@example.com",
        "recipient list",
        ("recipient test | ops@example.com", "a mail server"),
        "recipient disable | ops@example.com",
        "recipient enable | ops@example.com",
        "recipient remove | ops@example.com",
        "hook create | https://hooks.example.com/loaded",
        "hook list",
        "hook update | 1 --pause",
        "hook deliveries | 1 --limit 5",
        ("hook test | 1", "a receiver at the hook's URL"),
        ("hook send-again | 1", "a receiver at the hook's URL"),
        "hook delete | 1",
        "destination list",
        "destination show | 1",
        ("destination check | 1", "some seconds"),
        "destination create | --name Archive --url-file reader.url",
        "destination update | Archive --name History",
        (
            "destination move | shop History --with-history --dry-run",
            "a destination that was checked",
        ),
        "destination delete | History --yes",
        ("source move | shop History --with-history", "a destination that was checked"),
        "source adopt | shop --dry-run",
        "source rename | shop 'Web shop'",
        "account create | --name team-b",
        "account rename | team-b team-c",
        "account delete | team-c --yes",
        ("key rotate", "a second key, see Manage tokens"),
        ("log salvage", "a log that is damaged, and no server"),
        "source delete | shop --yes",
    )
)
"""The story."""


def list_examples(words: tuple[str, ...]) -> list[str]:
    """Return the lines that are examples of a command."""
    return [example.line for example in EXAMPLES if example.words == words]
