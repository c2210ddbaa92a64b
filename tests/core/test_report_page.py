"""The page is one self-contained file in which nothing that a study says can act."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from cohortflow.core import report
from cohortflow.core.outcome import OUTCOMES, Category
from cohortflow.core.reporting import pictures
from core.report_factory import Factory, evil, mosaic, study


class Elements(HTMLParser):
    """Collects (tag, attributes) of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def page(out: Path) -> str:
    report.build(out)
    return (out / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> str:
    return page(study(tmp_path_factory.mktemp("out"), pictures=True).write())


def test_what_a_study_says_never_becomes_an_element(tmp_path: Path) -> None:
    text = page(evil(tmp_path).out)
    elements = Elements(text)
    assert len(elements.all("script")) == 1
    assert elements.all("img") == []
    assert not any(name.startswith("on") for _, found in elements.found for name in found)
    assert text.count("&lt;script&gt;") > 20


def test_nothing_is_loaded_from_elsewhere(shown: str) -> None:
    elements = Elements(shown)
    for tag, attributes in elements.found:
        assert tag not in {"link", "iframe", "object", "embed", "base", "form"}
        source = attributes.get("src")
        assert source is None or source.startswith("data:image/")
        target = attributes.get("href") or "#"
        assert not re.match(r"[a-z]+:|//", target), target
    assert "url(http" not in shown
    assert "@import" not in shown


def test_the_policy_admits_this_script_and_this_style_alone(shown: str) -> None:
    (policy,) = [m["content"] for m in Elements(shown).all("meta") if "http-equiv" in m]
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:; ")
    assert "unsafe" not in policy
    for tag in ("script", "style"):
        content = shown.split(f"<{tag}>", 1)[1].split(f"</{tag}>", 1)[0]
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_every_status_has_a_word_and_an_icon_beside_its_colour(shown: str) -> None:
    for word in ("done", "complete before", "invalid", "failed", "lost", "not run"):
        assert re.search(rf'<use href="#i-[a-z]+"/></svg>{word}</span>', shown), word
    assert "15 of 22 units are complete; 7 need attention." in shown


def test_failures_are_grouped_with_meaning_message_and_what_to_do(shown: str) -> None:
    for category in (Category.DATA_INVALID, Category.TIMEOUT, Category.SOFTWARE, Category.LOST):
        assert f'<span class="code">{category}</span> {OUTCOMES[category].meaning}' in shown
    assert "sub-14/dwi/sub-14_dwi.nii.gz: 33 volumes, 32 b-values" in shown
    assert "give one b-value for each volume" in shown
    assert "1.2.840.113619.2.312.1001" in shown
    assert "DTI 32 dir AP repeat" in shown


def test_the_command_to_rerun_works_from_the_studys_folder(tmp_path: Path) -> None:
    folder = tmp_path / "my study"
    make = Factory(folder / "derivatives" / "cohortflow-dwi", study=str(folder), pictures=False)
    make.failed("01")
    text = page(make.write())
    place = "derivatives/cohortflow-dwi"
    assert f"cohortflow run dwi . {place} --manifest {place}/rerun.json" in text


def test_an_outlier_is_marked_labelled_and_listed_first(shown: str) -> None:
    listed = shown.split('<ul class="outlying">', 1)[1].split("</ul>", 1)[0]
    assert re.findall(r'href="#unit-([^"]+)"', listed) == ["sub-13_ses-02"]
    assert '<text class="label"' in shown
    assert re.search(r'class="outlier"[^>]*><title>sub-13_ses-02: 0.213</title>', shown)


def test_fewer_than_five_units_are_drawn_as_dots_alone(tmp_path: Path) -> None:
    make = Factory(tmp_path, pictures=False)
    for label, value in (("01", 0.4), ("02", 0.41), ("03", 9.0)):
        make.done(label, fa_mean=value)
    text = page(make.write())
    assert text.count('<circle class="dot"') >= 3
    assert '<rect class="box"' not in text
    assert "fewer than 5 units" in text


def test_pictures_travel_inside_the_page_and_decode_late(shown: str) -> None:
    images = Elements(shown).all("img")
    assert len(images) == 30
    for image in images:
        assert (image["loading"], image["decoding"]) == ("lazy", "async")
    head, content = str(images[0]["src"]).split(",", 1)
    assert head == "data:image/webp;base64"
    with Image.open(io.BytesIO(base64.b64decode(content))) as picture:
        assert picture.width == 1100
        assert str(picture.height) == images[0]["height"]


def test_a_picture_that_cannot_be_read_is_said_so(tmp_path: Path) -> None:
    cut = mosaic(1)[:4000]
    bomb = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + b"\x00\x0f\xff\xff" * 2 + b"\x08\x02"
    for content in (b"", b"no picture", cut, bomb):
        (tmp_path / "a.png").write_bytes(content)
        assert pictures.picture(tmp_path / "a.png").data is None
    assert pictures.picture(tmp_path / "nowhere.png").data is None


def test_a_figure_outside_the_unit_is_not_read(tmp_path: Path) -> None:
    make = Factory(tmp_path, pictures=False)
    make.done("01")
    (tmp_path / "secret.png").write_bytes(mosaic())
    size = (tmp_path / "secret.png").stat().st_size
    outputs = [{"path": "figures/../../secret.png", "bytes": size, "sha256": "0" * 64}]
    make.publish(make.unit("01"), {}, outputs=outputs)
    assert Elements(page(make.write())).all("img") == []


def test_a_large_batch_shows_what_needs_a_look_and_says_so(tmp_path: Path) -> None:
    make = Factory(tmp_path, pictures=False)
    for index in range(230):
        make.done(f"{index:03}", fa_mean=0.4 + 0.001 * (index % 7) if index != 180 else 0.9)
    make.failed("999")
    text = page(make.write())
    sections = re.findall(r'<details class="unit" id="unit-sub-(\d+)"', text)
    assert sections == [*(f"{index:03}" for index in range(100)), "180", "999"]
    assert "This batch has 231 units." in text
    assert text.count('<tr data-status="done">') == 230


def test_a_unit_shows_inputs_outputs_and_commands_relative(shown: str) -> None:
    part = shown.split('id="unit-sub-01"', 1)[1].split('<details class="unit"', 1)[0]
    assert "<code>sub-01_dwi.nii.gz</code>" in part
    assert "dwi/sub-01_desc-brain_mask.nii.gz" in part
    assert re.search(r'<code class="hash">[0-9a-f]{64}</code>', part)
    assert "dwi-tensor sub-01/dwi/sub-01_dwi.nii.gz --output tensor" in part
