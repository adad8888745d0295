"""Results as a table, a JSON file and a plot."""

import json
import os
import platform
from collections.abc import Iterator
from html import escape
from math import log10
from pathlib import Path
from statistics import median
from typing import Any

DATABASES = {
    "postgres": "PostgreSQL",
    "clickhouse": "ClickHouse",
    "duckdb": "DuckDB",
    "iceberg": "Iceberg",
    "files": "files",
    "sqlite": "SQLite",
    "mysql": "MariaDB",
}


def machine() -> dict[str, str]:
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    total = next(
        line.split()[1]
        for line in Path("/proc/meminfo").read_text().splitlines()
        if line.startswith("MemTotal")
    )
    return {
        "processor": f"{os.cpu_count()} x {model}",
        "memory": f"{int(total) / 1024**2:.0f} GB",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load average at the start": f"{os.getloadavg()[0]:.2f}",
    }


def heading(results: dict[str, Any]) -> str:
    parts = [f"{name} {value}" for name, value in results["machine"].items()]
    lines = [f"{results['began']}; {'; '.join(parts)}"]
    for database in ("postgres", "mysql"):
        if database in results:
            settings = ", ".join(f"{name}={value}" for name, value in results[database].items())
            lines.append(f"{DATABASES[database]}: {settings}")
    return "\n".join(lines)


def short(found: dict[str, Any]) -> str:
    said = []
    for name, value in found.items():
        if isinstance(value, dict):
            said.append(f"[{name}: {short(value)}]")
        else:
            said.append(f"{name} {_number(value)}")
    return ", ".join(said)


def _number(value: Any) -> str:
    if not isinstance(value, float | int):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


# --- the table ------------------------------------------------------------------------------------


def _spread(rates: list[float]) -> str:
    if len(rates) < 2:
        return ""
    return f" ({min(rates):,.0f} to {max(rates):,.0f})"


def _loads(results: dict[str, Any]) -> Iterator[str]:
    for workload, entries in results["loads"].items():
        title = next(iter(entries.values()))["title"]
        for database in DATABASES:
            some = {n: e for n, e in entries.items() if e["database"] == database}
            if not some:
                continue
            ours = next(
                (
                    median(e["rates"])
                    for n, e in some.items()
                    if n.startswith("treadle") and e["rates"]
                ),
                None,
            )
            if ours is None:
                ours = next(
                    (
                        median(e["rates"])
                        for n, e in entries.items()
                        if n == "treadle" and e["rates"]
                    ),
                    None,
                )
            yield ""
            yield f"**{workload}** {title}, into {DATABASES[database]}"
            yield ""
            yield "| | records | records a second | treadle does | peak MB (worker, loader) |"
            yield "|---|---:|---:|---:|---:|"
            for name, entry in some.items():
                yield _row(name, entry, ours)


def _row(name: str, entry: dict[str, Any], ours: float | None) -> str:
    records = f"{entry['records']:,}"
    if "not for" in entry:
        return f"| {name} | | takes no part: {entry['not for']} | | |"
    if not entry["rates"]:
        why = entry["faults"][0] if entry["faults"] else "not run"
        return f"| {name} | {records} | wrong: {why} | | |"
    middle = median(entry["rates"])
    ratio = "" if ours is None or name.startswith("treadle") else _ratio(ours, middle, name)
    memory = ""
    if name.startswith("treadle"):
        peaks = [
            max(figures.get(kind, 0) for figures in entry["figures"])
            for kind in ("worker 1 MB", "loader MB")
        ]
        memory = f"{peaks[0]}, {peaks[1]}"
    wrong = f"; wrong in {len(entry['faults'])} runs" if entry["faults"] else ""
    rates = f"{middle:,.0f}{_spread(entry['rates'])}{wrong}"
    return f"| {name} | {records} | {rates} | {ratio} | {memory} |"


def _ratio(ours: float, theirs: float, name: str) -> str:
    if name.startswith("limit"):
        return f"{ours / theirs:.0%} of it"
    return f"{ours / theirs:.1f} x"


def _median(entries: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in entries[0].items():
        if isinstance(value, dict):
            found[name] = _median([entry[name] for entry in entries])
        elif isinstance(value, float | int):
            found[name] = median(entry[name] for entry in entries)
    return found


def _answers(results: dict[str, Any]) -> Iterator[str]:
    for name, entries in results["answers"].items():
        yield ""
        yield f"**{name}**"
        yield ""
        yield from _listed(_median(entries))


def _listed(found: dict[str, Any]) -> Iterator[str]:
    for name, value in found.items():
        if isinstance(value, dict):
            yield f"- {name} connections: " + ", ".join(
                f"{key} {_number(each)}" for key, each in value.items()
            )
        else:
            yield f"- {name}: {_number(value)}"


def _stages(results: dict[str, Any]) -> Iterator[str]:
    found = results.get("stages")
    if not found:
        return
    columns = list(found)
    yield ""
    yield "Processor time by stage, microseconds a record:"
    yield ""
    yield "| stage | " + " | ".join(columns) + " |"
    yield "|---|" + "---:|" * len(columns)
    for stage in found[columns[0]]:
        yield f"| {stage} | " + " | ".join(f"{found[c].get(stage, 0):.2f}" for c in columns) + " |"


def _scale(results: dict[str, Any]) -> Iterator[str]:
    for grown, steps in results.get("scale", {}).items():
        figures = list(next(iter(steps.values())))
        yield ""
        yield f"| {grown}, microseconds | " + " | ".join(figures) + " |"
        yield "|---|" + "---:|" * len(figures)
        for step, found in steps.items():
            yield f"| {step} | " + " | ".join(f"{found[name]:.2f}" for name in figures) + " |"


def put_into(document: Path, results: dict[str, Any]) -> None:
    """The tables into a text that has places for them, and the curves beside it."""
    text = document.read_text()
    if "scale" in results:
        text = _put(text, "scale", "\n".join([_head(results), *_scale(results)]) + "\n")
        document.with_name("scale.svg").write_text(curves(results["scale"]))
    if results["loads"]:
        text = _put(text, "measured", table(results))
    document.write_text(text)


def _put(text: str, place: str, what: str) -> str:
    before, begin, rest = text.partition(f"<!-- {place} -->\n")
    _, end, after = rest.partition(f"<!-- end of what was {place} -->\n")
    if not end:
        raise SystemExit(f"the document has no place for what was {place}")
    return before + begin + "\n" + what + "\n" + end + after


def _head(results: dict[str, Any]) -> str:
    form = "full" if results["full"] else "short"
    return (
        f"Written by `python -m benchmarks`, {form} form, {results['runs']} runs, "
        f"{results['began']}."
    )


def table(results: dict[str, Any]) -> str:
    lines = [
        _head(results),
        "",
        *(f"- {name}: {value}" for name, value in results["machine"].items()),
        *(
            f"- {DATABASES[database]}: "
            + ", ".join(f"{n} = {v}" for n, v in results[database].items())
            for database in ("postgres", "mysql")
            if database in results
        ),
        "- versions: " + ", ".join(f"{n} {v}" for n, v in results["versions"].items()),
        *(f"- cannot take part: {name}: {why}" for name, why in results["missing"].items()),
        *_loads(results),
        *_answers(results),
        *_stages(results),
        *_scale(results),
    ]
    return "\n".join(lines) + "\n"


# --- the plot -------------------------------------------------------------------------------------


def plot(results: dict[str, Any]) -> str:
    """Bars of records a second, an SVG text."""
    bars: list[tuple[str, str, float | None]] = []
    for workload, entries in results["loads"].items():
        for name, entry in entries.items():
            if "not for" in entry:
                continue
            bars.append((workload, name, median(entry["rates"]) if entry["rates"] else None))
    most = max((rate for _, _, rate in bars if rate), default=1.0)
    row, left, width = 16, 300, 900
    parts = []
    y = 24
    before = ""
    for workload, name, rate in bars:
        if workload != before:
            y += 12
            parts.append(f'<text x="6" y="{y + 11}" font-weight="bold">{workload}</text>')
            before = workload
        colour = "#2b7a78" if name.startswith("treadle") else "#b0b8bf"
        colour = "#e0c080" if name.startswith("limit") else colour
        length = (width - left - 110) * (rate or 0) / most
        said = f"{rate:,.0f}" if rate else "wrong"
        parts += [
            f'<text x="{left - 6}" y="{y + 11}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{left}" y="{y + 2}" width="{length:.1f}" height="11" fill="{colour}"/>',
            f'<text x="{left + length + 5:.1f}" y="{y + 11}">{said}</text>',
        ]
        y += row
    style = "font-family:sans-serif;font-size:11px"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{y + 12}"'
        f' style="{style}">'
        '<rect width="100%" height="100%" fill="white"/>'
        '<text x="6" y="16">Records a second, median of the runs</text>'
        + "".join(parts)
        + "</svg>\n"
    )


def curves(scale: dict[str, dict[str, dict[str, float]]]) -> str:
    """How costs grow, an SVG text: each figure by step, as a ratio to the first step's.

    Both axes go by factors of ten; a flat line is a cost that stays as it is.
    """
    left, width, height, row = 40, 420, 150, 210
    colours = ("#2b7a78", "#c0702f", "#6b4f9a")
    parts = ['<text x="6" y="16">Processor time, as a ratio to the smallest amount</text>']
    y = 34
    for grown, steps in scale.items():
        names = list(steps)
        parts.append(f'<text x="6" y="{y}" font-weight="bold">{escape(grown)}</text>')
        for power, said in ((-1, "0.1"), (0, "1"), (1, "10"), (2, "100")):
            at = y + 10 + height * (2 - power) / 3
            parts += [
                (
                    f'<line x1="{left}" x2="{left + width}" y1="{at:.1f}" y2="{at:.1f}"'
                    ' stroke="#d8dce0"/>'
                ),
                f'<text x="{left - 4}" y="{at + 4:.1f}" text-anchor="end">{said}</text>',
            ]
        across = [left + 20 + n * (width - 60) / max(1, len(names) - 1) for n in range(len(names))]
        for x, name in zip(across, names, strict=True):
            place = f'x="{x:.1f}" y="{y + height + 24}" text-anchor="middle"'
            parts.append(f"<text {place}>{escape(name)}</text>")
        for number, figure in enumerate(steps[names[0]]):
            colour = colours[number % len(colours)]
            first = max(steps[names[0]][figure], 1e-9)
            powers = [log10(max(steps[name][figure], 1e-9) / first) for name in names]
            points = " ".join(
                f"{x:.1f},{y + 10 + height * (2 - min(2.0, max(-1.0, power))) / 3:.1f}"
                for x, power in zip(across, powers, strict=True)
            )
            parts += [
                f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>',
                (
                    f'<text x="{left + width + 10}" y="{y + 24 + 16 * number}" fill="{colour}">'
                    f"{escape(figure)}</text>"
                ),
            ]
        y += row
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="640" height="{y}"'
        ' style="font-family:sans-serif;font-size:11px">'
        '<rect width="100%" height="100%" fill="white"/>' + "".join(parts) + "</svg>\n"
    )


def write(results: dict[str, Any], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results, indent=1))
    (folder / "results.md").write_text(table(results))
    (folder / "results.svg").write_text(plot(results))
    if "scale" in results:
        (folder / "scale.svg").write_text(curves(results["scale"]))
