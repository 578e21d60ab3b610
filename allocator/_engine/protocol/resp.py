"""The wire format of script calls: their arguments, and the packed bytes.

    EVALSHA sha numkeys <key>... <each item's key> <each other key> now_ms seen_epoch seen_fence epoch actor
        <argument>...
        [ <call id> <repeated 0|1> <item's argument>... ]...

Commands are packed here, by hiredis where it is installed.  redis-py's asyncio connection packs word by word in Python
even then, which for a batch of a hundred items costs more than all other work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

from allocator import settings
from allocator._engine.protocol.flows import Call, Item
from allocator._engine.protocol.scripts import Argument

__all__ = ["ASKING", "encode_call", "other_keys", "pack_command", "split_batches", "weight"]


def _pack(words: tuple[Argument, ...]) -> bytes:
    """Encode a command in RESP."""
    parts = [f"*{len(words)}\r\n"]
    for word in words:
        text = str(word)
        parts.append(f"${len(text) if text.isascii() else len(text.encode())}\r\n{text}\r\n")
    return "".join(parts).encode()


def _packer() -> Callable[[tuple[Argument, ...]], bytes]:
    try:
        import hiredis  # noqa: PLC0415 - an extra
    except ImportError:
        return _pack
    packer: Any = getattr(hiredis, "pack_command", None)
    return _pack if packer is None else _given_texts(packer)


def _given_texts(packer: Callable[[tuple[str, ...]], bytes]) -> Callable[[tuple[Argument, ...]], bytes]:
    """Hiredis (3.5 too) ends the process where a signal interrupts it as it makes a text of a number: it gets texts."""

    def pack(words: tuple[Argument, ...]) -> bytes:
        return packer(tuple(map(str, words)))

    return pack


pack_command: Final = _packer()

ASKING: Final = pack_command(("ASKING",))


def encode_call(call: Call, repeated: int, leading: Sequence[Argument]) -> list[Argument]:
    """The words after the script in EVALSHA or EVAL: the number of keys, the keys, the arguments.

    `leading` is the driver's envelope: the instant and the watermark (`fence_watermarks`).
    """
    items = call.items
    if not items:
        return [len(call.keys), *call.keys, *leading, *call.args]
    if len(items) == 1 and items[0].key and not items[0].other_key:
        item = items[0]
        keys = call.keys
        return [len(keys) + 1, *keys, item.key, *leading, *call.args, item.call, repeated, *item.args]
    keys = (*call.keys, *[item.key for item in items if item.key], *other_keys(items))
    words: list[Argument] = [len(keys), *keys, *leading, *call.args]
    for item in items:
        words += (item.call, repeated)
        words += item.args
    return words


def other_keys(items: Iterable[Item]) -> Iterable[str]:
    """The keys of other records that the items change, each once."""
    return dict.fromkeys([item.other_key for item in items if item.other_key])


def split_batches(call: Call) -> Iterator[Call]:
    """Split a call of independent items into calls of at most one batch each, in order."""
    part: list[Item] = []
    size = 0
    for item in call.items:
        adds = _weight(item)
        if part and (len(part) >= settings.BATCH_ITEMS_MAX or size + adds > settings.BATCH_BYTES_MAX):
            yield replace(call, items=tuple(part))
            part, size = [], 0
        part.append(item)
        size += adds
    if part:
        yield replace(call, items=tuple(part))


def weight(call: Call) -> int:
    """The approximate bytes of a call's items, as `split_batches` counts them."""
    return sum(map(_weight, call.items))


def _weight(item: Item) -> int:
    """The approximate bytes that an item adds to a script call."""
    texts = [part for part in item.args if isinstance(part, str)]
    size = sum([len(text) if text.isascii() else len(text.encode()) for text in texts])
    return size + len(item.key) + len(item.other_key) + len(item.call) + 8 * (len(item.args) + 3)
