"""The output of a run: a live picture on a terminal, lines elsewhere.  A demo says how its state is drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import IO, Final, Generic, Protocol, Self, TypeVar

from rich.console import Console, RenderableType
from rich.live import Live

__all__ = ["LiveView", "PlainView", "View", "line", "open_screen"]

LINE_S: Final = 1.0
"""Seconds between two lines of progress."""

NOTES: Final = 4
"""Lines of the picture for what happened last in the run."""

PICTURES_PER_S: Final = 8


class Timed(Protocol):
    """The state of a run at one instant."""

    @property
    def elapsed_s(self) -> float:
        """Seconds since the beginning."""
        ...


F_contra = TypeVar("F_contra", contravariant=True)
F = TypeVar("F", bound=Timed)


class View(Protocol[F_contra]):
    """The output of a run."""

    def show(self, frame: F_contra) -> None:
        """Show the state."""
        ...

    def note(self, elapsed_s: float, text: str) -> None:
        """Show an event of the run."""
        ...


class PlainView(Generic[F]):
    """A line of progress every second, and one for each event of the run."""

    def __init__(self, stream: IO[str], progress: Callable[[F], str]) -> None:
        self._stream = stream
        self._progress = progress
        self._next_s = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stream.flush()

    def show(self, frame: F) -> None:
        """Write a line, if one is due."""
        if frame.elapsed_s >= self._next_s:
            self._next_s = frame.elapsed_s + LINE_S
            self.note(frame.elapsed_s, self._progress(frame))

    def note(self, elapsed_s: float, text: str) -> None:
        """Write a line now."""
        _write(self._stream, line(elapsed_s, text))


class LiveView(Generic[F]):
    """A picture that replaces itself."""

    def __init__(self, stream: IO[str], picture: Callable[[F, Sequence[str]], RenderableType]) -> None:
        self._stream = stream
        self._picture = picture
        self._notes: list[str] = []
        self._live = Live(
            console=Console(file=stream),
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._next_s = 0.0

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()
        for note in self._notes:
            _write(self._stream, note)

    def show(self, frame: F) -> None:
        """Draw the picture."""
        if frame.elapsed_s >= self._next_s:
            self._next_s = frame.elapsed_s + 1 / PICTURES_PER_S
            self._live.update(self._picture(frame, self._notes[-NOTES:]), refresh=True)

    def note(self, elapsed_s: float, text: str) -> None:
        """Add a line to the picture; all lines are printed at the end."""
        self._notes.append(line(elapsed_s, text))


def open_screen(
    stream: IO[str],
    progress: Callable[[F], str],
    picture: Callable[[F, Sequence[str]], RenderableType],
) -> LiveView[F] | PlainView[F]:
    """A picture if the stream is a capable terminal, else lines."""
    console = Console(file=stream)
    if console.is_terminal and not console.is_dumb_terminal:
        return LiveView(stream, picture)
    return PlainView(stream, progress)


def line(elapsed_s: float, text: str) -> str:
    """A line with its time."""
    return f"{elapsed_s:6.1f} s  {text}"


def _write(stream: IO[str], text: str) -> None:
    print(text, file=stream, flush=True)
