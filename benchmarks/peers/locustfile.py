"""One GET of Locust's fast client; its own judgement of the status, or (BENCH_JSON) a JSON field check too.

BENCH_EACH_PER_S is how often a second each user goes; without it they go round and round.
"""

import os

from locust import FastHttpUser, constant, constant_throughput, task

PATH = "/products/CH-1189"
EACH_PER_S = float(os.environ.get("BENCH_EACH_PER_S", "0"))


class Bench(FastHttpUser):
    wait_time = constant_throughput(EACH_PER_S) if EACH_PER_S else constant(0)

    if os.environ.get("BENCH_JSON"):

        @task
        def checked(self):
            with self.client.get(PATH, catch_response=True) as response:
                if response.json()["sku"] != "CH-1189":
                    response.failure("sku differs")
    else:

        @task
        def plain(self):
            self.client.get(PATH)
