"""Static files named by their content, so that they can be cached for ever."""

from whitenoise.storage import CompressedManifestStaticFilesStorage

# Where our own ES modules lie in their folders. Those of packages keep their imports, which do not always name files.
OUR_MODULES = ("js/*.js", "annotate/*.js", "widget.js")


class ModuleManifestStorage(CompressedManifestStaticFilesStorage):
    """Also rewrites `import` paths inside our ES modules."""

    patterns = (
        *CompressedManifestStaticFilesStorage.patterns,
        *(
            (ours, CompressedManifestStaticFilesStorage._js_module_import_aggregation_patterns[1])
            for ours in OUR_MODULES
        ),
    )
