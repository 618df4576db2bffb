// Draw a digit: the encoder answers with a Gaussian on the plane of codes; draws from it are decoded, and scored.
import { button, html, onFrame, svg } from "./dom.js";
import { loadDecoder, loadEncoder, loadExamples, loadRecord, logLikelihood, paint, showCodes, sigmoid } from "./digits.js";
import { klTerms, normals } from "./gaussian.js";
import { Paper } from "./paper.js";
import { matrix, Plane } from "./plane.js";

const REACH = 4;
const DRAWS = 7;
const START = 2; // the example that is shown at first
const LENS = 1.3; // half the side of the lens, in units of the plane
const ROWS = { reconstruction: "mean log p(x|z)", kl: "KL(q(z|x) \u2016 p(z))", elbo: "bound" };

export const load = () => Promise.all([loadDecoder(), loadEncoder(), loadExamples(), loadRecord()]);

export default function mount(stage, [decode, encode, examples, record]) {
  const { side } = record;
  const normal = normals(2);
  const noise = Array.from({ length: DRAWS }, () => [normal(), normal()]);
  const bounds = record.tests.map(({ elbo }) => elbo);
  const redraw = onFrame(draw);
  let x = null;

  const left = html(stage, "div", { className: "picture" });
  const paper = new Paper(left, side, set);
  const shelf = html(left, "div", { className: "shelf" });
  examples.forEach((image, digit) => {
    const choice = button(shelf, "", () => take(image));
    choice.setAttribute("aria-label", `Test image of a ${digit}`);
    paint(html(choice, "canvas", { width: side, height: side }).getContext("2d"), image, side);
  });
  button(html(left, "div", { className: "buttons" }), "Clean paper", () => take(null));

  const right = html(stage, "div", { className: "picture" });
  const plane = new Plane(right, { reach: REACH, label: "The plane of codes: test images by digit, and the answer q(z|x)", axes: ["z\u2081", "z\u2082"] });
  showCodes(plane, record.tests);
  const show = answer(plane, noise);

  const strip = html(stage, "div", { className: "strip" });
  const tiles = [null, ...noise].map(() => {
    const tile = html(strip, "div");
    return { canvas: html(tile, "canvas", { width: side, height: side, ariaHidden: "true" }), text: html(tile, "span") };
  });
  const verdict = html(stage, "p", { className: "verdict", ariaLive: "polite" });

  const table = html(right, "table", { className: "numbers" });
  const head = html(html(table, "thead"), "tr");
  for (const name of ["in nats", "this image", "test images"]) html(head, "th", { scope: "col" }, name);
  const body = html(table, "tbody");
  const cells = Object.fromEntries(Object.entries(ROWS).map(([key, name]) => {
    const row = html(body, "tr", { className: key });
    html(row, "th", { scope: "row" }, name);
    const own = html(row, "td");
    html(row, "td", {}, number(record.mean[key]));
    return [key, own];
  }));
  function take(image) {
    paper.show(image);
    set(image);
  }

  function set(image) {
    x = image;
    redraw();
  }

  function draw() {
    const result = x && bound(x);
    stage.image = x;
    stage.dataset.state = JSON.stringify(result ?? {});
    show(result);
    const images = x ? [x, ...result.logits.map(sigmoid)] : [];
    tiles.forEach(({ canvas, text }, k) => {
      const context = canvas.getContext("2d");
      if (x) paint(context, images[k], side);
      else context.clearRect(0, 0, side, side);
      text.textContent = k === 0 ? "x" : x ? number(result.logs[k - 1]) : "";
    });
    for (const key of Object.keys(ROWS)) cells[key].textContent = x ? number(result[key]) : "";
    verdict.textContent = x ? inWords(result) : "Draw a digit on the black paper, or take one of the test images below it.";
  }

  // The encoder's answer, its draws, and the estimate of the bound from them.
  function bound(image) {
    const { mean, std } = encode(image);
    const z = noise.map((eps) => mean.map((value, k) => value + std[k] * eps[k]));
    const logits = z.map(decode);
    const logs = logits.map((values) => logLikelihood(image, values));
    const reconstruction = logs.reduce((sum, value) => sum + value, 0) / DRAWS;
    const { kl } = klTerms(mean, [[std[0], 0], [0, std[1]]]);
    const result = { mean, std, z, logs, reconstruction, kl, elbo: reconstruction - kl };
    Object.defineProperty(result, "logits", { value: logits }); // not part of the state
    return result;
  }

  function inWords({ mean, std, elbo }) {
    const pair = (values, digits) => `(${values.map((value) => number(value, digits)).join(", ")})`;
    const lower = bounds.filter((value) => value < elbo).length;
    return `\u03bc = ${pair(mean, 2)}, \u03c3 = ${pair(std, 3)}. Of ${bounds.length} test images, ${lower} have a lower bound than this one.`;
  }

  take(examples[START]);
}

const number = (value, digits = 1) => value.toFixed(digits).replace("-", "\u2212");

// Draws q(z|x) on the plane, as its ellipses at one and two standard deviations, and again under a lens in a corner.
// Returns the function that moves it.
function answer(plane, noise) {
  const group = svg(plane.root, "g", { class: "answer" });
  const ray = svg(group, "line", { class: "ray" });
  const frame = svg(group, "rect", { class: "ray" });
  const ellipses = svg(group, "g");
  for (const r of [1, 2]) svg(ellipses, "circle", { r, class: "level" });

  const lens = svg(group, "svg", { width: 2 * LENS, height: 2 * LENS, viewBox: "-1 -1 2 2" });
  svg(lens, "rect", { x: -1, y: -1, width: 2, height: 2, class: "lens" });
  const magnified = svg(lens, "g");
  for (const r of [1, 2]) svg(magnified, "circle", { r, class: "level" });
  svg(magnified, "path", { d: noise.map(([e1, e2]) => `M${e1} ${e2}h0`).join(""), class: "draws" });
  const times = svg(lens, "text", { x: -0.94, y: 0.92, "font-size": 0.24 });

  return (result) => {
    group.style.display = result ? "" : "none";
    if (!result) return;
    const { mean: [x, y], std: [s1, s2] } = result;
    const width = 3 * Math.max(s1, s2); // half of what the lens shows
    const corner = [x, -y].map((value) => (value > 0 ? -1 : 1) * (plane.reach - LENS));
    const attributes = [
      [ray, { x1: x, y1: -y, x2: corner[0], y2: corner[1] }],
      [frame, { x: x - width, y: -y - width, width: 2 * width, height: 2 * width }],
      [ellipses, { transform: matrix([x, -y], [[s1, 0], [0, -s2]]) }],
      [lens, { x: corner[0] - LENS, y: corner[1] - LENS }],
      [magnified, { transform: matrix([0, 0], [[s1 / width, 0], [0, -s2 / width]]) }],
    ];
    for (const [element, values] of attributes) {
      for (const [key, value] of Object.entries(values)) element.setAttribute(key, value);
    }
    times.textContent = `\u00d7 ${(LENS / width).toFixed(0)}`;
  };
}
