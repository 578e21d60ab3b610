"""`python -m allocator.apps.demo`: the same as `resource-allocator demo`."""

from __future__ import annotations

from allocator.apps.demo.command import demo

if __name__ == "__main__":
    demo(prog_name="python -m allocator.apps.demo")
