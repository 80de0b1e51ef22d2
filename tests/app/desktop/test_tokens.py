"""The colours are readable."""

import pytest

from app.desktop.theme.palette import sheet_of
from app.desktop.theme.system import Scheme
from app.desktop.theme.theme import ThemeChoice, tokens_for
from app.desktop.theme.tokens import DARK, LIGHT, MIN_CONTRAST, READABLE_PAIRS, Tokens, contrast


def test_contrast_is_measured_as_the_standard_says() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21.0)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("tokens", [LIGHT, DARK], ids=lambda tokens: tokens.name)
@pytest.mark.parametrize("pair", READABLE_PAIRS, ids="-on-".join)
def test_text_can_be_read_on_its_background(tokens: Tokens, pair: tuple[str, str]) -> None:
    text, background = (getattr(tokens, role) for role in pair)
    assert contrast(text, background) >= MIN_CONTRAST


def test_the_style_sheet_takes_every_colour_from_the_table() -> None:
    for tokens in (LIGHT, DARK):
        sheet = sheet_of(tokens)
        assert "$" not in sheet
        colours = {word.strip(";") for word in sheet.split() if word.startswith("#")}
        assert colours <= {getattr(tokens, name) for name in tokens.__dataclass_fields__}


@pytest.mark.parametrize(
    ("choice", "scheme", "tokens"),
    [
        (ThemeChoice.SYSTEM, Scheme.DARK, DARK),
        (ThemeChoice.SYSTEM, Scheme.LIGHT, LIGHT),
        (ThemeChoice.SYSTEM, Scheme.UNKNOWN, LIGHT),
        (ThemeChoice.DARK, Scheme.LIGHT, DARK),
        (ThemeChoice.LIGHT, Scheme.DARK, LIGHT),
    ],
)
def test_the_user_comes_before_the_system(choice: ThemeChoice, scheme: Scheme, tokens: Tokens) -> None:
    assert tokens_for(choice, scheme) is tokens
