"""Tiny wheels, an index that is a folder, and lock files that name them."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path


def make_wheel(
    folder: Path, name: str, version: str, files: Mapping[str, str | bytes], requires: tuple[str, ...] = ()
) -> Path:
    """Write a pure Python wheel of `files` into `folder` and return its path."""
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += "".join(f"Requires-Dist: {other}\n" for other in requires)
    contents: dict[str, bytes] = {
        **{path: text if isinstance(text, bytes) else text.encode() for path, text in files.items()},
        f"{info}/METADATA": metadata.encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},sha256={_digest(data)},{len(data)}\n" for path, data in contents.items())
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in contents.items():
            archive.writestr(path, data)
        archive.writestr(f"{info}/RECORD", f"{record}{info}/RECORD,,\n")
    return wheel


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def locked(*wheels: Path, wrong: bool = False) -> str:
    """Return a lock of wheels, as the tools write it; `wrong` names hashes of other files."""
    lines = ["# This file was made by a tool\n"]
    for wheel in wheels:
        name, version, *_ = wheel.name.split("-")
        digest = "0" * 64 if wrong else hashlib.sha256(wheel.read_bytes()).hexdigest()
        lines.append(f"{name}=={version} \\\n    --hash=sha256:{digest}\n    # via -r requirements.in\n")
    return "".join(lines)


def only_from(folder: Path) -> dict[str, str]:
    """Return the environment in which pip knows this folder and no index."""
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder)}
