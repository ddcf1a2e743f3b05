"""The page that shows the OpenAPI schema."""

from csp.constants import SELF
from csp.decorators import csp_update
from django.utils.decorators import method_decorator
from drf_spectacular.views import SpectacularSwaggerSplitView


@method_decorator(csp_update({"img-src": [SELF, "data:"]}), name="dispatch")
class SwaggerPage(SpectacularSwaggerSplitView):
    """Swagger UI with its script in a file of its own, so that the site's policy needs no inline script."""
