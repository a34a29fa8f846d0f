// @ts-check
// A picture as a file of its own.

import { make, saveFile } from "../shared/dom.js";
import { bitmap, paint } from "../shared/protocol.js";

/**
 * A finished picture among the downloads.
 *
 * @param {import("../shared/protocol.js").Picture} picture
 * @param {string} path
 */
export async function savePng(picture, path) {
  const name = `diffgrid-${path.replace(/[^\w.-]+/g, "_")}.png`;
  if (picture.blob.type === "image/png") return saveFile(picture.blob, name);
  const [canvas, image] = [make("canvas"), await bitmap(picture)];
  if (image) paint(canvas, image);
  canvas.toBlob((blob) => blob && saveFile(blob, name), "image/png");
}
