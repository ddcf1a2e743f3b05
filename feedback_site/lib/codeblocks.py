"""Code → HTML with pygments' classes (css/prose.css colours them; inline styles are forbidden)."""

import html
from functools import cache

from pygments import highlight as pygments_highlight
from pygments.formatters.html import HtmlFormatter
from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name

LONGEST = 20_000
ALIASES = {"py": "python", "js": "javascript", "ts": "typescript", "sh": "bash", "shell": "bash", "yml": "yaml"}
# Lexers are lists of regular expressions; these are the ones we have looked at.
_NAMES = (
    "python javascript typescript jsx json bash html xml css sql c cpp csharp java go rust ruby php yaml toml diff r "
    "swift kotlin lua haskell julia latex"
)
LANGUAGES = set(_NAMES.split())


def highlight(code: str, language: str) -> str:
    """Escaped code, coloured if the language is known and the code not too long."""
    name = ALIASES.get(language.lower(), language.lower())
    if name not in LANGUAGES or len(code) > LONGEST:
        return html.escape(code)
    highlighted: str = pygments_highlight(code, _lexer(name), HtmlFormatter(nowrap=True))
    return highlighted


@cache
def _lexer(name: str) -> Lexer:
    return get_lexer_by_name(name, stripnl=False, ensurenl=False)
