"""Static files named by their content, so that they can be cached for ever."""

from whitenoise.storage import CompressedManifestStaticFilesStorage


class ModuleManifestStorage(CompressedManifestStaticFilesStorage):
    """Also rewrites `import` paths inside our ES modules."""

    support_js_module_import_aggregation = True
