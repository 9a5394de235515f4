// Intervals and the paired t-test, in the words of benchmark/stats.py and scipy.stats.
const Z = 1.959963984540054;

// Wilson's 95 % score interval of the share count / total.
const wilson = (count, total) => {
  const share = count / total;
  const weight = (Z * Z) / total;
  const centre = (share + weight / 2) / (1 + weight);
  const half = Math.sqrt((share * (1 - share)) * weight + (weight * weight) / 4) / (1 + weight);
  return [count === 0 ? 0 : centre - half, count === total ? 1 : centre + half];
};

const logGamma = (x) => {
  // Lanczos' approximation (g = 7, n = 9): relative error below 1e-13 for x > 0.5
  const weights = [0.99999999999980993, 676.5203681218851, -1259.1392167224028, 771.32342877765313,
    -176.61502916214059, 12.507343278686905, -0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7];
  const t = x + 6.5;
  const sum = weights.slice(1).reduce((total, weight, k) => total + weight / (x + k), weights[0]);
  return (x - 0.5) * Math.log(t) - t + Math.log(2.5066282746310005 * sum);
};

// Regularised incomplete beta function by Lentz's continued fraction.
const incompleteBeta = (x, a, b) => {
  if (x <= 0 || x >= 1) return x <= 0 ? 0 : 1;
  if (x > (a + 1) / (a + b + 2)) return 1 - incompleteBeta(1 - x, b, a);
  const front = Math.exp(logGamma(a + b) - logGamma(a) - logGamma(b) + a * Math.log(x) + b * Math.log(1 - x)) / a;
  const guard = (value) => (Math.abs(value) < 1e-300 ? 1e-300 : value);
  let c = 1;
  let d = 1 / guard(1 - ((a + b) * x) / (a + 1));
  let fraction = d;
  for (let m = 1; m < 500; m++) {
    for (const term of [
      (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m)),
      (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1)),
    ]) {
      d = 1 / guard(1 + term * d);
      c = guard(1 + term / c);
      fraction *= c * d;
    }
    if (Math.abs(c * d - 1) < 1e-15) break;
  }
  return front * fraction;
};

// P(|T| > |t|) of Student's t with some degrees of freedom.
const twoSided = (t, degrees) => incompleteBeta(degrees / (degrees + t * t), degrees / 2, 0.5);

// The t that a share of 95 % lies within.
const tQuantile = (degrees) => {
  let [low, high] = [0, 1e4];
  for (let step = 0; step < 200; step++) {
    const middle = (low + high) / 2;
    if (twoSided(middle, degrees) > 0.05) low = middle;
    else high = middle;
  }
  return high;
};

const mean = (values) => values.reduce((total, value) => total + value, 0) / values.length;

// Mean of values, one a seed, its 95 % t-interval, and the two-sided p that it is 0; null with fewer than two seeds.
const overSeeds = (values) => {
  const number = values.length;
  if (number < 2) return null;
  const centre = mean(values);
  const deviation = Math.sqrt(values.reduce((total, value) => total + (value - centre) ** 2, 0) / (number - 1));
  if (deviation < 1e-12) return { mean: centre, low: centre, high: centre, p: null };
  const error = deviation / Math.sqrt(number);
  const half = tQuantile(number - 1) * error;
  return { mean: centre, low: centre - half, high: centre + half, p: twoSided(centre / error, number - 1) };
};
