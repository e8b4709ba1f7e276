"""
Finishes the built site: pictures from outside docs/ come along, and every local link must lead somewhere.

``python -m tools.finish_site build/site docs``. Pages refer to the figures of the results where these
lie, ``../benchmarks/results/…``, so that a reader of the repository sees them too; Zensical copies only
what lies in docs/ and does not notice what is missing.
"""

from __future__ import annotations

import posixpath
import re
import shutil
import sys
from pathlib import Path
from urllib.parse import unquote

_PICTURE = re.compile(r'(?<= src=")\.\./([^":]+)(?=")')
_LINK = re.compile(r'(?: src| href)="([^"]*)"')
_ELSEWHERE = re.compile(r"[a-z]+:|//")


def bring_pictures(site: Path, docs: Path) -> None:
    """
    Copy pictures that lie beside the folder of the pages into the site, and point the pages at them.

    :param site: Folder of the built site
    :param docs: Folder of the pages it was built from
    """
    for page in site.glob("*.html"):
        text = page.read_text(encoding="utf-8")
        for name in set(_PICTURE.findall(text)):
            source = docs.parent / name
            if source.is_file():
                (site / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, site / name)
                text = text.replace(f' src="../{name}"', f' src="{name}"')
        page.write_text(text, encoding="utf-8")


def broken_links(site: Path) -> list[str]:
    """
    :param site: Folder of the built site
    :return: Links of its pages to files or places that are not there, each with its page
    """
    texts = {
        page.relative_to(site).as_posix(): page.read_text(encoding="utf-8")
        for page in sorted(site.rglob("*.html"))
    }
    places = {name: set(re.findall(r' (?:id|name)="([^"]+)"', text)) for name, text in texts.items()}
    broken = []
    for name, text in texts.items():
        for link in sorted(set(_LINK.findall(text))):
            file, _, place = unquote(link).partition("#")
            # The page for what is not found has absolute links: it is shown in place of any page.
            if _ELSEWHERE.match(link) or name == "404.html":
                continue
            file = file.partition("?")[0]
            target = posixpath.normpath(posixpath.join(posixpath.dirname(name), file)) if file else name
            if target.startswith("..") or not (site / target).exists():
                broken.append(f"{name}: {link} does not exist")
            elif place and target in places and place not in places[target]:
                broken.append(f"{name}: {link} leads to no place on that page")
    return broken


def main(arguments: list[str]) -> int:
    """
    :param arguments: folder of the site, folder of the pages
    :return: exit status, 1 if a link is broken
    """
    site, docs = map(Path, arguments)
    bring_pictures(site, docs)
    broken = broken_links(site)
    for sentence in broken:
        print(f"error: {sentence}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
