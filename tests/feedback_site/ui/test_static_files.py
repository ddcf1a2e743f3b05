"""Everything that pages load exists under a name that says its content, and modules find each other by those names."""

import re
from pathlib import Path

import pytest
from django.contrib.staticfiles import finders
from django.core.files.base import ContentFile

from annotate.tasktypes import TASK_TYPES
from feedback_site.lib.staticfiles import ModuleManifestStorage

IMPORT = re.compile(r"""(?:from|import)\s*["']([./][^"']+)["']""")


def ours() -> dict[str, Path]:
    """Every script of ours, by the name under which it is served."""
    return {
        name: Path(storage.path(path))
        for finder in finders.get_finders()
        for path, storage in finder.list([])
        if (name := f"{getattr(storage, 'prefix', None) or ''}/{path}".lstrip("/")).endswith(".js")
        and name.startswith(("js/", "annotate/", *TASK_TYPES))
    }


def test_every_task_type_brings_its_script_and_its_template():
    from django.template.loader import get_template

    for task in TASK_TYPES.values():
        assert finders.find(task.script), task.script
        get_template(task.template)


def test_modules_import_each_other_by_the_names_that_say_their_content(tmp_path):
    storage = ModuleManifestStorage(location=str(tmp_path))
    paths = {}
    for finder in finders.get_finders():
        for path, source in finder.list([]):
            name = f"{getattr(source, 'prefix', None) or ''}/{path}".lstrip("/")
            if name in ours():
                storage._save(name, ContentFile(Path(source.path(path)).read_bytes()))
                paths[name] = (source, path)
    done = {name: hashed for name, hashed, _ in storage.post_process(paths) if name in paths}
    assert set(done) == set(ours())
    for name in ours():
        text = (tmp_path / storage.hashed_files[name]).read_text()
        for target in IMPORT.findall(text):
            assert re.search(r"\.[0-9a-f]{12}\.js$", target), f"{name} imports {target}"
            assert (tmp_path / storage.hashed_files[name]).parent.joinpath(target).resolve().is_file()


@pytest.mark.parametrize(
    "word", ["eval(", "innerHTML +=", "insertAdjacentHTML", "document.write", "console.log", "new Function"]
)
def test_scripts_do_without(word):
    assert [name for name, path in ours().items() if word in path.read_text()] == []
