"""How a database on PostgreSQL is named to people: its servers and itself, without secrets."""


def name_postgres_place(host: str, port: str, database: str | None) -> str:
    """Return `postgresql://host1:port,host2:port/database`.

    Args:
        host: several of them with commas between, as libpq takes them.
        port: one for all of them, or one for each; empty for the default.
        database: its name; None where the user's is meant.
    """
    hosts, ports = host.split(","), port.split(",")
    ports *= len(hosts) if len(ports) == 1 else 1
    pairs = [f"[{one}]" if ":" in one else one for one in hosts]
    servers = [f"{one}:{at}" if at else one for one, at in zip(pairs, ports, strict=False)]
    return f"postgresql://{','.join(servers)}/{database or ''}"
