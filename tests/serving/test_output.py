"""Files for the user: refused before the work where they cannot be written, and never touched by the check."""

import json
from pathlib import Path

import pytest

from serving.errors import WrongUse
from serving.output import check_writable, write_json


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("", "is a directory: name a file"),
        ("missing/report.json", "there is no directory .*missing to write report.json to: make it first"),
        ("file/report.json", "there is no directory .*file to write report.json to"),
        ("/proc/report.json", "/proc/report.json cannot be written .*: name another file"),
        ("x" * 300, "cannot be written .*: name another file"),
    ],
)
def test_a_file_that_cannot_be_written_is_wrong_use(tmp_path: Path, path: str, sentence: str) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(WrongUse, match=sentence):
        check_writable(tmp_path / path)
    assert [found.name for found in tmp_path.iterdir()] == ["file"]


def test_the_check_leaves_nothing_behind_and_an_old_report_as_it_is(tmp_path: Path) -> None:
    old = tmp_path / "old.json"
    old.write_text("kept")
    check_writable(old)
    check_writable(tmp_path / "new.json")
    assert [found.name for found in tmp_path.iterdir()] == ["old.json"]
    assert old.read_text() == "kept"


def test_json_is_indented_utf8_and_ends_its_last_line(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write_json({"title": "Léon", "rank": 1}, path)
    assert path.read_bytes() == '{\n  "title": "Léon",\n  "rank": 1\n}\n'.encode()
    assert json.loads(path.read_text()) == {"title": "Léon", "rank": 1}


def test_what_fails_while_writing_is_a_sentence_too(tmp_path: Path) -> None:
    with pytest.raises(WrongUse, match="cannot be written"):
        write_json({}, tmp_path / "missing" / "report.json")
