"""One real relay of a fleet benchmark, in a process of its own and in plaintext.

    python -m benchmarks.fleet_relay CONTROLLER INDEX

Prints where agents attach, serves until its standard input ends, prints what it used as JSON.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys

from loadproof_agent.enrolment import Membership
from loadproof_agent.relay.process import Relay


def relay_name(index: int) -> str:
    """Return the name of a relay; its identity is its name twice."""
    return f"relay-{index:03d}"


async def main(controller: str, index: int) -> None:
    """Do what the module says."""
    name = relay_name(index)
    relay = Relay(Membership(name, controller, None, name * 2, 0, 0), "127.0.0.1:0", None)
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(relay.run())
        while not relay.port:
            await asyncio.sleep(0.01)
        print(json.dumps({"address": f"127.0.0.1:{relay.port}"}), flush=True)
        await asyncio.to_thread(sys.stdin.read)
        relay.stop()
        await serving
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"cpu_s": usage.ru_utime + usage.ru_stime, "rss_max": usage.ru_maxrss * 1024}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
