"use strict";
/* One run, live. Everything is set as text: no name can become markup. */
(() => {
  const root = document.getElementById("live");
  let state = null, rows = new Map(), samples = new Map();
  const { byId, css, ms, clock, num, axis, line, draw, update, timeOptions } = loadproofCharts(() => (state && state.phases) || []);

  /* --- words --- */
  const TONES = { GO: "go", GO_WITH_RISK: "risk", NO_GO: "stop", NOT_PROVEN: "open" };
  const WORDS = { GO: "GO", GO_WITH_RISK: "GO WITH RISK", NO_GO: "NO-GO", NOT_PROVEN: "NOT PROVEN" };
  const SO_FAR = { holding: ["go", "Holding so far"], warning: ["risk", "Warning so far"], broken: ["stop", "Broken so far"], "no rules": ["open", "Running, no rules set"] };
  const BEFORE = { pending: "Waiting for agents", preparing: "Preparing the agents", setup: "Setting up", ready: "Ready to start" };
  const count = (n) => n == null ? "–" : n.toLocaleString("en");
  const us = (v) => v == null ? "–" : ms(v / 1000);
  const share = (v) => v == null ? "–" : (v * 100).toFixed(v === 0 || v === 1 ? 0 : v > 0.999 || v < 0.001 ? 3 : v > 0.99 || v < 0.01 ? 2 : 1) + " %";
  const bytes = (v) => !v ? "–" : v >= 1 << 30 ? (v / (1 << 30)).toFixed(1) + " GiB" : Math.round(v / (1 << 20)) + " MiB";

  /* --- building --- */
  const el = (name, text, className) => { const made = document.createElement(name); if (text != null) made.textContent = text; if (className) made.className = className; return made; };
  const cell = (row, text, className) => { const td = el("td", text, className); row.append(td); return td; };
  const tag = (text, kind) => el("span", text, "tag" + (kind ? " " + kind : ""));
  const set = (id, text) => { const node = byId(id); if (node && node.textContent !== text) node.textContent = text; };
  const fill = (id, made) => byId(id).replaceChildren(...made);
  const sum = (name) => state.transactions.reduce((all, t) => all + t[name], 0);

  const verdict = () => {
    const { run, phase } = state;
    let tone = "open", word = run.state, first = "", more = [];
    if (run.over) {
      tone = TONES[run.decision] || (run.state === "failed" ? "stop" : "open");
      word = WORDS[run.decision] || (run.state === "failed" ? "Failed" : run.state === "aborted" ? "Stopped" : "Finished");
      [first, ...more] = state.reasons.length ? state.reasons : run.decision ? [""] : [run.reason, ...run.problems];
    } else if (state.ahead != null) {
      word = "Waiting";
      first = state.ahead ? state.ahead + (state.ahead === 1 ? " run is" : " runs are") + " before this one." : "It is next.";
    } else if (BEFORE[phase]) {
      word = BEFORE[phase];
    } else {
      [tone, word] = SO_FAR[state.verdict] || ["open", "Running"];
      if (phase !== "running") first = { draining: "The load is over; what runs may finish.", collecting: "Collecting the last numbers.", teardown: "Tearing down." }[phase] || "";
      more = state.broken.slice(0, 5);
      if (state.broken.length > 5) more.push(state.broken.length - 5 + " more");
    }
    byId("verdict").className = "verdict tone-" + tone;
    set("word", word);
    set("first", first || "");
    fill("more", more.filter(Boolean).map((text) => el("p", text, "more")));
    document.title = word + ": " + (run.suite || run.run_id) + " " + run.build;

    const elapsed = state.elapsed_s == null ? null : Math.max(0, state.elapsed_s), length = state.duration_s;
    set("fact-time", elapsed == null ? "–" : clock(elapsed) + (length && !run.over ? " of " + clock(length) : ""));
    byId("meter").hidden = run.over || !length || elapsed == null;
    if (length && elapsed != null) byId("meter-fill").style.width = Math.min(100, 100 * elapsed / length) + "%";
    const completed = sum("completed"), failed = sum("failed");
    fact("fact-failed", completed ? share(failed / completed) : "–", completed ? count(failed) + " of " + count(completed) : "");
    fact("fact-started", count(sum("started")), state.closed ? "iterations" : "of " + count(sum("planned")) + (run.over ? " planned" : " planned by now"));
    set("fact-flight", count(state.in_flight));
    const { attached, lost, wanted } = state.agents;
    fact("fact-agents", attached + " of " + wanted, lost ? lost + " lost" : "");
    const ready = run.over && run.loaded;
    for (const [id, shown] of [["report-link", ready], ["compare-form", ready], ["stop-form", !run.over], ["unrecorded", ready && !run.recorded]]) { const node = byId(id); if (node) node.hidden = !shown; }
  };
  const fact = (id, text, note) => { const made = [text]; if (note) made.push(el("small", note)); byId(id).replaceChildren(...made); };

  const transactions = () => {
    set("head-planned", state.closed ? "Iterations" : "Planned");
    fill("transactions", state.transactions.map((t) => {
      const row = el("tr"), name = cell(row, t.name, "l name"), ok = t.completed - t.failed;
      name.append(el("small", t.criticality + (t.owner ? " · " + t.owner : "")));
      row.dataset.name = t.name;
      for (const key of ["planned", "started", "completed"]) cell(row, count(t[key]));
      cell(row, count(t.failed), t.failed ? "bad" : "few");
      cell(row, t.completed ? share(ok / t.completed) : "–");
      for (const key of ["p50", "p95", "p99", "s95"]) cell(row, us(t[key])).dataset.v = t[key] ?? "";
      for (const key of ["dropped", "late", "missed"]) cell(row, count(t[key]), t[key] ? "bad" : "few");
      return row;
    }));
  };

  const errors = () => {
    const open = new Set([...document.querySelectorAll("#errors details[open]")].map((d) => d.dataset.key));
    fill("errors", state.errors.map((e) => {
      const key = JSON.stringify([e.transaction, e.step, e.endpoint, e.category, e.message]);
      if (e.samples) samples.set(key, e.samples);
      const box = el("div", null, "error"), title = el("p"), where = [e.transaction, e.step && "at " + e.step, e.endpoint].filter(Boolean).join(", ");
      title.append(tag(e.category, "bad"), " ", el("strong", e.message));
      box.append(title, el("p", count(e.count) + " × " + where + " · first " + clock(Math.max(0, e.first_s)) + ", last " + clock(Math.max(0, e.last_s)), "note"));
      for (const [index, s] of (samples.get(key) || []).entries()) {
        const details = el("details", null, "inner"), body = [];
        details.dataset.key = key + index;
        details.open = open.has(details.dataset.key);
        details.append(el("summary", "Sample " + (index + 1) + " at " + clock(Math.max(0, s.at_s)) + (s.trace ? ", trace " + s.trace : "") + (s.agent ? ", " + s.agent : "")));
        if (s.detail) body.push(el("p", s.detail, "note"));
        for (const [label, text] of [["Request", s.request], ["Response", s.response]]) if (text) { const pre = el("pre", text); pre.tabIndex = 0; pre.setAttribute("aria-label", label); body.push(pre); }
        details.append(...body);
        box.append(details);
      }
      return box;
    }));
  };

  const FLEET = { working: ["✓ working", "good"], complete: ["✓ complete", "good"], lost: ["✕ lost", "bad"], away: ["! not attached", "warn"], spare: ["in reserve", ""] };
  const fleet = () => fill("fleet", state.fleet.map((a) => {
    const row = el("tr"), name = cell(row, a.agent_id, "l name");
    name.append(el("small", [a.host, a.about].filter(Boolean).join(" · ")));
    cell(row, null, "l").append(tag(...(FLEET[a.state] || ["! " + a.state, "warn"])));
    cell(row, count(a.workers));
    cell(row, share(a.cpu), a.cpu > 0.9 ? "bad" : "");
    cell(row, us(a.lag_us));
    cell(row, bytes(a.memory_bytes));
    cell(row, count(a.in_flight));
    cell(row, a.clock_us == null ? "–" : us(Math.abs(a.clock_us)) + " ± " + us(a.clock_uncertainty_us));
    cell(row, count(a.shards));
    return row;
  }));

  const events = () => fill("events", state.events.slice(-50).map((e) => {
    const row = el("tr");
    cell(row, (e.at_s < 0 ? "before" : clock(e.at_s)), "l"); cell(row, e.kind.replaceAll("_", " "), "l"); cell(row, e.agent_id, "l"); cell(row, e.text, "l");
    return row;
  }));

  /* --- charts --- */
  const rate = (v) => v == null ? "" : num(v) + "/s";
  const rateAxis = () => axis({ size: 56, values: (u, at) => at.map((v) => num(v) + "/s") });
  const charts = () => {
    const all = [...rows.values()].sort((a, b) => a[0] - b[0]), w = state.chart.w;
    const column = (at, per) => all.map((row) => row[at] == null ? null : per ? row[at] / w : row[at]);
    const t = column(0), some = (columns) => columns.some((values) => values.some((v) => v));
    const show = (id, data, options, height) => update(id, data, () => all.length < 2 || !some(data.slice(1)) ? { text: id === "chart-failures" && all.length > 1 ? (state.run.over ? "None." : "None so far.") : state.run.over ? "Nothing was recorded here." : "Nothing yet." } : { data, options: options(), height });
    show("chart-rates", [t, column(1, true), column(2, true), column(3, true)], () => timeOptions([
      line(state.closed ? "iterations" : "planned", "--c5", { dash: [5, 4], value: (u, v) => rate(v) }), line("started", "--c1", { value: (u, v) => rate(v) }), line("completed", "--c4", { value: (u, v) => rate(v) }),
    ], [rateAxis()], { scales: { y: { range: (u, lo, hi) => [0, (hi || 1) * 1.15] } } }), 240);
    show("chart-percentiles", [t, column(7), column(8), column(9), column(10)], () => timeOptions([
      line("p50", "--c1", { value: (u, v) => ms(v) }), line("p95", "--c2", { value: (u, v) => ms(v) }), line("p99", "--c3", { value: (u, v) => ms(v) }), line("service p95", "--c2", { dash: [5, 4], value: (u, v) => ms(v) }),
    ], [axis({ size: 64, values: (u, at) => at.map(ms) })], { scales: { y: { range: (u, lo, hi) => [0, (hi || 1) * 1.12] } } }), 240);
    show("chart-failures", [t, column(4, true), column(5, true), column(6, true)], () => timeOptions([
      line("failed", "--c-bad", { fill: css("--c-bad") + "22", value: (u, v) => rate(v) }), line("dropped", "--c2", { value: (u, v) => rate(v) }), line("late or missed", "--c5", { dash: [5, 4], value: (u, v) => rate(v) }),
    ], [rateAxis()], { scales: { y: { range: (u, lo, hi) => [0, Math.max(hi || 0, 0.5) * 1.15] } } }), 180);
  };

  const show = () => {
    for (const section of document.querySelectorAll("[data-needs]")) section.hidden = !state[section.dataset.needs].length;
    verdict(); transactions(); errors(); fleet(); events();
    charts();
    document.documentElement.dataset.ready = "yes";
    document.documentElement.dataset.over = state.run.over && (!state.run.loaded || state.reasons.length) ? "yes" : "no";
  };

  /* --- the stream: the browser reconnects by itself, and where it gives up, we do --- */
  let source = null, again = 0;
  const connection = (kind, text) => { byId("connection").dataset.state = kind; set("connection", text); };
  const connect = () => {
    clearTimeout(again);
    if (source) source.close();
    source = new EventSource("/api/v1/runs/" + encodeURIComponent(root.dataset.run) + "/events");
    source.addEventListener("state", (message) => {
      state = JSON.parse(message.data);
      rows = new Map(state.chart.rows.map((row) => [row[0], row]));
      samples = new Map();
      connection(state.run.over ? "" : "live", state.run.over ? "" : "live");
      show();
    });
    source.addEventListener("tick", (message) => {
      if (!state) return;
      const { rows: changed, ...next } = JSON.parse(message.data);
      state = { ...next, chart: state.chart };
      for (const row of changed) rows.set(row[0], row);
      connection("live", "live");
      show();
    });
    source.addEventListener("error", () => {
      connection("lost", "connection lost, trying again");
      if (source.readyState === EventSource.CLOSED) recover();
    });
  };
  const recover = () => {
    clearTimeout(again);
    again = setTimeout(async () => {
      const answer = await fetch("/api/v1/runs/" + encodeURIComponent(root.dataset.run), { redirect: "manual" }).catch(() => null);
      if (answer && answer.status === 401) location.reload(); else if (answer && answer.ok) connect(); else recover();
    }, 1500);
  };
  connect();
})();
