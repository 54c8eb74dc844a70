"""Our engine as an `LM` of lm-eval, so that public benchmarks run on the same code as every arm.

Requests are tokenised exactly as lm-eval's Hugging Face backend (`HFLM`) does it, and whole request lists go to the
engine at once, so that shared prefixes are computed once. No chat template is applied: the numbers are those of the
plain prompts that benchmarks publish. Soft prompts, adapters and full fine-tunes come with the variant.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from harness.exceptions import ModelError
from harness.models.engine_model import OpenModel
from harness.models.generation import generate
from harness.models.requests import ContinuationScore, Decoding, GenerateRequest, ScoreRequest
from harness.models.scoring import score
from harness.models.variant import Variant

MAX_NEW_TOKENS = 256  # lm-eval's default where a task names no limit
_ENCODED_AT_ONCE = 2048  # texts given to the tokenizer together: bounds memory for long few-shot prompts
# Generation settings that change nothing here, or nothing while decoding is greedy.
_GREEDY_ONLY = ("top_k", "top_p", "min_p", "typical_p")
_NEUTRAL = {"num_beams": 1, "repetition_penalty": 1, "length_penalty": 1, "use_cache": True, "num_return_sequences": 1}

Progress = Callable[[int, int], None]


class LmEvalAdapter(LM):
    """Scores and generates for lm-eval through `score` and `generate`.

    `window`: most positions of a sequence, root included (default: the model's). `plain`: for models that the scoring
    probe refuses. `token_budget` and `max_rows`: batch settings of the engines. `seed` matters to sampled texts only.
    `on_progress(done, total)` counts the requests of the current call.

    Counters over the life of the object: `requests`, `truncated` (requests whose context lost tokens on the left),
    `tokens_in` (contexts and scored continuations, root included, as billed: no credit for sharing), `tokens_out`.
    """

    def __init__(
        self,
        variant: Variant,
        tokenizer: Any,
        *,
        window: int | None = None,
        plain: bool = False,
        token_budget: int | None = None,
        max_rows: int = 64,
        seed: int = 0,
        on_progress: Progress | None = None,
    ) -> None:
        super().__init__()
        opened = OpenModel(variant)
        self.variant, self.tokenizer, self.plain = variant, tokenizer, plain
        self.token_budget, self.max_rows, self.seed, self.on_progress = token_budget, max_rows, seed, on_progress
        self.window = opened.check_window(window)
        self.root_length = opened.shift
        self._device = opened.device
        self.requests = self.truncated = self.tokens_in = self.tokens_out = 0
        starts = (tokenizer.bos_token_id, tokenizer.eos_token_id, opened.start_id)
        #: Stands before a text without context, as in HFLM: beginning of sequence, else end of sequence.
        self.prefix_token_id: int | None = next((token for token in starts if token is not None), None)
        self._prefix_text = "" if self.prefix_token_id is None else str(tokenizer.decode(self.prefix_token_id))
        self._eos_ids = _eos_ids(opened.model, tokenizer)

    # ------------------------------------------------------------------------------------------ what lm-eval calls

    def loglikelihood(self, requests: Sequence[Instance]) -> list[tuple[float, bool]]:
        """(ln p(continuation | context), whether greedy decoding would produce it) for each request."""
        pairs = self._pairs([request.args for request in requests])
        for request, (_, continuation) in zip(requests, pairs, strict=True):
            if not continuation:  # its likelihood of 1 would beat every real answer
                raise ModelError(f"a benchmark asks for the likelihood of an empty answer: {request.args[1]!r}.")
        return [(found.logprob, found.greedy) for found in self._score(pairs)]

    def loglikelihood_rolling(self, requests: Sequence[Instance]) -> list[float]:
        """ln p(text) of each request's whole text; a text longer than the window is scored in disjoint windows, each
        with as much context as fits."""
        texts = self._encode([request.args[0] for request in requests])
        pairs: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
        owners: list[int] = []
        for owner, ids in enumerate(texts):
            longest = len(ids) if self.window is None else self.window - self.root_length
            if not ids:
                continue
            for window in get_rolling_token_windows(ids, self._prefix(), max(1, longest), 1):
                context, continuation = make_disjoint_window(window)
                pairs.append((tuple(context), tuple(continuation)))
                owners.append(owner)
        totals = [0.0] * len(texts)
        for owner, found in zip(owners, self._score(pairs), strict=True):
            totals[owner] += found.logprob
        return totals

    def generate_until(self, requests: Sequence[Instance]) -> list[str]:
        """A text for each request, cut before its first stop string; requests with equal settings share batches."""
        groups: dict[tuple[Decoding, int], list[int]] = {}
        for position, request in enumerate(requests):
            groups.setdefault(self._decoding(request.args[1]), []).append(position)
        texts = [""] * len(requests)
        for (decoding, new_tokens), positions in groups.items():
            prompts = self._cut(self._encode([requests[position].args[0] for position in positions]), new_tokens)
            wanted = [
                GenerateRequest(prompt, new_tokens, seed=self.seed * 1_000_003 + position)
                for position, prompt in zip(positions, prompts, strict=True)
            ]
            made = self._generate(wanted, decoding)
            for position, text in zip(positions, made, strict=True):
                texts[position] = text
        return texts

    # --------------------------------------------------------------------------------------------------- scoring

    def _score(self, pairs: Sequence[tuple[tuple[int, ...], tuple[int, ...]]]) -> list[ContinuationScore]:
        """Scores in the order of pairs; continuations of one context become one request."""
        contexts: dict[tuple[int, ...], list[int]] = {}
        for position, (context, _) in enumerate(pairs):
            contexts.setdefault(context, []).append(position)
        found: list[ContinuationScore] = [ContinuationScore(0.0, True, 0)] * len(pairs)
        results = score(
            self.variant,
            [ScoreRequest(context, tuple(pairs[p][1] for p in positions)) for context, positions in contexts.items()],
            token_budget=self.token_budget,
            window=self.window,
            on_progress=self.on_progress,
            plain=self.plain,
        )
        for positions, scores in zip(contexts.values(), results, strict=True):
            for position, made in zip(positions, scores, strict=True):
                found[position] = made
        self.requests += len(pairs)
        self.truncated += sum(1 for made in found if made.truncated)
        self.tokens_in += sum(
            self.root_length + len(context) + len(continuation) - made.truncated
            for (context, continuation), made in zip(pairs, found, strict=True)
        )
        return found

    # ------------------------------------------------------------------------------------------------ generation

    def _generate(self, wanted: Sequence[GenerateRequest], decoding: Decoding) -> list[str]:
        done = 0

        def on_batch(indices: Sequence[int], _: Sequence[Any]) -> None:
            nonlocal done
            done += len(indices)
            if self.on_progress is not None:
                self.on_progress(done, len(wanted))

        made = generate(
            self.variant,
            self.tokenizer,
            wanted,
            decoding,
            token_budget=self.token_budget,
            max_rows=self.max_rows,
            on_batch=on_batch,
            plain=self.plain,
        )
        texts = []
        for request, text in zip(wanted, made, strict=True):
            assert text is not None  # nothing was skipped
            self.tokens_in += self.root_length + len(request.prompt)
            self.tokens_out += len(text.ids)
            texts.append(text.text)
        self.requests += len(wanted)
        return texts

    def _cut(self, prompts: Sequence[list[int]], new_tokens: int) -> list[tuple[int, ...]]:
        """Prompts with the leftmost tokens dropped where prompt and answer would not fit the window."""
        if self.window is None:
            return [tuple(prompt) for prompt in prompts]
        room = self.window - self.root_length - new_tokens
        if room < 1:
            raise ModelError(
                f"a benchmark asks for up to {new_tokens} new tokens, which do not fit the model's window of "
                f"{self.window} positions.",
                hint="Leave this benchmark out, or use a model with a larger window.",
            )
        self.truncated += sum(1 for prompt in prompts if len(prompt) > room)
        return [tuple(prompt[-room:]) for prompt in prompts]

    def _decoding(self, settings: Mapping[str, Any]) -> tuple[Decoding, int]:
        """lm-eval's generation settings as ours; ModelError for what the engine does not do."""
        wanted: dict[str, Any] = dict(normalize_gen_kwargs(dict(settings), MAX_NEW_TOKENS))
        until = wanted.pop("until", None) or []
        new_tokens = int(wanted.pop("max_gen_toks"))
        temperature = float(wanted.pop("temperature", 0.0) or 0.0)
        sampled = bool(wanted.pop("do_sample", False)) and temperature > 0
        top_p = float(wanted.pop("top_p", None) or 1.0)
        refused = [
            name
            for name, value in wanted.items()
            if value is not None
            and not (name in _NEUTRAL and value == _NEUTRAL[name])
            and not (name in _GREEDY_ONLY and (not sampled or value == 0))
        ]
        if refused:
            raise ModelError(
                f"a benchmark sets generation options that the engine does not have: {', '.join(sorted(refused))}.",
                hint="Leave this benchmark out.",
            )
        stop = tuple(text for text in ([until] if isinstance(until, str) else until) if text)
        return Decoding(temperature if sampled else 0.0, top_p if sampled else 1.0, stop, self._eos_ids), new_tokens

    # ---------------------------------------------------------------------------------------------- tokenisation

    def _prefix(self) -> int:
        if self.prefix_token_id is None:
            raise ModelError("a benchmark gives no context, and the tokenizer names no beginning or end of sequence.")
        return self.prefix_token_id

    def _pairs(self, texts: Sequence[tuple[str, str]]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        """Ids of (context, continuation) pairs, as `TemplateLM.loglikelihood` and `_encode_pair` make them: trailing
        space of a context goes to its continuation, and the continuation is what encoding both together adds."""
        moved = []
        for context, continuation in texts:
            spaces = len(context) - len(context.rstrip())
            if spaces:
                continuation = context[-spaces:] + continuation
                context = context[:-spaces]
            moved.append((context, continuation))
        distinct = list(dict.fromkeys(context for context, _ in moved if context))
        contexts = dict(zip(distinct, map(tuple, self._encode(distinct)), strict=True))
        wholes = self._encode([context + continuation for context, continuation in moved if context])
        following = iter(wholes)
        pairs = []
        for context, continuation in moved:
            if context:
                ids = contexts[context]
                pairs.append((ids, tuple(next(following)[len(ids) :])))
                continue
            alone = self.tokenizer.encode(continuation, add_special_tokens=False)
            first = self._prefix()
            if alone and alone[0] == first:  # the text brings its own beginning of sequence
                pairs.append((tuple(alone[:1]), tuple(alone[1:])))
            else:
                pairs.append(((first,), tuple(alone)))
        return pairs

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids with the tokenizer's own special tokens, unless the text starts with the first of them."""
        ids: list[list[int]] = [[]] * len(texts)
        for special in (True, False):
            positions = [
                position for position, text in enumerate(texts) if special != self._starts_sequence(text) and text
            ]
            options: dict[str, Any] = {} if special else {"add_special_tokens": False}
            for start in range(0, len(positions), _ENCODED_AT_ONCE):
                chunk = positions[start : start + _ENCODED_AT_ONCE]
                made = self.tokenizer([texts[position] for position in chunk], **options)["input_ids"]
                for position, found in zip(chunk, made, strict=True):
                    ids[position] = list(found)
        return ids

    def _starts_sequence(self, text: str) -> bool:
        return bool(self._prefix_text) and text.startswith(self._prefix_text)


def _eos_ids(model: Any, tokenizer: Any) -> tuple[int, ...]:
    """Tokens that end a text: the tokenizer's, and those of the model's generation settings."""
    named = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    ids = [tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])]
    return tuple(dict.fromkeys(token for token in ids if token is not None))
