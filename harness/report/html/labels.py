"""Where the names of points go, so that they do not cover each other: first free place of a few, best points first."""

from __future__ import annotations

from collections.abc import Sequence

WIDTH, HEIGHT = 520.0, 320.0  # of a plot as it is usually shown, in pixels
LETTER, LINE = 7.0, 14.0
#: (right of the point?, dx, dy) in the order in which they are tried.
PLACES = (
    (True, 9, -9),
    (True, 9, 11),
    (False, -9, -9),
    (False, -9, 11),
    (True, 9, -23),
    (False, -9, 25),
    (True, 9, 25),
)

Box = tuple[float, float, float, float]


def place_labels(points: Sequence[tuple[str, float, float]]) -> list[tuple[str, int, int]]:
    """(align, dx, dy) for each (name, x, y), x and y from 0 to 1 with y upwards."""
    marks = [(x * WIDTH - 5, (1 - y) * HEIGHT - 5, x * WIDTH + 5, (1 - y) * HEIGHT + 5) for _, x, y in points]
    taken: list[Box] = []
    found: dict[int, tuple[str, int, int]] = {}
    for place in sorted(range(len(points)), key=lambda place: -points[place][2]):
        name, x, y = points[place]
        others = [mark for other, mark in enumerate(marks) if other != place] + taken
        boxes = [_box(name, x, y, option) for option in PLACES]
        free = [number for number, box in enumerate(boxes) if _inside(box) and not any(_meet(box, o) for o in others)]
        chosen = free[0] if free else 0
        taken.append(boxes[chosen])
        right, dx, dy = PLACES[chosen]
        found[place] = ("left" if right else "right", dx, dy)
    return [found[place] for place in range(len(points))]


def _box(name: str, x: float, y: float, option: tuple[bool, int, int]) -> Box:
    right, dx, dy = option
    start = x * WIDTH + dx if right else x * WIDTH + dx - LETTER * len(name)
    middle = (1 - y) * HEIGHT + dy
    return start, middle - LINE / 2, start + LETTER * len(name), middle + LINE / 2


def _inside(box: Box) -> bool:
    return box[0] >= -20 and box[2] <= WIDTH + 20


def _meet(one: Box, two: Box) -> bool:
    return one[0] < two[2] and two[0] < one[2] and one[1] < two[3] and two[1] < one[3]
