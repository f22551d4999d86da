"""Bars as SVG, drawn with the page's own colours, so that they are read in light and in dark."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from report import Table, rate
from rows import Row

PANELS = ("unary-64", "oneway-8")
WIDTH, LEFT, RIGHT = 720, 170, 90
BAR, STEP, TITLE, GAP = 16, 24, 30, 22

STYLE = """\
<style>
svg.bars text { fill: var(--color-foreground-primary, #24292f); font: 13px var(--font-stack, sans-serif); }
svg.bars .title { font-weight: bold; }
svg.bars .bar { fill: var(--color-foreground-border, #8c959f); }
svg.bars .ours { fill: var(--color-brand-primary, #0969da); }
svg.bars .limit { fill: none; stroke: var(--color-foreground-border, #8c959f); stroke-dasharray: 4 3; }
figure.diagram svg.bars { max-width: 46rem; }
</style>"""


def drawn(tables: Sequence[Table]) -> str:
    """A panel for each of the cases that are shown, as an HTML figure with an SVG."""
    shown = [table for table in tables if table.case.name in PANELS and table.measured()]
    parts: list[str] = []
    top = 0
    for table in shown:
        lines, height = panel(table, top)
        parts += lines
        top += height + GAP
    about = "; ".join(f"{table.case.title}: {described(table)}" for table in shown)
    return "\n".join(
        [
            '<figure class="diagram">',
            STYLE,
            f'<svg class="bars" viewBox="0 0 {WIDTH} {max(top - GAP, 1)}" role="img" aria-labelledby="bars-title">',
            f'<title id="bars-title">{escape(about)}</title>',
            *parts,
            "</svg>",
            "</figure>",
            "",
        ]
    )


def described(table: Table) -> str:
    """The bars in words."""
    unit = table.case.unit
    return ", ".join(f"{row.title} {table.middle(row.name, rate):,.0f} {unit} a second" for row in ordered(table))


def ordered(table: Table) -> list[Row]:
    """The rows, the fastest first."""
    return sorted(table.measured(), key=lambda row: -table.middle(row.name, rate))


def panel(table: Table, top: int) -> tuple[list[str], int]:
    """The elements of one panel, and its height."""
    rows = ordered(table)
    most = table.middle(rows[0].name, rate)
    title = f"{table.case.title}: {table.case.unit} a second"
    lines = [f'<text class="title" x="0" y="{top + 16}">{escape(title)}</text>']
    for at, row in enumerate(rows):
        value = table.middle(row.name, rate)
        y = top + TITLE + at * STEP
        length = max(1.0, value / most * (WIDTH - LEFT - RIGHT))
        kind = "limit" if row.name == "raw" else "bar ours" if row.name.startswith("micro") else "bar"
        lines += [
            f'<text x="{LEFT - 8}" y="{y + 13}" text-anchor="end">{escape(row.title)}</text>',
            f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR}"/>',
            f'<text x="{LEFT + length + 6:.1f}" y="{y + 13}">{value:,.0f}</text>',
        ]
    return lines, TITLE + len(rows) * STEP
