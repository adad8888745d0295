import itertools

from hypothesis import given
from hypothesis import strategies as st

from treadle.loader.load_lines import LINE_US, LoadLine, LoadLines, SourceLines


def summarize(its: SourceLines) -> LoadLine:
    assert its.first is not None
    return LoadLine(
        f"{its.loads} loads of {len(its.tables)} tables of source {its.source_id}: "
        f"{', '.join(map(str, its.sums))}; the first: {its.first.text}",
        is_warning=its.is_warning,
    )


class TextLines:
    """Lines of which only the texts matter."""

    def __init__(self) -> None:
        self.lines = LoadLines(summarize)

    def add(
        self, key: tuple[int, str], text: str, now: int, numbers: tuple[int, ...] = ()
    ) -> str | None:
        line = self.lines.add(key, LoadLine(text), now, numbers)
        return None if line is None else line.text

    def flush(self, now: int | None = None) -> list[str]:
        return [line.text for line in self.lines.flush(now)]


def test_a_load_after_a_quiet_second_has_a_line_of_its_own() -> None:
    lines = TextLines()
    assert lines.add((1, "a"), "a was loaded", 0, (1, 2)) == "a was loaded"
    assert lines.flush(LINE_US) == []
    assert lines.add((1, "b"), "b was loaded", LINE_US, (1, 2)) == "b was loaded"


def test_what_follows_within_a_second_is_summed_up() -> None:
    lines = TextLines()
    lines.add((1, "a"), "a was loaded", 0, (1, 2))
    assert lines.add((1, "b"), "b was loaded", 10, (3, 4)) is None
    assert lines.add((1, "c"), "c was loaded", 20, (5, 6)) is None
    assert lines.add((1, "c"), "c was loaded", 30, (7, 8)) is None
    assert lines.flush(LINE_US - 1) == []
    assert lines.flush(LINE_US) == [
        "3 loads of 2 tables of source 1: 15, 18; the first: b was loaded"
    ]
    assert lines.flush(3 * LINE_US) == []


def test_one_alone_within_a_second_keeps_its_line() -> None:
    lines = TextLines()
    lines.add((1, "a"), "a was loaded", 0)
    lines.add((1, "b {x}"), "b {x} was loaded", 1)
    assert lines.flush() == ["b {x} was loaded"]
    assert lines.flush() == []


def test_each_source_has_lines_of_its_own() -> None:
    lines = TextLines()
    assert lines.add((1, "a"), "one", 0) == "one"
    assert lines.add((2, "a"), "two", 0) == "two"


def test_a_clock_that_is_set_back_holds_no_line_up() -> None:
    lines = TextLines()
    lines.add((1, "a"), "a", 100 * LINE_US)
    assert lines.add((1, "b"), "b", 0) == "b"


def test_a_sum_is_a_warning_where_one_of_its_loads_is() -> None:
    lines = LoadLines(summarize)
    lines.add((1, "a"), LoadLine("a"), 0)
    lines.add((1, "b"), LoadLine("b", is_warning=True), 1)
    lines.add((1, "c"), LoadLine("c"), 2)
    [line] = lines.flush()
    assert line.is_warning


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, LINE_US)), max_size=200))
def test_there_is_a_line_a_second_for_a_source_at_most_and_every_load_is_counted(
    loads: list[tuple[int, int]],
) -> None:
    lines = LoadLines(lambda its: LoadLine(f"{its.source_id} {its.loads}"))
    now = 0
    written: list[tuple[int, int]] = []
    counted = dict.fromkeys((1, 2, 3), 0)

    def note(line: LoadLine) -> None:
        source, count = map(int, line.text.split())
        counted[source] += count
        written.append((source, now))

    for source, pause in loads:
        now += pause
        if (line := lines.add((source, "t"), LoadLine(f"{source} 1"), now)) is not None:
            note(line)
    for source in (1, 2, 3):
        times = [at for of, at in written if of == source]
        assert all(after - before >= LINE_US for before, after in itertools.pairwise(times))
    for line in lines.flush():
        note(line)
    assert counted == {source: sum(of == source for of, _ in loads) for source in (1, 2, 3)}
