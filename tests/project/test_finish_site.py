"""The finished site has its pictures, and broken links are found, each and no others."""

from pathlib import Path

import pytest

from tools.finish_site import broken_links, main


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A picture outside docs/, and a site with one broken link of each kind among good ones."""
    (tmp_path / "results" / "speed").mkdir(parents=True)
    (tmp_path / "results" / "speed" / "growth.svg").write_text("<svg/>")
    (tmp_path / "docs").mkdir()
    site = tmp_path / "site"
    site.mkdir()
    (site / "index.html").write_text(
        '<h1 id="top">T</h1> <a href="#top"> <a href="#nowhere"> <a href="other.html#a.b"> <a href=".">'
        '<a href="other.html#gone"> <a href="lost.html"> <a href="https://example.org/lost.html">'
        '<img src="../results/speed/growth.svg"> <img src="../results/lost.svg">'
    )
    (site / "other.html").write_text(
        '<h2 id="a.b">A</h2> <a href="index.html?q=1#top"> <a href="mailto:a@b">'
    )
    (site / "folder").mkdir()
    (site / "folder" / "deep.html").write_text(
        '<h1 id="deep">D</h1> <a href="../index.html#top"> <a href="deep.html#deep"> <a href="#deep">'
        '<a href="index.html"> <a href="../other.html#gone"> <a href="../../docs/">'
    )
    (site / "404.html").write_text('<a href="/lost.html">')
    return tmp_path


def test_pictures_come_along_and_broken_links_are_found(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = repository / "site"
    assert main([str(site), str(repository / "docs")]) == 1
    assert (site / "results" / "speed" / "growth.svg").read_text() == "<svg/>"
    assert 'src="results/speed/growth.svg"' in (site / "index.html").read_text()
    assert capsys.readouterr().err.splitlines() == [
        "error: folder/deep.html: ../../docs/ does not exist",
        "error: folder/deep.html: ../other.html#gone leads to no place on that page",
        "error: folder/deep.html: index.html does not exist",
        "error: index.html: #nowhere leads to no place on that page",
        "error: index.html: ../results/lost.svg does not exist",
        "error: index.html: lost.html does not exist",
        "error: index.html: other.html#gone leads to no place on that page",
    ]


def test_no_broken_link(repository: Path) -> None:
    site = repository / "site"
    (site / "index.html").write_text('<h1 id="top">T</h1> <a href="other.html">')
    (site / "folder" / "deep.html").write_text('<a href="../index.html#top">')
    assert broken_links(site) == []
    assert main([str(site), str(repository / "docs")]) == 0
