"""Sphinx configuration: MyST pages, executed notebooks, and an API reference read from the package itself."""

from __future__ import annotations

import re
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PACKAGE = HERE.parent / "src" / "thalweg"

project = "thalweg"
author = "The thalweg authors"
project_copyright = "the thalweg authors"
version = release = installed_version("thalweg")

extensions = ["myst_nb", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]

html_theme = "pydata_sphinx_theme"
html_title = "thalweg"
html_show_sourcelink = False
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["house.css"]
# The bar at the top lists the pages: outside of the reference, a column at the side only takes room from code.
html_sidebars = {"[!r]*": [], "rooms/*": [], "reference/[!g]*": []}
html_theme_options = {"show_toc_level": 2, "navigation_with_keys": False, "secondary_sidebar_items": ["page-toc"]}

myst_heading_anchors = 3

nb_execution_mode = "force"  # a cache would be keyed by the page alone and miss changes of the package
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_merge_streams = True

# Docstrings put code into single backticks and shapes into types.
default_role = "code"
# Rooms are independent and may give one name to two things; a signature then links to either.
suppress_warnings = ["ref.python"]
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88

# Public parts of the package, in the order of the reference. What does not exist yet is left out.
PUBLIC = {
    "core": "what a landscape is",
    "verbs": "what one does on it",
    "methods": "how: one algorithm per file",
    "diagnostics": "what one reads off",
    "landscapes": "classic landscapes to learn, test and measure on",
    "spins": "the room of spin glasses and Boltzmann machines",
    "atoms": "the room of potentials for atoms",
    "genome": "the room of splice sites",
    "learning": "the room of symmetry breaking and phase transitions in training",
    "robust": "the room of adversarial examples",
    "portfolio": "the room of financed emissions",
    "interop": "other people's models as landscapes",
    "runs": "run directories and checkpoints",
    "report": "figures, tables, pages",
    "scale": "where work runs",
    "testing": "contracts for other people's code",
}


def write_reference(app: Any) -> None:
    """Write one page per public part, listing its modules, before Sphinx reads the sources."""
    folder = HERE / "reference" / "generated"
    folder.mkdir(exist_ok=True)
    wanted = {f"{part}.md": reference_page(part, what) for part, what in PUBLIC.items() if modules(part)}
    for page in folder.glob("*.md"):
        if page.name not in wanted:
            page.unlink()
    for name, text in wanted.items():
        page = folder / name
        if not page.exists() or page.read_text() != text:
            page.write_text(text)


def modules(part: str) -> list[str]:
    """The dotted names of the public modules of one part."""
    if (PACKAGE / f"{part}.py").is_file():
        return [f"thalweg.{part}"]
    files = [path.relative_to(PACKAGE) for path in sorted((PACKAGE / part).rglob("*.py"))]
    # Compiled loops and the pages of a room are nobody's interface.
    hidden = re.compile(r"^_|kernels$|^(vectors|words|lanes|survey_work|survey_parts|command|chapter|figures)$")
    named = [("thalweg", *path.with_suffix("").parts) for path in files]
    return [".".join(parts) for parts in named if not any(hidden.search(part) for part in parts)]


def reference_page(part: str, what: str) -> str:
    """The source of one page of the reference."""
    blocks = [f"# `thalweg.{part}`: {what}\n"]
    for module in modules(part):
        heading = f"## `{module}`\n\n" if module != f"thalweg.{part}" else ""
        blocks.append(f"{heading}```{{eval-rst}}\n.. automodule:: {module}\n   :members:\n```\n")
    return "\n".join(blocks)


def plain_bars(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Let `|x|` in docstrings be a norm; reStructuredText would take it for a substitution."""
    lines[:] = [re.sub(r"`[^`]*`|\|", lambda hit: r"\|" if hit[0] == "|" else hit[0], line) for line in lines]


def setup(app: Any) -> None:
    app.connect("builder-inited", write_reference)
    app.connect("autodoc-process-docstring", plain_bars)
