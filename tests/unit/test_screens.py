"""The screens: golden text at several widths, and what holds for all of them.

Run with UPDATE_GOLDEN=1 to write the golden files anew; then read the diff.
"""

from __future__ import annotations

import dataclasses
import io
import os
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console, RenderableType

from oa_compile.events import Decided, ForecastMade, Noted, RunFinished
from oa_compile.hud.diff import diff_candidates, diff_screen
from oa_compile.hud.panel import panel
from oa_compile.hud.record import ForecastLine
from oa_compile.hud.screens import candidates_screen, dry_run_screen, loop_screen, run_screen
from oa_compile.hud.summary import Bounds, Forecast, LaneCost, LoopSummary, RunEnd, SealedScore
from oa_compile.hud.text import (
    STEPS,
    bar,
    clean,
    counted,
    duration,
    encodable,
    percent,
    points,
    shorten,
    stair,
)
from oa_compile.hud.view import RunView
from oa_compile.money import Rate
from tests.support.runs import BASELINE, Script, optimize_run, scores, state, swarm_run

GOLDEN = Path(__file__).parent.parent / "golden" / "screens"
RATE = Rate(Decimal(100_000))
DIGEST = "sha256:" + "ab" * 32

VIEW = RunView.of(optimize_run())
RUNNING = RunView.of(optimize_run(finished=False))
FORECAST = Forecast(
    program="tool-selection",
    optimizer="miprov2",
    lines=VIEW.forecast,
    rate=RATE,
    notes=("minibatch_size 35 -> 10: the valset has 20 examples",),
    next_command="oacompile optimize programs/tool-selection --budget configs/embedded.toml",
)
END = RunEnd(
    artifact="runs/20261123-1551/artifact",
    artifact_digest=DIGEST,
    bundle="runs/20261123-1551/bundle.tar",
    next_command="oacompile validate runs/20261123-1551/artifact",
)
LOOP = LoopSummary(
    program="tool-selection",
    optimizer="miprov2",
    before=SealedScore(0.35, 160, Bounds(0.28, 0.427)),
    after=SealedScore(0.53125, 160, Bounds(0.454, 0.607)),
    gain=0.18125,
    gain_interval=Bounds(0.094, 0.268),
    verdict="better: 41 of 160 fixed, 12 broken, gain +18.1 points [9.4, 26.8], p = 0.0001",
    costs=(LaneCost("local", 685, 0, 31_000), LaneCost("premium", 12, 240_500, 9_000)),
    rate=RATE,
    saved=118,
    seconds=252,
    replay_identical=True,
    artifact_digest=DIGEST,
    artifact="runs/20261123-1551/artifact",
    bundle="runs/20261123-1551/bundle.tar",
    next_command="oacompile replay runs/20261123-1551/bundle.tar",
)
STOPPED = dataclasses.replace(
    FORECAST,
    lines=(
        ForecastLine("compile", "task", "local", 24_058, 2_000_000, 120_290, 4_000, "run.calls", "search"),
    ),
)

SCREENS: dict[str, Callable[[], RenderableType]] = {
    "panel": lambda: panel(RUNNING, height=24),
    "panel_empty": lambda: panel(RunView(), height=24),
    "dry_run": lambda: dry_run_screen(FORECAST),
    "dry_run_stopped": lambda: dry_run_screen(STOPPED),
    "run": lambda: run_screen(VIEW, END),
    "run_swarm": lambda: run_screen(RunView.of(swarm_run()), END),
    "run_empty": lambda: run_screen(RunView(), RunEnd()),
    "loop": lambda: loop_screen(LOOP),
    "candidates": lambda: candidates_screen(VIEW),
    "diff": lambda: diff_screen(diff_candidates(VIEW, "baseline", "ccc")),
    "diff_same": lambda: diff_screen(diff_candidates(VIEW, "best", "best")),
}
WIDTHS = (60, 80, 120)


def draw(screen: RenderableType, *, width: int = 80, encoding: str = "utf-8", color: bool = False) -> str:
    """The screen as text; without colour there is not one control sequence in it."""
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, write_through=True)
    console = Console(
        file=file,
        width=width,
        height=50,
        force_terminal=color,
        color_system="truecolor" if color else None,
        no_color=not color,
        legacy_windows=False,
        _environ={},
    )
    console.print(screen)
    return "\n".join(line.rstrip() for line in raw.getvalue().decode(encoding).splitlines()) + "\n"


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", SCREENS)
def test_golden(name: str, width: int) -> None:
    drawn = draw(SCREENS[name](), width=width)
    path = GOLDEN / f"{name}_{width}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(drawn, encoding="utf-8")
    assert drawn == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("width", [30, 60, 80, 200])
@pytest.mark.parametrize("name", SCREENS)
def test_no_line_is_wider_than_the_terminal(name: str, width: int) -> None:
    assert max(cell_len(line) for line in draw(SCREENS[name](), width=width).splitlines()) <= width


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
@pytest.mark.parametrize("name", SCREENS)
def test_every_screen_is_drawn_in_a_poorer_encoding_in_the_same_places(name: str, encoding: str) -> None:
    poor, rich = (draw(SCREENS[name](), encoding=enc).splitlines() for enc in (encoding, "utf-8"))
    assert len(poor) == len(rich)
    for one, other in zip(poor, rich, strict=True):
        kept = [(char, mine) for mine, char in zip(one, other, strict=False) if char.isascii()]
        assert all(char == mine for char, mine in kept)


@pytest.mark.parametrize("name", SCREENS)
def test_without_colour_there_are_no_control_sequences_and_no_less_text(name: str) -> None:
    plain, coloured = draw(SCREENS[name]()), draw(SCREENS[name](), color=True)
    assert "\x1b" not in plain
    uncoloured = "".join(
        part.partition("m")[2] if number else part for number, part in enumerate(coloured.split("\x1b["))
    )
    assert "\n".join(line.rstrip() for line in uncoloured.splitlines()) + "\n" == plain


@pytest.mark.parametrize("height", range(4, 60))
def test_the_panel_keeps_within_the_terminal_when_there_is_room_for_its_fixed_parts(height: int) -> None:
    lines = draw(panel(RUNNING, height=height)).splitlines()
    assert len(lines) <= max(height, 9)


def test_a_high_terminal_shows_every_evaluation_and_a_low_one_the_last() -> None:
    high, low = (draw(panel(RUNNING, height=height)) for height in (40, 16))
    assert all(name in high for name in ("aaa1111", "bbb2222", "ccc3333", "ddd4444"))
    assert "aaa1111  baseline" not in low
    assert "ddd4444" in low


def hostile_view(text: str) -> RunView:
    """A run whose every text is `text`."""
    script = Script()
    script.begin(run=text, program=text, optimizer=text)
    script.add(ForecastMade(lines=[{"stage": text, "role": text, "lane": text, "cap": text, "calls": 3}]))
    script.candidate(BASELINE, parent=text, origin="baseline", state=state(text, [{text: text}]))
    script.candidate(text, parent=BASELINE, origin=text, state=state(text + text, [{"a": text}]))
    script.calls(1, seconds=1, lane=text)
    script.evaluated(text, scores(1, 3))
    script.add(Decided(ordinal=1, candidate=text, kept=False, reason=text))
    script.add(Noted(code="budget", message=text))
    script.settle(script.reserve(lane=text), "fault", lane=text, fault=text, message=text)
    script.add(RunFinished(status="failed", reason=text))
    return RunView.of(script.lines)


def hostile_screens(text: str) -> Sequence[RenderableType]:
    view = hostile_view(text)
    loop = dataclasses.replace(
        LOOP,
        program=text,
        verdict=text,
        artifact=text,
        bundle=text,
        next_command=text,
        costs=(LaneCost(text, 1, 2),),
    )
    forecast = Forecast(text, text, view.forecast, RATE, notes=(text,), next_command=text)
    end = RunEnd(artifact=text, bundle=text, next_command=text)
    return (
        panel(view),
        candidates_screen(view),
        run_screen(view, end),
        dry_run_screen(forecast),
        loop_screen(loop),
        diff_screen(diff_candidates(view, "baseline", "best")),
    )


@pytest.mark.parametrize(
    "text",
    [
        "\x1b[2J\x1b[31mred",
        "[bold red]markup[/]",
        "[/]",
        "a\nb\tc\r\nd",
        "\u202eflipped",
        "\x9b1m",
        "日本語 — ünï",
        "\x00",
    ],
)
def test_foreign_text_steers_neither_the_terminal_nor_the_markup(text: str) -> None:
    for screen in hostile_screens(text):
        drawn = draw(screen)
        assert not set(drawn) & {"\x1b", "\x9b", "\x00", "\r", "\t", "\u202e"}
        assert max(cell_len(line) for line in drawn.splitlines()) <= 80
    if text.startswith("[bold"):
        assert text in draw(panel(hostile_view(text)))


@given(st.text(max_size=40), st.sampled_from(["utf-8", "ascii", "latin-1", "cp437"]))
def test_any_text_can_be_drawn_in_any_encoding(text: str, encoding: str) -> None:
    for screen in (panel(hostile_view(text or "x")), candidates_screen(hostile_view(text or "x"))):
        assert "\x1b" not in draw(screen, encoding=encoding)


@given(st.text(), st.booleans())
def test_cleaned_text_is_printable_and_cleaning_again_changes_nothing(text: str, keep_newlines: bool) -> None:
    cleaned = clean(text, keep_newlines=keep_newlines)
    assert cleaned == clean(cleaned, keep_newlines=keep_newlines)
    assert not set(cleaned) & {chr(code) for code in (*range(10), *range(11, 32), *range(127, 160))}
    assert keep_newlines or "\n" not in cleaned


@given(st.text(), st.sampled_from(["ascii", "latin-1", "utf-8", "no-such-encoding"]))
def test_a_poorer_encoding_keeps_the_width(text: str, encoding: str) -> None:
    text = clean(text)
    stand_in = encodable(text, encoding)
    assert cell_len(stand_in) == cell_len(text)
    if encoding != "no-such-encoding":
        stand_in.encode(encoding)


def test_the_stop_is_named_before_anything_is_spent() -> None:
    assert "the cap run.calls would stop it" in draw(dry_run_screen(STOPPED))
    assert "no cap would stop it" in draw(dry_run_screen(FORECAST))


@pytest.mark.parametrize(
    ("identical", "words"), [(True, "digest identical"), (False, "digest differs"), (None, "not run")]
)
def test_the_loop_tells_what_the_replay_gave(*, identical: bool | None, words: str) -> None:
    assert words in draw(loop_screen(dataclasses.replace(LOOP, replay_identical=identical)))


def test_examples_left_out_are_said() -> None:
    assert "2 examples left out" in draw(loop_screen(dataclasses.replace(LOOP, excluded=2)))
    assert "left out" not in draw(loop_screen(LOOP))


def test_a_process_that_knows_what_it_saved_is_believed() -> None:
    assert "7 saved" in draw(run_screen(VIEW, END))
    assert "61 saved" in draw(run_screen(VIEW, dataclasses.replace(END, saved=61)))
    assert "9 saved" in draw(panel(RUNNING, saved=9))


def test_spend_without_a_forecast_stands_beside_a_dash() -> None:
    script = Script()
    script.begin()
    script.calls(3, seconds=1)
    drawn = draw(run_screen(RunView.of(script.lines), RunEnd()))
    assert [line.split()[3:5] for line in drawn.splitlines() if line.startswith("compile")] == [["3", "–"]]


def test_figures() -> None:
    assert [duration(s) for s in (None, 0, 59.6, 725, 3723)] == ["–", "0:00", "1:00", "12:05", "1:02:03"]
    assert [percent(s) for s in (None, 0.0, 0.525, 1.0)] == ["–", "0.0%", "52.5%", "100.0%"]
    assert [points(g) for g in (0.175, -0.4, 0.0)] == ["+17.5 points", "-40.0 points", "+0.0 points"]
    assert [counted(n, "call") for n in (0, 1, 1250)] == ["0 calls", "1 call", "1,250 calls"]
    assert [shorten("one two", width) for width in (7, 5, 1)] == ["one two", "one…", "…"]


def test_a_bar_is_full_only_when_all_is_done_and_begun_when_anything_is() -> None:
    assert [bar(share, 4) for share in (0.0, 0.01, 0.5, 0.99, 1.0, 7.0)] == [
        "░░░░",
        "█░░░",
        "██░░",
        "███░",
        "████",
        "████",
    ]


def test_the_stair_rises_where_the_score_did() -> None:
    assert stair([(5, 0.2), (10, 0.4)], 10, 4) == f" {STEPS[0]}{STEPS[0]}{STEPS[-1]}"
    assert stair([(5, 0.2)], 10, 4) == f" {STEPS[0] * 3}"
    assert stair([], 10, 4) == ""


@given(
    st.lists(st.tuples(st.integers(0, 500), st.floats(0, 1)), min_size=1, max_size=20),
    st.integers(0, 600),
    st.integers(1, 80),
)
def test_a_stair_never_falls_and_fills_its_width(
    steps: list[tuple[int, float]], end: int, width: int
) -> None:
    curve = list(zip(sorted(at for at, _ in steps), sorted(score for _, score in steps), strict=True))
    drawn = stair(curve, end, width)
    assert len(drawn) == width
    levels = [(" " + STEPS).index(cell) for cell in drawn]
    assert levels == sorted(levels)
    assert drawn.strip()


def test_phases_of_one_lane_are_added_up_beside_what_happened() -> None:
    [local] = [
        line.split() for line in draw(run_screen(VIEW, END)).splitlines() if line.startswith("compile  task")
    ]
    assert local[3:7] == ["74", "200", "370", "1,000"]


def test_a_forecast_over_several_stages_names_them_on_each_line() -> None:
    other = dataclasses.replace(FORECAST.lines[0], stage="validate", at_most=0)
    drawn = draw(dry_run_screen(dataclasses.replace(FORECAST, lines=(*FORECAST.lines, other))), width=100)
    assert "stage" in drawn.splitlines()[2]
    assert [line.split()[4:6] for line in drawn.splitlines() if line.startswith("validate")] == [["20", "–"]]


def test_a_long_origin_stays_on_its_line_at_the_end_of_a_run() -> None:
    script = Script()
    script.begin()
    script.candidate(BASELINE, origin="describe: 0 labeled and 4 bootstrapped demos, name: new instruction")
    script.evaluated(BASELINE, scores(1, 2))
    drawn = draw(run_screen(RunView.of(script.lines), RunEnd())).splitlines()
    after = [line.partition("  aaa1111 ")[2] for line in drawn if line.startswith("after")]
    assert after == ["describe: 0 labeled and…"]


def test_changed_field_texts_are_in_the_diff() -> None:
    script = Script()
    script.candidate("sha256:aa", state={"p": {"fields": [{"prefix": "Tool:"}]}})
    script.candidate("sha256:bb", state={"p": {"fields": [{"prefix": "Next tool:"}]}})
    drawn = draw(diff_screen(diff_candidates(RunView.of(script.lines), "aa", "bb")))
    assert "  field 0.prefix  [-Tool-]{+Next tool+}:" in drawn.splitlines()
