"""The web process stays light: learning and tables of data belong to workers and their children."""

from tests.feedback_site.processes import python

HEAVY = ["torch", "transformers", "vllm", "pandas", "pyarrow", "numpy", "scipy"]

# Starts as a web server does and resolves every address. The finder notes who asked first for a heavy package.
PROGRAM = """
import sys, traceback

HEAVY = %r

class Watch:
    found = {}
    def find_spec(self, name, path=None, target=None):
        root = name.partition(".")[0]
        if root in HEAVY and root not in self.found:
            lines = [f for f in traceback.extract_stack() if "importlib" not in f.filename and f.filename != "<string>"]
            self.found[root] = f"{lines[-1].filename}:{lines[-1].lineno}" if lines else "the program itself"
        return None

sys.meta_path.insert(0, Watch())
from feedback_site.wsgi import application
from django.urls import get_resolver

def count(patterns):
    return sum(count(p.url_patterns) if hasattr(p, "url_patterns") else 1 for p in patterns)

assert count(get_resolver().url_patterns) > 20
%s
for name in HEAVY:
    if name in sys.modules:
        print(f"{name} is imported by {Watch.found.get(name)}")
"""


def test_the_web_process_imports_no_heavy_package(tmp_path):
    answer = python("-c", PROGRAM % (HEAVY, ""), data=tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout == ""


def test_the_watch_sees_a_heavy_package_and_names_who_imports_it(tmp_path):
    """Else the test above could pass by being blind."""
    module = tmp_path / "careless.py"
    module.write_text("import numpy\n")
    extra = f"sys.path.insert(0, {str(tmp_path)!r}); import careless"
    answer = python("-c", PROGRAM % (HEAVY, extra), data=tmp_path)
    assert f"numpy is imported by {module}:1" in answer.stdout
