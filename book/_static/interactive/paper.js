// Paper to draw a digit on, and the drawing as MNIST's makers would have stored it.
import { html } from "./dom.js";
import { paint } from "./digits.js";

const SIZE = 392; // of the paper, in pixels of its canvas
const PEN = 2.6; // its width, in pixels of the image
const BOX = 20; // MNIST's digits fill a box of this side, their centre of mass in the middle of the image
const FINE = 4; // points to a pixel, along each side, whose average is its grey value

export class Paper {
  #strokes = [];

  constructor(parent, side, onChange) {
    this.side = side;
    this.canvas = html(parent, "canvas", { width: SIZE, height: SIZE, className: "paper" });
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", "Paper: draw a digit on it with the pointer");
    this.canvas.addEventListener("pointerdown", (event) => {
      this.canvas.setPointerCapture(event.pointerId);
      const [x, y] = this.#at(event);
      this.#strokes.push([[x, y], [x + 1e-3, y]]); // so that a touch leaves a dot
      onChange(this.image());
    });
    this.canvas.addEventListener("pointermove", (event) => {
      if (!this.canvas.hasPointerCapture(event.pointerId)) return;
      this.#strokes.at(-1).push(this.#at(event));
      onChange(this.image());
    });
  }

  // Clean paper, or an image on it. Drawing goes on with clean paper.
  show(image = null) {
    this.#strokes = [];
    const context = this.canvas.getContext("2d");
    context.fillRect(0, 0, SIZE, SIZE);
    if (!image) return;
    const small = new OffscreenCanvas(this.side, this.side);
    paint(small.getContext("2d"), image, this.side);
    context.imageSmoothingEnabled = false;
    context.drawImage(small, 0, 0, SIZE, SIZE);
  }

  // The drawing as an image of the data set's kind; the paper shows it as it was drawn.
  image() {
    const context = this.canvas.getContext("2d");
    context.fillRect(0, 0, SIZE, SIZE);
    trace(context, this.#strokes, ([x, y]) => [x * SIZE, y * SIZE], (PEN * SIZE) / this.side);
    return normalised(this.#strokes, this.side);
  }

  // Where on the paper an event happened, from (0, 0) at the left top to (1, 1).
  #at(event) {
    const { left, top, width, height } = this.canvas.getBoundingClientRect();
    return [(event.clientX - left) / width, (event.clientY - top) / height];
  }
}

function trace(context, strokes, place, width) {
  Object.assign(context, { strokeStyle: "#fff", lineWidth: width, lineCap: "round", lineJoin: "round" });
  context.beginPath();
  for (const stroke of strokes) stroke.forEach((point, k) => context[k ? "lineTo" : "moveTo"](...place(point)));
  context.stroke();
}

// Strokes scaled into the box, whatever their size on the paper was, and then moved by their centre of mass.
function normalised(strokes, side) {
  const points = strokes.flat();
  const ends = [0, 1].map((k) => points.map((point) => point[k])).map((values) => [Math.min(...values), Math.max(...values)]);
  const extent = Math.max(0.1, ...ends.map(([low, high]) => high - low)); // a dot is not blown up
  const scale = (BOX - PEN) / extent;
  const centred = ends.map(([low, high]) => side / 2 - (scale * (low + high)) / 2);
  const draft = raster(strokes, side, scale, centred);
  const total = draft.reduce((sum, value) => sum + value, 0);
  const mass = [0, 1].map((axis) =>
    draft.reduce((sum, value, k) => sum + value * ((axis ? Math.floor(k / side) : k % side) + 0.5), 0) / total);
  return raster(strokes, side, scale, centred.map((value, axis) => value + side / 2 - mass[axis]));
}

// The grey values of strokes at x scale + shift.
function raster(strokes, side, scale, shift) {
  const canvas = new OffscreenCanvas(FINE * side, FINE * side);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  trace(context, strokes, (point) => point.map((value, k) => FINE * (value * scale + shift[k])), FINE * PEN);
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  const image = new Float32Array(side * side);
  for (let k = 0; k < canvas.width * canvas.height; k++) {
    const [row, column] = [Math.floor(k / canvas.width), k % canvas.width];
    image[Math.floor(row / FINE) * side + Math.floor(column / FINE)] += data[4 * k + 3] / 255 / FINE ** 2;
  }
  return image;
}
