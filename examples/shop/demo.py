"""`make demo`: starts the shop on a free port of loopback, runs its suite on two local agents, ends both.

Exits as the run does: 0 for GO and GO WITH RISK.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Run the demonstration and return the run's exit code."""
    server = [sys.executable, str(HERE / "server.py"), "--port", "0", "--until-eof"]
    with subprocess.Popen(server, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as shop:
        assert shop.stdin
        assert shop.stdout
        line = shop.stdout.readline()
        if not line:
            print("the example shop did not start", file=sys.stderr)
            return 5
        address = json.loads(line)["url"]
        print(f"The example shop listens on {address}.", file=sys.stderr, flush=True)
        command = [str(Path(sys.executable).with_name("loadproof")), "run", str(HERE / "suite"), "--profile", "demo"]
        command += ["--agents", "2", "--workers", "1", *sys.argv[1:]]
        run = subprocess.Popen(command, env={**os.environ, "SHOP_URL": address})
        while True:
            try:
                code = run.wait()
                break
            except KeyboardInterrupt:
                continue  # the run got the same signal and is writing its report
        shop.stdin.close()
    return code


if __name__ == "__main__":
    sys.exit(main())
