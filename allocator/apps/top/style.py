"""How the widgets of `top` are laid out and coloured."""

from __future__ import annotations

from typing import Final

__all__ = ["CSS"]

CSS: Final = """
Screen { layout: vertical; }
#title { height: 1; background: $primary-darken-2; color: $text; padding: 0 1; }
#banner { height: auto; max-height: 4; background: $error; color: $text; text-style: bold; padding: 0 1;
          display: none; }
#banner.shown { display: block; }
#bars { height: auto; padding: 0 1; }
#counts { height: 1; padding: 0 1; color: $text-muted; }
#tabs { height: 1; background: $boost; }
#grid { height: 1fr; }
#note { height: 1; padding: 0 1; color: $warning; display: none; }
#note.shown { display: block; }
#tail { height: 9; border-top: solid $primary-darken-2; border-title-color: $text-muted; display: none; }
#tail.shown { display: block; }
#filter { height: 1; border: none; padding: 0 1; background: $boost; display: none; }
#filter.shown { display: block; }

Grid { scrollbar-size-vertical: 1; scrollbar-size-horizontal: 0; background: $background; }
Grid > .grid--header { text-style: bold; color: $text-accent; background: $background; }
Grid > .grid--cursor { text-style: reverse; }
Grid > .grid--marked { text-style: bold; }
Grid > .grid--dim { color: $text-muted; background: $background; }

ModalScreen { align: center middle; background: $background 60%; }
.dialog { width: auto; min-width: 50; max-width: 95%; height: auto; max-height: 95%; border: round $primary;
          background: $surface; padding: 0 1; }
.dialog .text { width: auto; height: auto; }
.dialog .dim { color: $text-muted; height: 1; width: auto; }
.dialog VerticalScroll { width: auto; max-width: 100%; height: auto; max-height: 80vh; }
.dialog Grid { width: 72; max-width: 100%; height: auto; min-height: 4; max-height: 12; background: $surface; }
.dialog Horizontal { height: auto; width: auto; align-horizontal: right; margin-top: 1; }
.dialog Button { margin-right: 2; }
"""
