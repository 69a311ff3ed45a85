"""A matplotlib figure as a small, inert, deterministic inline SVG.

Only the object API is used (no pyplot, no global figures). Text stays text, so that it can be read
by a screen reader and takes the page's font; nothing in it is parsed as mathematics.
"""

from __future__ import annotations

import io
import re
import threading
import warnings
from dataclasses import dataclass
from html import escape

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.text import Text

from pegai.report.numbers import shorten

REAL = "#0072B2"
"""Okabe-Ito blue: real patients, and models trained on them."""
SYNTHETIC = "#D55E00"
"""Okabe-Ito vermillion: synthetic patients, and models trained on them."""
INK = "#1d2a35"
MUTED = "#5a6875"
LINE = "#d4dbe1"
MISSING = "#e8ecef"

DIVERGING = LinearSegmentedColormap.from_list("pegai", [REAL, "#ffffff", SYNTHETIC]).with_extremes(
    bad=MISSING
)
SEQUENTIAL = LinearSegmentedColormap.from_list(
    "pegai-blue", ["#ffffff", "#7fb8d8", "#004f7d"]
).with_extremes(bad=MISSING)

_RC = {
    "svg.fonttype": "none",
    "svg.hashsalt": "pegai",
    "svg.image_inline": True,
    # DejaVu ships with matplotlib and is wider than most screen fonts: what fits in it, fits.
    "font.family": ["DejaVu Sans"],
    "font.size": 11,
    "text.parse_math": False,
    "text.color": INK,
    "axes.unicode_minus": True,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 10.5,
    "ytick.labelsize": 10.5,
    "legend.frameon": False,
    "legend.fontsize": 10.5,
    "legend.handlelength": 1.4,
    "path.simplify": False,
}
_LOCK = threading.Lock()  # rcParams and warning filters are the process's, not the thread's


@dataclass(frozen=True)
class Picture:
    """One plot of the page.

    Attributes:
        name: Unique on the page; the prefix of its ids.
        title: What it shows; the accessible name.
        description: What is to be seen in it, in words, for who can't see it.
        svg: The markup, trusted: made here, every text in it escaped.
    """

    name: str
    title: str
    description: str
    svg: str


def new_figure(width: float, height: float) -> Figure:
    """A figure of a size in CSS pixels, laid out so that no label is cut."""
    return Figure(figsize=(width / 72, height / 72), dpi=72, layout="constrained")


def set_heading(figure: Figure, text: str) -> None:
    """A heading at the left edge, so that a long one has the whole width."""
    figure.suptitle(text, x=0.01, ha="left", fontsize=12, fontweight="bold")


class Style:
    """A context in which figures are built and drawn with the report's style.

    Example:
        >>> with Style():
        ...     figure = new_figure(300, 200)
    """

    def __enter__(self) -> Style:
        _LOCK.acquire()
        self._rc = mpl.rc_context(_RC)  # pyright: ignore[reportArgumentType]
        self._rc.__enter__()
        self._warnings = warnings.catch_warnings()
        self._warnings.__enter__()
        # A label in Chinese is drawn by the browser's font; that DejaVu lacks it is no matter.
        warnings.simplefilter("ignore")
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self._warnings.__exit__(None, None, None)
            self._rc.__exit__(None, None, None)
        finally:
            _LOCK.release()


def draw(figure: Figure, *, name: str, title: str, description: str) -> Picture:
    """Renders a figure; call it within `Style`."""
    for text in figure.findobj(Text):
        text.set_parse_math(False)  # pyright: ignore[reportAttributeAccessIssue]
    figure.patch.set_visible(False)
    engine = figure.get_layout_engine()
    if engine is not None:
        # Laid out once here; savefig alone would draw everything once more only for that.
        engine.execute(figure)
        figure.set_layout_engine("none")
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=nothing, transparent=True)
    svg = _slim(buffer.getvalue(), name=name)
    return Picture(name, title, description, _named(svg, name, title, description))


def quiet_axes(axes: Axes, *, grid: str = "") -> None:
    """No tick marks; a grid along `x`, `y`, `both` or none."""
    axes.tick_params(which="both", length=0, pad=4, left=False, bottom=False)
    axes.patch.set_visible(False)
    if grid:
        axes.grid(True, axis=grid)  # pyright: ignore[reportArgumentType]


def _slim(svg: str, *, name: str) -> str:
    """Drops what a browser does not need and makes ids unique on the page."""
    svg = svg[svg.index("<svg") :]
    for needless in (r"<!--.*?-->", r"<style.*?</style>", r"<metadata>.*?</metadata>"):
        # matplotlib's style element would style the whole page.
        svg = re.sub(needless, "", svg, flags=re.DOTALL)
    used = set(re.findall(r"(?:href=\"#|url\(#)([\w.-]+)", svg))
    # Only tags are touched: a column may be called `id="x"`.
    svg = re.sub(r"<[^>]+>", lambda tag: _slim_tag(tag[0], name, used), svg)
    svg = re.sub(r">\s+<", "><", svg).strip()
    return _without_bare_groups(svg)


def _slim_tag(tag: str, name: str, used: set[str]) -> str:
    tag = re.sub(r' id="([^"]*)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", tag)
    tag = re.sub(r'(href="#|url\(#)([\w.-]+)', rf"\g<1>{name}-\g<2>", tag)
    tag = re.sub(r' transform="rotate\(-?0 [^"]*"', "", tag)
    tag = re.sub(r" font-family: 'DejaVu Sans';", "", tag)
    tag = re.sub(r' (?:d|points|x|y|width|height|transform)="[^"]*"', _rounded, tag)
    tag = tag.replace("xlink:href", "href").replace(": ", ":").replace("; ", ";")
    return re.sub(r' (?:xmlns(?::xlink)?|version)="[^"]*"', "", tag)


def _rounded(attribute: re.Match[str]) -> str:
    # A hundredth of a pixel is finer than any screen.
    def short(number: re.Match[str]) -> str:
        return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")

    text = re.sub(r"-?\d+\.\d+", short, attribute[0])
    return re.sub(r"([MLCQHVz]) ", r"\1", re.sub(r"\s+", " ", text)).replace(' "', '"')


def _without_bare_groups(svg: str) -> str:
    """Removes `<g>` tags without attributes, which group nothing that matters."""
    kept: list[str] = []
    bare: list[bool] = []
    for part in re.split(r"(<g>|<g [^>]*>|</g>)", svg):
        if part == "<g>" or part.startswith("<g "):
            bare.append(part == "<g>")
            if bare[-1]:
                continue
        elif part == "</g>" and bare.pop():
            continue
        kept.append(part)
    return "".join(kept)


def _named(svg: str, name: str, title: str, description: str) -> str:
    """Gives the SVG its role, accessible name and description, and its natural width."""
    box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    width, height = (box[1], box[2]) if box else ("300", "200")
    head = (
        f'<svg class="plot" style="max-width:{1.1 * float(width):.0f}px" role="img" '
        f'aria-labelledby="{name}-t {name}-d" '
        f'width="{float(width):g}" height="{float(height):g}" '
        f'viewBox="0 0 {float(width):g} {float(height):g}">'
        f'<title id="{name}-t">{escape(shorten(title, 200))}</title>'
        f'<desc id="{name}-d">{escape(shorten(description, 2000))}</desc>'
    )
    return re.sub(r"^<svg[^>]*>", lambda _: head, svg)
