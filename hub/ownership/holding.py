"""What a process may work on at this moment: lanes of one kind, under its fence."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol, TypeAlias

from hub.store.store import Fence

Kind: TypeAlias = Literal["deliver", "relay"]
DELIVER: Final[Kind] = "deliver"
RELAY: Final[Kind] = "relay"
KINDS: Final[tuple[Kind, ...]] = (DELIVER, RELAY)


class Hands(Protocol):
    """The loop that works on a holding."""

    async def let_go(self, lanes: frozenset[int]) -> frozenset[int]:
        """Wait for the round under way; answer of which of these lanes, which are no longer taken, nothing is in hand.

        May be asked again about the others.
        """
        ...


@dataclass(eq=False)
class Holding:
    """The lanes of one kind that this process owns. The ``Member`` changes it; its loop looks at it in every round.

    ``lanes`` may be worked on. Those that are ``leaving`` are still owned, but nothing new is begun in them.
    ``suspects`` are deliveries that another worker may have had in hand when it died, each with its lane.
    """

    kind: Kind
    fence: Fence
    lanes: frozenset[int] = frozenset()
    leaving: frozenset[int] = frozenset()
    suspects: dict[int, int] = field(default_factory=dict)
    hands: Hands | None = None
    workers: int = 1
    """How many living workers share the lanes of this kind, this one included."""
    slot: int = 0
    """The place of this worker among them: of a system account and of a counter each worker writes its own row."""

    @property
    def owned(self) -> frozenset[int]:
        """All lanes that no other process may work on."""
        return self.lanes | self.leaving

    def gain(self, lanes: Iterable[int], suspects: dict[int, int]) -> None:
        """These lanes are ours from now on."""
        self.suspects.update(suspects)
        self.lanes |= frozenset(lanes)

    def part_with(self, count: int) -> frozenset[int]:
        """Begin nothing new in so many lanes, and again in those that were to leave and need not after all."""
        owned = sorted(self.owned, key=lambda lane: (lane not in self.leaving, lane))
        self.leaving = frozenset(owned[: max(0, count)])
        self.lanes = frozenset(owned) - self.leaving
        return self.leaving

    def lose(self, lanes: frozenset[int]) -> None:
        """These lanes are free for others. Whoever runs a suspect there and dies makes it one again."""
        self.leaving -= lanes
        self.lanes -= lanes
        for suspect in [one for one, lane in self.suspects.items() if lane in lanes]:
            del self.suspects[suspect]
