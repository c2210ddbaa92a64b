"""In a real browser the page's script runs without error, and an injected one does not run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from cohortflow.core import lanes, report
from core.hooked_factory import LANE, batch
from core.report_factory import evil, study

pytestmark = pytest.mark.chromium

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--enable-logging=stderr", "--virtual-time-budget=3000", "--dump-dom",
)  # fmt: skip


@pytest.fixture(scope="module")
def chromium() -> str:
    """Return a browser, or leave the test out where there is none (CI fails)."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail("no browser: install chromium")
        pytest.skip("no browser: install chromium")
    return found


def dom(browser: str, page: Path, where: str = "") -> tuple[str, list[str]]:
    """Return a page's document after its scripts ran, and what they wrote to the console."""
    profile = page.parent / "profile"
    command = [browser, *FLAGS, f"--user-data-dir={profile}", f"{page.as_uri()}{where}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True)
    return done.stdout, re.findall(r"CONSOLE.*", done.stderr)


def title(document: str) -> str:
    found = re.search(r"<title>(.*?)</title>", document, re.DOTALL)
    return found.group(1) if found else ""


def test_the_script_runs_without_error_and_opens_the_unit_of_a_link(
    chromium: str, tmp_path: Path
) -> None:
    report.build(study(tmp_path).write())
    document, console = dom(chromium, tmp_path / "report.html", "#unit-sub-13_ses-02")
    assert console == []
    assert re.search(r'<output id="shown"[^>]*>22 units</output>', document)
    assert re.search(r'<details class="unit" id="unit-sub-13_ses-02" open', document)
    assert not re.search(r'<details class="unit" id="unit-sub-01" open', document)


def test_a_page_with_checks_curves_and_pairs_raises_nothing_and_sorts_by_checks(
    chromium: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "get", lambda _name: LANE)
    report.build(batch(tmp_path).write())
    page = tmp_path / "report.html"
    document, console = dom(chromium, page, "#unit-sub-06")
    assert console == []
    assert re.search(r'<details class="unit" id="unit-sub-06" open', document)
    probe = """<script>
      const head = [...document.querySelectorAll("#units thead th")].find(
        (one) => one.textContent === "checks");
      head.firstElementChild.click(); head.firstElementChild.click();
      document.querySelector("#unit-sub-06").open = true;
      document.title = document.querySelector("#units tbody th").textContent + "|" +
        (document.documentElement.scrollWidth <= innerWidth);
    </script></body>"""
    text = re.sub(r"<meta http-equiv[^>]*>", "", page.read_text(encoding="utf-8"))
    page.write_text(text.replace("</body>", probe), encoding="utf-8")
    document, console = dom(chromium, page)
    assert console == []
    assert title(document) == "sub-06|true"


def test_an_attack_in_any_text_of_a_study_does_not_run(chromium: str, tmp_path: Path) -> None:
    report.build(evil(tmp_path).out)
    document, console = dom(chromium, tmp_path / "report.html")
    assert console == []
    assert title(document) != "owned"
    assert re.search(r'<output id="shown"[^>]*>8 units</output>', document)


def test_a_script_that_got_into_the_page_is_stopped_by_the_policy(
    chromium: str, tmp_path: Path
) -> None:
    report.build(study(tmp_path).write())
    page = tmp_path / "report.html"
    text = page.read_text(encoding="utf-8")
    attack = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
    page.write_text(text.replace("<main>", f"<main>{attack}"), encoding="utf-8")
    document, console = dom(chromium, page)
    assert title(document) != "owned"
    assert console, "the browser says what it refused"


def test_the_table_filters_and_sorts(chromium: str, tmp_path: Path) -> None:
    report.build(study(tmp_path).write())
    page = tmp_path / "report.html"
    text = page.read_text(encoding="utf-8")
    without_policy = re.sub(r"<meta http-equiv[^>]*>", "", text)
    probe = """<script>
      const heads = [...document.querySelectorAll("#units thead th")];
      const head = heads.find((one) => one.textContent === "fa_mean");
      const first = () => document.querySelector("#units tbody tr:not([hidden]) th").textContent;
      const seen = [];
      head.firstElementChild.click(); seen.push(first());
      head.firstElementChild.click(); seen.push(first());
      document.querySelector('[data-status="failed"].chip').click();
      seen.push(document.getElementById("shown").textContent);
      const filter = document.getElementById("filter");
      filter.value = "timeout"; filter.dispatchEvent(new Event("input"));
      seen.push(first());
      document.title = seen.join("|");
    </script></body>"""
    page.write_text(without_policy.replace("</body>", probe), encoding="utf-8")
    document, console = dom(chromium, page)
    assert console == []
    assert title(document) == "sub-13_ses-02|sub-04|2 of 22 units|sub-16"
