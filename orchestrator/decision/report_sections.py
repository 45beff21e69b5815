"""The words and tables of a report: what was asked, what is recommended, every trial, what was stopped, where it came from."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape

from orchestrator.decision.limit_calibration import SDS, Beyond, LimitCalibration
from orchestrator.decision.pareto import is_measured
from orchestrator.decision.report_data import ReportData
from orchestrator.decision.wording import UNIT_SIGNS, label, listing, number, quantity, status_words, with_error
from orchestrator.domain import CandidateTable, OutcomeConstraint, Trial, TrialStatus
from orchestrator.domain.campaign_spec import AMBIENT
from orchestrator.domain.value import to_plain

_NAMED_PARAMETERS_AT_MOST = 4
_PARAMETER_COLUMNS_AT_MOST = 6
_EVENTS_AT_MOST = 400
_SPEC_CHARACTERS_AT_MOST = 20_000


def prose(sentence: str) -> str:
    """A sentence of ours as HTML, with the signs of print."""
    return escape(sentence.replace("<=", "\u2264").replace(">=", "\u2265"))


def duration(hours: float) -> str:
    """Hours as a length of time that reads well."""
    if hours < 1:
        return f"{hours * 3600:.0f} s" if hours < 1 / 30 else f"{hours * 60:.0f} min"
    return f"{hours:.3g} h" if hours < 96 else f"{hours / 24:.3g} days" if hours < 24 * 730 else f"{hours / 8766:.3g} years"


def asked(data: ReportData) -> str:
    """What the campaign was asked, in one sentence."""
    spec = data.spec
    goals = listing(f"{o.goal.replace('ize', 'ise')} {label(o.metric)}" for o in spec.objectives)
    limits = listing(f"{data.limit_text(c)}{' in every test' if c.safe else ''}" for c in spec.constraints)
    kept = f", keeping {limits}" if limits else ""
    return f"{goals[0].upper()}{goals[1:]} over {_space_words(data)}{kept}, within {_trials(spec.budget.trials)}."


def _space_words(data: ReportData) -> str:
    space = data.spec.space
    if isinstance(space, CandidateTable):
        return f"{len(space.rows)} listed candidates"
    if len(space.free) > _NAMED_PARAMETERS_AT_MOST:
        return f"{len(space.free)} parameters"
    named = listing(f"{p.name} {space.describe(p.name)}" for p in space.free)
    return named + (f" with {listing(c.describe() for c in space.constraints)}" if space.constraints else "")


def counted(trials: Sequence[Trial]) -> str:
    """How many trials there are, by status."""
    if not trials:
        return "No trial has been proposed."
    counts = Counter(t.status for t in trials)
    parts = listing(f"{counts[s]} {status_words(s)}" for s in TrialStatus if counts[s])
    return f"{_trials(len(trials))}: {parts}."


def _trials(count: int) -> str:
    return f"{count} trial{'' if count == 1 else 's'}"


def header(data: ReportData) -> str:
    """The first screen: name, question, recommendation, key figures."""
    chips = [f'<span class="chip">{escape(status_words(data.status))}</span>']
    note = ""
    if data.synthetic:
        chips.append('<span class="chip synthetic">SYNTHETIC</span>')
        note = (
            '<p class="synthetic-note"><strong>Synthetic data.</strong> Every measurement in this report comes from simulated '
            "cells. It says nothing about real ones.</p>"
        )
    reason = f" {_capital(escape(status_words(data.status)))}: {escape(data.status_reason)}." if data.status_reason else ""
    return (
        f'<header class="top"><p class="eyebrow">Voltloop campaign report{_when(data)}</p>'
        f'<div class="title"><h1>{escape(data.spec.name)}</h1>{"".join(chips)}</div>{note}'
        f'<p class="asked">{prose(asked(data))} <span class="muted">{escape(counted(data.trials))}{reason}</span></p>'
        f"{recommendation(data)}{tiles(data)}</header>"
    )


def _when(data: ReportData) -> str:
    return f" &middot; {escape(data.generated_at)}" if data.generated_at else ""


def recommendation(data: ReportData) -> str:
    """The recommendation in one sentence, or honestly why there is none."""
    choice = data.recommendation
    if choice is None or choice.candidate is None:
        why = choice.why if choice is not None else data.no_recommendation or _why_none(data)
        why = f"{why[0].upper()}{why[1:]}"
        return f'<div class="pick none"><h2>No recommendation</h2><p class="why">{prose(why)}</p></div>'
    what = choice.candidate.describe(data.spec.space.units)
    tested = f"trial {choice.trial}, " if choice.trial is not None else "not tested yet, "
    return (
        f'<div class="pick"><h2>Recommendation</h2><p class="headline">{escape(_capital(tested + what))}</p>'
        f'<p class="why">{prose(choice.why)}</p>'
        f'<p class="why"><small>Preference: {prose(choice.preference)}.</small></p></div>'
    )


def _why_none(data: ReportData) -> str:
    if not data.trials:
        return "no trial has been proposed yet."
    if all(t.status is TrialStatus.FAILED for t in data.trials):
        return f"every one of the {len(data.trials)} trials failed; the reasons are listed below."
    return "no choice has been recorded for this campaign."


def _capital(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"


def tiles(data: ReportData) -> str:
    """Key figures."""
    front = len(data.front.trials) if data.front else 0
    ended = sum(t.status.ended for t in data.trials)
    items = [("", f"{ended} of {data.spec.budget.trials}", "trials ended"), ("", str(front), "on the front")]
    if data.hypervolume:
        items.append(("", number(data.hypervolume[-1]), "hypervolume"))
    if data.spec.safe_constraints:
        items.append(("bad" if data.limits_violated else "good", str(data.limits_violated), "tests past a safe limit"))
    items += [
        ("", f"{100 * data.channel_utilisation:.0f} %", "channel use"),
        ("", duration(data.lab_time_h), "lab time"),
        ("", duration(data.wall_s / 3600), "computing"),
    ]
    cells = "".join(f'<div class="tile {kind}"><dt>{name}</dt><dd>{escape(shown)}</dd></div>' for kind, shown, name in items)
    return f'<dl class="tiles">{cells}</dl>'


def margins(data: ReportData) -> str:
    """How near measured trials came to each limit, in words."""
    sentences = [_margin(data, c) for c in data.spec.constraints]
    return " ".join(sentence for sentence in sentences if sentence)


def _margin(data: ReportData, constraint: OutcomeConstraint) -> str:
    metric = constraint.metric
    measured = [t for t in data.ordered if metric in t.outcome and is_measured(t.outcome[metric])]
    if not measured:
        return ""
    nearest = min(measured, key=lambda t: _inside(constraint, t.outcome[metric].mean))
    margin = _inside(constraint, nearest.outcome[metric].mean)
    broken = sum(not constraint.holds(t.outcome[metric].mean) for t in measured)
    side = "inside" if margin >= 0 else "beyond"
    sign, gap = data.unit(metric), number(float(f"{abs(margin):.2g}"))
    return (
        f"Limit {data.limit_text(constraint)}: {len(measured) - broken} of {len(measured)} measured trials keep it; the nearest "
        f"is trial {nearest.number} at {quantity(metric, nearest.outcome[metric], sign)}, {gap} {sign} {side}."
    )


def _inside(constraint: OutcomeConstraint, mean: float) -> float:
    gaps = [] if constraint.upper is None else [constraint.upper - mean]
    return min([*gaps, *([] if constraint.lower is None else [mean - constraint.lower])])


def calibration(data: ReportData) -> str:
    """What was believed of safe metrics beside what was measured; empty where no test had a belief."""
    found = data.limit_calibration
    if not found:
        return ""
    sentences = "".join(f"<p>{prose(_capital(c.describe()))}</p>" for c in found)
    heads = ["limit", "tests", "sd of errors", *(f"beyond {k:g} sd" for k in SDS), "largest", "past the limit"]
    rows = "".join(
        f'<tr><th scope="row">{prose(_bound(data, c))}</th>'
        f"<td>{len(c.tests)}</td><td>{c.error_sd:.2f}</td>{''.join(_beyond_cell(c.beyond(k)) for k in SDS)}"
        f"<td>{c.largest.error:.2f}<small>trial {c.largest.trial}</small></td>"
        f"<td>{c.passed}<small>{c.passed_expected:.1f} expected</small></td></tr>"
        for c in found
    )
    return sentences + _table(heads, rows, _CALIBRATION)


_CALIBRATION = (
    "Errors at proposal in believed standard deviations (spread between cells and measuring error included), positive towards "
    "the limit, with a 95 % interval of each share; 1 is right, above 1 the belief was too sure. Safe seeds had no belief."
)


def _bound(data: ReportData, found: LimitCalibration) -> str:
    return f"{label(found.metric)} {'<=' if found.upper else '>='} {number(found.limit)} {data.unit(found.metric)}".rstrip()


def _beyond_cell(beyond: Beyond) -> str:
    interval = f"{beyond.expected:.1f} expected; {100 * beyond.low:.1f} to {100 * beyond.high:.1f} %"
    return f"<td>{beyond.count}<small>{interval}</small></td>"


def trial_table(data: ReportData, trials: Sequence[Trial], caption: str, whole: bool = True) -> str:
    """Trials with candidate and outcomes, one a row; the whole table also tells their fate, and figures point to its rows."""
    columns = _parameter_columns(data, trials)
    units = data.spec.space.units
    heads = ["trial", *(["status"] if whole else [])]
    heads += [_with_unit(c, units.get(c)) for c in columns] or ["candidate"]
    heads += [data.axis(m) for m in data.spec.metrics] + (["channel", "why it stopped"] if whole else [])
    rows = "".join(_trial_row(data, t, columns, whole) for t in trials)
    return _table(heads, rows, caption, sortable=True)


def _trial_row(data: ReportData, trial: Trial, columns: Sequence[str], whole: bool) -> str:
    on_front = data.front is not None and trial.number in data.front.trials
    flagged = whole and trial.flag is not None and not trial.status.ended
    roles = {"recommended": trial.number == data.recommended, "front": on_front and whole, "flagged": flagged}
    marks = ", ".join(role for role, plays in roles.items() if plays)
    cells = [
        f'<th scope="row" data-sort="{trial.number}">{trial.number}{f"<small>{marks}</small>" if marks else ""}</th>',
        f'<td><span class="mark {trial.status.value}"></span>{status_words(trial.status)}</td>' if whole else "",
        *_parameter_cells(data, trial, columns),
        *(_outcome_cell(data, trial, m) for m in data.spec.metrics),
    ]
    if whole:
        cells.append(f"<td>{escape(' '.join(p for p in (trial.cycler, trial.channel) if p))}</td>")
        cells.append(f'<td class="wide">{escape(trial.stopped_because or trial.flag or "")}</td>')
    anchor = f' id="trial-{trial.number}"' if whole else ""
    chosen = ' class="chosen"' if roles["recommended"] else ""
    return f"<tr{anchor}{chosen}>{''.join(cells)}</tr>"


def _parameter_columns(data: ReportData, trials: Sequence[Trial]) -> list[str]:
    """Parameters as columns where they are few and no candidate goes by an id; else none."""
    names = [*dict.fromkeys([*data.spec.space.names, *(n for t in trials for n in t.candidate.parameters)])]
    named = any(t.candidate.id for t in trials)
    return [] if named or len(names) > _PARAMETER_COLUMNS_AT_MOST else names


def _parameter_cells(data: ReportData, trial: Trial, columns: Sequence[str]) -> list[str]:
    if not columns:
        return [f'<td class="wide">{escape(data.candidate_text(trial))}</td>']
    values = [trial.candidate.parameters.get(c, "") for c in columns]
    return [f'<td data-sort="{escape(str(v))}">{escape(v if isinstance(v, str) else number(v))}</td>' for v in values]


def _outcome_cell(data: ReportData, trial: Trial, metric: str) -> str:
    estimate = trial.outcome.get(metric)
    if estimate is None:
        return '<td data-sort=""></td>'
    constraint = data.constraint(metric)
    belief = data.posterior.get(trial.number, {}).get(metric)
    breach = constraint is not None and not constraint.holds(estimate.mean)
    notes = ['<span class="breach">past the limit</span>'] if breach else []
    notes += [] if is_measured(estimate) else ["predicted"]
    notes += [] if belief is None else [f"model {with_error(belief.mean, belief.sem)}"]
    shown = f"<span{' class=breach' if breach else ''}>{with_error(estimate.mean, estimate.sem)}</span>"
    return f'<td data-sort="{estimate.mean:.6g}">{shown}<small>{"<br>".join(notes)}</small></td>'


def stopped(data: ReportData) -> str:
    """What did not run to its planned end, and why; empty when everything did."""
    cut = [
        t for t in data.ordered if t.stopped_because or t.status in (TrialStatus.FAILED, TrialStatus.ABORTED, TrialStatus.UNKNOWN)
    ]
    rows = "".join(
        f'<tr><th scope="row">{t.number}</th><td><span class="mark {t.status.value}"></span>{status_words(t.status)}</td>'
        f'<td>{_after(data, t.ended_h)}</td><td class="wide">{escape(t.stopped_because or "no reason was recorded")}</td></tr>'
        for t in cut
    )
    return _table(["trial", "status", "after", "why"], rows, f"{len(cut)} of {len(data.trials)} trials.") if cut else ""


def events(data: ReportData) -> str:
    """What happened, in order; empty when nothing worth telling did."""
    told = sorted(data.events, key=lambda e: e[0])
    rows = "".join(
        f"<tr><td>{_after(data, hour)}</td><td>{escape(status_words(kind))}</td><td>{'' if trial is None else trial}</td>"
        f'<td class="wide">{escape(text)}</td></tr>'
        for hour, kind, trial, text in told[-_EVENTS_AT_MOST:]
    )
    left = f"The last {_EVENTS_AT_MOST} of {len(told)} events." if len(told) > _EVENTS_AT_MOST else f"{len(told)} events."
    return _table(["after", "event", "trial", "what happened"], rows, left) if told else ""


def terms(data: ReportData) -> str:
    """The campaign as it was stated: objectives, limits, conditions."""
    spec, done = data.spec, data.spec.experiment
    rows = [
        *((f"objective: {label(o.metric)}", _goal(data, o.goal, o.threshold, o.metric)) for o in spec.objectives),
        *(
            (f"limit: {label(c.metric)}", data.limit_text(c) + (", never knowingly risked" if c.safe else ""))
            for c in spec.constraints
        ),
        *_space_rows(data),
        ("experiment", f"{done.protocol} on {done.cell.name}{_ambient(data)}"),
        ("end of life", f"{100 * done.end_of_life:g} % of nominal capacity, at most {done.max_cycles} cycles"),
        ("budget", f"{_trials(spec.budget.trials)}{_channel_hours(spec.budget.channel_hours)}"),
        ("strategy", f"{spec.strategy}, seed {spec.seed}"),
        ("approval by a person", spec.approval.mode),
        ("early stopping", status_words(spec.prognosis.stopping)),
    ]
    return _pairs(rows)


def _goal(data: ReportData, goal: str, threshold: float | None, metric: str) -> str:
    sign = data.unit(metric)
    reference = f", reference point at {number(threshold)} {sign}".rstrip() if threshold is not None else ""
    return f"{goal.replace('ize', 'ise')}{reference}"


def _ambient(data: ReportData) -> str:
    """The chamber's temperature, unless it is a parameter."""
    own = AMBIENT in data.spec.space.units
    return "" if own else f" at {data.spec.experiment.ambient_temperature_degC:g} °C ambient"


def _space_rows(data: ReportData) -> list[tuple[str, str]]:
    space = data.spec.space
    if isinstance(space, CandidateTable):
        return [("candidates", f"{len(space.rows)} rows, described by {listing(space.features)}")]
    rows = [(f"parameter: {p.name}", space.describe(p.name)) for p in space.inputs]
    return rows + [("constraint on parameters", c.describe()) for c in space.constraints]


def _channel_hours(hours: float | None) -> str:
    return "" if hours is None else f", {hours:g} channel-hours"


def provenance(data: ReportData) -> str:
    """Versions, hashes, seeds, and the spec itself."""
    rows = [("spec version", str(data.spec_version)), ("spec sha256", data.spec.sha256)]
    rows += [(k, v) for k, v in data.provenance.items() if k not in dict(rows)]
    text = json.dumps(to_plain(data.spec), indent=1, ensure_ascii=False)
    if len(text) > _SPEC_CHARACTERS_AT_MOST:
        text = f"{text[:_SPEC_CHARACTERS_AT_MOST]}\n... ({len(text)} characters in all; the lab holds the whole spec)"
    code = "".join(f'<tr><th scope="row">{escape(k)}</th><td class="wide"><code>{escape(v)}</code></td></tr>' for k, v in rows)
    whole = f"<details><summary>The whole spec, as JSON</summary><pre>{escape(text)}</pre></details>"
    return f'<table class="pairs">{code}</table>{whole}'


def _pairs(rows: Iterable[tuple[str, str]]) -> str:
    cells = "".join(f'<tr><th scope="row">{escape(k)}</th><td class="wide">{prose(v)}</td></tr>' for k, v in rows)
    return f'<table class="pairs">{cells}</table>'


def _table(heads: Sequence[str], rows: str, caption: str, sortable: bool = False) -> str:
    head = "".join(f'<th scope="col">{escape(h)}</th>' for h in heads)
    kind = ' class="sortable"' if sortable else ""
    return (
        f'<p class="muted">{escape(caption)}</p><div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}">'
        f"<table{kind}>"
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _with_unit(name: str, sign: str | None) -> str:
    return f"{name} ({UNIT_SIGNS.get(sign, sign)})" if sign else name


def _after(data: ReportData, hour: float | None) -> str:
    """Lab time since the campaign's start."""
    return "" if hour is None else duration(max(hour - data.started_h, 0.0))
