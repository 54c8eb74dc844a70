"""`harness show [RUN] ARM ITEM` and `harness show --rendered FILE`."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.options import console, limit_option, results_option


@click.command("show")
@click.argument("words", nargs=-1, metavar="[RUN] ARM ITEM")
@click.option("--rendered", type=click.Path(path_type=Path), help="Print training examples of an experiment file.")
@click.option("--arm", help="With --rendered: only this arm.")
@click.option("--count", type=click.IntRange(min=1), default=2, show_default=True, help="With --rendered: examples.")
@limit_option
@results_option
def command(
    words: tuple[str, ...], rendered: Path | None, arm: str | None, count: int, limit: int | None, results: Path
) -> None:
    """Print everything about one answer: the prompt as sent, passages, raw and parsed output, gold, scores, categories.

    RUN defaults to the latest run. With --rendered FILE: training examples as the model sees them, trained tokens
    marked.
    """
    if rendered is not None:
        if words:
            raise click.UsageError("--rendered takes no RUN, ARM or ITEM; use --arm to pick an arm.")
        _print_rendered(rendered, arm, count, limit)
        return
    if len(words) not in (2, 3):
        raise click.UsageError("give ARM and ITEM (and RUN before them for an older run), e.g.  harness show rag 17")
    from harness.report.show import render_item
    from harness.store.database import open_store
    from harness.store.queries import show_item

    run = words[0] if len(words) == 3 else None
    arm_name, item = words[-2:]
    with open_store(results, create=False) as store:
        render_item(show_item(store, run, arm_name, item), console())


def _print_rendered(path: Path, arm: str | None, count: int, limit: int | None) -> None:
    from rich.text import Text

    from harness.report.text import hidden, one_line, safe
    from harness.runner.prepare import prepare
    from harness.runner.rendered import rendered_examples

    out = console()
    out.print(Text("trained tokens are marked ⟦so⟧, one bracket a token; everything else is only seen", style="dim"))
    for example in rendered_examples(prepare(path, limit=limit), arm, count):
        out.print()
        trained = len(example.trained)
        size = f"{example.prompt_tokens} prompt tokens, {trained} trained"
        head = f"── {one_line(example.arm)} · {one_line(example.item_id)} · {size} ──"
        out.print(Text(head, style="bold"))
        if left_out := hidden(example.prompt):
            out.print(Text(left_out, style="yellow"))
        marked = "".join(f"⟦{safe(piece)}⟧" for piece in example.trained)
        out.print(Text(safe(example.prompt)) + Text(marked, style="bold green"), soft_wrap=True)
