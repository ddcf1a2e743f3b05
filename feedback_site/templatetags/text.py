"""`{{ text|markdown }}` and `{{ text|as_written }}`: the only filters that make HTML of people's and models' text."""

from django import template
from django.utils.safestring import SafeString

from feedback_site.lib import text

register = template.Library()


@register.filter
def markdown(value: object) -> SafeString:
    return text.markdown_to_html(str(value))


@register.filter
def as_written(value: object) -> SafeString:
    return text.as_written(str(value))
