"""A suite's folder as one zip: made deterministically by the submitter, unpacked without trust by agents."""

from loadproof.bundle.build import BUNDLE_BYTES_MAX, Bundle, build_bundle
from loadproof.bundle.errors import BundleError
from loadproof.bundle.extract import extract_bundle

__all__ = ["BUNDLE_BYTES_MAX", "Bundle", "BundleError", "build_bundle", "extract_bundle"]
