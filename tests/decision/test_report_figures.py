"""The interactive figures as plotly JSON."""

import json

import plotly.graph_objects as go
import pytest

from orchestrator.decision import report_figures as figures

MAKERS = (
    figures.front_figure,
    figures.hypervolume_figure,
    figures.outcomes_figure,
    figures.fade_figure,
    figures.channels_figure,
)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("objectives", [1, 2, 3])
@pytest.mark.parametrize("table", [False, True])
def test_figures_are_what_plotly_accepts(campaign, make, objectives, table):
    """Plotly's own validation accepts every figure once colour tokens are colours."""
    figure = make(campaign(objectives=objectives, table=table))
    text = json.dumps(figure, allow_nan=False)
    for token in ("ink", "muted", "grid", "paper", "front", "feasible", "bad", "good", "star", "purple", "shade"):
        text = text.replace(f'"@{token}"', '"#000000"')
    assert '"@' not in text
    assert len(go.Figure(json.loads(text)).data) > 0


@pytest.mark.parametrize("make", MAKERS)
def test_nothing_to_show_is_no_figure(campaign, make):
    """Without trials there is no empty frame."""
    assert make(campaign(0)) is None


def test_every_trial_shows_its_candidate_with_units(campaign):
    """Under the pointer a trial tells its number, candidate, outcomes, units and where they come from."""
    data = campaign()
    predicted = next(t for t in data.trials if t.number == 9)
    shown = figures.hover(data, predicted)
    assert "Trial 9" in shown
    assert "stopped early" in shown
    assert f"c1 = {predicted.candidate.parameters['c1']:.4g} C" in shown
    assert "cycles (predicted)" in shown


def test_markup_in_an_id_stays_text(campaign):
    """An id that is markup does not become markup in a figure."""
    text = json.dumps([make(campaign(table=True)) for make in MAKERS])
    assert "<script" not in text
    assert "&lt;script&gt;" in text


def test_long_curves_are_thinned_but_keep_their_ends(campaign):
    """A curve of 3 000 cycles is drawn with 120 points; the first and the last cycle stay."""
    data = campaign(8, points=3000)
    curve = figures.fade_figure(data)["data"][0]
    lengths = {rows[-1]["cycle_count"] for rows in data.traces.values()}
    assert len(curve["x"]) == 120
    assert curve["x"][0] == 1
    assert curve["x"][-1] in lengths


def test_limits_are_drawn_and_named(campaign):
    """The panel of a constrained metric carries its limit."""
    layout = figures.outcomes_figure(campaign())["layout"]
    assert [(s["y0"], s["yref"]) for s in layout["shapes"]] == [(40.0, "y3")]
    assert layout["annotations"][0]["text"] == "limit 40 °C"
