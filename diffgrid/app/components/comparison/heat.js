// @ts-check
// Where two pictures differ, and by how much, as a map of heat.

/** @type {[number, number, number][]} from no difference to the largest; lighter all the way */
const RAMP = [[13, 11, 28], [84, 34, 140], [190, 54, 110], [246, 132, 56], [252, 246, 190]];
const LEAST = 16; // of 255; what differs by less stays dark: it would be noise of the encoding

/** The ramp for a legend. */
export const GRADIENT = `linear-gradient(90deg, ${RAMP.map((rgb) => `rgb(${rgb})`).join(", ")})`;

/**
 * The colour at a share of the ramp, 0 … 1.
 *
 * @param {number} share
 */
export function colour(share) {
  const place = Math.min(1, Math.max(0, share)) * (RAMP.length - 1);
  const from = Math.min(RAMP.length - 2, Math.floor(place));
  return RAMP[from].map((low, i) => Math.round(low + (place - from) * (RAMP[from + 1][i] - low)));
}

/**
 * Of each pixel the mean of |one - two| over R, G and B, 0 … 255.
 *
 * @param {Uint8ClampedArray} one RGBA
 * @param {Uint8ClampedArray} two
 */
export function differences(one, two) {
  const far = new Float32Array(one.length / 4);
  for (let p = 0; p < far.length; p++) {
    for (let i = 4 * p; i < 4 * p + 3; i++) far[p] += Math.abs(one[i] - two[i]) / 3;
  }
  return far;
}

/**
 * Paint the map over a whole canvas; which difference, of 255, is the lightest.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {ImageBitmap} one
 * @param {ImageBitmap} two it is drawn as large as the other
 */
export function paintHeat(canvas, one, two) {
  const { width, height } = Object.assign(canvas, { width: one.width, height: one.height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) return LEAST;
  const [a, b] = [one, two].map((image) => {
    context.clearRect(0, 0, width, height);
    context.drawImage(image, 0, 0, width, height);
    return context.getImageData(0, 0, width, height);
  });
  const far = differences(a.data, b.data);
  const most = far.reduce((high, value) => Math.max(high, value), LEAST);
  far.forEach((value, p) => a.data.set([...colour(value / most), 255], 4 * p));
  context.putImageData(a, 0, 0);
  return Math.round(most);
}
