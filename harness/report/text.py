"""Words and numbers for people: units, unknowns, and text from models and data made harmless for a terminal."""

from __future__ import annotations

import math
import re

UNKNOWN = "–"

# Control sequences as a whole (ECMA-48): with a body (hyperlinks, titles), with parameters (colours, cursor), short.
_SEQUENCES = re.compile(
    r"(?:\x1b\]|\x9d)[^\x07\x1b\x9c\n]{0,2000}(?:\x07|\x1b\\|\x9c)"
    r"|(?:\x1b[PX^_]|[\x90\x98\x9e\x9f])[^\x1b\x9c\n]{0,2000}(?:\x1b\\|\x9c)"
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|\x1b[ -/]*[0-~]"
)
# What is left of controls; marks that turn the direction of the line, and characters that cannot be encoded.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def safe(text: object) -> str:
    """The text without anything that a terminal obeys; line ends and tabs stay."""
    whole = str(text).replace("\r\n", "\n")
    return _CONTROLS.sub("", _SEQUENCES.sub("", whole))


def hidden(text: str) -> str:
    """What a reader is told when `safe` leaves something out; "" when it does not."""
    count = len(text.replace("\r\n", "\n")) - len(safe(text))
    return f"{count} control characters are not shown" if count else ""


def one_line(text: object) -> str:
    """`safe` text on one line."""
    return " ".join(safe(text).split())


def _usable(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def score(value: float | None, *, signed: bool = False, digits: int = 3) -> str:
    """A metric's value: `digits` decimals, fewer for large numbers."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    digits = digits if abs(value) < 10 else min(digits, 2) if abs(value) < 100 else 1
    text = f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"
    return text.replace("-", "−")


def p_value(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return UNKNOWN
    return "<0.001" if value < 0.001 else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def seconds(value: float | None) -> str:
    """12 ms, 1.3 s, 2 min 5 s, 1 h 12 min."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if value < 0.0995:
        return f"{value * 1000:.1f} ms" if 0 < value < 0.00995 else f"{value * 1000:.0f} ms"
    if value < 0.9995:
        return f"{value * 1000:.0f} ms"
    if value < 99.5:
        return f"{value:.1f} s" if value < 9.95 else f"{value:.0f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(round(value / 60), 60)
    return f"{hours:,} h {minutes} min" if minutes else f"{hours:,} h"


def size(value: float | None) -> str:
    """4.2 MiB."""
    return _scaled(value, 1024, ("B", "KiB", "MiB", "GiB", "TiB"))


def count(value: float | None) -> str:
    """812, 12.3 k, 135 M."""
    return _scaled(value, 1000, ("", "k", "M", "G", "T")).strip()


def _scaled(value: float | None, step: int, units: tuple[str, ...]) -> str:
    if value is None or not math.isfinite(value):
        return UNKNOWN
    place = 0
    # 999.6 would round to 1000 of the smaller unit.
    while abs(value) >= step - 0.5 and place < len(units) - 1:
        value, place = value / step, place + 1
    whole = place == 0 and float(value).is_integer()
    digits = 0 if whole or abs(value) >= 99.95 else 1
    return f"{value:.{digits}f} {units[place]}"


def usd(value: float | None, *, at_least: bool = False) -> str:
    """$0.0042, $1.20, $1,234; "≥" before a sum with an unknown part; a dash for unknown, never $0."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if value >= 1000:
        text = f"${value:,.0f}"
    elif value >= 1:
        text = f"${value:.2f}"
    elif value <= 0:
        text = "$0" if value == 0 else f"−{usd(-value)}"
    elif value >= 0.00005:  # two significant digits, and never fewer than two decimals
        text = f"${value:.{max(2, 1 - math.floor(math.log10(value)))}f}"
    else:
        text = f"${value:.0e}" if at_least else "<$0.0001"
    return f"≥ {text}" if at_least else text


def interval(low: float | None, high: float | None, *, digits: int = 3) -> str:
    """[0.761, 0.880]; empty when neither end is known."""
    if not _usable(low) and not _usable(high):
        return ""
    return f"[{score(low, digits=digits)}, {score(high, digits=digits)}]"
