"""What the documentation tells its reader to do works, prints what is shown, and leads to what exists."""

import difflib
import json
import os
import re
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from pages import ROOT, Reader, Text, blocks, mixed, normal, pages, placed, steps

from toolstack.load import load

PAGES = [pytest.param(page, id=str(page.relative_to(ROOT))) for page in pages()]
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


@pytest.mark.parametrize("page", [page for page in PAGES if steps(page.values[0].read_text())])
def test_a_page_does_what_it_says(page: Path, tmp_path: Path) -> None:
    reader = Reader(tmp_path / "domus")
    for step in steps(page.read_text()):
        if isinstance(step, Text):
            reader.write(step)
            continue
        if step.missing() and os.environ.get("CI") != "true":
            pytest.skip(f"`{step.text}` needs {step.needs}, and the rest of {page.name} as well")
        status, printed = reader.run(step)
        assert status == step.status, "\n".join([step.text, *printed])
        if step.shown and step.found_in(printed) is None:
            pytest.fail("\n".join([
                f"{page.relative_to(ROOT)}:{step.at}: `{step.text}` prints something else.",
                "Where that is right: python tests/docs/refresh.py",
                *difflib.unified_diff(list(map(normal, step.shown)), list(map(normal, printed)), "shown", "printed",
                                      lineterm=""),
            ]))  # fmt: skip


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: Path) -> None:
    for match in _LINK.finditer(page.read_text()):
        target, _, anchor = (match[1] or match[2]).partition("#")
        if "://" in target:
            continue
        path = page.parent / target if target else page
        assert path.exists(), f"{page.name}: {match[0]}"
        if anchor:
            assert anchor in map(_anchor, _HEADING.findall(path.read_text())), f"{page.name}: {match[0]}"


def test_the_readme_leads_to_every_page() -> None:
    readme = (ROOT / "README.md").read_text()
    names = [str(page.relative_to(ROOT)) for page in pages()]
    assert [name for name in names if name != "README.md" and f"]({name})" not in readme] == []


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES)
def test_configurations_that_are_shown_are_good(page: Path, tmp_path: Path) -> None:
    (tmp_path / "hypercalls").symlink_to(ROOT / "configs" / "hypercalls")
    for number, block in enumerate(blocks(page.read_text())):
        if block.language == "json":
            json.loads("\n".join(block.lines))
        if block.language == "yaml" and "file" not in block.notes and "domains:" in block.lines:
            file = tmp_path / f"block{number}.yaml"
            file.write_text("\n".join(block.lines))
            assert load(str(file)).names()


def test_tests_that_are_shown_pass(pytester: pytest.Pytester) -> None:
    page = (ROOT / "docs" / "writing-a-test.md").read_text()
    shown = ["\n".join(block.lines) for block in blocks(page)
             if block.language == "python" and any(line.startswith("def test_") for line in block.lines)]
    folder = pytester.mkdir("tests")
    (pytester.path / "configs").symlink_to(ROOT / "configs")
    (folder / "test_shown.py").write_text("\n\n".join(shown))
    pytester.makepyprojecttoml(f'[tool.pytest.ini_options]\npythonpath = ["{ROOT}"]')
    pytester.syspathinsert(ROOT)
    plugin = () if entry_points(group="pytest11", name="domus") else ("-p", "toolstack.pytest_plugin")
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", *plugin, "tests")
    result.assert_outcomes(passed=sum(text.count("def test_") for text in shown))


@pytest.mark.parametrize(
    ("shown", "there"),
    [
        (["a", "b"], [0, 1]), (["a"], None), (["..."], [-1]), (["a", "..."], [0, -1]), (["...", "b"], [-1, 1]),
        (["...", "a"], None), (["a", "...", "b"], [0, -1, 1]), (["b", "..."], None), (["a", "b", "c"], None),
    ],
)  # fmt: skip
def test_three_dots_stand_for_any_lines(shown: list[str], there: list[int] | None) -> None:
    assert placed(shown, ["a", "b"]) == there


def test_domains_may_be_mixed_in_another_way() -> None:
    printed = ["a | 1", "b | 1", "b | 2", "a | 2", "end"]
    assert mixed(["a | 1", "a | 2", "...", "b | 1", "b | 2", "end"], printed) == [0, 3, -1, 1, 2, 4]
    assert mixed(["a | 2", "a | 1"], printed) is None


def test_times_and_digests_may_differ() -> None:
    shown = ["end (2.5 s, seed 1)", f"digest {'ab' * 32}", "a  1.20 G  x", "-----"]
    assert placed(shown, ["end (0.25 s, seed 1)", f"digest {'cd' * 32}", "a 3.1 M   x", "-------"]) is None
    assert placed(shown, ["end (0.25 s, seed 1)", f"digest {'cd' * 32}", "a 3.1 G   x", "-------"]) is not None
