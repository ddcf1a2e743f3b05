"""The colours of css/tokens.css, in light and in dark, against WCAG 2.2 AA: 4.5:1 for text, 3:1 for what is used."""

import re
from pathlib import Path

import pytest

import feedback_site

CSS = Path(feedback_site.__file__).parent / "static" / "css"
TOKENS = dict(
    re.findall(r"--([\w-]+):\s*light-dark\((#[0-9a-f]{6},\s*#[0-9a-f]{6})\)", (CSS / "tokens.css").read_text())
)

TEXT = [
    *[(ink, ground) for ink in ("ink", "ink-2") for ground in ("paper", "surface", "surface-2", "surface-3")],
    *[("ink-3", ground) for ground in ("paper", "surface", "surface-2")],
    *[("accent", ground) for ground in ("paper", "surface", "surface-2", "accent-soft")],
    *[("accent-hover", ground) for ground in ("paper", "surface")],
    ("accent-ink", "accent"),
    ("accent-ink", "accent-hover"),
    ("bad-fill-ink", "bad-fill"),
    *[(meaning, f"{meaning}-soft") for meaning in ("good", "warn", "bad", "info")],
    *[(meaning, "surface") for meaning in ("good", "warn", "bad", "info")],
    *[("ink", f"{meaning}-soft") for meaning in ("good", "warn", "bad", "info", "accent")],
    *[(f"code-{part}", "surface-2") for part in ("keyword", "string", "number", "name", "comment")],
]
SHAPES = [
    *[("line-strong", ground) for ground in ("paper", "surface", "surface-2")],
    *[("focus", ground) for ground in ("paper", "surface", "surface-2")],
    ("accent", "surface-3"),
    ("accent-line", "surface"),
    ("brass", "surface"),
]


def luminance(colour: str) -> float:
    channels = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("pairs", "least"), [(TEXT, 4.5), (SHAPES, 3.0)], ids=["text", "shapes"])
def test_colours_used_together_are_told_apart(pairs, least, mode):
    colours = {name: re.split(r",\s*", pair)[mode] for name, pair in TOKENS.items()}
    found = {f"{ink} on {ground}": round(contrast(colours[ink], colours[ground]), 2) for ink, ground in pairs}
    assert {pair: value for pair, value in found.items() if value < least} == {}


def test_every_token_that_is_used_exists():
    known = set(re.findall(r"(--[\w-]+):", "".join(sheet.read_text() for sheet in CSS.glob("*.css"))))
    sheets = [*CSS.glob("*.css"), *CSS.parents[2].glob("annotate/static/**/*.css")]
    assert len(sheets) >= 5
    for sheet in sheets:
        text = sheet.read_text()
        own = known | set(re.findall(r"(--[\w-]+):", text))
        assert set(re.findall(r"var\((--[\w-]+)", text)) <= own, sheet.name
