"""Many numbers of rows in little memory: a bit each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

PAGE_BITS: Final = 4_096


class Numbers:
    """A set of whole numbers that lie near each other, as a sequence draws them."""

    def __init__(self) -> None:
        self._pages: defaultdict[int, bytearray] = defaultdict(lambda: bytearray(PAGE_BITS // 8))

    def __bool__(self) -> bool:
        return any(any(page) for page in self._pages.values())

    def __iter__(self) -> Iterator[int]:
        for number, page in sorted(self._pages.items()):
            for place, byte in enumerate(page):
                yield from (number * PAGE_BITS + place * 8 + bit for bit in range(8) if byte >> bit & 1)

    def add(self, number: int) -> None:
        page, bit = divmod(number, PAGE_BITS)
        self._pages[page][bit >> 3] |= 1 << (bit & 7)

    def discard(self, number: int) -> None:
        page, bit = divmod(number, PAGE_BITS)
        if page in self._pages:
            self._pages[page][bit >> 3] &= ~(1 << (bit & 7))
