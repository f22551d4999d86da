"""How Sphinx builds these pages; `nox -s docs`. Nothing is fetched from a network, neither to build nor to read."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "Go Micro for Python"
author = "the authors of Go Micro for Python"
project_copyright = author
language = "en"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "micro_reference"]
exclude_patterns = ["_build"]
source_suffix = {".md": "markdown"}

myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3

default_role = "code"
add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
python_display_short_literal_types = True
maximum_signature_line_length = 70
napoleon_google_docstring = True
napoleon_use_ivar = True
napoleon_use_param = False  # keeps what is said of several arguments together in one place
nitpicky = True

html_theme = "furo"
html_title = project
html_static_path = ["_static"]
html_css_files = ["micro.css"]
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
pygments_style = "friendly"
pygments_dark_style = "monokai"
