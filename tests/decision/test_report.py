"""The report: one page that stands alone."""

import base64
import gzip
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files

import pytest

from orchestrator.decision import limit_calibration, render_report
from orchestrator.domain import Budget, Estimate, TrialStatus

VOID = {"meta", "br", "rect", "polygon", "path"}


class Page(HTMLParser):
    """A page taken apart: elements with attributes, text outside scripts, and whether every tag was closed in order."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.open, self.words, self.unbalanced = [], [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        """Remember an element."""
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        """Remember an element that closes itself."""
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        """Check the order of closing."""
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data):
        """Collect what a reader sees."""
        if not {"script", "style", "title"} & set(self.open):
            self.words.append(data)

    @property
    def text(self):
        """What a reader sees, in one line."""
        return re.sub(r"\s+", " ", " ".join(self.words))

    def ids(self):
        """Every id, in order."""
        return [attrs["id"] for _, attrs in self.elements if "id" in attrs]


def embedded(html, name):
    """JSON embedded in a page."""
    return json.loads(re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', html, re.DOTALL)[1])


CAMPAIGNS = {
    "two objectives": {},
    "one objective": {"objectives": 1},
    "three objectives": {"objectives": 3},
    "a table": {"table": True},
    "no trial": {"trials": 0},
    "one trial": {"trials": 1},
    "all failed": {"all_failed": True},
}


@pytest.mark.parametrize("kind", CAMPAIGNS)
def test_a_page_is_well_formed_and_accessible(campaign, kind):
    """Tags close in order, ids are unique, language and viewport are set, headings descend, figures are described."""
    page = Page(render_report(campaign(**CAMPAIGNS[kind])))
    names = [tag for tag, _ in page.elements]
    assert page.unbalanced == []
    assert page.open == []
    assert len(page.ids()) == len(set(page.ids()))
    assert dict(page.elements)["html"]["lang"] == "en"
    assert any(attrs.get("name") == "viewport" for tag, attrs in page.elements if tag == "meta")
    assert names.count("h1") == 1
    assert names.count("figure") == names.count("figcaption")
    assert all(attrs["aria-label"] for _, attrs in page.elements if attrs.get("class", "").startswith("plot"))


@pytest.mark.parametrize("kind", CAMPAIGNS)
def test_a_page_needs_no_network(campaign, kind):
    """Nothing points outside the page, and its policy forbids every request."""
    page = Page(render_report(campaign(**CAMPAIGNS[kind])))
    pointed = [v for _, attrs in page.elements for k, v in attrs.items() if k in ("src", "href", "action", "data", "poster")]
    assert all(target.startswith("#") for target in pointed)
    assert {target[1:] for target in pointed} <= set(page.ids())
    assert any("default-src 'none'" in (attrs.get("content") or "") for _, attrs in page.elements)


def test_the_first_screen_answers(campaign):
    """Name, question, recommendation, reason and key figures come before the first figure."""
    data = campaign()
    first = Page(render_report(data).split("<nav")[0]).text
    assert "fast-charge" in first
    assert "Minimise charge time and maximise cycle life over c1 between 1 and 6 C" in first
    assert "keeping maximum temperature ≤ 40 °C in every test, within 24 trials." in first
    assert f"Trial {data.recommended}, c1 =" in first
    assert "no other keeps charge time ≤" in first
    assert "SYNTHETIC" in first
    for figure in ("24 of 24", "83 %", "118 s", "tests past a safe limit"):
        assert figure in first


def test_every_trial_stands_in_the_table(campaign):
    """Each trial has a row with number, status, candidate, outcomes with error and source, and why it stopped."""
    data = campaign()
    html = render_report(data)
    assert {f"trial-{t.number}" for t in data.trials} <= set(Page(html).ids())
    early = Page(html.split('<tr id="trial-9"')[1].split("</tr>")[0]).text
    life = data.trials[8].outcome["cycle_life"].mean
    assert "stopped early" in early
    assert "predicted" in early
    assert f"{round(life, -1):.0f} ± 30" in early
    assert "worth less than its channel" in early


def test_times_are_told_from_the_start(campaign):
    """What was stopped, and events, are told in lab time since the campaign's start."""
    data = campaign()
    late = [replace(t, ended_h=t.ended_h + 9000.0) for t in data.trials]
    events = [(9000.0 + 50.0, "channel_quarantined", None, "no contact")]
    text = Page(render_report(replace(data, trials=late, started_h=9000.0, events=events))).text
    assert "50 h channel quarantined no contact" in text


def test_a_broken_limit_is_not_hidden(campaign):
    """A trial past a limit is marked in the table, counted in the caption, and counted on the first screen."""
    html = render_report(replace(campaign(), limits_violated=2))
    assert "past the limit" in html
    assert "measured trials keep it; the nearest is trial" in html
    assert '<div class="tile bad"><dt>tests past a safe limit</dt><dd>2</dd>' in html


def test_real_data_are_not_called_synthetic(campaign):
    """The word appears for simulated cells alone."""
    told = Page(render_report(campaign(synthetic=False)).split("<summary>The whole spec")[0]).text
    assert "synthetic" not in told.lower()
    assert "synthetic" in Page(render_report(campaign())).text.lower()


def test_text_that_people_wrote_is_escaped(campaign):
    """Markup in an id, a reason, an event, a status or the provenance stays text, also inside the embedded data."""
    attack = "</script><script>alert(1)</script>"
    data = campaign(table=True)
    trials = [replace(t, stopped_because=attack) for t in data.trials]
    data = replace(
        data, trials=trials, status_reason=attack, events=[(1.0, attack, 1, attack)], provenance={attack: attack},
        generated_at=attack, channels=[(attack, attack, [(1, 0.0, 5.0)])],
    )  # fmt: skip
    html = render_report(data)
    page = Page(html)
    assert page.unbalanced == []
    assert [tag for tag, _ in page.elements].count("script") == 4
    assert "<script>alert" not in html
    assert "<script>alert('id')</script>" in page.text
    assert attack in page.text


def test_the_static_front_is_there_before_any_script_runs(campaign):
    """Without JavaScript the page shows the front and the hypervolume as drawings, and says what stands for the rest."""
    html = render_report(campaign())
    assert '<div class="plot static" id="plot-front"' in html
    assert html.split('id="plot-front"')[1].index("<svg") < 400
    assert html.count("<svg ") == 2
    assert "drawn by JavaScript" in html


def test_plotly_is_embedded_once_and_whole(campaign):
    """The packed script unpacks to plotly's own file, and every figure has its place."""
    html = render_report(campaign())
    packed = re.findall(r'id="plotly-gzip">([^<]*)<', html)
    assert len(packed) == 1
    assert gzip.decompress(base64.b64decode(packed[0])) == (files("plotly") / "package_data/plotly.min.js").read_bytes()
    assert {f"plot-{name}" for name in embedded(html, "figures")} <= set(Page(html).ids())


def test_a_page_stays_small(campaign):
    """24 trials stay under 2.5 MB; without figures plotly is left out."""
    assert len(render_report(campaign()).encode()) < 2_500_000
    assert len(render_report(campaign(0)).encode()) < 60_000


@pytest.mark.timeout(10)
def test_two_hundred_trials_stay_under_five_megabytes(campaign):
    """A campaign of 200 trials with 1 000 cycles each is one page under 5 MB, built within the test's time limit."""
    assert len(render_report(campaign(200, points=1000)).encode()) < 5_000_000


def test_an_empty_campaign_is_short_and_honest(campaign):
    """With no trial the page says so, recommends nothing, and still tells what was asked."""
    text = Page(render_report(replace(campaign(0), no_recommendation=None))).text
    assert "No trial has been proposed." in text
    assert "No recommendation" in text
    assert "What was asked" in text


def test_a_campaign_that_only_failed_says_so(campaign):
    """When every trial failed the page says why nothing is recommended and lists the reasons."""
    text = Page(render_report(replace(campaign(all_failed=True), no_recommendation=None))).text
    assert "Every one of the 24 trials failed" in text
    assert text.count("cell shorted at cycle 3") >= 24


def test_an_unfinished_campaign_can_be_reported(campaign):
    """Trials without outcome, channel or times are rows like any other."""
    data = campaign(3)
    waiting = replace(data.trials[0], status=TrialStatus.RUNNING, outcome={}, channel=None, cycler=None, ended_h=None)
    html = render_report(replace(data, status="running", trials=[waiting], front=None, recommendation=None, hypervolume=[]))
    assert "1 trial: 1 running." in Page(html).text


def test_the_same_data_give_the_same_page(campaign):
    """A report can be compared byte by byte."""
    assert render_report(campaign()) == render_report(campaign())


def test_a_long_spec_is_cut_and_says_so(campaign):
    """A table of thousands of candidates does not swell the page."""
    data = campaign(table=True)
    rows = [{"id": f"row-{i}", "C1": float(i)} for i in range(5000)]
    spec = replace(data.spec, space=replace(data.spec.space, rows=rows), safe_seed=({"id": "row-1"},), budget=Budget(trials=5))
    html = render_report(replace(data, spec=spec))
    assert "the lab holds the whole spec" in html
    assert len(html.encode()) < 2_500_000


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Chromium")
@pytest.mark.parametrize("kind", ["a table"])
def test_a_browser_opens_it_without_complaint(campaign, tmp_path, kind):
    """Chromium draws every figure, runs no script of a candidate's, and logs no error."""
    html = render_report(campaign(**CAMPAIGNS[kind]))
    (tmp_path / "report.html").write_text(html, encoding="utf-8")
    flags = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update"
    command = ["chromium", *flags.split(), "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr"]
    shown = subprocess.run(
        [*command, "--virtual-time-budget=20000", "--dump-dom", (tmp_path / "report.html").as_uri()],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert "CONSOLE" not in shown.stderr
    assert len(re.findall(r'class="plot[^"]*\bdrawn\b', shown.stdout)) == len(embedded(html, "figures"))


def test_shares_of_feature_groups_are_a_table(campaign):
    """Each outcome's groups with share and standard deviation, names escaped; without groups no section."""
    shares = {"salt & <b>": Estimate(0.812, 0.04, "predicted"), "together": Estimate(0.188, 0.04, "predicted")}
    page = render_report(replace(campaign(), kernel_shares={"cycle_life": shares}))
    assert "What explains each outcome" in page
    assert "<td>salt &amp; &lt;b&gt;</td><td>81 &plusmn; 4 %</td>" in page
    assert "<td>groups together</td><td>19 &plusmn; 4 %</td>" in page
    assert "What explains each outcome" not in render_report(campaign())


def test_the_calibration_of_safe_limits_is_shown(campaign):
    """What was believed of a safe metric stands beside what was measured; without beliefs there is no section."""
    data = campaign()
    belief = {"metric": "temperature_max_degC", "upper": 40.0, "mean": 30.0, "sd": 1.0, "beta": 3.0}
    found = limit_calibration([{"trial": t.number, "safety": [belief]} for t in data.trials], data.trials)
    text = Page(render_report(replace(data, limit_calibration=found))).text
    assert "How well the safe limits were foreseen" in text
    assert "Maximum temperature ≤ 40" in text
    assert "came out more than 2 sd above what was believed" in text
    assert "How well the safe limits were foreseen" not in Page(render_report(data)).text
