"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  for (const s of data.series) for (const name in s) {
    if (typeof s[name] === "string") s[name] = s[s[name]];  // like an earlier column
    else if (!Array.isArray(s[name])) s[name] = data.t.map(((v) => () => v)(s[name]));
  }
  for (const h of data.heat) if (h) h.cells = h.columns.flatMap((c, x) => c.flatMap((v, i) => i % 2 ? [] : [[x, v, c[i + 1]]]));
  const { byId, css, ms, clock, num, axis, xAxis, line, draw, redraw, timeOptions } = loadproofCharts(() => data.phases);

  /* --- tables: sort and filter --- */
  const table = byId("transactions-table");
  if (table) {
    const body = table.tBodies[0];
    for (const th of table.tHead.rows[0].cells) {
      const button = th.querySelector("button");
      if (!button) continue;
      button.addEventListener("click", () => {
        const down = th.getAttribute("aria-sort") !== "descending";
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        th.setAttribute("aria-sort", down ? "descending" : "ascending");
        const at = th.cellIndex, text = th.dataset.kind === "text";
        const key = (row) => { const v = row.cells[at].dataset.v ?? ""; return text ? v : v === "" ? -Infinity : +v; };
        const rows = [...body.rows].sort((a, b) => { const x = key(a), y = key(b); return (x < y ? -1 : x > y ? 1 : 0) * (down ? -1 : 1); });
        body.append(...rows);
      });
    }
    const search = byId("filter-name"), tag = byId("filter-tag"), grade = byId("filter-grade"), shown = byId("filter-count");
    const apply = () => {
      const word = search.value.toLowerCase();
      let n = 0;
      for (const row of body.rows) {
        const tags = JSON.parse(row.dataset.tags);
        const ok = (!word || row.cells[0].dataset.v.toLowerCase().includes(word)) && (!tag.value || tags.includes(tag.value)) && (!grade.value || row.dataset.grade === grade.value);
        row.hidden = !ok;
        const flow = byId("flow-" + row.dataset.index);
        if (flow) flow.hidden = !ok;
        n += ok;
      }
      shown.textContent = n + " of " + body.rows.length + " shown";
    };
    if (search) {
      for (const control of [search, tag, grade]) control.addEventListener("input", apply);
      apply();
    }
  }
  const open = () => {
    const target = location.hash.length > 1 && byId(decodeURIComponent(location.hash.slice(1)));
    if (target && target.matches("details")) target.open = true;
  };
  addEventListener("hashchange", open);
  open();

  /* --- charts --- */
  const some = (columns) => columns.some((column) => column && column.some((v) => v != null && v !== 0));
  const perSecond = (column) => column.map((v) => v == null ? null : v / data.w);

  const percentiles = (s) => () => !some([s.p50, s.p95]) ? null : { height: 260, data: [data.t, s.p50, s.p95, s.p99, s.s95], options: timeOptions([
    line("p50", "--c1", { value: (u, v) => ms(v) }), line("p95", "--c2", { value: (u, v) => ms(v) }), line("p99", "--c3", { value: (u, v) => ms(v) }),
    line("p95 service", "--c5", { dash: [5, 4], value: (u, v) => ms(v) }),
  ], [axis({ size: 64, values: (u, at) => at.map(ms) })], { scales: { y: { range: (u, lo, hi) => [0, (hi || 1) * 1.12] } } }) };
  const rates = (s) => () => !some([s.planned, s.started]) ? null : { data: [data.t, perSecond(s.planned), perSecond(s.started), perSecond(s.completed)], options: timeOptions([
    line(data.closed ? "iterations" : "planned", "--c5", { dash: [5, 4], value: (u, v) => v == null ? "" : num(v) + "/s" }), line("started", "--c1", { value: (u, v) => v == null ? "" : num(v) + "/s" }), line("completed", "--c4", { value: (u, v) => v == null ? "" : num(v) + "/s" }),
  ], [axis({ size: 56, values: (u, at) => at.map((v) => num(v) + "/s") })], { scales: { y: { range: (u, lo, hi) => [0, (hi || 1) * 1.15] } } }) };
  const failures = (s) => () => ({ data: [data.t, perSecond(s.failed), perSecond(s.dropped), perSecond(s.lost)], options: timeOptions([
    line("failed", "--c-bad", { fill: css("--c-bad") + "22", value: (u, v) => v == null ? "" : num(v) + "/s" }), line("dropped", "--c2", { value: (u, v) => v == null ? "" : num(v) + "/s" }), line("late or missed", "--c5", { dash: [5, 4], value: (u, v) => v == null ? "" : num(v) + "/s" }),
  ], [axis({ size: 56, values: (u, at) => at.map((v) => num(v) + "/s") })], { scales: { y: { range: (u, lo, hi) => [0, Math.max(hi || 0, 0.5) * 1.15] } } }) });
  const scatter = (s) => () => {
    const points = data.t.map((t, i) => [(s.planned[i] ?? 0) / data.w, s.p95[i], s.p50[i]]).filter((p) => p[0] > 0 && p[1] != null).sort((a, b) => a[0] - b[0]);
    if (data.closed) return { text: "With a fixed number of users the load follows response time, so the one says nothing about the other." };
    if (points.length < 3) return null;
    if (points[points.length - 1][0] < points[0][0] * 1.2) return { text: "The offered load did not vary, so there is nothing to plot response time against." };
    const dots = { width: 0, paths: () => null };
    return { data: [points.map((p) => p[0]), points.map((p) => p[2]), points.map((p) => p[1])], options: {
      scales: { x: { time: false }, y: { range: (u, lo, hi) => [0, (hi || 1) * 1.12] } },
      axes: [axis({ values: (u, at) => at.map((v) => num(v) + "/s"), space: 60 }), axis({ size: 64, values: (u, at) => at.map(ms) })],
      series: [{ label: "offered", value: (u, v) => v == null ? "" : num(v) + "/s" }, line("p50", "--c1", { ...dots, value: (u, v) => ms(v), points: { show: true, size: 4, fill: css("--c1"), stroke: css("--c1") } }), line("p95", "--c2", { ...dots, value: (u, v) => ms(v), points: { show: true, size: 4, fill: css("--c2"), stroke: css("--c2") } })],
      cursor: { y: false },
    } };
  };
  const decades = (low, high) => {
    const all = [];
    for (let d = 10 ** Math.floor(Math.log10(low)); d <= high; d *= 10) all.push(d, 2 * d, 5 * d);
    return all.filter((v) => v >= low && v <= high);
  };
  const heat = (map) => () => {
    if (!map || !map.cells.length) return null;
    const last = data.t.length ? data.t[data.t.length - 1] + data.w : 1;
    const edges = map.edges.map((v) => v / 1000);
    const most = Math.max(...map.cells.map((c) => c[2]));
    const paint = (u) => {
      const { ctx } = u;
      ctx.save();
      for (const [column, row, count] of map.cells) {
        const x0 = u.valToPos(column * map.w, "x", true), x1 = u.valToPos((column + 1) * map.w, "x", true);
        const y0 = u.valToPos(edges[row + 1], "y", true), y1 = u.valToPos(edges[row], "y", true);
        ctx.fillStyle = "rgba(" + css("--heat") + "," + (0.1 + 0.9 * Math.sqrt(count / most)).toFixed(3) + ")";
        ctx.fillRect(Math.floor(x0), Math.floor(y0), Math.ceil(x1) - Math.floor(x0), Math.ceil(y1) - Math.floor(y0));
      }
      ctx.restore();
    };
    return { height: 260, data: [[0, last], [edges[0], edges[edges.length - 1]]], options: {
      scales: { x: { time: false, range: [0, last] }, y: { distr: 3, range: [edges[0], edges[edges.length - 1]] } },
      axes: [xAxis(), axis({ size: 64, grid: { show: false }, values: (u, at) => at.map(ms), filter: (u, at) => at, splits: () => decades(edges[0], edges[edges.length - 1]) })],
      series: [{}, { stroke: "transparent", points: { show: false } }], legend: { show: false }, cursor: { show: false }, hooks: { draw: [paint] },
    } };
  };
  const health = () => {
    const h = data.health;
    if (!h || !h.t.length) return null;
    return { data: [h.t, h.cpu, h.machine, h.lag], options: timeOptions([
      line("busiest worker", "--c1", { value: (u, v) => v == null ? "" : Math.round(v) + " %" }),
      line("machine", "--c5", { dash: [5, 4], value: (u, v) => v == null ? "" : Math.round(v) + " %" }),
      line("loop lag p99", "--c2", { scale: "lag", value: (u, v) => ms(v) }),
    ], [axis({ size: 52, values: (u, at) => at.map((v) => v + " %") }), axis({ scale: "lag", side: 1, size: 64, grid: { show: false }, values: (u, at) => at.map(ms) })],
    { sync: "health", scales: { y: { range: [0, 110] }, lag: { range: (u, lo, hi) => [0, Math.max(hi || 0, 5) * 1.2] } } }) };
  };

  const chosen = byId("chart-transaction");
  const show = () => {
    const at = chosen ? +chosen.value : 0, s = data.series[at];
    if (!s) return;
    draw("chart-percentiles", percentiles(s));
    draw("chart-heat", heat(data.heat[at]));
    draw("chart-rates", rates(s));
    draw("chart-failures", failures(s));
    draw("chart-scatter", scatter(s));
    draw("chart-health", health);
  };
  if (chosen) chosen.addEventListener("input", show);
  show();

  addEventListener("beforeprint", () => { for (const flow of document.querySelectorAll("details[data-print]")) flow.open = true; redraw(); });
  document.documentElement.dataset.ready = "yes";
})();
