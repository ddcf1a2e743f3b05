"""Text of strangers is shown as they meant it, does nothing, and loads nothing."""

from html import escape as html_escape
from html.parser import HTMLParser

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from feedback_site.lib import text
from feedback_site.lib.text import as_written, markdown_to_html
from tests.feedback_site.ui.corpus import PAYLOADS

HREFS = ("http://", "https://", "mailto:")


class Tags(HTMLParser):
    """Every element and attribute of some HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def assert_harmless(html: str) -> None:
    html.encode()  # no half of a surrogate pair
    for tag, attributes in Tags(html).found:
        assert tag in text.TAGS
        assert set(attributes) <= {"rel"} | text.ATTRIBUTES.get(tag, set())
        assert not any(name.startswith("on") or name in {"style", "id", "src"} for name in attributes)
        if tag == "a":
            assert attributes["href"].startswith(HREFS)
            assert attributes["rel"] == "noopener noreferrer nofollow"


@pytest.mark.parametrize("payload", PAYLOADS)
def test_nothing_dangerous_survives(payload):
    for html in (markdown_to_html(payload), as_written(payload), markdown_to_html(f"> - {payload}")):
        assert_harmless(html)


MARKS = [*"<>&\"'`$\\[](){}!*_#|-:;=/ \nabx1\u202e\u200d", "\\text{", "\\frac", "](https://a.b", "<script>", " onload="]


@given(st.lists(st.sampled_from(MARKS), max_size=60).map("".join))
@example("[](https://a.b<)")
def test_any_mixture_of_marks_is_harmless(payload):
    assert_harmless(markdown_to_html(payload))


@pytest.mark.parametrize("address", ["https://a.b<", "https://exa%20mple.org", "http://[::1", "https://", "data:x"])
def test_a_link_that_leads_nowhere_is_shown_as_it_was_written(address):
    assert markdown_to_html(f"[here]({address})") == f"<p>[here]({html_escape(address)})</p>\n"


def test_raw_html_is_shown_not_obeyed():
    assert "&lt;b&gt;bold&lt;/b&gt;" in markdown_to_html("<b>bold</b>")


def test_images_are_named_and_not_loaded():
    html = markdown_to_html("![a cat](https://example.org/cat.png)")
    assert "<img" not in html
    assert "a cat https://example.org/cat.png" in html


def test_invisible_characters_become_visible():
    html = markdown_to_html("pay\u202e ed`x\u200by`\n\n    \u2066code\n\n&#x200b;")
    for name in ("U+202E", "U+200B", "U+2066"):
        assert f">{name}</span>" in html
    assert not set(html) & set("\u202e\u200b\u2066")
    assert "9 more invisible characters" not in as_written("a" + "\U000e0041" * 16)
    assert "8 more invisible characters" in as_written("a" + "\U000e0041" * 16)


def test_joiners_that_writing_needs_stay():
    family, persian = "👨\u200d👩\u200d👧", "می\u200cخواهم"
    assert family in markdown_to_html(family)
    assert persian in markdown_to_html(persian)
    assert "U+200D" in markdown_to_html("a\u200db")


@pytest.mark.parametrize(
    "prices",
    [
        "It costs $5 to $10.",
        "$5 and $6",
        "$20k to $30k, or 10k$",
        "US$5/month and US$6",
        "$5 - or so$",
        "$1,000 each, 20$",
    ],
)
def test_prices_are_not_mathematics(prices):
    html = markdown_to_html(prices)
    assert "<math" not in html
    assert prices in html


@pytest.mark.parametrize(
    "formula", ["$x^2$", r"$2x + 1 = \frac{a}{b}$", r"\(a+b\)", r"\[ \int x \]", "$$\nx\n$$", "$n$"]
)
def test_mathematics_becomes_mathml(formula):
    assert "<math" in markdown_to_html(f"so {formula} holds" if "\n" not in formula else formula)


def test_mathematics_that_cannot_be_read_is_shown_as_written():
    for source in ("\\frac{" * 300, "x" * 3000, r"\text{<b>}"):
        html = markdown_to_html(f"${source}$")
        assert "<math" not in html
        assert html_escape(source[:20]) in html


def test_code_is_coloured_by_classes():
    html = markdown_to_html('```python\ndef f(): return "<x>"\n```')
    assert '<span class="k">def</span>' in html
    assert "&lt;x&gt;" in html
    assert "style=" not in html


def test_headings_stay_below_those_of_the_page():
    html = markdown_to_html("# one\n\n###### six")
    assert html.startswith("<h3>one</h3>")
    assert "<h6>six</h6>" in html


def test_what_is_too_long_or_too_deep_is_shown_as_written_and_whole():
    deep, long = ">" * 200 + " x", "*a* " * 12_000
    for source in (deep, long):
        html = markdown_to_html(source)
        assert html.startswith('<pre class="raw">')
        assert len(html) >= len(source)


def test_enormous_text_is_cut_with_a_note():
    html = as_written("a" * (text.SHOWN_LENGTH + 5))
    assert "The first 400,000 of 400,005 characters are shown." in html


def test_links_open_elsewhere_and_tell_nothing():
    html = markdown_to_html("[paper](https://example.org/p?a=1&b=2)")
    assert 'target="_blank"' in html
    assert 'title="https://example.org/p?a=1&amp;b=2"' in html
