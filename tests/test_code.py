"""Rules for the code of the three packages. Layers of imports are checked by import-linter (`make lint`)."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("pgcn", "pgcn_jobs", "pgcn_cluster")

LOADERS = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "code", "pty"}
CALLS = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "torch.load", "pandas.read_pickle"),
    *("pd.read_pickle", "yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load", "subprocess.getoutput"),
    *("subprocess.getstatusoutput", "np.fromfile", "torch.jit.load", "os.execv", "os.spawnv"),
}


def unsafe(source):
    """Names in a module's source that would run data as a program: unpickling, evaluating, a shell."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] in LOADERS)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            yield from names & CALLS | ({node.module} if node.module.split(".")[0] in LOADERS else set())
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in CALLS:
                yield called
            yield from (
                f"{called}({word.arg})"
                for word in node.keywords
                if word.arg in {"shell", "allow_pickle"} and ast.unparse(word.value) != "False"
            )


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import torch; torch.load('x')",
        "import yaml; yaml.load(text)",
        "from yaml import unsafe_load",
        "eval(text)",
        "import os; os.system(text)",
        "import subprocess; subprocess.run(text, shell=True)",
        "import numpy as np; np.load(file, allow_pickle=True)",
    ],
)
def test_what_runs_data_is_recognised(source):
    assert list(unsafe(source))


def test_nothing_is_unpickled_evaluated_or_given_to_a_shell():
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    assert not {f"{path.relative_to(ROOT)}: {what}" for path in files for what in unsafe(path.read_text())}


def test_every_module_says_what_it_is():
    missing = [
        p
        for package in PACKAGES
        for p in (ROOT / package).rglob("*.py")
        if not ast.get_docstring(ast.parse(p.read_text()))
    ]
    assert not missing


def test_the_constraints_pin_everything_installed_here():
    """A package that is installed but not pinned would be another one on the next machine."""
    pinned = {
        line.split("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
    }
    assert {"torch", "ray", "pyarrow", "pytest", "ruff", "mypy"} <= pinned
    assert sys.version_info >= (3, 11)


def test_a_driver_imports_no_library_that_only_work_on_images_needs():
    heavy = "{'numba', 'llvmlite', 'scipy', 'duckdb', 'skimage', 'torch._dynamo'}"
    code = f"import sys, ray, pgcn_cluster.launch; print({heavy} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
