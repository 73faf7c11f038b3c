"""The documentation's pages as a site: a hook of mkdocs.

The pages link to each other and to files of the repository by relative paths, so that they work where the repository is
read. On the site README, CONTRIBUTING and CHANGELOG are pages too, and every other file or folder that is linked gets a page
that shows it, under source/. A link that leads nowhere is left as it is, and mkdocs, which is strict, refuses it.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
"""Files of the repository that are pages: where they are, and where on the site."""

LINK = re.compile(r"(\]\(|(?:src|href)=\")(?!\w+:|#|/)([^)\s#\"]+)")
"""The target of a relative link or image in Markdown, or of a picture in HTML; without its anchor."""

LANGUAGES = {".py": "python", ".xml": "xml", ".yaml": "yaml", ".json": "json", ".sh": "bash", ".toml": "toml"}
LONGEST = 200_000
"""Characters of a file that a page shows."""


def page_of(path: str) -> str | None:
    """Return the page that shows a path of the repository; None: mkdocs knows it, or there is no such path."""
    if path in PAGES:
        return PAGES[path]
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if path.startswith("..") or not (ROOT / path).exists():
        return None
    return f"source/{path}/index.md" if (ROOT / path).is_dir() else f"source/{path}.md"


def rewrite(text: str, source: str, page: str, linked: set[str]) -> str:
    """Return a page's text with links that fit the site; what they lead to outside of docs/ is added to `linked`.

    Args:
        text: Markdown.
        source: the path of the file in the repository, which its links start from.
        page: the path of its page on the site.
        linked: paths of the repository, relative to its root.
    """

    def replace(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), match[2]))
        target = page_of(path)
        if target is None:
            return match[0]
        if target.startswith("source/"):
            linked.add(path)
        return match[1] + posixpath.relpath(target, posixpath.dirname(page) or ".")

    parts = re.split(r"(```.*?```)", text, flags=re.DOTALL)
    return "".join(part if part.startswith("```") else LINK.sub(replace, part) for part in parts)


def show(path: str) -> str:
    """Return the text of the page of a file or folder: its content, or links to the files in it."""
    here = ROOT / path
    if here.is_dir():
        files = sorted(each for each in here.iterdir() if each.is_file() and not each.name.startswith("."))
        return f"# {path}/\n\n" + "\n".join(f"- [{each.name}]({path}/{each.name})" for each in files) + "\n"
    try:
        text = here.read_text()
    except UnicodeDecodeError:
        text = f"({here.stat().st_size} bytes, not text)"
    cut = "\n..." if len(text) > LONGEST else ""
    return f"# {path}\n\n````{LANGUAGES.get(here.suffix, 'text')}\n{text[:LONGEST].rstrip()}{cut}\n````\n"


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that have no file in docs/."""
    linked: set[str] = set()
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=rewrite((ROOT / source).read_text(), source, page, linked)))
    for file in files.documentation_pages():
        if file.src_uri not in PAGES.values():
            rewrite(file.content_string, f"docs/{file.src_uri}", file.src_uri, linked)
    shown: set[str] = set()
    while waiting := sorted(linked - shown):
        for path in waiting:
            place = page_of(path)
            assert place is not None
            text = show(path)
            if (ROOT / path).is_dir():
                text = rewrite(text, "", place, linked)
            files.append(File.generated(config, place, content=text))
            shown.add(path)
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Let the links of a page of docs/ that leave it lead to the pages that show what they mean."""
    if page.file.generated_by:
        return markdown
    return rewrite(markdown, f"docs/{page.file.src_uri}", page.file.src_uri, set())
