// Drag mu and the columns of S: noise becomes z = mu + S eps, a circle an ellipse, and the divergence its three terms.
import { button, html, onFrame, slider, svg } from "./dom.js";
import { klTerms, normals } from "./gaussian.js";
import { matrix, Plane } from "./plane.js";

const START = { mu: [0.8, -0.4], S: [[1.2, 0.0], [0.7, 0.5]] };
const DRAWS = 300;
const TERMS = [
  ["mean", "\u00bd\u2016\u03bc\u2016\u00b2"],
  ["spread", "\u00bd(tr SS\u1d40 \u2212 K)"],
  ["volume", "\u2212log |det S|"],
  ["kl", "KL, their sum"],
];

export default function mount(stage) {
  const state = { ...structuredClone(START), t: 1 };
  const redraw = onFrame(draw);
  const picture = html(stage, "div", { className: "picture" });
  const label = "Draws of noise, moved by mu and S, with the ellipses at one and two standard deviations";
  const plane = new Plane(picture, { reach: 4, label, axes: ["z\u2081", "z\u2082"] });

  // One transform moves all draws and both circles: the matrix of the picture is S.
  const moved = svg(plane.world, "g", { class: "moved" });
  const normal = normals(1);
  const dots = Array.from({ length: DRAWS }, () => `M${normal().toFixed(3)} ${normal().toFixed(3)}h0`).join("");
  svg(moved, "path", { d: dots, class: "draws" });
  for (const r of [1, 2]) svg(moved, "circle", { r, class: "level" });
  const arrows = [0, 1].map((k) => svg(plane.world, "line", { class: `column c${k}` }));
  const handles = {
    mu: plane.handle("centre", (point) => set(() => (state.mu = point))),
    columns: [0, 1].map((k) =>
      plane.handle(`c${k}`, (point) =>
        set(() => [0, 1].forEach((row) => (state.S[row][k] = point[row] - state.mu[row]))))),
  };

  const panel = html(stage, "div", { className: "panel" });
  const range = { min: -3, max: 3, step: 0.05 };
  const names = [["\u03bc\u2081", "mu", 0], ["\u03bc\u2082", "mu", 1]];
  const sliders = names.map(([name, key, k]) =>
    slider(panel, { label: name, ...range, value: state[key][k] }, (value) => set(() => (state.mu[k] = value))));
  const entries = [[0, 0], [0, 1], [1, 0], [1, 1]];
  const cells = entries.map(([row, column]) =>
    slider(panel, { label: `S${"\u2081\u2082"[row]}${"\u2081\u2082"[column]}`, ...range, value: state.S[row][column] },
      (value) => set(() => (state.S[row][column] = value))));
  const time = slider(panel, { label: "from \u03b5 to z", min: 0, max: 1, step: 0.01, value: 1 }, (value) => set(() => (state.t = value)));
  const buttons = html(panel, "div", { className: "buttons" });
  button(buttons, "Play from \u03b5 to z", play);
  button(buttons, "Start again", () => set(() => Object.assign(state, structuredClone(START), { t: 1 })));

  const table = html(stage, "div", { className: "terms", role: "group", ariaLabel: "The divergence and its three terms, in nats" });
  const rows = Object.fromEntries(TERMS.map(([key, name]) => {
    const row = html(table, "div", { className: `term ${key}` });
    html(row, "span", { className: "name" }, name);
    const track = html(row, "span", { className: "track", ariaHidden: "true" });
    return [key, { bar: html(track, "span", { className: "bar" }), value: html(row, "span", { className: "value" }) }];
  }));

  function set(change) {
    change();
    sliders.forEach((input, k) => input.show(state.mu[k]));
    cells.forEach((input, n) => input.show(state.S[entries[n][0]][entries[n][1]]));
    time.show(state.t);
    redraw();
  }

  function play() {
    const begin = performance.now();
    const step = (now) => {
      const t = Math.max(0, Math.min(1, (now - begin) / 1500));
      set(() => (state.t = t));
      if (t < 1) requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }

  function draw() {
    const { mu, S, t } = state;
    const mix = S.map((row, i) => row.map((value, j) => t * value + (1 - t) * (i === j)));
    moved.setAttribute("transform", matrix(mu.map((value) => t * value), mix));
    const ends = [0, 1].map((k) => mu.map((value, row) => value + S[row][k]));
    const place = (dot, [x, y]) => Object.entries({ cx: x, cy: y }).forEach(([key, value]) => dot.setAttribute(key, value));
    place(handles.mu, mu);
    ends.forEach((end, k) => {
      place(handles.columns[k], end);
      const line = { x1: mu[0], y1: mu[1], x2: end[0], y2: end[1] };
      Object.entries(line).forEach(([key, value]) => arrows[k].setAttribute(key, value));
    });
    const terms = klTerms(mu, S);
    for (const [key, { bar, value }] of Object.entries(rows)) {
      const finite = Number.isFinite(terms[key]);
      value.textContent = finite ? `${terms[key].toFixed(3)} nats` : "infinite: S is singular";
      const share = Math.max(-0.5, Math.min(0.5, terms[key] / 10));
      bar.style.left = `${50 + 100 * Math.min(0, share)}%`;
      bar.style.width = `${100 * Math.abs(share)}%`;
    }
    stage.dataset.state = JSON.stringify({ ...state, ...terms });
  }

  set(() => {});
}
