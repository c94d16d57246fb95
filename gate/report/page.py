"""The page: one self-contained HTML document, without script, for somebody who has never seen a gate."""

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from importlib.resources import files
from typing import Any

from gate.report import DAY, NEWEST, Report, Row
from gate.report.chart import chart, svg
from gate.report.words import EVENTS, WORDS
from gate.text import legible, plural, printable, utc

_LABELS = {"allow": "Allowed", "deny": "Refused", "error": "Not decided"}


def page(report: Report, made_at: int) -> Iterator[str]:
    """The document in pieces; `made_at` is in epoch seconds."""
    style = files("gate.report").joinpath("page.css").read_text("utf-8")
    style_hash = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    yield (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{style_hash}'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Deployment approvals</title><style>{style}</style></head><body><main>"
    )
    yield f'<header><h1>Deployment approvals</h1><p class="quiet">{_covered(report)}</p></header>'
    yield f'<p class="summary">{_summary(report)}</p>'
    yield from _proof(report)
    yield _figures(report)
    if report.total:
        yield _chart(report)
        yield f'<div class="pair">{_refusals(report)}{_approvers(report)}</div>'
        yield _targets(report)
        yield from _decisions(report)
    yield _events(report)
    yield (
        f'<footer class="quiet">Made by Deploy Gate at {utc(made_at)}. Times are in UTC. Anybody with the audit log, '
        "the policy and its public keys can prove it again: <code>gate audit verify</code></footer>"
        "</main></body></html>\n"
    )


def _text(text: str, limit: int = 500) -> str:
    return escape(printable(text, limit))


def _date(seconds: int) -> str:
    return utc(seconds)[:10]


def _covered(report: Report) -> str:
    """Which part of the log the page is about."""
    chosen, days = report.selection, [day for day, _ in report.days]
    since = chosen.since if chosen.since is not None else min(days, default=0) * DAY
    until = chosen.until - DAY if chosen.until is not None else max(days, default=0) * DAY
    what = _text(chosen.repository) or "All repositories"
    where = f"into {_text(chosen.environment)}" if chosen.environment else "into all environments"
    when = " to ".join(dict.fromkeys((_date(since), _date(until))))
    return f"{what} {where}, {when}" if days or None not in chosen[:2] else f"{what} {where}"


def _summary(report: Report) -> str:
    if not report.total:
        if report.decisions:
            return f"Nothing matches: of {plural(report.decisions, 'decision')} in the log, none is what was asked for."
        return "No decisions could be read." if report.finding_count else "No decisions were recorded yet."
    allowed, refused = report.verdicts["allow"], report.total - report.verdicts["allow"]
    caution = "According to records that are not proved, " if report.finding_count else ""
    sentence = f"{caution}<strong>{plural(allowed, 'deployment')}</strong> {'was' if allowed == 1 else 'were'} allowed"
    if allowed:
        sentence += _whose(allowed, len(report.approvers))
    if not refused:
        return f"{sentence}; none was refused."
    [(reason, count)] = report.reasons.most_common(1)
    words = _text(WORDS[reason])
    return (
        f"{sentence}; <strong>{refused:,}</strong> {'was' if refused == 1 else 'were'} refused, most often ({count:,}) "
        f"because: {words[0].lower()}{words[1:]}."
    )


def _whose(allowed: int, approvers: int) -> str:
    if allowed > 1:
        return f", each on the signed approval of a named engineer ({plural(approvers, 'approver')} in all)"
    return f", on the signed approval of {'a named engineer' if approvers == 1 else f'{approvers:,} named engineers'}"


def _proof(report: Report) -> Iterator[str]:
    if report.finding_count:
        more = report.finding_count - len(report.findings)
        yield '<section class="proof bad"><h2>✗ The audit log is not proved</h2>'
        records = plural(report.records + report.left_out, "record")
        yield f"<p>{plural(report.finding_count, 'finding')} in {records}{_left_out(report)}:</p><ul>"
        yield from (f"<li>{escape(legible(finding))}</li>" for finding in report.findings)
        yield f"<li>… and {more:,} more: gate audit verify</li></ul></section>" if more else "</ul></section>"
        return
    if report.is_blank:
        yield '<section class="proof"><h2>The audit log holds no records yet</h2></section>'
        return
    yield '<section class="proof"><h2>✓ The audit log is proved</h2><p>'
    yield f"All {plural(report.records, 'record')} of the log stand unaltered in their places, and the signatures "
    yield "behind every allowed deployment were verified again while this page was made."
    if report.proofs["archived"]:
        yield f" For {report.proofs['archived']:,} of them the policy of the time was found beside the log, and a "
        yield "newer one, which was given, vouches for it."
    if report.proofs["signatures"]:
        yield f" For {report.proofs['signatures']:,} of them the policy of the time was not at hand, so who might "
        yield "approve was not looked at again."
    if report.offline:
        yield " <strong>The replay store was not asked</strong>, so records cut from the end would not show."
    yield "</p></section>"


def _left_out(report: Report) -> str:
    if not report.left_out:
        return ""
    left = "1 of them stands where it does not belong or can't be read, and is left out"
    if report.left_out > 1:
        left = f"{report.left_out:,} of them stand where they do not belong or can't be read, and are left out"
    return f"; {left} below"


def _figures(report: Report) -> str:
    figures = (
        ("Allowed", report.verdicts["allow"], "good"),
        ("Refused", report.total - report.verdicts["allow"], "bad"),
        ("of these, not decided", report.verdicts["error"], "bad"),
        ("Approvers", len(report.approvers), ""),
    )
    cards = (
        f'<div><dt>{name}</dt><dd class="{tone if count else ""}">{count:,}</dd></div>' for name, count, tone in figures
    )
    return f'<dl class="figures">{"".join(cards)}</dl>'


def _chart(report: Report) -> str:
    drawn = chart(report.days)
    ends = dict.fromkeys((_date(drawn.bars[0].day * DAY), _date(max(report.days)[0] * DAY)))
    return (
        "<figure><h2>Deployments over time</h2>"
        f'<p class="key quiet"><span><b class="good">▲ allowed</b>, up to {drawn.most_allowed:,}</span>'
        f'<span><b class="bad">▼ refused</b>, up to {drawn.most_refused:,}</span>'
        f"<span>each bar: one {drawn.unit}</span></p>{svg(drawn)}"
        f'<p class="ends quiet">{"".join(f"<span>{end}</span>" for end in ends)}</p></figure>'
    )


def _refusals(report: Report) -> str:
    if not report.reasons:
        return "<section><h2>Why deployments were refused</h2><p>None was.</p></section>"
    rows = [[_text(WORDS[reason]), f"{count:,}"] for reason, count in report.reasons.most_common()]
    return _section("Why deployments were refused", ["Reason", "Times"], rows)


def _approvers(report: Report) -> str:
    if not report.approvers:
        return ""
    rows = [[_text(approver), f"{count:,}"] for approver, count in report.approvers.most_common(NEWEST)]
    return _section("Who approved", ["Approver", "Deployments"], rows)


def _targets(report: Report) -> str:
    allowed: dict[tuple[str, str], int] = {}
    refused: dict[tuple[str, str], int] = {}
    for (repository, environment, outcome), count in report.targets.items():
        side = allowed if outcome == "allow" else refused
        side[repository, environment] = side.get((repository, environment), 0) + count
    places = sorted(allowed.keys() | refused.keys())[:NEWEST]
    rows = [[_text(" → ".join(place)), f"{allowed.get(place, 0):,}", f"{refused.get(place, 0):,}"] for place in places]
    return _section("Where to", ["Repository → environment", "Allowed", "Refused"], rows)


def _events(report: Report) -> str:
    """What happened on the deploy-bot, which no other figure counts."""
    if not report.events:
        return ""
    rows = [[_text(EVENTS[kind]), f"{count:,}"] for kind, count in report.events.most_common()]
    return _section("On the deploy-bot, beside these decisions", ["Event", "Times"], rows)


def _section(title: str, head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table whose cells after the first are numbers."""

    def row(tag: str, cells: Iterable[str]) -> str:
        first, *numbers = cells
        rest = "".join(f'<{tag} class="number">{cell}</{tag}>' for cell in numbers)
        return f"<tr><{tag}>{first}</{tag}>{rest}</tr>"

    body = "".join(row("td", cells) for cells in rows)
    return f"<section><h2>{title}</h2><table><thead>{row('th', head)}</thead><tbody>{body}</tbody></table></section>"


def _decisions(report: Report) -> Iterator[str]:
    newest = report.newest()
    note = f", the newest {NEWEST:,} of {report.total:,}" if report.total > len(newest) else ""
    yield f'<section class="log"><h2>Who approved what, when{note}</h2><table class="decisions"><thead><tr>'
    yield "".join(f"<th>{name}</th>" for name in ("When", "Decision", "What", "Who, and why"))
    yield "</tr></thead><tbody>"
    yield from map(_decision, newest)
    yield "</tbody></table></section>"


def _decision(row: Row) -> str:
    record, deployment = row.record, row.record.deployment
    run = f'<br><span class="quiet">run {_text(deployment.run_id)}</span>' if deployment.run_id else ""
    who = "<br>".join(map(_approval, record.approvals)) if record.allowed else _text(WORDS[record.reason])
    if record.allowed and not row.proof:
        who += '<br><span class="tag deny">not proved</span>'
    return (
        f'<tr><td class="when">{utc(row.decided_at)}</td>'
        f'<td><span class="tag {row.verdict}">{_LABELS[row.verdict]}</span></td>'
        f"<td>{_text(deployment.repository)} → {_text(deployment.environment)}<br>"
        f"<code>{_text(deployment.sha)[:12]}</code>{run}</td><td>{who}</td></tr>\n"
    )


def _approval(approval: Mapping[str, Any]) -> str:
    reason = f' <span class="quiet">“{_text(approval["reason"])}”</span>' if approval.get("reason") else ""
    return f"{_text(approval['approver'])}{reason}"
