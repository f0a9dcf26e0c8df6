"""The report as a web page: it builds without a warning, holds every result, and no link is broken."""

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import vared

ROOT = Path(__file__).resolve().parents[1]
LOADED = {("img", "src"), ("script", "src"), ("link", "href"), ("iframe", "src"), ("source", "src")}


class Found(HTMLParser):
    """What can be linked to, links, text and number of formulas of a page."""

    def __init__(self, path: Path):
        super().__init__()
        self.anchors, self.links, self.loaded, self.words, self.formulas = set(), [], [], [], 0
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.formulas += tag == "math"
        for name, value in attrs:
            if name in ("id", "name"):
                self.anchors.add(value)
            elif (tag, name) in LOADED and dict(attrs).get("rel") != "canonical":
                self.loaded.append(value)
            elif (tag, name) == ("a", "href"):
                self.links.append(value)

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> dict[Path, Found]:
    if not (ROOT / "results" / "runs.csv").exists():
        pytest.skip("results/ is absent: the default profile was not computed yet; run make repro")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return {path: Found(path) for path in folder.rglob("*.html")}


def home(site: dict[Path, Found]) -> Path:
    return min(site, key=lambda path: len(path.parts)).parent


def test_no_link_is_broken(site):
    broken = []
    for path, page in site.items():
        for link in page.links + page.loaded:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or path.name == "404.html":  # 404.html has links from the server's root
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            known = site[target].anchors if target in site else set()
            if not target.exists() or (parts.fragment and target in site and unquote(parts.fragment) not in known):
                broken.append(f"{path.relative_to(home(site))}: {link}")
    assert not broken, "\n".join(sorted(set(broken)))


def test_a_page_needs_no_network(site):
    for path, page in site.items():
        outside = [link for link in page.loaded if urlsplit(link).netloc]
        assert not outside, f"{path} loads {outside}"
    for path in home(site).rglob("*.css"):
        assert not re.search(r"url\(\s*['\"]?(https?:)?//|@import", path.read_text(encoding="utf-8")), path


def test_every_result_is_a_page_or_a_file_of_the_site(site):
    for path in (ROOT / "results").rglob("*.*"):
        if path.is_file() and ".partial." not in path.name:
            made = home(site) / path.relative_to(ROOT)
            if path.suffix in (".md", ".ipynb"):
                made = made.with_name("index.html") if path.name == "README.md" else made.with_suffix(".html")
            assert made.exists(), f"{path} is not in the site"


def test_the_start_leads_to_every_table_and_figure_that_it_names(site):
    start = site[home(site) / "index.html"]
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(results/[\w./]+\.(?:md|ipynb|png))`", text))
    assert len(named) > 20
    for name in named:
        assert re.sub(r"\.(md|ipynb)$", ".html", name) in start.links


def test_formulas_are_drawn_without_a_script(site):
    page = site[home(site) / "results" / "notebooks" / "00_method.html"]
    source = json.loads((ROOT / "results" / "notebooks" / "00_method.ipynb").read_text(encoding="utf-8"))
    text = "".join("".join(cell["source"]) for cell in source["cells"] if cell["cell_type"] == "markdown")
    formulas = len(re.findall(r"\$\$.+?\$\$|\$.+?\$", text, flags=re.DOTALL))
    assert formulas > 10 and page.formulas == formulas and "\\tanh" in text
    assert "\\tanh" not in "".join(page.words)


def test_every_public_name_has_its_place_in_the_api(site):
    pages = [page for path, page in site.items() if path.parent.name == "api"]
    anchors = {name.rpartition(".")[2] for page in pages for name in page.anchors if name.startswith("vared.")}
    assert set(vared.__all__) <= anchors
    index = site[home(site) / "api" / "index.html"]
    assert set(vared.__all__) <= {urlsplit(link).fragment.rpartition(".")[2] for link in index.links}
