// The few parts of a page that the figures share.
const SVG = "http://www.w3.org/2000/svg";

// An SVG element with attributes, appended to its parent.
export function svg(parent, name, attributes = {}, text = null) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== null) element.textContent = text;
  return parent.appendChild(element);
}

// An HTML element with properties, appended to its parent.
export function html(parent, name, properties = {}, text = null) {
  const element = Object.assign(document.createElement(name), properties);
  if (text !== null) element.textContent = text;
  return parent.appendChild(element);
}

// A labelled slider: the browser's own, so that arrow keys and screen readers work. Returns its input.
export function slider(parent, { label, min, max, step, value, format = (number) => number.toFixed(2) }, onInput) {
  const row = html(parent, "label", { className: "slider" });
  html(row, "span", { className: "name" }, label);
  const input = html(row, "input", { type: "range", min, max, step, value });
  const shown = html(row, "output", { className: "value" });
  const show = () => {
    shown.textContent = format(input.valueAsNumber);
    input.setAttribute("aria-valuetext", shown.textContent);
  };
  input.addEventListener("input", () => {
    show();
    onInput(input.valueAsNumber);
  });
  input.show = (number) => {
    input.value = number;
    show();
  };
  show();
  return input;
}

export function button(parent, text, onClick) {
  const element = html(parent, "button", { type: "button" }, text);
  element.addEventListener("click", onClick);
  return element;
}

// Calls draw once before the next frame, however often it is asked to.
export function onFrame(draw) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      draw();
    });
  };
}
