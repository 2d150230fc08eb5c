"""Small charts: bars per minute, lanes by age, a balance over time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from markupsafe import Markup

from hub.console.words import age
from hub.event import LANES
from hub.operate.pulse import LaneAge, Minute

WIDTH: Final = 720
BAR_HEIGHT: Final = 150
LANES_PER_ROW: Final = 64
CELL: Final = 11
AGES_OF_TONES: Final = (10.0, 60.0)
"""Below the first a lane is fine, below the second slow, and stuck from there on."""
POINTS_MAX: Final = 400


def bars(minutes: Sequence[Minute]) -> Markup:
    """Accepted beside what became of it, minute by minute."""
    top = max([1, *(max(one.accepted, one.applied + one.waiting + one.parked) for one in minutes)])
    step, base, room = (WIDTH - 40) / max(1, len(minutes)), BAR_HEIGHT - 22, BAR_HEIGHT - 36
    parts = [_axis(base), _text(0, 12, str(top)), _text(0, base, "0")]
    for place, minute in enumerate(minutes):
        left, half = 36 + place * step, (step - 2) / 2
        parts.append(_bar("accepted", left, base, half, minute.accepted * room / top))
        height = 0.0
        for name in ("applied", "waiting", "parked"):
            part = getattr(minute, name) * room / top
            parts.append(_bar(name, left + half, base - height, half, part))
            height += part
        if place % 5 == 4 or place == 0:
            is_last = left > WIDTH - 40
            parts.append(
                _text(WIDTH if is_last else left, BAR_HEIGHT - 4, f"{minute.at:%H:%M}", "end" if is_last else "start")
            )
    accepted, applied = sum(one.accepted for one in minutes), sum(one.applied for one in minutes)
    title = f"In {len(minutes)} minutes: {accepted} events accepted, {applied} deliveries done"
    return _svg(WIDTH, BAR_HEIGHT, title, parts)


def lanes(found: Sequence[LaneAge]) -> Markup:
    """All lanes as cells; the colour says how long the oldest ready delivery of the lane waits."""
    by_lane = {one.lane: one for one in found}
    parts = []
    for lane in range(LANES):
        row, place = divmod(lane, LANES_PER_ROW)
        one = by_lane.get(lane)
        tone = 0 if one is None else 1 + sum(one.age_s >= bound for bound in AGES_OF_TONES)
        says = f"lane {lane}: {age(one.age_s) if one is not None else 'nothing is ready'}"
        parts.append(
            Markup(
                '<rect class="cell l{tone}" x="{x}" y="{y}" width="{size}" height="{size}"><title>{says}</title></rect>'
            ).format(tone=tone, x=place * CELL, y=row * CELL, size=CELL - 2, says=says)
        )
    oldest = max((one.age_s for one in found), default=0.0)
    title = f"{len(found)} of {LANES} lanes have something ready, the oldest for {age(oldest)}"
    return _svg(LANES_PER_ROW * CELL, LANES // LANES_PER_ROW * CELL, title, parts)


def curve(points: Sequence[tuple[datetime, int]], label: str, written: Callable[[int], str] = str) -> Markup:
    """A balance over time, in steps: it stays until the next entry. Its highest and lowest are written beside it."""
    if len(points) < 2:
        return Markup("")
    points = points[-POINTS_MAX:]
    low, high = min(0, *(value for _, value in points)), max(0, *(value for _, value in points))
    first, last = points[0][0].timestamp(), points[-1][0].timestamp()
    spread, span = max(1, high - low), max(1e-6, last - first)
    height, left, top, base = 180, 8, 22, 158

    def x(at: datetime) -> float:
        return left + (at.timestamp() - first) / span * (WIDTH - 16)

    def y(value: int) -> float:
        return top + (high - value) / spread * (base - top)

    steps = [f"M{x(points[0][0]):.1f} {y(points[0][1]):.1f}"]
    steps += [f"H{x(at):.1f}V{y(value):.1f}" for at, value in points[1:]]
    path = "".join(steps)
    zero = f"{y(0):.1f}"
    parts = [
        Markup('<line class="axis" x1="0" x2="{w}" y1="{y}" y2="{y}"/>').format(w=WIDTH, y=zero),
        Markup('<path class="area" d="{d}"/>').format(d=f"{path}V{zero}H{x(points[0][0]):.1f}Z"),
        Markup('<path class="curve" d="{d}"/>').format(d=path),
        _text(left, top - 6, written(high)),
        *([_text(WIDTH - 8, base - 4, written(low), anchor="end")] if low < 0 else []),
        _text(left, height - 6, f"{points[0][0]:%d %b %H:%M}"),
        _text(WIDTH - 8, height - 6, f"{points[-1][0]:%d %b %H:%M}", anchor="end"),
    ]
    return _svg(WIDTH, height, label, parts)


def _svg(width: int, height: int, title: str, parts: Sequence[Markup]) -> Markup:
    opening = Markup('<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="{title}">')
    around = Markup('<div class="picture" role="region" aria-label="{title}" tabindex="0">').format(title=title)
    drawn = opening.format(width=width, height=height, title=title) + Markup("").join(parts)
    return around + drawn + Markup("</svg></div>")


def _axis(y: float) -> Markup:
    return Markup('<line class="axis" x1="34" x2="{w}" y1="{y}" y2="{y}"/>').format(w=WIDTH, y=y)


def _bar(name: str, left: float, base: float, width: float, height: float) -> Markup:
    if height <= 0:
        return Markup("")
    height = max(1.0, height)
    return Markup('<rect class="b-{name}" x="{x}" y="{y}" width="{w}" height="{h}"/>').format(
        name=name, x=f"{left:.1f}", y=f"{base - height:.1f}", w=f"{max(1.0, width):.1f}", h=f"{height:.1f}"
    )


def _text(x: float, y: float, text: str, anchor: str = "start") -> Markup:
    return Markup('<text class="soft" x="{x}" y="{y}" text-anchor="{a}">{t}</text>').format(
        x=f"{x:.1f}", y=f"{y:.1f}", a=anchor, t=text
    )
