// The latent explorer: move over the plane of codes, and see each decoded as you pass.
import { html, onFrame, slider, svg } from "./dom.js";
import { loadDecoder, loadRecord, paint, showCodes, sigmoid } from "./digits.js";
import { Plane } from "./plane.js";

const REACH = 4;
const TILES = 16; // decoded images along each side of the map
const percent = new Intl.NumberFormat("en", { style: "percent", maximumSignificantDigits: 2 });

export const load = () => Promise.all([loadDecoder(), loadRecord()]);

export default function mount(stage, [decode, record]) {
  const { side } = record;
  const state = { z: [0, 0] };
  const redraw = onFrame(draw);

  const picture = html(stage, "div", { className: "picture map" });
  const background = html(picture, "canvas", { width: TILES * side, height: TILES * side, ariaHidden: "true" });
  const plane = new Plane(picture, { reach: REACH, label: "The plane of codes, tiled with the images they decode to", axes: ["z\u2081", "z\u2082"] });
  for (const r of [1, 2, 3]) svg(plane.world, "circle", { r, class: "prior" });
  const codes = showCodes(plane, record.tests);
  const marker = svg(plane.world, "circle", { r: 0.16, class: "handle marker" });
  plane.root.append(plane.world); // the marker lies above the codes
  paintTiles();

  const panel = html(stage, "div", { className: "panel" });
  const canvas = html(panel, "canvas", { width: side, height: side, className: "decoded" });
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", "The image that the code decodes to");
  const sliders = [0, 1].map((k) =>
    slider(panel, { label: `z${"\u2081\u2082"[k]}`, min: -REACH, max: REACH, step: 0.02, value: 0 }, (value) => set(() => (state.z[k] = value))));
  const row = html(panel, "label", { className: "slider" });
  html(row, "span", { className: "name" }, "test codes");
  const box = html(row, "input", { type: "checkbox" });
  box.addEventListener("input", () => picture.classList.toggle("with-codes", box.checked));
  const verdict = html(stage, "p", { className: "verdict" });

  for (const type of ["pointermove", "pointerdown"]) {
    plane.root.addEventListener(type, (event) => set(() => (state.z = plane.at(event))));
  }

  // A row of tiles a frame: the page stays quick meanwhile.
  function paintTiles(row = 0) {
    const context = background.getContext("2d");
    const step = (2 * REACH) / TILES;
    for (let column = 0; column < TILES; column++) {
      const z = [-REACH + (column + 0.5) * step, REACH - (row + 0.5) * step];
      paint(context, sigmoid(decode(z)), side, column * side, row * side);
    }
    if (row + 1 < TILES) requestAnimationFrame(() => paintTiles(row + 1));
  }

  function set(change) {
    change();
    sliders.forEach((input, k) => input.show(state.z[k]));
    redraw();
  }

  function draw() {
    stage.image = sigmoid(decode(state.z));
    paint(canvas.getContext("2d"), stage.image, side);
    marker.setAttribute("cx", state.z[0]);
    marker.setAttribute("cy", state.z[1]);
    const farther = percent.format(Math.exp(-(state.z[0] ** 2 + state.z[1] ** 2) / 2));
    verdict.textContent = `Of all codes drawn from the prior, ${farther} lie farther out than this one.`;
    stage.dataset.state = JSON.stringify(state);
  }

  set(() => {});
}
