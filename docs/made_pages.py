"""Make pages when the site is built: the reference from the docstrings, the notebooks, and the pictures of examples/.

mkdocs calls the functions whose names begin with `on_` (`hooks` in mkdocs.yml). A new public name has its entry in the
reference without a line here.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "lightning_al"

TITLES = {
    "callback": "ActiveLearning",
    "data": "Data",
    "acquisition": "Acquisition functions",
    "posterior": "Posteriors",
    "oracle": "Oracles and answers",
    "points": "Points and candidates",
    "run": "History",
    "pool_scores": "Scores of the pool",
    "cli": "Models of finished runs",
}
"""Pages of the names that `import lightning_al` offers, by the package or module that they come from."""

PUBLIC = ("lightning_al.testing", "lightning_al.report", "lightning_al.demos", "lightning_al.oracle.corrections")
"""Further packages and modules that users import from."""

PICTURES = ("examples/results", "examples/photos/pictures")

LINK_TO_PICTURE = re.compile(r"\]\((?:\.\./)+(?:" + "|".join(PICTURES) + r")/([^)/]+)\)")
"""A link that leads from a page to a picture of the repository."""


def on_config(config: MkDocsConfig) -> None:
    """Add the pages that are made to the navigation."""
    notebooks = [{title(notebook): uri} for uri, notebook in notebook_pages()]
    reference = [{page: uri} for page, uri, _ in reference_pages()]
    config.nav = [*(config.nav or []), {"Notebooks": notebooks}, {"API reference": reference}]


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add what is made to the files of the site."""
    for _, uri, text in reference_pages():
        files.append(File.generated(config, uri, content=text))
    for uri, notebook in notebook_pages():
        files.append(File.generated(config, uri, content=as_markdown(notebook, Path(uri).stem)))
        path = ROOT / "docs" / Path(uri).with_suffix(".ipynb")
        files.append(File.generated(config, f"notebooks/{path.name}", abs_src_path=str(path)))
    for folder in PICTURES:
        for path in sorted((ROOT / folder).iterdir()):
            if path.suffix in (".png", ".svg"):
                files.append(File.generated(config, f"pictures/{path.name}", abs_src_path=str(path)))


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
    """Let the links to pictures, which lead to them in the repository, lead to their copies in the site."""
    up = "../" * page.file.src_uri.count("/")
    return LINK_TO_PICTURE.sub(rf"]({up}pictures/\1)", markdown)


def reference_pages() -> Iterator[tuple[str, str, str]]:
    """Yield the title, the address and the text of each page of the reference."""
    homes: dict[str, list[str]] = {}
    for name, home in public_names(PACKAGE / "__init__.pyi"):
        homes.setdefault(home.split(".")[0], []).append(f"lightning_al.{name}")
    for home, names in sorted(homes.items(), key=lambda entry: [*TITLES, entry[0]].index(entry[0])):
        page = TITLES.get(home, home)
        yield page, f"reference/{home}.md", text_of(page, "lightning_al", names)
    for module in PUBLIC:
        stub = PACKAGE.joinpath(*module.split(".")[1:], "__init__.pyi")
        names = [f"{module}.{name}" for name, _ in public_names(stub)] if stub.exists() else []
        uri = f"reference/{module.partition('.')[2].replace('.', '_')}.md"
        yield module, uri, text_of(module, module, names or members(module))


def public_names(stub: Path) -> Iterator[tuple[str, str]]:
    """Yield each name that a stub offers, and the module that it comes from."""
    for line in ast.parse(stub.read_text()).body:
        if isinstance(line, ast.ImportFrom):
            yield from ((alias.name, line.module or "") for alias in line.names)


def members(module: str) -> list[str]:
    """Return the names of a module in the order of its source: what `__all__` lists, or its functions and classes."""
    path = ROOT.joinpath(*module.split("."))
    tree = ast.parse((path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text())
    for line in tree.body:
        if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "__all__":
            return [f"{module}.{name}" for name in ast.literal_eval(line.value)]
    made = [line.name for line in tree.body if isinstance(line, ast.FunctionDef | ast.ClassDef)]
    return [f"{module}.{name}" for name in made if not name.startswith("_")]


def text_of(page: str, module: str, names: list[str]) -> str:
    """Return the page that documents some names, which mkdocstrings fills in."""
    entries = "\n\n".join(f"::: {name}" for name in names)
    return f"# {page}\n\nImport these from `{module}`.\n\n{entries}\n"


def notebook_pages() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the address of each notebook's page, and the notebook."""
    for path in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        yield f"notebooks/{path.stem}.md", json.loads(path.read_text())


def title(notebook: dict[str, Any]) -> str:
    """Return the heading that a notebook begins with."""
    return str("".join(notebook["cells"][0]["source"]).splitlines()[0].lstrip("# "))


def as_markdown(notebook: dict[str, Any], name: str) -> str:
    """Return a notebook's text and code, with a link to the notebook under its heading."""
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
    heading, _, rest = parts[0].partition("\n")
    parts[0] = f"{heading}\n\n[Download this notebook]({name}.ipynb)\n{rest}"
    return "\n\n".join(parts) + "\n"
