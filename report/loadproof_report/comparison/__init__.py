"""What changed since the last stable run, with confidence: comparability first, then noise-aware changes."""

from loadproof_report.comparison.compare import compare
from loadproof_report.comparison.inputs import ComparisonInput, comparison_input, of_evidence

__all__ = ["ComparisonInput", "compare", "comparison_input", "of_evidence"]
