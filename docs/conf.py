"""Sphinx configuration: MyST pages, Furo, and a reference built from docstrings; no network."""

from __future__ import annotations

import sys
from pathlib import Path

from pegai._version import __version__

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "_ext"))

project = "pegai"
author = "The pegai authors"
copyright = "2026, the pegai authors"
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "markdown_docstrings",
    "reference_pages",
]
exclude_patterns = ["_build", "_ext"]
templates_path: list[str] = []

html_theme = "furo"
html_title = f"pegai {release}"
html_static_path = ["_static"]
html_copy_source = False
html_show_sphinx = False

myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3

# Docstrings write names in single backticks.
default_role = "literal"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_default_options = {
    "members": True,
    "show-inheritance": True,
    # A facade lists what other modules define; it is documented where it is defined.
    "ignore-module-all": True,
    "exclude-members": "model_config, model_post_init",
}

copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True
