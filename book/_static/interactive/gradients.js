// Score function against pathwise: two estimates of one gradient, averaged over more and more draws, side by side.
import { button, html, onFrame, slider, svg } from "./dom.js";
import { normals, Running, quadraticGradients } from "./gaussian.js";

const KINDS = { score: "score function", pathwise: "pathwise" };
const START = { delta: 1, sigma: 1, K: 1, baseline: false };
const DECADES = 5;
const MOST = 10 ** DECADES;
const HEIGHT = 320;

export default function mount(stage) {
  const width = Math.max(340, Math.min(640, stage.clientWidth)); // so that the axes' numbers keep their size on a phone
  const PLOT = { left: 50, right: width - 12, top: 12, bottom: HEIGHT - 44 };
  const settings = { ...START };
  let run;
  let running = !matchMedia("(prefers-reduced-motion: reduce)").matches;
  let visible = true;
  const picture = html(stage, "div", { className: "picture wide" });
  const label = "The two averages against the number of draws, with the exact gradient as a horizontal line";
  const root = svg(picture, "svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": label });
  const axes = svg(root, "g", { class: "grid" });
  const bands = Object.fromEntries(Object.keys(KINDS).map((kind) => [kind, svg(root, "path", { class: `band ${kind}` })]));
  const exact = svg(root, "line", { class: "exact", x1: PLOT.left, x2: PLOT.right });
  const lines = Object.fromEntries(Object.keys(KINDS).map((kind) => [kind, svg(root, "path", { class: `curve ${kind}` })]));

  const panel = html(stage, "div", { className: "panel" });
  const whole = (number) => number.toFixed(0);
  const change = (key) => (value) => {
    settings[key] = value;
    restart();
  };
  slider(panel, { label: "\u03b4 = a \u2212 \u03bc", min: -3, max: 3, step: 0.1, value: START.delta }, change("delta"));
  slider(panel, { label: "\u03c3", min: 0.1, max: 3, step: 0.1, value: START.sigma }, change("sigma"));
  slider(panel, { label: "dimension K", min: 1, max: 50, step: 1, value: START.K, format: whole }, change("K"));
  const row = html(panel, "label", { className: "slider" });
  html(row, "span", { className: "name" }, "baseline");
  const box = html(row, "input", { type: "checkbox" });
  box.addEventListener("input", () => change("baseline")(box.checked));
  const buttons = html(panel, "div", { className: "buttons" });
  const pause = button(buttons, running ? "Pause" : "Go on", () => {
    running = !running;
    pause.textContent = running ? "Pause" : "Go on";
    if (running) requestAnimationFrame(step);
  });
  button(buttons, "Start again", restart);
  const table = html(stage, "table", { className: "numbers" });
  const head = html(html(table, "thead"), "tr");
  html(head, "td", {}, "");
  for (const name of ["average", "s.e.", "variance", "exactly"]) html(head, "th", { scope: "col" }, name);
  const body = html(table, "tbody");
  const cells = Object.fromEntries(Object.entries(KINDS).map(([kind, name]) => {
    const line = html(body, "tr", { className: kind });
    html(line, "th", { scope: "row" }, name);
    return [kind, [0, 1, 2, 3].map(() => html(line, "td"))];
  }));
  const verdict = html(stage, "p", { className: "verdict" });

  const x = (count) => PLOT.left + ((PLOT.right - PLOT.left) * Math.log10(count)) / DECADES;
  const y = (value) => (PLOT.top + PLOT.bottom) / 2 - ((value - run.gradients.exact) / run.reach) * (PLOT.bottom - PLOT.top) / 2;
  const redraw = onFrame(draw);

  function restart() {
    const gradients = quadraticGradients(settings);
    const { score, pathwise } = gradients.variances;
    run = {
      gradients,
      normal: normals(1),
      count: 0,
      reach: Math.max(1, 0.7 * Math.sqrt(Math.max(score, pathwise))),
      averages: { score: new Running(), pathwise: new Running() },
      points: { score: [], pathwise: [] },
    };
    frame();
    if (running) requestAnimationFrame(step);
    redraw();
  }

  // About one frame's worth of draws, more and more of them, as the axis is logarithmic.
  function step() {
    if (!running || !visible || run.scheduled || run.count >= MOST) return;
    const wanted = Math.min(MOST, Math.ceil(1.03 * (run.count + 1)));
    while (run.count < wanted) {
      const draws = run.gradients.draw(run.normal);
      run.count += 1;
      for (const kind of Object.keys(KINDS)) run.averages[kind].add(draws[kind]);
    }
    for (const kind of Object.keys(KINDS)) run.points[kind].push([run.count, run.averages[kind].mean]);
    draw();
    const own = run;
    own.scheduled = true;
    requestAnimationFrame(() => {
      own.scheduled = false;
      if (own === run) step();
    });
  }

  function frame() {
    axes.replaceChildren();
    for (let k = 0; k <= DECADES; k++) {
      svg(axes, "line", { x1: x(10 ** k), x2: x(10 ** k), y1: PLOT.top, y2: PLOT.bottom });
      const power = svg(axes, "text", { x: x(10 ** k), y: PLOT.bottom + 18, "text-anchor": k === DECADES ? "end" : "middle" }, "10");
      svg(power, "tspan", { dy: -5, "font-size": 10 }, k);
    }
    for (const value of [-1, -0.5, 0, 0.5, 1]) {
      const height = y(run.gradients.exact + value * run.reach);
      svg(axes, "line", { x1: PLOT.left, x2: PLOT.right, y1: height, y2: height });
      svg(axes, "text", { x: PLOT.left - 6, y: height + 5, "text-anchor": "end" }, (run.gradients.exact + value * run.reach).toFixed(1));
    }
    svg(axes, "text", { x: (PLOT.left + PLOT.right) / 2, y: HEIGHT - 6, "text-anchor": "middle" }, "draws, on a logarithmic axis");
    exact.setAttribute("y1", y(run.gradients.exact));
    exact.setAttribute("y2", y(run.gradients.exact));
    const counts = Array.from({ length: 101 }, (_, k) => 10 ** ((DECADES * k) / 100));
    for (const kind of Object.keys(KINDS)) {
      const error = (count) => 2 * Math.sqrt(run.gradients.variances[kind] / count);
      const edge = (sign, list) => list.map((count) => `${x(count)} ${clip(y(run.gradients.exact + sign * error(count)))}`).join("L");
      bands[kind].setAttribute("d", `M${edge(1, counts)}L${edge(-1, counts.toReversed())}Z`);
    }
  }

  const clip = (height) => Math.max(PLOT.top, Math.min(PLOT.bottom, height));

  function draw() {
    for (const kind of Object.keys(KINDS)) {
      const path = run.points[kind].map(([count, mean]) => `${x(count).toFixed(1)} ${clip(y(mean)).toFixed(1)}`).join("L");
      lines[kind].setAttribute("d", path ? `M${path}` : "");
      const { mean, variance, count } = run.averages[kind];
      const exactVariance = run.gradients.variances[kind];
      const texts = count > 1 ? [mean, Math.sqrt(variance / count), variance, exactVariance] : [NaN, NaN, NaN, exactVariance];
      texts.forEach((value, k) => (cells[kind][k].textContent = Number.isNaN(value) ? "" : value.toPrecision(3)));
    }
    const { score, pathwise } = run.gradients.variances;
    verdict.textContent = `The exact gradient is ${run.gradients.exact.toFixed(1)}. For the same accuracy the score function needs `
      + `${(score / pathwise).toPrecision(3)} times as many draws.`;
    const { variances } = run.gradients;
    const means = { score: run.averages.score.mean, pathwise: run.averages.pathwise.mean };
    stage.dataset.state = JSON.stringify({ ...settings, count: run.count, exact: run.gradients.exact, variances, means });
  }

  new IntersectionObserver(([entry]) => {
    visible = entry.isIntersecting;
    if (visible) requestAnimationFrame(step);
  }).observe(stage);
  restart();
}
