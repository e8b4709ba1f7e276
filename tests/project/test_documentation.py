"""
Code in README and docs/ runs as it is printed, with training cut short.

Python blocks of a page run one after another, as a reader would. A block that cannot be run stands under
the comment ``<!-- not run: reason -->``. Shell commands of the README are run too, except those that
install (their extras are looked up), go through make (make reads them only) or start a whole study.
"""

import ast
import itertools
import pkgutil
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from sb3_angc.agents import agent_record, shipped_agents
from sb3_angc.circuit import ACTIVATIONS, CircuitSettings
from sb3_angc.hyperparams import tuned_settings
from tests.budget import shorten_training

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
PAGES = sorted((ROOT / "docs").glob("*.md"))
DOCUMENTS = [README, ROOT / "CONTRIBUTING.md", *PAGES]
BLOCK = re.compile(
    r"^(?:<!-- not run: (?P<reason>.+?) -->\n+)?```(?P<language>\w*)[^\n]*\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


class Block(NamedTuple):
    """
    A block of code in a page.

    :param language: ``python``, ``sh``, …
    :param code: The code, with as many empty lines before it as the page has
    :param is_run: Whether it is to be run
    """

    language: str
    code: str
    is_run: bool


def blocks(page: Path, language: str) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for match in BLOCK.finditer(text):
        if match["language"] == language:
            yield Block(
                language,
                "\n" * text.count("\n", 0, match.start("code")) + match["code"],
                match["reason"] is None,
            )


def commands(page: Path) -> Iterator[list[str]]:
    for block in blocks(page, "sh"):
        if block.is_run:
            for line in block.code.replace("\\\n", " ").splitlines():
                if words := shlex.split(line, comments=True):
                    yield words


def name(page: Path) -> str:
    return page.stem


def test_blocks_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# T\n\n```python\na = 1\n```\n\n<!-- not run: needs a screen -->\n\n```python\nb\n```\n"
        "\n```sh\nls\n```\n"
    )
    assert list(blocks(page, "python")) == [
        Block("python", "\n" * 3 + "a = 1\n", True),
        Block("python", "\n" * 9 + "b\n", False),
    ]
    assert list(commands(page)) == [["ls"]]
    assert len(list(blocks(README, "python"))) == README.read_text(encoding="utf-8").count("```python")


def python_to_run(page: Path) -> list[Block]:
    return [block for block in blocks(page, "python") if block.is_run]


@pytest.mark.parametrize("page", [page for page in (README, *PAGES) if python_to_run(page)], ids=name)
def test_python_blocks(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = python_to_run(page)
    if any("plots" in block.code for block in found):
        pytest.importorskip("matplotlib", reason="matplotlib is the extra 'plots'")
    if any("_safe" in block.code for block in found):
        pytest.importorskip("safetensors", reason="safetensors is the extra 'safe'")
    monkeypatch.chdir(tmp_path)
    shorten_training(monkeypatch)
    known = dict(ACTIVATIONS)
    monkeypatch.setattr("sb3_angc.circuit.activations.ACTIVATIONS", known)
    monkeypatch.setattr("sb3_angc.circuit.ACTIVATIONS", known)  # a page adds one
    namespace: dict[str, Any] = {"__name__": "documentation"}
    for block in found:
        exec(compile(block.code, str(page), "exec"), namespace)


def test_shell_commands_of_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shorten_training(monkeypatch)
    found = list(commands(README))
    assert [words[0] for words in found].count("make") >= 2
    for words in found:
        if words[:2] == ["python", "-m"] and words[2] != "benchmarks":
            run_module(words[2], words[3:], monkeypatch)
        else:
            look_up(words)


@pytest.mark.parametrize("page", DOCUMENTS, ids=name)
def test_shell_commands_exist(page: Path) -> None:
    for words in commands(page):
        look_up(words)


def run_module(module: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """As ``python -m module arguments``, in this process."""
    if module == "sb3_angc.zoo":
        pytest.importorskip("rl_zoo3", reason="RL Zoo is the extra 'zoo'")
    monkeypatch.setattr(sys, "argv", ["", *arguments])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    assert ended.value.code in (0, None), [module, *arguments]


def look_up(words: list[str]) -> None:
    """Whether what a command names exists: make's targets, extras, modules, files of this repository."""
    if words[0] == "make":
        made = subprocess.run(["make", "-n", "-C", ROOT, *words[1:]], capture_output=True, text=True)
        assert made.returncode == 0, made.stderr
    elif words[:2] == ["pip", "install"]:
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        for asked in re.findall(r"\[([\w,]+)\]", " ".join(words)):
            assert set(asked.split(",")) <= set(extras), words
    elif words[:2] == ["python", "-m"] and words[2].split(".")[0] in (
        "sb3_angc",
        "benchmarks",
        "tools",
        "tests",
    ):
        path = ROOT / words[2].replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), words
    for before, word in itertools.pairwise(words):
        study = ROOT / "benchmarks" / "studies" / f"{Path(word).name}.yml"
        if before in ("-o", "--output") or (word.startswith("benchmarks/results/") and study.exists()):
            continue  # what a command makes
        if word.startswith(("benchmarks/", "docs/", "examples/", "tests/")) and "=" not in word:
            assert (ROOT / word.rstrip("/")).exists(), words


@pytest.mark.parametrize("page", DOCUMENTS, ids=name)
def test_studies_and_reports_are_written_where_git_ignores_them(page: Path) -> None:
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    for words in commands(page):
        if words[:3] == ["python", "-m", "benchmarks"] and (flags := {"-o", "--output"} & set(words)):
            output = words[words.index(flags.pop()) + 1]
            is_committed = (ROOT / output).is_dir()  # and named on purpose
            assert is_committed or f"{output.split('/')[0]}/" in ignored, words


@pytest.mark.parametrize("page", DOCUMENTS, ids=name)
def test_links_within_the_repository(page: Path) -> None:
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"https?:|mailto:|#", target):
            assert (page.parent / target.partition("#")[0]).exists(), target
    for target in re.findall(r"\]\[(sb3_angc\.[\w.]+)\]", text):
        pkgutil.resolve_name(target)  # raises if there is none
        assert f"`{target.rpartition('.')[2]}" in text or target.rpartition(".")[2] in text


NUMBER = re.compile(r"(?<![\w.^-])-?\d+(?:[ .,]\d+)*k?(?!\w)")


def crowded_sentences(text: str) -> list[str]:
    """Sentences outside tables and code that hold more than one number."""
    for without in (r"^```.*?^```$", r"^\|.*?$", r"(?<=\])\(.*?\)", r"`.*?`"):
        text = re.sub(without, "", text, flags=re.MULTILINE | re.DOTALL)
    paragraphs = re.split(r"\n\s*\n|\n(?=#|- |\d+\. )", text)
    sentences = [sentence for part in paragraphs for sentence in re.split(r"(?<=[.:?!])\s+", part)]
    return [sentence for sentence in sentences if len(NUMBER.findall(sentence)) > 1]


def test_crowded_sentences_are_found() -> None:
    fine = (
        "On CartPole-v1 it took 50 000 steps.\nThe others took 12.5k.\n\n- `1` and `2`: see [3](4.md)\n- 5\n"
    )
    assert crowded_sentences(fine + "\n| 6 | 7 |\n\n```sh\n8 9\n```\n") == []
    assert crowded_sentences(fine + "\nIt was 8 of\n10 seeds. And 3.\n") == ["It was 8 of\n10 seeds."]


@pytest.mark.parametrize("page", [README, ROOT / "docs" / "results.md"], ids=name)
def test_numbers_stand_in_tables(page: Path) -> None:
    assert not crowded_sentences(page.read_text(encoding="utf-8"))


def test_the_first_install_is_enough_for_the_first_block() -> None:
    """What the progress bar and the commands beside it import is in the extra that the README installs."""
    install, *_ = (words for words in commands(README) if words[:2] == ["pip", "install"])
    assert install[-1] == ".[extra]"
    first = next(blocks(README, "python"))
    assert "progress_bar=True" in first.code
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {"tqdm", "rich", "pyyaml", "gymnasium[classic-control]", "sb3_angc[plots,safe]"} <= set(
        extras["extra"]
    )


def test_the_container_makes_what_the_makefile_has() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    made = [line.removeprefix("RUN ").split() for line in lines if line.startswith("RUN make")]
    made += [ast.literal_eval(line.removeprefix("CMD ")) for line in lines if line.startswith("CMD")]
    assert [words[0] for words in made] == ["make", "make"]
    for words in made:
        look_up(words)


def test_the_containers_example_has_settings_and_compiled_updates_a_compiler() -> None:
    pytest.importorskip("yaml", reason="pyyaml is in the extra 'extra'")
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    [task] = re.findall(r"make train ENV=(\S+)", text)
    assert tuned_settings(task)
    [installed] = re.findall(r"apt-get install (.+?) &&", text)
    assert "g++" in installed.split()


def test_the_table_of_trained_agents_is_that_of_their_records() -> None:
    rows = re.findall(
        r"^\| (\S+-v\d) \| (\d+) \| (\d) \| (\S+) \| (\S+) \|", (ROOT / "docs" / "zoo.md").read_text(), re.M
    )
    expected = []
    for row in (agent_record(name) for name in shipped_agents()):
        scores = (f"{row['mean_return']:.1f}", f"{row['std_return']:.1f}")
        expected.append((row["env_id"], str(row["steps"]), str(row["seed"]), *scores))
    assert sorted(rows) == sorted(expected)


def test_the_front_page_is_short() -> None:
    assert README.read_text(encoding="utf-8").count("\n") <= 120


def test_the_menu_has_every_page_in_one_of_five_groups() -> None:
    menu = (ROOT / "docs" / ".nav.yml").read_text(encoding="utf-8")
    groups = re.findall(r"^  - (\w+):$", menu, re.MULTILINE)
    assert groups == ["Start", "Understand", "Use", "Results", "Develop"]
    named = re.findall(r"^      - (?:.+: )?([\w/]+\.md)$", menu, re.MULTILINE)
    assert len(named) == len(set(named))
    assert {page.name for page in PAGES} <= set(named)


def test_settings_page_has_each_setting_with_its_default() -> None:
    told = {}
    for line in (ROOT / "docs" / "settings.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        argument = re.match(r"`(\w+)`", cells[2]) if len(cells) == 6 else None
        if argument is not None and argument[1] != "layers":  # which is no setting
            told[argument[1]] = ast.literal_eval(cells[3].strip("`"))
            assert cells[1], argument[1]
            assert cells[5], argument[1]
    assert told == CircuitSettings().as_dict()


def test_each_equation_is_linked_to_its_function() -> None:
    parts = (ROOT / "docs" / "algorithm.md").read_text(encoding="utf-8").split("$$")
    before_equations = parts[0:-1:2]
    assert len(before_equations) >= 10
    for text in before_equations:
        # The text since the heading or the equation before it
        assert re.search(r"\]\[sb3_angc\.[\w.]+\]", text.rpartition("\n## ")[2]), text
