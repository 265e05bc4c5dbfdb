"use strict";
// Zooming and pointing. Everything is on the page without this.
(() => {
  const label = (t, step) => {
    if (t === 0) return "0";
    const [value, unit] = step >= 100 ? [t / 1000, "s"] : [t, "ms"];
    return (value > 0 ? "+" : "−") + Number(Math.abs(value).toPrecision(6)) + " " + unit;
  };
  const windowOf = (chart) => [Number(chart.dataset.start), Number(chart.dataset.end)];

  function drawAxis(chart, start, span) {
    const rough = span / 6, power = 10 ** Math.floor(Math.log10(rough));
    const step = power * ([1, 2, 5].find((m) => m * power >= rough) || 10);
    const axis = chart.querySelector(".axis");
    axis.replaceChildren();
    for (let n = Math.ceil((start + span * 0.04) / step); n * step <= start + span * 0.96; n++) {
      const tick = axis.appendChild(document.createElement("span"));
      tick.className = "tick";
      tick.style.setProperty("--t", n * step);
      tick.textContent = label(n * step, step);
    }
  }

  function show(chart, start, end) {
    const first = Number(chart.dataset.first), last = Number(chart.dataset.last);
    const span = Math.min(Math.max(end - start, 0.5), last - first);
    start = Math.min(Math.max(start, first), last - span);
    Object.assign(chart.dataset, { start, end: start + span });
    chart.style.setProperty("--x0", start);
    chart.style.setProperty("--span", span);
    for (const plot of chart.querySelectorAll("svg.plot")) {
      plot.setAttribute("viewBox", `${start} 0 ${span} ${plot.viewBox.baseVal.height}`);
    }
    drawAxis(chart, start, span);
  }

  function zoom(chart, factor, share = 0.5) {
    const [start, end] = windowOf(chart), pivot = start + (end - start) * share;
    show(chart, pivot - (pivot - start) * factor, pivot + (end - pivot) * factor);
  }
  function pan(chart, share) {
    const [start, end] = windowOf(chart), by = (end - start) * share;
    show(chart, start + by, end + by);
  }

  // The corners of a plotted curve, read back from its path.
  const curves = new WeakMap();
  function curve(plot) {
    if (!curves.has(plot)) {
      const data = plot.querySelector(".rtt").getAttribute("d").match(/-?[\d.]+ -?[\d.]+/g) || [];
      curves.set(plot, data.map((pair) => pair.split(" ").map(Number)));
    }
    return curves.get(plot);
  }
  function roundTrip(plot, t) {
    const corners = curve(plot);
    let low = 0, high = corners.length - 1;
    if (high < 0) return "";
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (corners[middle][0] <= t) low = middle; else high = middle;
    }
    const [at, y] = corners[t - corners[low][0] < corners[high][0] - t ? low : high];
    const [start, end] = windowOf(plot.closest(".chart"));
    if (Math.abs(at - t) > (end - start) / 50) return `${plot.dataset.name} –`;
    const share = (80 - y) / 72, from = Number(plot.dataset.low), to = Number(plot.dataset.high);
    const value = plot.dataset.log === "1" ? from * (to / from) ** share : from + (to - from) * share;
    return `${plot.dataset.name} ${value.toPrecision(3)} ms`;
  }
  function readout(chart, t, span) {
    const words = [label(Number(t.toPrecision(6)), span / 6)];
    for (const phase of chart.querySelectorAll(".phase")) {
      const at = (name) => Number(phase.style.getPropertyValue(name));
      if (at("--a") <= t && t <= at("--b")) words.push(phase.dataset.words);
    }
    for (const plot of chart.querySelectorAll("svg[data-name]")) words.push(roundTrip(plot, t));
    return words.filter(Boolean).join(" · ");
  }

  function add(parent, name, className) {
    const element = parent.appendChild(document.createElement(name));
    element.className = className;
    return element;
  }

  function equip(chart) {
    const zoomable = chart.classList.contains("zoomable"), home = windowOf(chart);
    const tools = document.createElement("div");
    tools.className = "tools";
    chart.before(tools);
    const button = (text, name, act) => {
      const made = add(tools, "button", "");
      Object.assign(made, { type: "button", textContent: text, title: name, onclick: act });
      made.setAttribute("aria-label", name);
    };
    if (zoomable) {
      button("zoom in", "Zoom in", () => zoom(chart, 0.5));
      button("zoom out", "Zoom out", () => zoom(chart, 2));
      button("‹ earlier", "Earlier", () => pan(chart, -0.3));
      button("later ›", "Later", () => pan(chart, 0.3));
      button("all", "Show all of the migration", () => show(chart, Number(chart.dataset.first), Number(chart.dataset.last)));
      button("reset", "Back to the first view", () => show(chart, ...home));
      chart.tabIndex = 0;
      chart.addEventListener("keydown", (event) => {
        const act = { "+": () => zoom(chart, 0.5), "-": () => zoom(chart, 2), ArrowLeft: () => pan(chart, -0.2),
          ArrowRight: () => pan(chart, 0.2), Escape: () => show(chart, ...home) }[event.key];
        if (act) { act(); event.preventDefault(); }
      });
    }
    const output = add(tools, "output", "");
    output.textContent = zoomable ? "drag a stretch to enlarge it; point to read" : "drag a stretch to enlarge it below";
    const cursor = add(chart, "div", "cursor");
    const across = (part) => `(100% - var(--gutter)) * ${part}`;  // of the drawing's width, in the chart's terms
    const share = (event) => {
      const box = chart.querySelector(".axis").getBoundingClientRect();
      return Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
    };
    let from = null, brush = null;
    chart.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || event.pointerType === "touch") return;
      from = share(event);
      brush = add(chart, "div", "brush");
      chart.setPointerCapture(event.pointerId);
      event.preventDefault();
    });
    chart.addEventListener("pointermove", (event) => {
      const at = share(event), [start, end] = windowOf(chart);
      cursor.style.display = "block";
      cursor.style.left = `calc(var(--gutter) + ${across(at)})`;
      output.textContent = readout(chart, start + (end - start) * at, end - start);
      if (brush) Object.assign(brush.style, {
        left: `calc(var(--gutter) + ${across(Math.min(from, at))})`, width: `calc(${across(Math.abs(at - from))})` });
    });
    chart.addEventListener("pointerup", (event) => {
      if (!brush) return;
      const at = share(event), [start, end] = windowOf(chart);
      brush.remove();
      brush = null;
      if (Math.abs(at - from) < 0.005) return;
      const edges = [from, at].sort((a, b) => a - b).map((s) => start + (end - start) * s);
      const targets = zoomable ? [chart] : chart.closest("section").querySelectorAll(".zoomable");
      for (const target of targets) show(target, ...edges);
    });
    chart.addEventListener("pointercancel", () => { if (brush) brush.remove(); brush = null; });
    chart.addEventListener("pointerleave", () => { cursor.style.display = "none"; });
  }
  document.querySelectorAll(".chart").forEach(equip);
})();
