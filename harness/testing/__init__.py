"""For plugin authors: contract suites, a fake model and tiny tasks. Imports no torch and needs no pytest.

    import pytest
    from harness.testing import promises

    @pytest.mark.parametrize("promise", promises("my-strategy"), ids=str)
    def test_contract(promise):
        promise()

`harness plugins test PACKAGE` runs the same promises without a test file.
"""

from harness.testing.fakes import FakeContext, FakeModel
from harness.testing.promise import Broken, NotApplicable, Promise, Subject
from harness.testing.suites import promises, promises_of
from harness.testing.tiny import TinyTask, tiny_labels, tiny_questions, write_tiny_files

__all__ = [
    "Broken",
    "FakeContext",
    "FakeModel",
    "NotApplicable",
    "Promise",
    "Subject",
    "TinyTask",
    "promises",
    "promises_of",
    "tiny_labels",
    "tiny_questions",
    "write_tiny_files",
]
