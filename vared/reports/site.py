"""What mkdocs needs beside mkdocs.yml: the committed results as its pages, where they lie, so that their links hold.

A hook of mkdocs: no module imports it. Nothing is computed, so the site builds in a clone without data or weights.
"""

import html
import re
from pathlib import Path

from bs4 import BeautifulSoup
from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

SHOWN = (
    "README.md", "LICENSE", "CITATION.cff", "data/README.md", "data/paper/*", "data/splits/*", "vared/weights/*.md",
    "vared/weights/*.json", "results/**/*.md", "results/**/*.csv", "results/**/*.json", "results/**/*.png",
    "results/**/*.ipynb",
)  # fmt: skip


def shown(root: Path, pattern: str) -> list[str]:
    """Files of the clone `root` that match, Table 4.2 before Table 4.10; a notebook that is being made is none."""
    names = [path.relative_to(root).as_posix() for path in root.glob(pattern) if path.is_file()]
    parts = {name: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)] for name in names}
    return sorted((name for name in names if ".partial." not in name), key=parts.__getitem__)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Patterns of the navigation become the pages that match; raises PluginError for one that no page matches."""
    config.nav = _expanded(config.nav, Path(config.config_file_path).parent)
    return config


def _expanded(entry, root: Path):
    """An entry of the navigation, a title with what is below it, or a list of entries, without patterns."""
    if isinstance(entry, dict):
        return {title: _expanded(below, root) for title, below in entry.items()}
    if isinstance(entry, list):
        found = [_expanded(below, root) for below in entry]
        return [page for below in found for page in (below if isinstance(below, list) else [below])]
    if "*" not in entry:
        return entry
    if not shown(root, entry):
        raise PluginError(f"mkdocs.yml, nav: no file is called {entry}.")
    return shown(root, entry)


@event_priority(100)  # before mkdocs-jupyter looks for notebooks
def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Pages and files of the clone join those of docs/, under their own paths."""
    root = Path(config.config_file_path).parent
    for name in (name for pattern in SHOWN for name in shown(root, pattern)):
        files.append(File(name, str(root), config.site_dir, config.use_directory_urls))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """A picture links to itself in full size, for a phone's sake. In the README, which names results by their paths,
    the name of a page or file of the site is a link to it."""
    markdown = re.sub(r"(?<!\[)!\[[^]]*\]\(([^)]+)\)", r"[\g<0>](\1)", markdown)

    def link(match: re.Match) -> str:
        return f"[{match[0]}]({match[1]})" if files.get_file_from_path(match[1]) else match[0]

    paths = r"(?<!\[)`([\w./]+\.(?:md|csv|png|ipynb))`"
    return re.sub(paths, link, markdown) if page.file.src_uri == "README.md" else markdown


def on_page_content(content: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Formulas in the text of a notebook become MathML, which browsers draw by themselves: no script, no network."""
    if not page.file.src_uri.endswith(".ipynb") or "$" not in content:
        return content
    soup = BeautifulSoup(content, "html.parser")
    for text in soup.select(".jp-RenderedMarkdown"):
        drawn = re.sub(r"\$\$(.+?)\$\$|\$(.+?)\$", _formula, text.decode_contents(), flags=re.DOTALL)
        text.clear()
        text.append(BeautifulSoup(drawn, "html.parser"))
    return str(soup)


def _formula(match: re.Match) -> str:
    block, inline = match[1], match[2]
    return convert(html.unescape(block or inline).strip(), display="block" if block else "inline")
