// One GET with one check, as k6's documentation writes it; JSON=1 checks a field too, RATE sets an arrival rate.
import http from "k6/http";
import { check } from "k6";

const url = `${__ENV.URL}/products/CH-1189`;
const rate = Number(__ENV.RATE || 0);
const waiting = Number(__ENV.WAITING || 200);

export const options = {
  insecureSkipTLSVerify: true,
  summaryTrendStats: ["p(50)", "p(95)", "p(99)"],
  scenarios: {
    bench: rate
      ? { executor: "constant-arrival-rate", rate, duration: __ENV.FOR, preAllocatedVUs: waiting, maxVUs: 1000 }
      : { executor: "constant-vus", vus: Number(__ENV.USERS), duration: __ENV.FOR },
  },
};

const checks = __ENV.JSON
  ? { "status is 200": (r) => r.status === 200, "sku": (r) => r.json("sku") === "CH-1189" }
  : { "status is 200": (r) => r.status === 200 };

export default function () {
  check(http.get(url), checks);
}
