// A square piece of the plane, [-reach, reach] both ways with y upwards, drawn as an SVG whose units are the plane's own.
import { svg } from "./dom.js";

export class Plane {
  constructor(parent, { reach, label, axes }) {
    this.reach = reach;
    const size = 2 * reach;
    this.root = svg(parent, "svg", {
      viewBox: `${-reach} ${-reach} ${size} ${size}`, role: "img", "aria-label": label, class: "plane",
    });
    const grid = svg(this.root, "g", { class: "grid" });
    for (let k = -Math.floor(reach); k <= reach; k++) {
      svg(grid, "line", { x1: k, x2: k, y1: -reach, y2: reach, class: k === 0 ? "axis" : "" });
      svg(grid, "line", { y1: k, y2: k, x1: -reach, x2: reach, class: k === 0 ? "axis" : "" });
    }
    // Everything drawn in the plane's coordinates goes here.
    this.world = svg(this.root, "g", { transform: "scale(1 -1)" });
    const small = 0.085 * reach;
    svg(this.root, "text", { x: reach - small, y: -0.4 * small, "font-size": small, "text-anchor": "end" }, axes[0]);
    svg(this.root, "text", { x: 0.5 * small, y: -reach + 1.2 * small, "font-size": small }, axes[1]);
  }

  // Where in the plane a pointer event happened.
  at(event) {
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(this.root.getScreenCTM().inverse());
    const clamp = (value) => Math.max(-this.reach, Math.min(this.reach, value));
    return [clamp(point.x), clamp(-point.y)];
  }

  // A dot that can be dragged; for the keyboard, sliders do the same.
  handle(className, onMove) {
    const dot = svg(this.world, "circle", { r: 0.035 * this.reach, class: `handle ${className}` });
    dot.addEventListener("pointerdown", (event) => {
      dot.setPointerCapture(event.pointerId);
      event.preventDefault();
    });
    dot.addEventListener("pointermove", (event) => {
      if (dot.hasPointerCapture(event.pointerId)) onMove(this.at(event));
    });
    return dot;
  }
}

export const matrix = (mu, S) => `matrix(${S[0][0]} ${S[1][0]} ${S[0][1]} ${S[1][1]} ${mu[0]} ${mu[1]})`;
