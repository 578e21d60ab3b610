"""What a planted bug is, and how it is planted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Mutant:
    """One bug.  `old` stands exactly once in the file; `hint` is the test module that catches it.

    `file` is a script's or a module's (below `lua`), or one of the package's (`allocator/...`).  `hint` is below
    `tests/scripts`, or with a folder below `tests`.
    """

    name: str
    file: str
    old: str
    new: str
    why: str
    hint: str

    @property
    def path(self) -> str:
        """The file, from the root of the checkout."""
        if self.file.startswith("allocator/"):
            return self.file
        return f"lua/{self.file}" if self.file.startswith("modules/") else f"lua/scripts/{self.file}"

    @property
    def tests(self) -> str:
        """The module that is run against it, from the root of the checkout."""
        return f"tests/{self.hint}.py" if "/" in self.hint else f"tests/scripts/{self.hint}.py"

    def changed(self, root: Path) -> str:
        """The text of the file with the bug in it.

        Raises:
            LookupError: The text to be replaced does not stand there exactly once: a table that has grown old must not
                pass unnoticed.
        """
        text = (root / self.path).read_text(encoding="utf-8")
        if (times := text.count(self.old)) != 1:
            raise LookupError(f"{self.name}: {self.path} has the text {times} times:\n{self.old}")
        return text.replace(self.old, self.new)


def plant(mutant: Mutant, root: Path) -> None:
    """Change a copy of the checkout."""
    (root / mutant.path).write_text(mutant.changed(root), encoding="utf-8")
