"""The built-in metrics, as specs only: nothing is imported until a metric is used."""

from __future__ import annotations

from harness.hookspecs import MetricSpec

_AT = "harness_plugins.metrics"
_LABELS = ("labels",)

SPECS = [
    MetricSpec(
        "exact_match", "Share of answers equal to a reference, after normalisation.", f"{_AT}.overlap:ExactMatch"
    ),
    MetricSpec("contains", "Share of answers in which a reference occurs.", f"{_AT}.overlap:Contains"),
    MetricSpec("token_f1", "Word overlap with the best reference (SQuAD F1).", f"{_AT}.overlap:TokenF1"),
    MetricSpec("rouge_1", "Overlap of single words, stemmed (ROUGE-1 F).", f"{_AT}.rouge:Rouge1"),
    MetricSpec("rouge_2", "Overlap of word pairs, stemmed (ROUGE-2 F).", f"{_AT}.rouge:Rouge2"),
    MetricSpec("rouge_l", "Longest common sequence of words, stemmed (ROUGE-L F).", f"{_AT}.rouge:RougeL"),
    MetricSpec("rouge_lsum", "ROUGE-L line by line, for summaries (ROUGE-Lsum F).", f"{_AT}.rouge:RougeLsum"),
    MetricSpec("edit_similarity", "Share of characters that need no edit.", f"{_AT}.overlap:EditSimilarity"),
    MetricSpec(
        "embedding_similarity",
        "Cosine of the embeddings of answer and reference.",
        f"{_AT}.meaning:EmbeddingSimilarity",
        packages=("sentence-transformers",),
    ),
    MetricSpec("numeric", "Share of answers whose number is within tolerance.", f"{_AT}.structured:Numeric"),
    MetricSpec("json_valid", "Share of answers that are JSON.", f"{_AT}.structured:JsonValid"),
    MetricSpec("json_schema", "Share of answers that are JSON and fit a schema.", f"{_AT}.structured:JsonSchema"),
    MetricSpec("regex", "Share of answers that match a pattern.", f"{_AT}.structured:Regex"),
    MetricSpec("contains_text", "Share of answers that contain given texts.", "harness_plugins.own:ContainsText"),
    MetricSpec("python", "Mean of what a function of your own returns.", "harness_plugins.own:PythonMetric"),
    MetricSpec("bleu", "Corpus BLEU, 0 to 100 (sacrebleu).", f"{_AT}.corpus:Bleu", high=100.0, mean=False),
    MetricSpec("chrf", "Corpus chrF2, 0 to 100 (sacrebleu).", f"{_AT}.corpus:Chrf", high=100.0, mean=False),
    MetricSpec("accuracy", "Share of answers that are the gold label.", f"{_AT}.classification:Accuracy"),
    MetricSpec(
        "macro_f1", "F1, every label counting the same.", f"{_AT}.classification:MacroF1", mean=False, needs=_LABELS
    ),
    MetricSpec(
        "weighted_f1",
        "F1, labels counting by their frequency.",
        f"{_AT}.classification:WeightedF1",
        mean=False,
        needs=_LABELS,
    ),
    MetricSpec(
        "mcc",
        "Correlation of predicted and gold labels; 0 is chance.",
        f"{_AT}.classification:Mcc",
        low=-1.0,
        mean=False,
        needs=_LABELS,
    ),
    MetricSpec(
        "ece",
        "Gap between stated probability and share right; 0 is perfect.",
        f"{_AT}.calibration:Ece",
        higher_is_better=False,
        mean=False,
        needs=_LABELS,
    ),
    MetricSpec(
        "brier",
        "Squared error of the labels' probabilities; 0 is perfect.",
        f"{_AT}.calibration:Brier",
        higher_is_better=False,
        high=2.0,
        needs=_LABELS,
    ),
    MetricSpec(
        "gold_perplexity",
        "Perplexity of the references under the adapted model; 1 is certainty.",
        f"{_AT}.measured:GoldPerplexity",
        higher_is_better=False,
        low=1.0,
        high=None,
        mean=False,
        needs=("loglikelihoods",),
        measures="gold_likelihoods",
    ),
    MetricSpec(
        "consistency",
        "Agreement of the answer with itself, sampled and asked in other words.",
        f"{_AT}.measured:Consistency",
        measures="repeats",
    ),
]
