"""Checks on responses: what is expected, what was found, in a line short enough for a report."""

from loadproof.checks.response import check_response
from loadproof.checks.schema import schema_mismatch
from loadproof.checks.subset import json_mismatch

__all__ = ["check_response", "json_mismatch", "schema_mismatch"]
