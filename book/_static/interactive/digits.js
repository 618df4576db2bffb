// The two-dimensional model of MNIST, pictures of its images and of its codes, for the figures that use it.
import { svg } from "./dom.js";
import { get, loadNetwork } from "./network.js";

const FOLDER = new URL("model/", import.meta.url);

// Two figures of one page share what they load.
const once = (load) => {
  let loaded;
  return () => (loaded ??= load());
};

// The record of the model: its layers, its mean bound, and codes, digits and bounds of test images.
export const loadRecord = once(async () => {
  const { settings, provenance, table } = await (await get(new URL("model.json", FOLDER))).json();
  const [digit, z1, z2, elbo] = ["digit", "z1", "z2", "elbo"].map((name) => table[name].values);
  return {
    ...settings,
    side: settings.image_shape[0],
    mean: { reconstruction: provenance.reconstruction, kl: provenance.kl, elbo: provenance.elbo },
    tests: digit.map((label, k) => ({ label, z: [z1[k], z2[k]], elbo: elbo[k] })),
  };
});

// The decoder: a code of two numbers to the logits of the pixels' probabilities.
export const loadDecoder = once(async () => loadNetwork(new URL("decoder.bin", FOLDER), (await loadRecord()).decoder));

// The encoder: an image to the mean and the standard deviation of its code.
export const loadEncoder = once(async () => {
  const network = await loadNetwork(new URL("encoder.bin", FOLDER), (await loadRecord()).encoder);
  return (image) => {
    const [m1, m2, l1, l2] = network(image);
    return { mean: [m1, m2], std: [Math.exp(l1 / 2), Math.exp(l2 / 2)] };
  };
});

// A test image of each digit, from 0 to 9.
export const loadExamples = once(async () => {
  const { side } = await loadRecord();
  const bytes = new Uint8Array(await (await get(new URL("examples.bin", FOLDER))).arrayBuffer());
  const size = side * side;
  return Array.from({ length: bytes.length / size }, (_, k) => Float32Array.from(bytes.subarray(k * size, (k + 1) * size), (byte) => byte / 255));
});

export const sigmoid = (logits) => logits.map((value) => 1 / (1 + Math.exp(-value)));

// log p(x|z) in nats, for pixels of probabilities sigmoid(logits): x l - log(1 + e^l), without overflow.
export const logLikelihood = (x, logits) =>
  logits.reduce((sum, l, k) => sum + x[k] * l - Math.max(l, 0) - Math.log1p(Math.exp(-Math.abs(l))), 0);

// Paint an image, white on black as MNIST has it, at a place of a canvas, one canvas pixel for each of its own.
export function paint(context, image, side, left = 0, top = 0) {
  const pixels = context.createImageData(side, side);
  const { data } = pixels;
  for (let k = 0; k < image.length; k++) {
    data[4 * k] = data[4 * k + 1] = data[4 * k + 2] = 255 * image[k];
    data[4 * k + 3] = 255;
  }
  context.putImageData(pixels, left, top);
}

// The codes of test images on a plane, a colour and a name for each digit. Returns the group.
export function showCodes(plane, tests) {
  const group = svg(plane.root, "g", { class: "codes" });
  const digits = Array.from({ length: 10 }, (_, digit) => tests.filter(({ label }) => label === digit));
  digits.forEach((own, digit) =>
    svg(group, "path", { class: `digit d${digit}`, d: own.map(({ z: [x, y] }) => `M${x} ${-y}h0`).join("") }));
  // The name stands where the digit is most among its like.
  const votes = ({ label, z }) => tests.reduce((sum, other) =>
    sum + (Math.hypot(z[0] - other.z[0], z[1] - other.z[1]) < 0.4 ? (other.label === label ? 1 : -1) : 0), 0);
  digits.forEach((own, digit) => {
    const scores = own.map(votes);
    const [x, y] = own[scores.indexOf(Math.max(...scores))].z;
    svg(group, "text", { x, y: -y + 0.17, "font-size": 0.5, "text-anchor": "middle" }, digit);
  });
  return group;
}
