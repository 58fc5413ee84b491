"""◇ The page: one HTML file that holds all it needs: to be mailed, kept beside the data, and opened in ten years.

No script, no font, no picture from elsewhere: figures are inline SVG whose colours are CSS variables, so one drawing
serves light, dark and print.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources

from sim.report import figures, words
from sim.report.front import Front
from sim.report.run import Run
from sim.report.style import COLOURS, Picture, span_words


@dataclass(frozen=True)
class Content:
    """What a page shows. `compared` are other simulations beside the `run`; `recipe` is the scenario as text."""

    run: Run
    recipe: str
    compared: Sequence[Run] = ()
    front: Front | None = None


def render(content: Content) -> str:
    """The page. The same content gives the same bytes."""
    run = content.run
    title = f"Simulation report: {run.label}"
    sections = [
        _summary(content, title),
        _over_time(run),
        _starts(run),
        _sufferers(run),
        _compared(content),
        _front(content),
        _made(content),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_colours()}{_css()}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(filter(None, sections))
        + "\n</main>\n</body>\n</html>\n"
    )


def _css() -> str:
    return (resources.files("sim.report") / "page.css").read_text("utf-8")


def _colours() -> str:
    light = "".join(f" --{role}: {pair[0]};" for role, pair in COLOURS.items())
    dark = "".join(f" --{role}: {pair[1]};" for role, pair in COLOURS.items())
    return f":root {{{light} }}\n@media screen and (prefers-color-scheme: dark) {{ :root {{{dark} }} }}\n"


def _figure(picture: Picture, name: str, caption: str) -> str:
    return f"<figure>\n{picture.svg(name)}<figcaption>{escape(caption)}</figcaption>\n</figure>"


def _section(heading: str, introduction: str, *parts: str) -> str:
    opening = f"<section>\n<h2>{escape(heading)}</h2>\n"
    if introduction:
        opening += f"<p>{escape(introduction)}</p>\n"
    return opening + "\n".join(parts) + "\n</section>"


def _figures(*drawn: str) -> str:
    return '<div class="figures">\n' + "\n".join(drawn) + "\n</div>"


def _summary(content: Content, title: str) -> str:
    run = content.run
    tiles = "".join(
        f"<div><dt>{escape(what)}</dt><dd>{escape(figure)}</dd></div>\n" for figure, what in words.tiles(run)
    )
    findings = "".join(f"<li>{escape(sentence)}</li>\n" for sentence in words.headline(run))
    note = f'<p class="note">{escape(run.note)}</p>\n' if run.note else ""
    return (
        f"<header>\n<h1>{escape(title)}</h1>\n<p>{escape(run.policy)}</p>\n</header>\n"
        f'<dl class="tiles">\n{tiles}</dl>\n<ul class="findings">\n{findings}</ul>\n{note}'
    )


def _over_time(run: Run) -> str:
    if run.invocations.empty:
        return ""
    span_ns, rows = run.ended_ns, run.invocations
    width = span_words(figures.bin_ns(span_ns) / 1e6)
    drawn = [
        _figure(
            figures.latency_over_time(rows, span_ns),
            "latency",
            f"From arrival to answer, the run included, by the time of arrival in bins of {width}.",
        ),
        _figure(
            figures.rates_over_time(rows, span_ns),
            "rates",
            "Cold: a container was started for it. Queued: it waited more than "
            f"{span_words(figures.QUEUED_MS)} for one that stood already. In bins of {width}.",
        ),
    ]
    if "node" in rows:
        drawn.append(
            _figure(figures.load_by_node(rows), "nodes", "By HTTP while there seemed to be room, else by a topic.")
        )
    if run.samples is not None:
        drawn.append(
            _figure(
                figures.memory_over_time(run.samples, span_ns, run.capacity_mb),
                "memory",
                "What the containers hold while they start, run, stay warm and wait to be gone. "
                f"A sample every {span_words(run.sampled_every_ns / 1e6)}.",
            )
        )
        if run.samples["waiting"].any():
            drawn.append(
                _figure(
                    figures.waiting_over_time(run.samples, span_ns),
                    "waiting",
                    "Who waits until memory comes free; those whose container is starting already are not counted.",
                )
            )
    return _section("Over time", "", _figures(*drawn))


def _starts(run: Run) -> str:
    if run.invocations.empty:
        return ""
    return _section(
        "How invocations came to a container",
        "",
        _figures(
            _figure(
                figures.starts_by_kind(run.invocations),
                "kinds",
                "Cold: a container was started. Prewarmed: one without code stood ready. Thawed: it was paused.",
            ),
            _figure(
                figures.overhead_by_kind(run.invocations),
                "tails",
                "Everything but the run itself. Where a colour meets the line of 1 %, 1 in 100 begins later.",
            ),
        ),
    )


def _sufferers(run: Run) -> str:
    worst = words.sufferers(run)
    if worst.empty:
        return ""
    heads = ("function", "share of all waiting", "invocations", "cold", "never ran", "median", "p99", "mean wait")
    largest = float(worst["share"].max())
    rows = [
        "<tr>"
        f"<td>{escape(str(row['function']))}</td>"
        f'<td><span class="bar" style="width:{90 * float(row["share"]) / largest:.0f}px"></span>'
        f"{words.percent(float(row['share']))}</td>"
        f"<td>{words.count(row['invocations'])}</td><td>{words.percent(float(row['cold']))}</td>"
        f"<td>{words.count(row['never_ran'])}</td><td>{span_words(row['p50_ms'])}</td>"
        f"<td>{span_words(row['p99_ms'])}</td><td>{span_words(row['waited_ms'])}</td></tr>"
        for _, row in worst.iterrows()
    ]
    return _section(
        "The functions that suffer most",
        "Ranked by the time that their invocations waited for a container, altogether.",
        _table(heads, rows),
        _figures(
            _figure(
                figures.functions_by_rate(run.invocations, run.ended_ns),
                "functions",
                "A point is a function. Who is called more often than containers are kept stays warm.",
            )
        ),
    )


def _table(heads: Sequence[str], rows: Sequence[str]) -> str:
    head = "".join(f'<th scope="col">{escape(word)}</th>' for word in heads)
    return (
        f'<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n'
        + "\n".join(rows)
        + ("\n</tbody>\n</table></div>")
    )


def _compared(content: Content) -> str:
    if not content.compared:
        return ""
    runs = [content.run, *content.compared]
    columns = [{what: figure for figure, what in words.tiles(run)} for run in runs]
    rows = [
        f"<tr><td>{escape(what)}</td>"
        + "".join(f"<td>{escape(column.get(what, '–'))}</td>" for column in columns)
        + "</tr>"
        for what in columns[0]
    ]
    drawn = figures.overhead_compared({run.label: run.invocations for run in runs})
    policies = "".join(f"<li>{escape(run.label)}: {escape(run.policy)}</li>\n" for run in runs)
    return _section(
        "Compared",
        "One run of each. Whether a difference is more than chance, many seeds tell (sim compare).",
        f"<ul>\n{policies}</ul>",
        _figures(
            _figure(drawn, "compared", "Everything but the runs themselves, from arrival to the begin of the run."),
            _table(["", *(run.label for run in runs)], rows),
        ),
    )


def _front(content: Content) -> str:
    front = content.front
    if front is None:
        return ""
    return _section(
        "Memory against cold starts",
        front.told(),
        _figures(
            _figure(
                front.picture(),
                "front",
                f"Bars: {front.level:.0%} intervals, {front.seeds} seeds. On the grey line, none is better in both.",
            )
        ),
        _table(
            ("policy", "capacity", "memory held", "cold starts", "interval", "on the front"),
            [
                f"<tr><td>{escape(point.policy)}</td><td>{words.memory(point.capacity_mb)}</td>"
                f"<td>{words.memory(point.held_mb.mean)}</td><td>{words.percent(point.cold.mean)}</td>"
                f"<td>{point.cold.low:.2%} to {point.cold.high:.2%}</td><td>{'yes' if best else ''}</td></tr>"
                for point, best in front.ranked()
            ],
        ),
    )


def _made(content: Content) -> str:
    rows = [f"<tr><td>{escape(what)}</td><td>{escape(value)}</td></tr>" for what, value in content.run.made_by.items()]
    return _section(
        "How it was made",
        "The same scenario, seed and version give the same decisions; the decision hash says whether they did.",
        '<div class="wide"><table class="made"><tbody>\n' + "\n".join(rows) + "\n</tbody></table></div>",
        f"<pre>{escape(content.recipe)}</pre>",
    )
