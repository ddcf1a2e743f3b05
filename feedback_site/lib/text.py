"""Text of strangers → HTML that is safe to show.

Order: escape → Markdown (no HTML, no autolinks) → mathematics as MathML → code by classes → nh3 last. Nothing is loaded
from elsewhere: an image is shown as a chip with its address, as loading it would tell a stranger who is looking. What
cannot be rendered is shown as it was written. Only this module may call text safe.
"""

import html
import re
from collections.abc import MutableMapping, Sequence
from functools import cache
from typing import Any

import nh3
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from mdit_py_plugins.dollarmath import dollarmath_plugin

from feedback_site.lib.codeblocks import highlight
from feedback_site.lib.invisible import with_chips
from feedback_site.lib.mathematics import MATH_ATTRIBUTES, MATH_TAGS, to_mathml

RENDERED_LENGTH = 40_000  # characters; longer text is shown as written
SHOWN_LENGTH = 400_000
DEEPEST = 24  # quotes in lists in quotes …; the time that unclosed brackets take grows with it
FORMULAS = 500  # in one text; further ones are shown as written
LINK = re.compile(r"(https?://|mailto:)[^\s]", re.IGNORECASE)
# “$5 a month, or 60$”: a number and words, and nothing that only mathematics has.
PRICE = re.compile(r"\d[\d.,]*(?:[kKmMbB]|bn)?(?:[\s,;/–-][^\\^_={}+*<>]*)?")

_TAGS = "p br hr h3 h4 h5 h6 blockquote ul ol li strong em s a span div code pre table thead tbody tr th td"
TAGS = MATH_TAGS | set(_TAGS.split())
ATTRIBUTES = {
    "a": {"href", "title", "target"},
    "ol": {"start"},
    **{tag: {"class", "title"} for tag in ("span", "div", "pre", "code", "th", "td")},
    **MATH_ATTRIBUTES,
}


def markdown_to_html(text: str) -> SafeString:
    """Markdown with code and mathematics; as written (`as_written`) where it is too long or too deep."""
    if len(text) > RENDERED_LENGTH:
        return as_written(text)
    try:
        return _safe(_markdown().render(text, {}))
    except RecursionError:
        return as_written(text)


def as_written(text: str) -> SafeString:
    """The text itself in `<pre>`, cut with a note where it is enormous."""
    shown = with_chips(html.escape(text[:SHOWN_LENGTH]))
    cut = ""
    if len(text) > SHOWN_LENGTH:
        cut = f'<span class="cut">The first {SHOWN_LENGTH:,} of {len(text):,} characters are shown.</span>'
    return _safe(f'<pre class="raw">{shown}</pre>{cut}')


def _safe(unsafe: str) -> SafeString:
    clean = nh3.clean(
        unsafe,
        tags=TAGS,
        attributes=ATTRIBUTES,
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow",
        generic_attribute_prefixes=set(),
    )
    return mark_safe(clean)  # noqa: S308  # the one place: nh3 has just cleaned it


@cache
def _markdown() -> MarkdownIt:
    markdown = MarkdownIt("commonmark", {"html": False, "linkify": False, "breaks": True, "maxNesting": DEEPEST})
    markdown.enable(["table", "strikethrough"])
    markdown.use(dollarmath_plugin, allow_labels=False, allow_space=False, allow_digits=False, double_inline=True)
    markdown.inline.ruler.before("escape", "bracket_math", _bracket_math)
    markdown.core.ruler.push("quiet_outline", _quiet_outline)
    markdown.validateLink = _is_address  # type: ignore[method-assign]
    for name, rule in RULES.items():
        markdown.add_render_rule(name, rule)
    return markdown


def _is_address(url: str) -> bool:
    """Whether a link to it would lead anywhere; nh3 would take the address from one that no browser can read, and leave
    a link to nowhere. Such links are shown as they were written."""
    return bool(LINK.match(url)) and " href=" in nh3.clean(f'<a href="{html.escape(url)}">', tags={"a"})


def _bracket_math(state: StateInline, silent: bool) -> bool:
    r"""`\(…\)` and `\[…\]`, which Markdown would otherwise read as escaped brackets."""
    opening = state.src[state.pos : state.pos + 2]
    if opening not in (r"\(", r"\["):
        return False
    closing = r"\)" if opening == r"\(" else r"\]"
    ends = state.env.setdefault("ends", {})
    if (closing, state.src) not in ends:  # looked for once, so that thousands of openings without an end cost nothing
        ends[closing, state.src] = state.src.rfind(closing)
    if state.pos > ends[closing, state.src]:
        return False
    end = state.src.find(closing, state.pos + 2, state.posMax)
    if end < 0 or not state.src[state.pos + 2 : end].strip():
        return False
    if not silent:
        token = state.push("math_inline" if opening == r"\(" else "math_inline_double", "math", 0)
        token.content, token.markup = state.src[state.pos + 2 : end], opening
    state.pos = end + 2
    return True


def _quiet_outline(state: StateCore) -> None:
    """Headings below those of the page; alignment of cells by class, as inline styles are forbidden."""
    for token in state.tokens:
        if token.level >= DEEPEST - 1:
            raise RecursionError  # the parser would leave out what lies deeper, without a word
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1]) + 2)}"
        elif token.type in ("th_open", "td_open") and "style" in token.attrs:
            side = str(token.attrs["style"]).removeprefix("text-align:")
            token.attrs = {"class": f"align-{side}"}


Env = MutableMapping[str, Any]


def _text(self: RendererHTML, tokens: Sequence[Token], n: int, options: Any, env: Env) -> str:
    return with_chips(html.escape(tokens[n].content))


def _code(self: RendererHTML, tokens: Sequence[Token], n: int, options: Any, env: Env) -> str:
    return f"<code>{with_chips(html.escape(tokens[n].content))}</code>"


def _block(self: RendererHTML, tokens: Sequence[Token], n: int, options: Any, env: Env) -> str:
    language = tokens[n].info.split(maxsplit=1)[0] if tokens[n].info.strip() else ""
    return f'<pre class="code"><code>{with_chips(highlight(tokens[n].content, language))}</code></pre>\n'


def _image(self: RendererHTML, tokens: Sequence[Token], n: int, options: Any, env: Env) -> str:
    token = tokens[n]
    alt = with_chips(html.escape(token.content))
    source = with_chips(html.escape(str(token.attrs.get("src", ""))))
    return f'<span class="chip" title="Images are not loaded">image{": " + alt if alt else ""} {source}</span>'


def _link_open(self: RendererHTML, tokens: Sequence[Token], n: int, options: Any, env: Env) -> str:
    address = html.escape(str(tokens[n].attrs.get("href", "")))
    return f'<a href="{address}" title="{address}" target="_blank">'


def _math(self: RendererHTML, tokens: Sequence[Token], n: int, options: Any, env: Env) -> str:
    token = tokens[n]
    dollar = token.markup == "$"
    if dollar and PRICE.fullmatch(token.content):
        return with_chips(html.escape(f"${token.content}$"))
    env["formulas"] = env.get("formulas", 0) + 1
    if env["formulas"] <= FORMULAS and (mathml := to_mathml(token.content, block=token.type != "math_inline")):
        return mathml
    opening = token.markup
    closing = {r"\(": r"\)", r"\[": r"\]"}.get(opening, opening)
    return f'<code class="math-source">{with_chips(html.escape(opening + token.content + closing))}</code>'


RULES = {
    "text": _text,
    "code_inline": _code,
    "fence": _block,
    "code_block": _block,
    "image": _image,
    "link_open": _link_open,
    "math_inline": _math,
    "math_inline_double": _math,
    "math_block": _math,
}
