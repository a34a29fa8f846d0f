// @ts-check
// A picture as a file of its own.

import { make, saveFile } from "../shared/dom.js";
import { finished, withTexts } from "../shared/png.js";
import { bitmap, paint } from "../shared/protocol.js";

/**
 * A finished picture among the downloads, which says what it was made of.
 *
 * @param {import("../shared/protocol.js").Picture} picture
 * @param {string} path
 * @param {import("./message.js").GridHead["texts"]} texts
 */
export async function savePng(picture, path, texts) {
  const png = await (picture.blob.type === "image/png" ? picture.blob : drawn(picture));
  if (!png) return;
  const bytes = withTexts(new Uint8Array(await png.arrayBuffer()), finished(texts, path));
  const name = `diffgrid-${path.replace(/[^\w.-]+/g, "_")}.png`;
  saveFile(new Blob([bytes], { type: "image/png" }), name);
}

/**
 * @param {import("../shared/protocol.js").Picture} picture
 * @returns {Promise<Blob | null>}
 */
async function drawn(picture) {
  const [canvas, image] = [make("canvas"), await bitmap(picture)];
  if (image) paint(canvas, image);
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}
