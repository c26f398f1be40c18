"use strict";
/* What the report and the live pages share: words for numbers, and charts. `phasesOf` returns the phases to mark. */
const loadproofCharts = (phasesOf) => {
  const byId = (id) => document.getElementById(id);
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const live = new Map();

  const ms = (v) => v == null ? "" : v === 0 ? "0" : v >= 120000 ? (v / 60000).toFixed(1) + " min" : v >= 1000 ? +(v / 1000).toPrecision(3) + " s" : v >= 1 ? +v.toPrecision(3) + " ms" : Math.round(v * 1000) + " µs";
  const clock = (s) => { const m = Math.floor(s / 60), r = String(Math.floor(s % 60)).padStart(2, "0"); return m >= 60 ? Math.floor(m / 60) + ":" + String(m % 60).padStart(2, "0") + ":" + r : m + ":" + r; };
  const num = (v) => v == null ? "" : v >= 1000 ? Math.round(v).toLocaleString("en") : String(+v.toPrecision(3));

  const axis = (more) => ({ stroke: css("--soft"), grid: { stroke: css("--grid"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif", ...more });
  const xAxis = () => axis({ values: (u, at) => at.map(clock), incrs: [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400], space: 70, grid: { show: false } });
  const line = (label, color, more) => ({ label, stroke: css(color), width: 1.75, points: { show: false }, spanGaps: false, ...more });
  /* Spans and lines lie below the grid, names above it with a rim, so that no line strikes them through. */
  const eachPhase = (u, paint) => {
    const { ctx, bbox } = u;
    ctx.save();
    for (const p of phasesOf()) {
      const x = Math.round(u.valToPos(p.at, "x", true));
      const end = Math.min(bbox.left + bbox.width, u.valToPos(p.end, "x", true));
      if (x >= bbox.left - 1 && x <= bbox.left + bbox.width) paint(ctx, bbox, p, x, end);
    }
    ctx.restore();
  };
  const phases = () => ({ hooks: {
    drawClear: [(u) => eachPhase(u, (ctx, bbox, p, x, end) => {
      if (p.warmup) {
        ctx.fillStyle = css("--wash");
        ctx.fillRect(x, bbox.top, end - x, bbox.height);
      }
      ctx.strokeStyle = css("--line");
      ctx.lineWidth = devicePixelRatio;
      ctx.beginPath(); ctx.moveTo(x, bbox.top); ctx.lineTo(x, bbox.top + bbox.height); ctx.stroke();
    })],
    draw: [(u) => eachPhase(u, (ctx, bbox, p, x, end) => {
      const at = [x + 5 * devicePixelRatio, bbox.top + 3 * devicePixelRatio];
      ctx.font = 11 * devicePixelRatio + "px system-ui, sans-serif";
      const fits = (text) => ctx.measureText(text).width + 8 * devicePixelRatio < end - x;
      const name = [p.warmup ? p.name + " (warm-up)" : p.name, p.name].find(fits); /* else it would run into the next */
      if (!name) return;
      ctx.textAlign = "left";
      ctx.textBaseline = "top";
      ctx.lineJoin = "round";
      ctx.lineWidth = 4 * devicePixelRatio;
      ctx.strokeStyle = css(p.warmup ? "--wash" : "--card");
      ctx.strokeText(name, ...at);
      ctx.fillStyle = css("--faint");
      ctx.fillText(name, ...at);
    })],
  } });

  const draw = (id, make) => {
    const host = byId(id);
    if (!host) return;
    const old = live.get(id);
    if (old && old.plot) old.plot.destroy();
    host.textContent = "";
    host.classList.remove("empty");
    const spec = make();
    if (!spec || spec.text) { host.textContent = spec ? spec.text : "Nothing was recorded here."; host.classList.add("empty"); live.set(id, { make }); return; }
    const plot = new uPlot({ width: Math.max(260, host.clientWidth), height: spec.height || 220, padding: [12, 12, 0, 0], ...spec.options }, spec.data, host);
    plot.root.setAttribute("aria-hidden", "true");
    live.set(id, { make, plot, host, height: spec.height || 220 });
  };
  const redraw = () => { for (const [id, item] of [...live]) draw(id, item.make); };
  const timeOptions = (series, y, more = {}) => ({
    scales: { x: { time: false }, ...more.scales }, axes: [xAxis(), ...y], series: [{ label: "time", value: (u, v) => v == null ? "" : clock(v) }, ...series],
    cursor: { y: false, sync: { key: more.sync || "run" } }, legend: { live: true }, plugins: [phases(), ...(more.plugins || [])],
  });
  /* New numbers for a chart that is drawn keep its zoom and cursor. */
  const update = (id, data, make) => { const item = live.get(id); if (item && item.plot) { item.make = make; item.plot.setData(data); } else draw(id, make); };

  let width = innerWidth, timer = 0;
  addEventListener("resize", () => { if (innerWidth === width) return; width = innerWidth; clearTimeout(timer); timer = setTimeout(redraw, 120); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  matchMedia("print").addEventListener("change", redraw);
  return { byId, css, ms, clock, num, axis, xAxis, line, draw, redraw, update, timeOptions };
};
