r"""LaTeX → MathML, which browsers draw themselves.

latex2mathml alone is unsafe: `\text{<script>}` comes out raw, `\href` takes any address, deep nesting exhausts the
stack.
So its output passes an allow-list of presentation elements here, and once more with the whole text (lib/text.py).
"""

import re

import nh3
from latex2mathml.converter import convert

LONGEST = 2_000
# Text inside a formula comes out of the converter unescaped; cleaning would leave out parts of it.
MARKUP_IN_TEXT = re.compile(r"\\(?:text|mbox|hbox|mathrm|operatorname)[a-z]*\s*\{[^}]*[<>&]")
_TAGS = (
    "math mrow mi mn mo mtext mspace ms mfrac msqrt mroot mstyle mpadded mphantom msub msup msubsup munder mover "
    "munderover mmultiscripts mprescripts none mtable mtr mtd menclose"
)
MATH_TAGS = set(_TAGS.split())
MATH_ATTRIBUTES: dict[str, set[str]] = {
    "math": {"display", "xmlns"},
    "mi": {"mathvariant"},
    "mn": {"mathvariant"},
    "mo": {"stretchy", "fence", "form", "lspace", "rspace", "minsize", "maxsize", "movablelimits", "symmetric"},
    "mspace": {"width", "linebreak"},
    "mfrac": {"linethickness"},
    "mstyle": {"displaystyle", "scriptlevel"},
    "mover": {"accent"},
    "munder": {"accentunder"},
    "menclose": {"notation"},
    "mtable": {"columnalign", "rowspacing", "columnspacing", "columnlines", "rowlines"},
    "mtd": {"columnalign"},
}


def to_mathml(latex: str, *, block: bool) -> str:
    """`<math>…</math>`, in a div of its own when `block`; empty for what cannot be converted."""
    latex = latex.strip()
    if not latex or len(latex) > LONGEST or MARKUP_IN_TEXT.search(latex):
        return ""
    try:
        mathml = convert(latex, display="block" if block else "inline")
    except (Exception, RecursionError):  # the converter raises whatever its tables happen to raise
        return ""
    clean = nh3.clean(mathml, tags=MATH_TAGS, attributes=MATH_ATTRIBUTES, link_rel=None)
    return f'<div class="math-block">{clean}</div>' if block else clean
