"""What a worker is careful with: deliveries that another one may have had in hand when it died.

Their attempts are counted before they run, so that a message which kills processes is parked in the end. Those that
cannot run, such as behind a parked one, cost nothing: nobody looks for them where the last look has met none.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from hub.deliver.registry import Rules
from hub.deliver.work import Work


class Suspicion:
    """The suspects of a holding, as it changes, and the ``lanes`` in which the last look has met some."""

    def __init__(self, suspects: dict[int, int]) -> None:
        self._suspects = suspects
        self.lanes: frozenset[int] = frozenset()

    def is_up_in(self, lanes: Collection[int]) -> bool:
        """Whether suspects are to be counted before anything of these lanes runs."""
        return not self.lanes.isdisjoint(lanes)

    def met_among(self, works: Sequence[Work]) -> frozenset[int]:
        """The lanes of those that are suspects."""
        return frozenset(one.lane for one in works if one.id in self._suspects)

    def saw(self, lanes: Collection[int], met: frozenset[int]) -> None:
        """These lanes were looked at, and suspects met in some of them, of this holding's now or later."""
        self.lanes = self.lanes.difference(lanes) | met

    def forget(self, ids: Collection[int]) -> None:
        """These are counted, and like any other from here on."""
        for one in ids:
            self._suspects.pop(one, None)

    def together(self, works: Sequence[Work]) -> list[Work]:
        """Suspects may share a batch until one was tried before: a process may have died of it, so it runs alone.

        All of them alone would take minutes for the backlog of a minute, and each further kill would begin again. What
        stands before a suspect in its chain runs before it, as an ordinary batch.
        """
        suspects = _foremost(works, lambda one: one.id in self._suspects)
        fresh = _foremost(suspects, lambda one: one.attempts == 0)
        return fresh or suspects[:1]

    def chosen(self, works: Sequence[Work], counted: frozenset[int]) -> list[Work]:
        """Those of the picked deliveries that run now: the counted, or else what nobody suspects."""
        if not self._suspects and not counted:
            return list(works)
        if found := _foremost(works, lambda one: one.id in counted):
            # Their attempts are counted already.
            return [replace(one, attempts=one.attempts - 1) for one in found]
        # Something came before those that were counted: it is an ordinary batch, and they are another one.
        return _foremost(works, lambda one: one.id not in self._suspects and one.id not in counted)


def used_up(works: Sequence[Work], counted: frozenset[int], rules: Rules) -> list[Work]:
    """Suspects that were running each time a process ended. Others were not, whatever attempts they have had."""
    return [
        one
        for one in works
        if one.id in counted
        and (route := rules.routes_by_id.get(one.route_id)) is not None
        and one.attempts >= route.attempts
    ]


def _foremost(works: Sequence[Work], wanted: Callable[[Work], bool]) -> list[Work]:
    """Those that are wanted, as far as nothing else stands before them in their chain."""
    found: list[Work] = []
    others: set[int] = set()
    for one in works:
        if one.chain in others or not wanted(one):
            others.add(one.chain)
        else:
            found.append(one)
    return found
