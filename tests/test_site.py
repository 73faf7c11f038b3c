"""The documentation as a site: built strictly, every page in the navigation, links to files that are no pages, nothing from elsewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def build(folder, config=ROOT / "mkdocs.yml"):
    command = [sys.executable, "-m", "mkdocs", "build", "--config-file", str(config), "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("material")
    folder = tmp_path_factory.mktemp("site")
    done = build(folder)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr, done.stderr
    return folder


def test_every_page_is_there_and_readme_changes_and_contributing_are_pages(site):
    names = {path.relative_to(ROOT / "docs").with_suffix("").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    pages = {name.removesuffix("/index").removesuffix("index") for name in {*names, "index", "contributing", "changelog"}}
    assert len(pages) > 30
    assert all((site / page / "index.html").exists() for page in pages)


def test_links_that_leave_the_docs_lead_to_pages_that_show_the_file(site):
    home = (site / "index.html").read_text()
    assert 'href="source/src/rpo_lightning/algorithms/rpo.py/"' in home
    assert "def improve_actor" in re.sub(
        "<[^>]+>", "", (site / "source/src/rpo_lightning/algorithms/rpo.py/index.html").read_text()
    )
    walker = (site / "source/examples/walker/index.html").read_text()
    assert all(f"{name}/" in walker for name in ("walker.py", "walker.xml", "walker.yaml"))
    assert not re.search(r"""(?:href|src)=["'](?:\.\./)*(?:docs|src|examples)/""", home)


def test_the_reference_has_signatures_and_docstrings(site):
    page = (site / "api/algorithms/index.html").read_text()
    assert 'id="rpo_lightning.algorithms.rpo.RPO"' in page
    assert "weight of KL(old || new); a buffer, which a callback may move" in page


def test_pages_fetch_nothing_from_elsewhere(site):
    loaded = (
        r"""<(?:script|img|iframe)[^>]+src=["']?https?:|<link[^>]+rel=["']?(?:stylesheet|preconnect)[^>]+href=["']?https?:"""
    )
    pages = list(site.rglob("*.html"))
    assert not [str(page) for page in pages if re.search(loaded, page.read_text())]


def test_a_link_that_leads_nowhere_stops_the_build(tmp_path):
    pytest.importorskip("material")
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "page.md").write_text("# Page\n\n[lost](../src/nowhere.py)\n")
    config = tmp_path / "mkdocs.yml"
    hook = ROOT / "scripts/site_pages.py"
    config.write_text(f"site_name: x\nstrict: true\nhooks: [{hook}]\nvalidation: {{links: {{not_found: warn}}}}\n")
    done = build(tmp_path / "site", config)
    assert done.returncode != 0
    assert "nowhere.py" in done.stderr
