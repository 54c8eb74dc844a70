"""The HTML report and CSV: complete, small, alone, and deaf to what hostile text asks for."""

from __future__ import annotations

import base64
import csv
import gzip
import html
import io
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import vl_convert
from synthetic_run import synthetic_run
from test_report import HOSTILE, arm, bare, quickstart

from harness.analysis.items import pick_items, transitions
from harness.analysis.result import BreakEven, Comparison, CurveFit, CurvePoint, Interval, LearningCurve
from harness.analysis.rows import Decision
from harness.report.csv import cell, to_csv
from harness.report.html import PageData, build, page_data, to_html
from harness.report.html.chart import Chart, ChartData, log_ticks
from harness.report.html.chart_learning import learning_curves
from harness.report.html.labels import place_labels
from harness.report.html.payload import ItemData, pack
from harness.runner.analyse import Analysed, load
from harness.store import open_store
from harness.store.answers import Answer, ItemAnswers

ATTACKS = (
    *HOSTILE,
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "{{ 7 * 7 }}{% raw %}",
    "<!--",
    "]]>",
)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Analysed, PageData]:
    path = tmp_path_factory.mktemp("html") / "harness.db"
    synthetic_run(path, items=40, note=" ".join(ATTACKS))
    with open_store(path, create=False) as store:
        found = load(store, None)
        return found, page_data(store, found.rows)


def unpacked(page: str) -> dict[str, Any]:
    found = re.search(r'id="item-data">([^<]*)<', page)
    assert found is not None
    data: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(found[1])))
    return data


class Attributes(HTMLParser):
    """Collects everything that an element could load or lead to."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.targets += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]


def script_json(page: str, name: str) -> Any:
    found = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', page, re.S)
    assert found is not None
    return json.loads(found[1])


def test_the_page_has_everything_and_is_small(stored: tuple[Analysed, PageData]) -> None:
    found, data = stored
    page = to_html(found.comparison, data)
    assert len(page.encode()) < 3 * 2**20
    for arm_result in found.comparison.arms:
        assert html.escape(arm_result.name) in page
    assert set(script_json(page, "specs")) == {"quality-cost", "errors", "fates", "moves", "monthly-cost", "training"}
    items = unpacked(page)["items"]
    assert len(items) == 40 and len(items[0]["answers"]) == 6
    assert items[0]["answers"]["rag"]["passages"] and "word word" in items[0]["answers"]["rag"]["prompt"]


def test_nothing_in_the_page_can_load_anything(stored: tuple[Analysed, PageData]) -> None:
    page = to_html(stored[0].comparison, stored[1])
    policy = html.unescape(re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1])  # type: ignore[index]
    assert policy.startswith("default-src 'none'") and "http" not in policy and "unsafe-eval" not in policy
    assert "'unsafe-inline'" not in policy.partition("script-src")[2].partition(";")[0]
    parser = Attributes()
    parser.feed(page)
    assert parser.targets and all(target.startswith(("#", "data:,")) for target in parser.targets)
    assert "url(" not in (styles := page.partition("<style>")[2].partition("</style>")[0]) and "@import" not in styles


def test_hostile_text_stays_text(stored: tuple[Analysed, PageData]) -> None:
    page = to_html(stored[0].comparison, stored[1])
    assert page.count("<script") == page.count("</script>") == 7
    assert "onerror" not in re.sub(r"<script.*?</script>", "", page, flags=re.S)
    for item in unpacked(page)["items"]:
        assert not re.search(r"[\x00-\x08\x1b\x9b\u202e]", json.dumps(item, ensure_ascii=False))
        assert "<img src=x onerror=alert(1)>" in item["input"]


@pytest.mark.parametrize("attack", ATTACKS)
def test_hostile_names_stay_text(attack: str) -> None:
    comparison = quickstart()
    arms = tuple(
        replace(one, name=f"{attack}{i}", notes=(attack,), error=attack) for i, one in enumerate(comparison.arms)
    )
    bad = replace(
        comparison,
        run={**comparison.run, "name": attack, "task": {"loader": attack, "warnings": [attack]}},
        arms=arms,
        baseline=arms[0].name,
        verdict=replace(comparison.verdict, arm=arms[-1].name, leader=arms[-1].name, reasons=(attack,)),
        warnings=(attack,),
        advice=(attack,),
    )
    page = to_html(bad)
    assert page.count("<script") == page.count("</script>") == 7
    visible = re.sub(r"<(script|style).*?</\1>", "", page, flags=re.S)
    assert not re.search(r"<(img|svg)", visible) and "49" not in re.findall(r"<h1>(.*?)</h1>", visible)[0]
    assert not re.search(r"[\x00-\x08\x1b\x9b\u202e]", visible)
    assert len(script_json(page, "facts")["arms"]) == len(arms)


def test_charts_are_valid_vega_lite(stored: tuple[Analysed, PageData]) -> None:
    for draw in build.CHARTS:
        chart = draw(stored[0].comparison, stored[1].charts)
        if draw is learning_curves:  # this run has none
            continue
        assert isinstance(chart, Chart)
        svg = vl_convert.vegalite_to_svg({**chart.spec, "width": 400})
        assert "<path" in svg and "NaN" not in svg, chart.id


@pytest.mark.parametrize(
    "comparison",
    [
        quickstart(),
        replace(quickstart(), arms=(arm("zero-shot", 0.5, rank=0),)),
        replace(quickstart(), arms=(bare("zero-shot"), bare("rag", status="failed", error="out of memory"))),
        replace(quickstart(), arms=tuple(replace(one, metrics={}) for one in quickstart().arms)),
        replace(quickstart(), arms=()),
    ],
    ids=["whole", "one arm", "nothing known", "no metrics", "no arms"],
)
def test_any_comparison_makes_a_page(comparison: Comparison) -> None:
    page = to_html(comparison)
    assert 'id="verdict"' in page and "None" not in re.sub(r"<(script|style).*?</\1>", "", page, flags=re.S)
    assert list(csv.reader(io.StringIO(to_csv(comparison))))


def test_free_arms_and_unknown_costs_are_left_out_and_named() -> None:
    one, two, three = (arm(name, 0.5, rank=rank) for rank, name in enumerate("abc"))
    unknown = replace(three, cost=replace(three.cost, usd_per_1k_requests=None, seconds_per_1k_requests=None))
    comparison = replace(quickstart(), arms=(one, two, unknown))
    chart = build.quality_against_cost(comparison, ChartData())
    assert chart is not None and chart.missing.endswith(": c.")
    free = replace(one, cost=replace(one.cost, usd_per_1k_requests=0.0, one_off_usd=0.0, seconds_per_1k_requests=0.0))
    comparison = replace(comparison, arms=(free, two))
    chart = build.quality_against_cost(comparison, ChartData())
    assert chart is not None and chart.spec["encoding"]["x"]["scale"].get("type") != "log"
    assert build.monthly_cost(replace(comparison, arms=(free,)), ChartData()) is None


def test_break_even_points_are_on_the_cost_chart() -> None:
    def priced(name: str, one_off: float, per_1k: float) -> Any:
        base = arm(name, 0.5, rank=1)
        return replace(base, cost=replace(base.cost, one_off_usd=one_off, usd_per_1k_requests=per_1k, lower_bounds=()))

    arms = (priced("a", 0.0, 0.3), priced("b", 120.0, 0.1))
    comparison = replace(quickstart(), arms=arms, break_even=(BreakEven("a", "b", 50_000.0),))
    chart = build.monthly_cost(comparison, ChartData(Decision(monthly_requests=1000, horizon_months=12)))
    assert chart is not None
    crossing = next(layer for layer in chart.spec["layer"] if layer["mark"]["type"] == "point")["data"]["values"][0]
    assert crossing["requests"] == 50_000 and crossing["usd"] == pytest.approx(15.0)


def test_items_that_arms_disagree_on_come_first(stored: tuple[Analysed, PageData]) -> None:
    rows = stored[0].rows
    picked = pick_items(rows, 15)
    assert len(picked.items) == 15 and picked.total == 40

    def differs(item: str) -> bool:
        return len({trial.records["token_f1"][item]["value"] for trial in rows.trials}) > 1

    every = [differs(item) for item in pick_items(rows).items]
    assert every == sorted(every, reverse=True) and sum(every) == picked.disagreeing


def test_transitions_add_up(stored: tuple[Analysed, PageData]) -> None:
    found = transitions(stored[0].rows)
    for arm_result in stored[0].comparison.arms[1:]:
        mine = [move for move in found if move.arm == arm_result.name]
        assert sum(move.count for move in mine) == 40
        after = sum(move.count for move in mine if move.after == "correct")
        assert after == arm_result.errors["correct"]


def test_long_texts_are_clipped_and_say_so_and_the_page_stays_small() -> None:
    import random

    def noise(number: int) -> str:  # does not compress
        return random.Random(number).randbytes(10_000).hex()

    answers = {f"arm {n}": Answer(noise(n), "raw", "parsed", "stop", 1, 1) for n in range(5)}
    items = [ItemAnswers(f"i{n}", noise(100 + n), ("gold",), (), None, answers) for n in range(60)]
    text, count = pack(ItemData(items=items))
    assert len(text) <= 1_500_000 and 0 < count <= 60
    data = json.loads(gzip.decompress(base64.b64decode(text)))
    assert "characters left out" in data["items"][0]["input"]


def test_labels_do_not_cover_each_other() -> None:
    points = [("full-finetune", 0.1, 0.30), ("lora", 0.12, 0.29), ("prompt-tuning", 0.1, 0.28), ("rag", 0.99, 0.5)]
    places = place_labels(points)
    assert len(set(places[:3])) == 3 and places[3][0] == "right"


def test_ticks() -> None:
    assert log_ticks(0.5, 200) == [1, 10, 100]
    assert log_ticks(0.9, 6, (1, 2, 5)) == [1, 2, 5]


# -------------------------------------------------------------------------------------------------------------- CSV


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "\x1b[31m=1"])
def test_no_cell_is_a_formula(text: str) -> None:
    assert not cell(text).startswith(("=", "+", "-", "@", "\t", "\r"))


def test_csv_has_a_row_an_arm_and_plain_numbers() -> None:
    comparison = quickstart()
    rows = list(csv.DictReader(io.StringIO(to_csv(comparison))))
    assert [row["arm"] for row in rows] == [arm.name for arm in comparison.arms]
    last = rows[-1]
    assert float(last["token_f1"]) == 0.823 and last["chosen"] == "true" and rows[0]["change"] == ""
    assert last["usd_over_horizon"] == "" and float(last["latency_p95_s"]) == 0.411
    assert rows[4]["lower_bounds"] == "usd_per_1k_requests"
    hostile = replace(comparison, arms=(replace(comparison.arms[0], name='=cmd|"calc"!A1,"x'),))
    assert next(csv.DictReader(io.StringIO(to_csv(hostile))))["arm"] == '\'=cmd|"calc"!A1,"x'


def test_the_command_writes_every_format(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from harness.cli.report import FORMATS, command

    path = tmp_path / "harness.db"
    synthetic_run(path, items=12)
    for form in FORMATS:
        out = tmp_path / f"report.{form}"
        result = CliRunner().invoke(command, ["--format", form, "-o", str(out), "--results", str(path)])
        assert result.exit_code == 0, result.output
        assert "rag+lora" in out.read_text(encoding="utf-8")


def test_failed_and_unfinished_trials_are_in_every_format(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from harness.cli.report import FORMATS, command

    path = tmp_path / "harness.db"
    synthetic_run(path, items=12, arms=("zero-shot", "rag", "lora"))
    with open_store(path) as store:
        store.connection.execute("UPDATE trials SET status = 'failed', error = 'ran out of memory' WHERE arm = 'lora'")
        store.connection.execute("UPDATE trials SET status = 'running' WHERE arm = 'rag'")
        store.connection.commit()
    for form in FORMATS:
        result = CliRunner().invoke(command, ["--format", form, "--results", str(path)])
        assert result.exit_code == 0, result.output
        assert "lora" in result.output and "failed" in result.output
        assert form == "csv" or "ran out of memory" in result.output
    page = CliRunner().invoke(command, ["--format", "html", "--results", str(path)]).output
    assert "there is nothing to compare" in page and set(unpacked(page)["items"][0]["answers"]) == {"zero-shot"}


def test_learning_curves_are_drawn_with_their_fit_and_what_twice_the_data_would_bring() -> None:
    points = tuple(CurvePoint(n, Interval(score, score - 0.1, score + 0.1)) for n, score in ((50, 0.4), (100, 0.5)))
    points += (CurvePoint(200, Interval(0.6)), CurvePoint(400, Interval(None)))
    fit = CurveFit("log", a=-0.164, b=0.144, c=0.0)
    whole = LearningCurve("lora", "f1", points, fit, 800, Interval(0.8, 0.7, 0.9))
    short = LearningCurve("rag", "f1", points[:1], note="a fit needs at least 3 sizes")
    base = quickstart()
    assert learning_curves(base, ChartData()) is None
    chart = learning_curves(replace(base, curves=(whole, short)), ChartData())
    assert chart is not None and chart.missing == "rag: a fit needs at least 3 sizes"
    rows = chart.spec["data"]["values"]
    assert [(row["size"], row["score"]) for row in rows if row["kind"] == "estimate"] == [(800.0, 0.8)]
    assert [row["size"] for row in rows if row["kind"] == "measured"] == [50, 100, 200, 50]
    line = [row for row in rows if row["kind"] == "fit"]
    assert (line[0]["size"], line[-1]["size"]) == (50.0, pytest.approx(800.0))
    assert line[-1]["score"] == pytest.approx(-0.164 + 0.144 * math.log(800))
    assert vl_convert.vegalite_to_svg(json.dumps({**chart.spec, "width": 400})).startswith("<svg")
