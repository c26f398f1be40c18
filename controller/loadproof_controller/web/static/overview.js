"use strict";
/* The lists of runs and agents, kept fresh. Everything is set as text: no name can become markup. */
(() => {
  const live = document.querySelector("[data-live]").dataset.live;
  const byId = (id) => document.getElementById(id);
  const el = (name, text, className) => { const made = document.createElement(name); if (text != null) made.textContent = text; if (className) made.className = className; return made; };
  const cell = (row, text, className) => { const td = el("td", text, className); row.append(td); return td; };
  const TONES = { GO: "go", GO_WITH_RISK: "risk", NO_GO: "stop", NOT_PROVEN: "open" };
  const WORDS = { GO: "GO", GO_WITH_RISK: "GO WITH RISK", NO_GO: "NO-GO", NOT_PROVEN: "NOT PROVEN" };
  const STATES = { aborted: "warn", failed: "bad", running: "open" };
  const us = (v) => v == null ? "–" : v >= 1000 ? (v / 1000).toPrecision(3) + " ms" : v + " µs";
  const link = (to, text) => { const a = el("a", text); a.href = to; return a; };

  const runs = (state) => {
    byId("now").replaceChildren(...state.runs.filter((run) => run.state === "running").map((run) => {
      const card = link("/runs/" + run.run_id);
      card.className = "card running";
      card.append(el("strong", (run.suite || run.run_id) + " is running"), el("p", "profile " + run.profile + (run.build ? " · " + run.build : "") + " · since " + run.started_at.slice(11, 16) + " UTC · watch it live", "note"));
      return card;
    }));
    byId("runs").replaceChildren(...state.runs.map((run) => {
      const row = el("tr"), name = cell(row, null, "l name"), verdict = cell(row, null, "l");
      name.append(link("/runs/" + run.run_id, run.suite || run.run_id), el("small", run.profile + " · " + run.run_id));
      verdict.append(run.decision ? el("span", WORDS[run.decision], "tag toned tone-" + TONES[run.decision]) : el("span", run.state, "tag " + (STATES[run.state] || "")));
      cell(row, run.build, "l");
      cell(row, run.submitted_at.slice(0, 16).replace("T", " "), "l");
      cell(row, run.submitted_by, "l");
      const more = cell(row, null, "l");
      if (run.loaded && run.over) more.append(link("/runs/" + run.run_id + "/report", "Report"));
      if (run.loaded && run.over && !run.recorded) more.append(el("small", "not yet in the history", "note"));
      return row;
    }));
    byId("no-runs").hidden = state.runs.length > 0;
  };

  const fleet = (state) => {
    const sum = (name) => state.fleet.reduce((all, agent) => all + agent[name], 0);
    byId("fleet-sum").textContent = state.fleet.length ? state.fleet.length + (state.fleet.length === 1 ? " agent" : " agents") + " with " + sum("workers") + " workers on " + sum("cores") + " cores." : "";
    byId("fleet").replaceChildren(...state.fleet.map((agent) => {
      const row = el("tr"), name = cell(row, agent.agent_id, "l name"), at = cell(row, null, "l");
      name.append(el("small", agent.host + " · " + agent.version + ", Python " + agent.python));
      if (agent.run_id) { const a = link("/runs/" + agent.run_id, "in a run"); a.className = "tag open"; at.append(a); } else at.append(el("span", "✓ ready", "tag good"));
      cell(row, agent.cores);
      cell(row, agent.workers);
      cell(row, agent.capacity.toFixed(2) + " ×");
      cell(row, us(Math.abs(agent.clock_us)) + " ± " + us(agent.clock_uncertainty_us));
      cell(row, Object.entries(agent.labels).map((pair) => pair.join("=")).join(", "), "l");
      return row;
    }));
    byId("no-agents").hidden = state.fleet.length > 0;
  };

  let source = null, again = 0;
  const connection = (kind, text) => { byId("connection").dataset.state = kind; byId("connection").textContent = text; };
  const connect = () => {
    clearTimeout(again);
    if (source) source.close();
    source = new EventSource("/api/v1/events");
    source.addEventListener("state", (message) => {
      connection("live", "live");
      (live === "runs" ? runs : fleet)(JSON.parse(message.data));
      document.documentElement.dataset.ready = "yes";
    });
    source.addEventListener("error", () => {
      connection("lost", "connection lost, trying again");
      if (source.readyState === EventSource.CLOSED) recover();
    });
  };
  const recover = () => {
    clearTimeout(again);
    again = setTimeout(async () => {
      const answer = await fetch("/api/v1/fleet").catch(() => null);
      if (answer && answer.status === 401) location.reload(); else if (answer && answer.ok) connect(); else recover();
    }, 1500);
  };
  connect();
})();
