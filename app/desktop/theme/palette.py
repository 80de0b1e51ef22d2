"""Turns the tokens into a palette and the one small style sheet."""

from __future__ import annotations

from string import Template

from PySide6.QtGui import QColor, QPalette

from app.desktop.theme.tokens import Tokens


def palette_of(tokens: Tokens) -> QPalette:
    """What Qt's own drawing (Fusion) uses."""
    role, group = QPalette.ColorRole, QPalette.ColorGroup
    colours = {
        role.Window: tokens.window,
        role.WindowText: tokens.text,
        role.Base: tokens.surface,
        role.AlternateBase: tokens.raised,
        role.Text: tokens.text,
        role.PlaceholderText: tokens.muted,
        role.Button: tokens.surface,
        role.ButtonText: tokens.text,
        role.BrightText: tokens.danger,
        role.ToolTipBase: tokens.raised,
        role.ToolTipText: tokens.text,
        role.Highlight: tokens.accent,
        role.HighlightedText: tokens.on_accent,
        role.Link: tokens.accent,
        role.LinkVisited: tokens.accent,
        role.Light: tokens.raised,
        role.Midlight: tokens.raised,
        role.Mid: tokens.border,
        role.Dark: tokens.border,
        role.Accent: tokens.accent,
    }
    palette = QPalette()
    for each, colour in colours.items():
        palette.setColor(each, QColor(colour))
    for each in (role.WindowText, role.Text, role.ButtonText):
        palette.setColor(group.Disabled, each, QColor(tokens.muted))
    return palette


# Roles are dynamic properties ("role" of a label, "kind" of a button or frame), so that a widget says what it is
# and this sheet says how that looks.
_SHEET = Template("""
* { outline: none; }
QToolTip { color: $text; background: $raised; border: 1px solid $border; padding: 4px 8px; }

QLabel[role="muted"] { color: $muted; }
QLabel[role="section"] { color: $muted; font-weight: 600; }
QLabel[role="accent"] { color: $accent; }
QLabel[role="ok"] { color: $ok; }
QLabel[role="warning"] { color: $warning; }
QLabel[role="danger"] { color: $danger; }
QLabel[role="chip"] { color: $muted; background: $raised; border-radius: 9px; padding: 2px 10px; }

QFrame[kind="rail"] { background: $rail; border: none; border-right: 1px solid $border; }
QFrame[kind="card"] { background: $surface; border: 1px solid $border; border-radius: 10px; }
QFrame[kind="notice"] { background: $warning_soft; border: 1px solid $warning; border-radius: 8px; }
QFrame[kind="banner"] { background: $warning_soft; border: none; border-bottom: 1px solid $border; }
QFrame[kind="bad"] { background: $danger_soft; border: 1px solid $danger; border-radius: 8px; }
QFrame[kind="mine"] { background: $accent_soft; border: none; border-radius: 10px; }
QFrame[kind="code"] { background: $code; border: 1px solid $border; border-radius: 8px; }
QFrame[kind="upright"] { background: $border; border: none; max-width: 1px; min-width: 1px; }

QPushButton { color: $text; background: $surface; border: 1px solid $border; border-radius: 7px; padding: 6px 14px; }
QPushButton:hover { background: $raised; }
QPushButton:pressed { background: $border; }
QPushButton:focus { border: 2px solid $accent; padding: 5px 13px; }
QPushButton:disabled { color: $muted; background: $window; }
QPushButton[kind="main"] { color: $on_accent; background: $accent; border: 1px solid $accent; font-weight: 600; }
QPushButton[kind="main"]:hover { background: $accent_hover; }
QPushButton[kind="main"]:focus { border: 2px solid $text; }
QPushButton[kind="main"]:disabled { color: $muted; background: $raised; border: 1px solid $border; }
QPushButton[kind="danger"] { color: $danger; }
QPushButton[kind="row"] { background: transparent; border: 2px solid transparent; border-radius: 8px; padding: 0; text-align: left; }
QPushButton[kind="row"]:hover { background: $raised; }
QPushButton[kind="row"]:focus { border: 2px solid $accent; }

QToolButton { color: $text; background: transparent; border: 2px solid transparent; border-radius: 7px; padding: 4px; }
QToolButton:hover { background: $raised; }
QToolButton:focus { border: 2px solid $accent; }
QToolButton::menu-indicator { image: none; width: 0; }
QToolButton[kind="rail"] { color: $muted; border-radius: 10px; padding: 6px 2px; }
QToolButton[kind="rail"]:checked { color: $accent; background: $accent_soft; }
QToolButton[kind="rail"]:hover:!checked { background: $raised; }

QTextBrowser { background: transparent; border: none; color: $text; selection-background-color: $accent; selection-color: $on_accent; }
QPlainTextEdit, QLineEdit { color: $text; background: $surface; border: 1px solid $border; border-radius: 8px; padding: 7px 9px;
    selection-background-color: $accent; selection-color: $on_accent; }
QPlainTextEdit, QLineEdit { placeholder-text-color: $muted; }
QPlainTextEdit:focus, QLineEdit:focus { border: 2px solid $accent; padding: 6px 8px; }
QPlainTextEdit[kind="code"] { background: transparent; border: none; padding: 0; }
QPlainTextEdit[kind="code"]:focus { border: none; padding: 0; }

QListWidget, QListView { background: transparent; border: 2px solid transparent; border-radius: 8px; color: $text; }
QListWidget[kind="box"] { background: $surface; border: 1px solid $border; }
QListWidget:focus, QListView:focus { border: 2px solid $accent; }
QListWidget::item, QListView::item { border-radius: 7px; padding: 7px 8px; }
QListWidget::item:hover { background: $raised; }
QListWidget::item:selected { background: $accent_soft; color: $text; }

QScrollArea { background: transparent; border: none; }
QScrollBar:vertical { background: transparent; width: 10px; margin: 2px; }
QScrollBar::handle:vertical { background: $border; border-radius: 3px; min-height: 32px; }
QScrollBar::handle:vertical:hover { background: $muted; }
QScrollBar:horizontal { background: transparent; height: 10px; margin: 2px; }
QScrollBar::handle:horizontal { background: $border; border-radius: 3px; min-width: 32px; }
QScrollBar::add-line, QScrollBar::sub-line, QScrollBar::add-page, QScrollBar::sub-page { background: none; border: none; width: 0; height: 0; }

QProgressBar { background: $raised; border: none; border-radius: 3px; max-height: 6px; min-height: 6px; }
QProgressBar::chunk { background: $accent; border-radius: 3px; }

QMenu { color: $text; background: $surface; border: 1px solid $border; padding: 4px; }
QMenu::item { padding: 6px 20px; border-radius: 5px; }
QMenu::item:selected { background: $accent_soft; color: $text; }
QMenu::item:disabled { color: $muted; }
QMenu::separator { height: 1px; background: $border; margin: 4px 8px; }
QRadioButton::indicator { width: 12px; height: 12px; border: 2px solid $muted; border-radius: 8px; background: $surface; }
QRadioButton::indicator:checked { width: 6px; height: 6px; border: 5px solid $accent; }
QRadioButton:focus { color: $accent; }
""")


def sheet_of(tokens: Tokens) -> str:
    """The style sheet in one theme's colours."""
    return _SHEET.substitute({name: getattr(tokens, name) for name in tokens.__dataclass_fields__})
