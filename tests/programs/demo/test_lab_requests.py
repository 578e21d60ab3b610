"""The demo's input: what a file of lab requests may say, and how its mistakes are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from allocator import Resources
from allocator.apps.demo.lab_requests import (
    BadRequestsError,
    default_capacity,
    default_file,
    natural_speed,
    read_requests,
)


def written(folder: Path, text: str) -> Path:
    path = folder / "labs.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_is_read_with_further_resources_and_empty_cells(tmp_path: Path) -> None:
    """Any column that is not ours is a resource; an empty cell asks for none of it."""
    path = written(
        tmp_path,
        "\ufeffname, cpu, memory, seconds, nvidia.com/gpu, arrives\na/1, 500m, 1Gi, 60, , 5\n\nb/2, 2, , 0.5, 500m, \n",
    )
    first, second = read_requests(path)
    assert (first.name, first.seconds, first.arrives) == ("a/1", 60.0, 5.0)
    assert dict(first.resources) == {"cpu": 500, "memory": 2**30}
    assert dict(second.resources) == {"cpu": 2000, "nvidia.com/gpu": 500}


def test_every_wrong_line_is_named_with_its_number(tmp_path: Path) -> None:
    """Somebody with a file of thousands of lines must find the wrong ones, all at once."""
    path = written(
        tmp_path,
        "name,cpu,memory,seconds\nok,1,1Gi,5\nx,one,1Gi,5\nok,1,1Gi,5\ny,1,512,5\nz,1,1Gi,soon\nw,1,1Gi\nv,0,,5\n"
        "b b,1,1Gi,5\nu,1,1Gi,nan\nt,1,1Gi,-1\n",
    )
    with pytest.raises(BadRequestsError) as caught:
        read_requests(path)
    lines = str(caught.value).splitlines()
    expected = [
        (3, "cpu"),
        (4, "stands in line 2"),
        (5, "512Mi"),
        (6, "'soon'"),
        (7, "3 cells"),
        (8, "asks for nothing"),
        (9, "'b b'"),
        (10, "'nan'"),
        (11, "'-1'"),
    ]
    assert len(lines) == len(expected)
    for line, (number, part) in zip(lines, expected, strict=True):
        assert f"labs.csv, line {number}: " in line
        assert part in line


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "no column 'name'"),
        ("name,cpu\na,1\n", "no column 'seconds'"),
        ("name,seconds\na,1\n", "no column for a resource"),
        ("name,cpu,cpu,seconds\na,1,1,1\n", "'cpu' stands there twice"),
        ("name,c p u,seconds\na,1,1\n", "resource"),
        ("name,cpu,seconds\n", "no lab"),
        ('name,cpu,seconds\n"a,1,1\n', "not a CSV file"),
    ],
)
def test_a_file_that_is_no_list_of_requests_is_refused(tmp_path: Path, text: str, part: str) -> None:
    """Before anything is started, and with the reason."""
    with pytest.raises(BadRequestsError, match=r"labs\.csv") as caught:
        read_requests(written(tmp_path, text))
    assert part in str(caught.value)


def test_a_file_of_bytes_is_refused_by_name(tmp_path: Path) -> None:
    """A spreadsheet saved as something else must not end in a traceback."""
    path = tmp_path / "labs.xlsx"
    path.write_bytes(b"PK\x03\x04\xff\xfe\x00")
    with pytest.raises(BadRequestsError, match=r"labs\.xlsx"):
        read_requests(path)


def test_the_default_pool_has_a_tenth_of_what_it_does_not_know(tmp_path: Path) -> None:
    """But at least the largest request, in whole units."""
    path = written(tmp_path, "name,cpu,gpu,seconds\na,1,3,1\nb,1,2500m,1\nc,1,,1\n")
    assert default_capacity(read_requests(path)).text() == {"cpu": "32", "memory": "128Gi", "gpu": "3"}


def test_the_speed_follows_from_the_scarcest_resource(tmp_path: Path) -> None:
    """Labs that never fit do not count: they take no time."""
    path = written(tmp_path, "name,cpu,seconds\na,1,2600\nb,1,2600\nhuge,64,1e6\n")
    labs = read_requests(path)
    assert natural_speed(labs, Resources.capacity({"cpu": 1})) == pytest.approx(200)
    assert natural_speed(labs, Resources.capacity({"cpu": 2})) == pytest.approx(100)


def test_the_course_day_is_larger_than_its_pool() -> None:
    """What the demo runs by default must have labs wait, and one that never fits."""
    labs = read_requests(default_file())
    pool = default_capacity(labs)
    assert len(labs) > 250
    assert pool.text() == {"cpu": "32", "memory": "128Gi"}
    asked = sum(lab.resources["cpu"] * lab.seconds for lab in labs) / pool["cpu"]
    assert asked > 0.9 * max(lab.arrives + lab.seconds for lab in labs)
    assert [lab.name for lab in labs if not lab.resources <= pool] == ["project/render-farm"]
