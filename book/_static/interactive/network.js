// A multilayer perceptron in typed arrays, its weights in half precision (vaelib/experiments/explorer.py writes them).

export async function get(url) {
  const name = new URL(url).pathname.split("/").at(-1);
  const response = await fetch(url).catch((error) => {
    throw new Error(`${name} could not be fetched: ${error.message}`);
  });
  if (!response.ok) throw new Error(`${name} could not be fetched: ${response.status} ${response.statusText}`);
  return response;
}

// IEEE 754 half-precision numbers, as their bits, in single precision.
export function fromHalf(halves) {
  const numbers = new Float32Array(halves.length);
  for (let k = 0; k < halves.length; k++) {
    const exponent = (halves[k] >> 10) & 31;
    const fraction = halves[k] & 1023;
    if (exponent === 31) throw new Error(`number ${k} of the weights is not finite`);
    const size = exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15);
    numbers[k] = halves[k] & 0x8000 ? -size : size;
  }
  return numbers;
}

// The network whose layers lie in the file one after another, each as the rows of its matrix and then its biases.
// `sizes` are the widths from the first to the last; a tanh stands between layers, and none after the last.
export async function loadNetwork(url, sizes) {
  const numbers = fromHalf(new Uint16Array(await (await get(url)).arrayBuffer()));
  const layers = [];
  let place = 0;
  for (let k = 0; k + 1 < sizes.length; k++) {
    const [inputs, outputs] = [sizes[k], sizes[k + 1]];
    const weights = numbers.subarray(place, (place += inputs * outputs));
    layers.push({ weights, biases: numbers.subarray(place, (place += outputs)), inputs, outputs });
  }
  if (place !== numbers.length) throw new Error(`${url} holds ${numbers.length} numbers, not ${place}`);
  return (input) => layers.reduce((values, layer, k) => affine(layer, k ? values.map(Math.tanh) : values), Float32Array.from(input));
}

// Four sums for each row, since additions to one sum wait for each other: three times as fast.
function affine({ weights, biases, inputs, outputs }, values) {
  const result = new Float32Array(outputs);
  for (let row = 0, place = 0; row < outputs; row++) {
    let [a, b, c, d] = [biases[row], 0, 0, 0];
    let column = 0;
    for (; column + 3 < inputs; column += 4, place += 4) {
      a += weights[place] * values[column];
      b += weights[place + 1] * values[column + 1];
      c += weights[place + 2] * values[column + 2];
      d += weights[place + 3] * values[column + 3];
    }
    for (; column < inputs; column++) a += weights[place++] * values[column];
    result[row] = a + b + c + d;
  }
  return result;
}
