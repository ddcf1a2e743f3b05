"""The page that shows the OpenAPI schema."""

from drf_spectacular.views import SpectacularSwaggerSplitView


class SwaggerPage(SpectacularSwaggerSplitView):
    """Swagger UI with its script in a file of its own and no inline style: the site's policy holds here as well."""

    template_name = "api_docs.html"
