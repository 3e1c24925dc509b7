"""The conformance kit: what every method has to hold to, as named checks.

In a test file, one line for a class, a registered name or a Python file::

    from harness.testing import conformance

    test_my_method = conformance("my_method.py")

On the command line: ``python -m harness check my_method.py``.
"""

from harness.testing.checks import CHECKS, Check, Result, checks_of, run_checks
from harness.testing.in_pytest import conformance
from harness.testing.subject import SkippedCheck, Subject, subjects

__all__ = [
    "CHECKS",
    "Check",
    "Result",
    "SkippedCheck",
    "Subject",
    "checks_of",
    "conformance",
    "run_checks",
    "subjects",
]
