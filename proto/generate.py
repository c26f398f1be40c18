"""Generates the checked-in Python of `proto/loadproof/v1`: `python proto/generate.py [OUTPUT]`.

protoc writes absolute imports (`from loadproof.v1 import`), but the generated package is `loadproof_proto`. One
anchored rewrite mends that, and anything it does not expect stops the script.
"""

from __future__ import annotations

import re
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent
IMPORT = re.compile(r"^(from|import) loadproof\.v1\b", re.MULTILINE)
MENTION = re.compile(r"(?<![\w.])loadproof\.v1\.(\w+)_pb2\.")


def generate(output: Path) -> None:
    """Write `loadproof_proto/v1/*` below `output`."""
    sources = sorted((ROOT / "loadproof" / "v1").glob("*.proto"))
    with tempfile.TemporaryDirectory() as scratch:
        for source in sources:
            name = f"loadproof/v1/{source.name}"
            arguments = ["protoc", f"-I{ROOT}", f"-I{files('grpc_tools') / '_proto'}"]
            arguments += [f"--python_out={scratch}", f"--pyi_out={scratch}"]
            if re.search(r"^service ", source.read_text(encoding="utf-8"), re.MULTILINE):
                arguments += [f"--grpc_python_out={scratch}", f"--mypy_grpc_out={scratch}"]
            if protoc.main([*arguments, name]) != 0:
                raise SystemExit(f"protoc failed on {name}")
        target = output / "loadproof_proto" / "v1"
        target.mkdir(parents=True, exist_ok=True)
        for old in target.glob("*_pb2*"):
            old.unlink()
        for made in sorted((Path(scratch) / "loadproof" / "v1").iterdir()):
            text = IMPORT.sub(lambda match: f"{match[1]} loadproof_proto.v1", made.read_text(encoding="utf-8"))
            text = MENTION.sub(r"loadproof_proto.v1.\1_pb2.", text)
            (target / made.name).write_text(text, encoding="utf-8")
        for package in (target, target.parent):
            (package / "__init__.py").write_text("", encoding="utf-8")


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "python")
