"""Make `examples/lab_requests.csv`, the course day that the demo runs: `python -m bench.lab_requests > FILE`.

A teaching cluster of 32 cores and 128 GiB, from 8 in the morning on.  Courses come in groups, whose labs are asked for
in the first minutes of the session and last about as long as it; projects are scattered over the day, larger and
longer.  One lab asks for more cores than there are.  The same seed gives the same file.
"""

from __future__ import annotations

import csv
import random
import sys
from dataclasses import dataclass
from typing import IO, Final

SEED: Final = 20
OPENS: Final = 8 * 60
"""Minutes after midnight that are second 0 of the day."""


@dataclass(frozen=True)
class Course:
    """A course: its sessions begin at these times, with so many labs each, all alike."""

    name: str
    cpu: str
    memory: str
    minutes: float
    students: int
    sessions: tuple[str, ...]


COURSES: Final = (
    Course("py101", "500m", "1Gi", 55, 26, ("08:15", "10:15", "13:15")),
    Course("web120", "500m", "1536Mi", 50, 22, ("09:15", "14:15")),
    Course("db201", "1", "4Gi", 50, 20, ("08:15", "11:15")),
    Course("os210", "1500m", "4Gi", 45, 16, ("10:15", "15:15")),
    Course("net230", "1", "3Gi", 60, 14, ("12:15",)),
    Course("sec240", "2", "6Gi", 55, 10, ("13:15",)),
    Course("k8s310", "3", "10Gi", 60, 8, ("09:15", "14:15")),
    Course("ml320", "4", "20Gi", 65, 6, ("11:15", "15:15")),
)

PROJECTS: Final = 26
PROJECT_SIZES: Final = (("1", "4Gi"), ("2", "8Gi"), ("4", "16Gi"), ("6", "30Gi"))


def write(stream: IO[str]) -> None:
    """Write the file."""
    rng = random.Random(SEED)
    rows: list[tuple[str, str, str, int, int]] = []
    for course in COURSES:
        for group, begins in enumerate(course.sessions, 1):
            hours, _, minutes = begins.partition(":")
            opens_s = (int(hours) * 60 + int(minutes) - OPENS) * 60
            for student in range(1, course.students + 1):
                late_s = rng.gammavariate(2.0, 150.0)
                lasts_s = 60 * course.minutes * rng.triangular(0.35, 1.25, 0.95)
                name = f"{course.name}/group{group}/student{student:02}"
                rows.append((name, course.cpu, course.memory, round(lasts_s), round(opens_s + late_s)))
    for project in range(1, PROJECTS + 1):
        cpu, memory = rng.choices(PROJECT_SIZES, weights=(6, 6, 3, 1))[0]
        lasts_s, arrives_s = rng.triangular(1500, 9000, 3600), rng.uniform(0, 7.5 * 3600)
        rows.append((f"project/team{project:02}", cpu, memory, round(lasts_s), round(arrives_s)))
    rows.append(("project/render-farm", "48", "64Gi", 3600, 2 * 3600))
    rows.sort(key=lambda row: row[4])
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("name", "cpu", "memory", "seconds", "arrives"))
    writer.writerows(rows)


if __name__ == "__main__":
    write(sys.stdout)
