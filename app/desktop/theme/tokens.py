"""The colours of the desktop: one table for light and one for dark, and the pairs that must be readable."""

from __future__ import annotations

from dataclasses import dataclass

GRID = 4  # logical pixels; every distance is a multiple
MIN_CONTRAST = 4.5  # WCAG 2.2 AA for text of normal size


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Colours by role, as #rrggbb."""

    name: str
    window: str  # behind everything
    rail: str  # the bar on the left
    surface: str  # cards and fields
    raised: str  # what lies on a card: chips, hovered rows
    border: str
    text: str
    muted: str  # second-rank text
    accent: str  # the ember: links, main buttons, the current page
    accent_hover: str
    on_accent: str
    accent_soft: str  # the ember as a background
    ok: str
    warning: str
    danger: str
    warning_soft: str
    danger_soft: str
    code: str  # behind code


LIGHT = Tokens(
    name="light",
    window="#f7f4f0",
    rail="#efeae4",
    surface="#ffffff",
    raised="#f4f0eb",
    border="#ddd5cb",
    text="#26211c",
    muted="#675d53",
    accent="#ad430c",
    accent_hover="#8f3709",
    on_accent="#ffffff",
    accent_soft="#fbe9dd",
    ok="#2c6b3f",
    warning="#855300",
    danger="#a92a22",
    warning_soft="#fdf1d8",
    danger_soft="#fce6e3",
    code="#f2eee9",
)

DARK = Tokens(
    name="dark",
    window="#191715",
    rail="#131110",
    surface="#23201d",
    raised="#2d2925",
    border="#3d3732",
    text="#ede7e0",
    muted="#b0a599",
    accent="#f29058",
    accent_hover="#f7a878",
    on_accent="#241005",
    accent_soft="#3d2718",
    ok="#7fc795",
    warning="#e6b450",
    danger="#f28b82",
    warning_soft="#3a2e15",
    danger_soft="#432220",
    code="#1b1816",
)

# (text, background) by role name: every pair that is drawn somewhere.
READABLE_PAIRS: tuple[tuple[str, str], ...] = (
    ("text", "window"),
    ("text", "rail"),
    ("text", "surface"),
    ("text", "raised"),
    ("text", "code"),
    ("text", "accent_soft"),
    ("text", "warning_soft"),
    ("text", "danger_soft"),
    ("muted", "window"),
    ("muted", "rail"),
    ("muted", "surface"),
    ("muted", "raised"),
    ("accent", "window"),
    ("accent", "surface"),
    ("accent", "accent_soft"),
    ("on_accent", "accent"),
    ("on_accent", "accent_hover"),
    ("ok", "surface"),
    ("ok", "raised"),
    ("warning", "surface"),
    ("warning", "warning_soft"),
    ("danger", "surface"),
    ("danger", "danger_soft"),
)


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours, 1 to 21 (WCAG 2.2, relative luminance)."""
    bright, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    red, green, blue = (_linear(int(colour[i : i + 2], 16) / 255) for i in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(channel: float) -> float:
    return channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4
