"""The note of an examination."""

from pathlib import Path

from treadle.traces.examination import (
    SILENT_US,
    ExaminationKind,
    ExaminationNote,
    ExaminedFinding,
    read_examination,
    write_examination,
)

NOW = 1_800_000_000_000_000


def test_a_note_is_written_and_read(tmp_path: Path) -> None:
    folder = tmp_path / "examinations"
    assert read_examination(folder, ExaminationKind.DOCTOR) is None
    finding = ExaminedFinding("disk", "bad", "<b> full", "m", "r")
    note = ExaminationNote(ExaminationKind.DOCTOR, True, NOW, NOW, findings=(finding,))
    write_examination(folder, note)
    found = read_examination(folder, ExaminationKind.DOCTOR)
    assert found is not None
    assert (found.whole, found.findings[0].subject) == (True, "disk")
    assert read_examination(folder, ExaminationKind.COUNTS) is None
    (folder / "doctor.json").write_text("{")
    assert read_examination(folder, ExaminationKind.DOCTOR) is None


def test_an_examination_goes_on_while_it_tells_how_far_it_is() -> None:
    note = ExaminationNote(ExaminationKind.DOCTOR, False, NOW, NOW)
    assert note.is_going_on(NOW + 1)
    assert not note.is_going_on(NOW + SILENT_US)
    ended = ExaminationNote(ExaminationKind.DOCTOR, False, NOW, NOW, finished_at=NOW)
    assert not ended.is_going_on(NOW)
