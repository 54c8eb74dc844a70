"""One answer in full, for `harness show`: what was asked, what came back, how it was judged, what the model saw."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from harness import taxonomy
from harness.criteria import own_categories
from harness.report import text

if TYPE_CHECKING:
    from rich.console import Console

    from harness.store.queries import ItemDetail

MOST_LABELS = 8
_FINISHES = {
    "stop": "the model ended its answer",
    "length": "cut off at the token limit",
    "choice": "picked from the labels",
    "overflow": "the prompt did not fit the model",
    "error": "the harness failed on this item; it is not counted as wrong",
}


def render_item(detail: ItemDetail, console: Console) -> None:
    """Prints everything about one answer. Data and model text is printed as plain text, control characters removed."""
    _head(detail, console)
    prediction = detail.prediction
    _section("Input", detail.input if detail.input is not None else _fields(detail.fields), console)
    _section("Gold", "\n".join(detail.gold) or "none", console)
    _section("Answer", prediction.parsed or "(empty)", console, style="bold")
    if prediction.raw.strip() != prediction.parsed.strip():
        _section("Raw output", prediction.raw or "(empty)", console)
    _result(detail, console)
    _label_scores(detail, console)
    _passages(detail, console)
    _section("Prompt as sent", prediction.prompt, console)


def _head(detail: ItemDetail, console: Console) -> None:
    from rich.text import Text

    head = f"{text.one_line(detail.arm)} · item {text.one_line(detail.item_id)}"
    console.print(Text(head, style="bold"))
    facts = [f"run {detail.run.id} ({text.one_line(detail.run.name)})", f"seed {detail.seed}"]
    if detail.group is not None:
        facts.append(f"group {text.one_line(detail.group)}")
    if detail.trial.status != "done":
        facts.append(f"trial {detail.trial.status}")
    console.print(Text(" · ".join(facts), style="dim"))


def _section(title: str, body: str, console: Console, style: str = "") -> None:
    from rich.text import Text

    console.print()
    heading = Text(title, style="bold underline")
    if hidden := text.hidden(body):
        heading.append(f"  {hidden}", style="not bold not underline yellow")
    console.print(heading)
    # As it is: a line of a prompt is not broken by us, so that it can be copied.
    console.print(Text(text.safe(body), style=style), soft_wrap=True)


def _result(detail: ItemDetail, console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    prediction = detail.prediction
    rows: list[tuple[str, str]] = []
    if detail.primary is not None:
        rows += [("category", detail.primary), *_meaning(detail)]
    rows += [
        ("also" if label.category != detail.primary else "because", _label(label.category, label.evidence, detail))
        for label in detail.labels
        if label.evidence or label.category != detail.primary
    ]
    rows += [(name, _record(record)) for name, record in detail.scores.items()]
    rows.append(("ended", _FINISHES.get(prediction.finish, prediction.finish)))
    if prediction.error:
        rows.append(("error", prediction.error))
    rows.append(("tokens", f"{prediction.tokens_in} in, {prediction.tokens_out} out"))
    if detail.latency_s is not None:
        rows.append(("latency", text.seconds(detail.latency_s)))
    if detail.usd is not None:
        rows.append(("cost", f"{text.usd(detail.usd)} for its tokens"))
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=False, overflow="fold")
    grid.add_column(overflow="fold")
    for name, value in rows:
        grid.add_row(Text(text.one_line(name), style="dim"), Text(text.one_line(value)))
    console.print()
    console.print(Text("Result", style="bold underline"))
    console.print(grid)


def _meaning(detail: ItemDetail) -> list[tuple[str, str]]:
    """What the primary category means and what to try, where it is an error that is known."""
    own = own_categories(dict(detail.run.config_resolved))
    name = detail.primary or ""
    known = own.get(name) or (taxonomy.category(name) if name in taxonomy.ORDER else None)
    if known is None or not known.severity:
        return []
    told = [("means", f"{known.meaning} (severity {known.severity} of 3; blames the {known.blame})".strip())]
    return [*told, ("try", known.remedy)] if known.remedy else told


def _label(category: str, evidence: str, detail: ItemDetail) -> str:
    if category == detail.primary:
        return evidence
    return f"{category}: {evidence}" if evidence else category


def _record(record: Mapping[str, object]) -> str:
    """The value first, then the facts behind it."""
    value = record.get("value")
    number = float(value) if isinstance(value, int | float) else None
    rest = [f"{name} {_fact(fact)}" for name, fact in record.items() if name != "value"]
    shown = [text.score(number)] if "value" in record else []
    return " ".join(shown + ([f"({', '.join(rest)})"] if rest else []))


def _fact(fact: object) -> str:
    return f"{fact:.3g}" if isinstance(fact, float) else str(fact)


def _label_scores(detail: ItemDetail, console: Console) -> None:
    found = detail.prediction.label_scores
    if not found:
        return
    ranked = sorted(found.items(), key=lambda pair: -pair[1])
    lines = [
        f"{score:10.3f}  {label}{'  ← gold' if label in detail.gold else ''}" for label, score in ranked[:MOST_LABELS]
    ]
    lines += [
        f"{score:10.3f}  {label}  ← gold, place {place}"
        for place, (label, score) in enumerate(ranked, 1)
        if place > MOST_LABELS and label in detail.gold
    ]
    _section(f"Labels by score (log-likelihood in nats; {len(ranked)} in all)", "\n".join(lines), console)


def _passages(detail: ItemDetail, console: Console) -> None:
    passages = detail.prediction.passages
    if not passages:
        return
    ids = {passage.document_id for passage in passages}
    if detail.evidence:
        hit = "found" if ids & set(detail.evidence) else "not found"
        known = f": the document with the answer was {hit}"
    else:
        known = ""
    parts = []
    for passage in passages:
        mark = " ✓" if passage.document_id in detail.evidence else ""
        title = f" {passage.title}" if passage.title else ""
        parts.append(f"{passage.rank}. [{passage.document_id}]{title} ({passage.score:.3g}){mark}\n{passage.text}")
    _section(f"Passages{known}", "\n\n".join(parts), console)


def _fields(fields: Mapping[str, str]) -> str:
    return "\n".join(f"{name}: {value}" for name, value in fields.items()) or "(not stored)"
