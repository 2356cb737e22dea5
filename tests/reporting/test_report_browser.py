"""The page in a real browser: it fits, asks for nothing, complains of nothing, and can be used by mouse and by keyboard."""

import json
import time
from pathlib import Path

import pytest

from dogfast.events import Events
from dogfast.reporting.page import write_report
from dogfast.run import Run, read_jsonl
from tests.reporting.browser import CHROMIUM, Browser
from tests.reporting.made_up_run import CLASSES, add_evaluation, add_features, bare_run, change_metrics, fill, twins

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium here; on Debian: apt install chromium"),
]
LONG = "a_name_without_any_blank" * 4
TAB, ENTER, SPACE, RIGHT = ("Tab", 9), ("Enter", 13, "\r"), (" ", 32, " "), ("ArrowRight", 39)
SEEN = """(found => [...document.querySelectorAll(found)].filter(e => e.checkVisibility()).length)"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("browser") / "profile") as browser:
        yield browser


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    """One whose report lacks nothing, and in which a name is long."""
    run = bare_run(tmp_path_factory.mktemp("run") / "shapes")
    fill(run)
    for name, passes in (("ce", 0.4), ("dog", 0.2)):
        add_evaluation(run, name, 0.9, {"near": (passes, 0.9), LONG: (passes, 0.9)})
        add_features(run, name, {"id": 12, "near": 8, LONG: 3})
        costs = {"n": 40, "id_accuracy": 0.9, "severity": 1.0, "refused": 0.2}
        kinds = [{"score": "msp", "corruption": kind} | costs for kind in ("none", "gaussian-blur", "gaussian-noise", "jpeg")]
        change_metrics(run, name, corrupted_id=kinds, artefact_control=[{"score": "msp", "called_ood": 0.2, "n": 40}])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dogfast.reporting.page._pngs", lambda view: dict.fromkeys(("anchors.png", "roc-msp.png"), b""))
        write_report(run, twins(), Events())
    return run


@pytest.fixture
def page(run) -> Path:
    return run.report


def focus(browser: Browser) -> str:
    return browser.evaluate("(e => e.id || e.className || e.textContent.trim().slice(0, 40))(document.activeElement)")


def tab_to(browser: Browser, selector: str, at_most: int = 200) -> None:
    """Press Tab until what has the focus is of ``selector``."""
    for _ in range(at_most):
        browser.press(*TAB)
        if browser.evaluate(f"document.activeElement.matches({json.dumps(selector)})"):
            return
    raise AssertionError(f"{selector} is not reached by {at_most} tabs")


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_and_asks_for_nothing(browser, page, width, dark):
    browser.look(width, dark=dark)
    browser.open(page)
    browser.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert browser.evaluate("document.documentElement.scrollWidth") == width, "no part is wider than the screen"
    beyond = """[...document.querySelectorAll('main *')].filter(each => !each.closest('.scroll, .choice, pre, svg, .sr, .skip')
        && each.getBoundingClientRect().right > innerWidth + 1).map(each => each.outerHTML.slice(0, 99))"""
    assert browser.evaluate(beyond) == []
    paper = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(20, 23, 26)") is dark and (paper == "rgb(251, 251, 249)") is not dark
    assert browser.complaints() == [] and browser.requests() == [page.as_uri()]


def test_colours_can_be_chosen(browser, page):
    browser.look(1280)
    browser.open(page)
    for choice, paper in (("#dark", "rgb(20, 23, 26)"), ("#light", "rgb(251, 251, 249)")):
        browser.click(choice)
        assert browser.evaluate("getComputedStyle(document.body).backgroundColor") == paper


@pytest.mark.parametrize("width", [1280, 390])
def test_one_score_is_seen_at_a_time(browser, page, width):
    browser.look(width)
    browser.open(page)
    seen = {n: browser.evaluate(f"{SEEN}('.score-{n}')") for n in (1, 2, 3)}
    assert seen[1] >= 5 and seen[2] == seen[3] == 0, "the first score's charts, table, curves and costs"
    browser.click('label[for="score-2"]')
    assert [browser.evaluate(f"{SEEN}('.score-{n}')") for n in (1, 2, 3)] == [0, seen[1], 0]


def test_what_is_shown_on_the_map_can_be_chosen(browser, page):
    browser.look(1280)
    browser.open(page)
    assert browser.evaluate(f"{SEEN}('.cloud-1')") == 2, "before and after"
    browser.click("#cloud-1")
    assert browser.evaluate(f"{SEEN}('.cloud-1')") == 0 and browser.evaluate(f"{SEEN}('.cloud-2')") == 2


@pytest.mark.parametrize("width", [1280, 390])
def test_a_vetoed_word_is_left_out_of_what_is_saved(browser, page, tmp_path, width, run):
    browser.look(width)
    browser.open(page)
    browser.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path / "saved"))
    browser.click(".line summary")
    browser.click('input[data-word="word2"]')
    told = browser.evaluate("document.getElementById('vetoed').textContent")
    assert told.startswith("1 of 15 words left out. ")
    for word in ("word0", "word1", "word3", "word4"):
        browser.click(f'input[data-word="{word}"]')
    told = browser.evaluate("document.getElementById('vetoed').textContent")
    assert told.startswith(f"No word is left for {CLASSES[0]}. 5 of 15 words left out. ")
    browser.click('input[data-word="word0"]')
    browser.click("#export")
    saved, deadline = tmp_path / "saved" / "anchors.jsonl", time.monotonic() + 20
    while not saved.exists() and time.monotonic() < deadline:
        browser.evaluate("new Promise(done => setTimeout(done, 50))")
    kept = [row for row in read_jsonl(run.anchors) if row["class_name"] != CLASSES[0] or row["word"] == "word0"]
    assert read_jsonl(saved) == kept
    assert browser.complaints() == [] and browser.requests() == [page.as_uri()]


def test_everything_is_reached_by_the_keyboard(browser, page):
    browser.look(1280)
    browser.open(page)
    browser.press(*TAB)
    assert focus(browser) == "skip" and browser.evaluate("document.activeElement.getBoundingClientRect().top") >= 0
    browser.press(*ENTER)
    assert browser.evaluate("location.hash") == "#verdict"
    tab_to(browser, "#score-1")
    outline = "getComputedStyle(document.querySelector('label[for=score-1]')).outlineStyle"
    assert browser.evaluate(outline) == "solid", "the focus is seen"
    browser.press(*RIGHT)
    assert browser.evaluate("document.getElementById('score-2').checked")
    tab_to(browser, ".scroll")
    tab_to(browser, "#cloud-1")
    browser.press(*SPACE)
    assert not browser.evaluate("document.getElementById('cloud-1').checked")
    tab_to(browser, ".line .word")
    tab_to(browser, ".line summary")
    browser.press(*ENTER)
    assert browser.evaluate("document.querySelector('.line details').open")
    tab_to(browser, "input[data-word]")
    browser.press(*SPACE)
    assert "1 of 15 words left out" in browser.evaluate("document.getElementById('vetoed').textContent")


def test_every_link_leads_somewhere(browser, page):
    browser.look(1280)
    browser.open(page)
    dead = """[...document.querySelectorAll('a[href^="#"]')].filter(a => !document.getElementById(a.hash.slice(1))).map(a => a.hash)"""
    assert browser.evaluate(dead) == []
    files = browser.evaluate("""[...document.querySelectorAll('a.png')].map(a => a.getAttribute('href'))""")
    assert sorted(files) == ["anchors.png", "roc-msp.png"] and all((page.parent / name).is_file() for name in files)
