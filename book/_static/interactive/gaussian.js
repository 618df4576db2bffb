// Arithmetic of Gaussians, without a page: what the figures compute, and the tests compare with vaelib.

// KL(N(mu, S S^T) || N(0, I)) in nats, as its three terms. A singular S has no density: its volume term is infinite.
export function klTerms(mu, S) {
  const K = mu.length;
  const squares = (values) => values.reduce((sum, value) => sum + value * value, 0);
  const mean = squares(mu) / 2;
  const spread = (squares(S.flat()) - K) / 2;
  const volume = -Math.log(Math.abs(S[0][0] * S[1][1] - S[0][1] * S[1][0]));
  return { mean, spread, volume, kl: mean + spread + volume };
}

// Uniform numbers in [0, 1) from a seed (Mulberry32): the same picture at every visit.
export function uniforms(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

// Standard normal numbers, two at a time (Box and Muller 1958).
export function normals(seed) {
  const uniform = uniforms(seed);
  let spare = null;
  return () => {
    if (spare !== null) {
      const kept = spare;
      spare = null;
      return kept;
    }
    const radius = Math.sqrt(-2 * Math.log(1 - uniform()));
    const angle = 2 * Math.PI * uniform();
    spare = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  };
}

// Two estimators of the gradient in mu_1 of E[f(z)], f(z) = -|z - a|^2 / 2 and z ~ N(mu, sigma^2 I_K), where a - mu is
// delta in every coordinate; with the exact gradient and the variances of one draw (the chapter's "Four variances").
// The baseline is the exact mean of f.
export function quadraticGradients({ delta, sigma, K, baseline }) {
  const m = -(K * (sigma ** 2 + delta ** 2)) / 2;
  const V = (K * sigma ** 2) / 2 + K * delta ** 2;
  const A = V + 2 * sigma ** 2 + delta ** 2;
  const b = baseline ? m : 0;
  return {
    exact: delta,
    variances: { score: baseline ? A : A - 2 * m + m ** 2 / sigma ** 2, pathwise: sigma ** 2 },
    draw(normal) {
      let f = 0;
      let first = 0;
      for (let k = 0; k < K; k++) {
        const noise = normal();
        f -= (sigma * noise - delta) ** 2 / 2;
        if (k === 0) first = noise;
      }
      return { score: ((f - b) * first) / sigma, pathwise: delta - sigma * first };
    },
  };
}

// Mean and variance of a stream of numbers, without keeping them (Welford 1962).
export class Running {
  count = 0;
  mean = 0;
  #squares = 0;

  add(value) {
    this.count += 1;
    const before = value - this.mean;
    this.mean += before / this.count;
    this.#squares += before * (value - this.mean);
  }

  get variance() {
    return this.count > 1 ? this.#squares / (this.count - 1) : NaN;
  }
}
