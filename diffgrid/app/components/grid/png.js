import { make, saveFile } from "../shared/dom.js";
import { bitmap, paint } from "../shared/protocol.js";

/** A finished picture among the downloads. */
export async function savePng(entry) {
  saveFile(await asPng(entry.final), `diffgrid-${entry.path.replace(/[^\w.-]+/g, "_")}.png`);
}

async function asPng(picture) {
  const { blob } = picture;
  if (blob.type === "image/png") return blob;
  const canvas = make("canvas");
  paint(canvas, await bitmap(picture));
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}
