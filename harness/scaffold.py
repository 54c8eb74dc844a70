"""`harness plugins new`: a package of one's own that installs, passes its tests and runs in an experiment at once."""

from __future__ import annotations

import re
from pathlib import Path

from harness import hookspecs
from harness.exceptions import PluginError
from harness.plugins import OWN, load_plugins

PYPROJECT = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "NAME"
version = "0.1.0"
description = "A KIND for the adaptation harness."
requires-python = ">=3.11"
dependencies = ["OWN", "pydantic>=2.10"]

[project.entry-points."harness.plugins"]
NAME = "MODULE"

[tool.setuptools]
py-modules = ["MODULE"]
"""

HEAD = '''\
"""DOC"""

from __future__ import annotations

IMPORTS

HARNESS_INTERFACE = INTERFACE  # the plugin interface this was written for


@hookimpl
def HOOK():
    return [SPEC("NAME", "DOC", f"{__name__}:CLASS")]


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

'''

STRATEGY = '''\
    hint: str = Field("Reply with the name only.", description="What is added to the instruction.")


class CLASS(PromptStrategy):
    Config = Settings

    def render(self, draft, query, view, state):
        """The draft with this strategy's part added; what it leaves alone stays as the chain had it."""
        return replace(draft, instruction=f"{draft.instruction} {self.config.hint}".strip())
'''

METRIC = '''\
    words: int = Field(1, ge=1, description="How many words at the start of the answer are compared.")


class CLASS:
    Config = Settings

    def __init__(self, config):
        self.config = config

    def start(self, text):
        return text.lower().split()[: self.config.words]

    def record(self, prediction, example, context):
        """Facts about one item; what cannot be judged has no value, and a reason."""
        if prediction.finish == "error":
            return {"value": None, "reason": "no answer"}
        right = any(self.start(prediction.parsed) == self.start(gold) for gold in example.references)
        return {"value": float(right)}

    def aggregate(self, records):
        known = [record["value"] for record in records if record["value"] is not None]
        return sum(known) / len(known) if known else None
'''

RETRIEVER = '''\
    min_letters: int = Field(3, ge=1, description="Shorter words are not looked for.")


class CLASS:
    Config = Settings

    def __init__(self, config):
        self.config = config

    def words(self, text):
        return {word for word in re.findall(r"\\w+", text.lower()) if len(word) >= self.config.min_letters}

    def build(self, documents):
        self.documents = [self.words(f"{document.title} {document.text}") for document in documents]

    def search(self, queries, k):
        """For each query the k best (position, score), best first; of equals the earlier first."""
        found = []
        for query in queries:
            wanted = self.words(query)
            scores = [(len(wanted & words), -position) for position, words in enumerate(self.documents)]
            found.append([(-position, float(score)) for score, position in sorted(scores, reverse=True)[:k]])
        return found
'''

TEST = """\
import pytest

from harness.testing import promises


@pytest.mark.parametrize("promise", promises("NAME"), ids=str)
def test_contract(promise):
    promise()
"""

EXPERIMENT = """\
# harness run experiment.toml
[experiment]
name = "NAME-trial"

[task]
loader = "csv"
data = "data.csv"EXTRA
input = "{question}"
target = "{answer}"
instruction = "Answer the question."
metrics = [METRICS]
split = { validation = 0.2, test = 0.4 }

[generation]
max_new_tokens = 8
ARMS
"""

ARM = '\n[[arm]]\nname = "{name}"\nstrategies = [{chain}]{extra}'

README = """\
# NAME

A KIND for the adaptation harness.

    pip install -e .                 # install it
    harness plugins show NAME        # what the harness sees of it
    harness plugins test NAME        # the promises that every KIND makes
    harness run experiment.toml      # compare it
"""

PLACES = (
    ("Peru", "Lima"), ("Kenya", "Nairobi"), ("Norway", "Oslo"), ("Japan", "Tokyo"), ("Cuba", "Havana"),
    ("Ghana", "Accra"), ("Chile", "Santiago"), ("Nepal", "Kathmandu"), ("Egypt", "Cairo"), ("Spain", "Madrid"),
    ("Samoa", "Apia"), ("Qatar", "Doha"), ("Italy", "Rome"), ("Greece", "Athens"), ("Poland", "Warsaw"),
)  # fmt: skip

KINDS = {
    "strategy": {
        "HOOK": "harness_strategies",
        "SPEC": "StrategySpec",
        "DOC": "Adds a sentence to the instruction.",
        "IMPORTS": "from dataclasses import replace\n\nfrom pydantic import BaseModel, ConfigDict, Field\n\n"
        "from harness import PromptStrategy, StrategySpec, hookimpl",
    },
    "metric": {
        "HOOK": "harness_metrics",
        "SPEC": "MetricSpec",
        "DOC": "Share of answers that begin like the reference.",
        "IMPORTS": "from pydantic import BaseModel, ConfigDict, Field\n\nfrom harness import MetricSpec, hookimpl",
    },
    "retriever": {
        "HOOK": "harness_retrievers",
        "SPEC": "RetrieverSpec",
        "DOC": "Ranks documents by the number of words they share with the question.",
        "IMPORTS": "import re\n\nfrom pydantic import BaseModel, ConfigDict, Field\n\n"
        "from harness import RetrieverSpec, hookimpl",
    },
}
BODIES = {"strategy": STRATEGY, "metric": METRIC, "retriever": RETRIEVER}


def write_package(name: str, kind: str, parent: Path) -> Path:
    """Writes the package into a new folder `parent/name`; PluginError for a name that cannot be used."""
    folder = parent / name
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-0123456789")
        hint = f"Lower-case letters, digits and single hyphens, e.g. '{plain or 'my-' + kind}'."
        raise PluginError(f"'{name}' cannot name a plugin.", hint=hint)
    if folder.exists():
        raise PluginError(f"'{folder}' exists.", hint="Choose another name or --folder; nothing is overwritten.")
    if load_plugins().has(kind, name):
        raise PluginError(f"there is a {kind} '{name}' already.", hint="`harness plugins list` shows what is taken.")
    words = {
        **KINDS[kind],
        "NAME": name,
        "MODULE": name.replace("-", "_"),
        "CLASS": "".join(part.capitalize() for part in name.split("-")),
        "KIND": kind,
        "OWN": OWN,
        "INTERFACE": str(hookspecs.INTERFACE),
    }
    files = {
        "pyproject.toml": PYPROJECT,
        f"{words['MODULE']}.py": HEAD + BODIES[kind],
        f"test_{words['MODULE']}.py": TEST,
        "README.md": README,
        "experiment.toml": _experiment(name, kind),
        "data.csv": "question,answer\n" + "".join(f"What is the capital of {c}?,{a}\n" for c, a in PLACES),
    }
    if kind == "retriever":
        lines = [f'{{"id": "{c.lower()}", "title": "{c}", "text": "The capital of {c} is {a}."}}' for c, a in PLACES]
        files["documents.jsonl"] = "\n".join(lines) + "\n"
    folder.mkdir(parents=True)
    for file, text in files.items():
        (folder / file).write_text(_filled(text, words), encoding="utf-8")
    return folder


def _experiment(name: str, kind: str) -> str:
    arms = [ARM.format(name="zero-shot", chain='"prompt"', extra="")]
    metrics = '"contains", "token_f1"'
    if kind == "strategy":
        arms.append(ARM.format(name=name, chain=f'"{name}"', extra=""))
    elif kind == "metric":
        metrics = f'"{name}", "contains"'
        arms.append(ARM.format(name="few-shot", chain='"prompt"', extra="\nprompt = { k = 2 }"))
    else:
        arms.append(ARM.format(name="rag", chain='"rag"', extra=f'\nrag = {{ retriever = "{name}", k = 1 }}'))
    corpus = '\ncorpus = "documents.jsonl"' if kind == "retriever" else ""
    return _filled(EXPERIMENT, {"EXTRA": corpus, "METRICS": metrics, "ARMS": "\n".join(arms)})


def _filled(text: str, words: dict[str, str]) -> str:
    """Capital words replaced, all at once: what is put in is not searched again."""
    filled = re.sub(r"\b[A-Z]{3,}\b", lambda match: words.get(match[0], match[0]), text)
    return filled
