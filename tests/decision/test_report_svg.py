"""The static pictures."""

import xml.etree.ElementTree as ET

import pytest

from orchestrator.decision import front_svg, hypervolume_svg
from orchestrator.decision.report_svg import front_corners


def words(svg):
    """All text of a picture."""
    return " ".join(ET.fromstring(svg).itertext())  # noqa: S314 (our own drawing)


@pytest.mark.parametrize("draw", [front_svg, hypervolume_svg])
@pytest.mark.parametrize("trials", [0, 1, 24, 200])
@pytest.mark.parametrize("objectives", [1, 2, 3])
def test_pictures_are_small_and_well_formed(campaign, draw, trials, objectives):
    """Any number of trials and objectives gives one well-formed SVG under 15 kB."""
    svg = draw(campaign(trials, objectives))
    assert ET.fromstring(svg).tag.endswith("svg")  # noqa: S314 (our own drawing)
    assert len(svg.encode()) < 15_000


def test_the_front_says_what_it_shows(campaign):
    """Axes carry names, units and the better direction; the recommendation is named; synthetic data say so."""
    data = campaign()
    shown = words(front_svg(data))
    for part in ("charge time (min)", "cycle life (cycles)", "better", "not feasible", f"trial {data.recommended}", "SYNTHETIC"):
        assert part in shown
    assert "SYNTHETIC" not in words(front_svg(campaign(synthetic=False)))
    assert "hypervolume (min × cycles)" in words(hypervolume_svg(data))


def test_an_empty_campaign_is_drawn_honestly(campaign):
    """Without outcomes the pictures say so instead of showing empty axes."""
    assert "No trial has an outcome for charge time (min) and cycle life (cycles) yet." in words(front_svg(campaign(0)))
    assert "No trial has ended with an outcome yet." in words(hypervolume_svg(campaign(all_failed=True)))


def test_what_the_front_dominates_is_the_hypervolume(campaign):
    """The shaded polygon's area is the hypervolume, to rounding."""
    data = campaign()
    corners = front_corners(data)
    area = sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in zip(corners, [*corners[1:], corners[0]], strict=True)) / 2
    assert abs(area) == pytest.approx(data.front.hypervolume)
