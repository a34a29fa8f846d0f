// @ts-check
// What all components share: taking a message apart (see protocol.py), and drawing its pictures.

/** Encoded bytes; a Blob of them, and what they show, once somebody asks. */
export class Picture {
  /** @param {Uint8Array<ArrayBuffer>} bytes */
  constructor(bytes) {
    this.bytes = bytes;
    /** @type {Promise<ImageBitmap | null> | null} */
    this.decoded = null;
  }

  // Not before: a Blob takes a word with the browser's other process, 0.3 ms each.
  get blob() {
    const type = this.bytes[0] === 0x89 ? "image/png" : "image/webp";
    return new Blob([this.bytes], { type });
  }
}

const KEPT = 2000; // pictures a component remembers, if they are not on view

/**
 * Uint8Array -> {...header, pictures, lacking}; pictures[i] is a Picture, undefined where it was
 * not sent, and is not in `known`: then its name is among `lacking`.
 *
 * `known` is a Map of the component's own, names -> Pictures, last seen last: a picture that came
 * before is the same Picture again.
 *
 * @param {Uint8Array} bytes
 * @param {Map<string, Picture>} known
 */
export function unpack(bytes, known) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const size = view.getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + size)));
  let offset = 4 + size;
  /** @type {string[]} */
  const names = header.names;
  header.pictures = names.map((name, i) => {
    const part = bytes.slice(offset, (offset += header.lengths[i])); // a subarray keeps the whole
    const picture = known.get(name) ?? (part.length ? new Picture(part) : undefined);
    known.delete(name);
    if (picture) known.set(name, picture);
    return picture;
  });
  header.lacking = names.filter((name) => !known.has(name));
  forget(known, new Set(names));
  return header;
}

/**
 * What is not on view need not stay decoded, and does not stay for ever.
 *
 * @param {Map<string, Picture>} known
 * @param {Set<string>} onView
 */
function forget(known, onView) {
  for (const [name, picture] of known) {
    if (onView.has(name)) continue;
    picture.decoded = null;
    if (known.size > KEPT) known.delete(name);
  }
}

/**
 * A Picture's ImageBitmap, decoded once; null where there is none, or it fails: then ask again.
 *
 * @param {Picture | null | undefined} picture
 * @returns {Promise<ImageBitmap | null>}
 */
export function bitmap(picture) {
  if (!picture) return Promise.resolve(null);
  const failed = () => (picture.decoded = null);
  return (picture.decoded ??= createImageBitmap(picture.blob).catch(failed));
}

/**
 * Draw an ImageBitmap over a whole canvas, which takes its size.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {ImageBitmap} image
 */
export function paint(canvas, image) {
  if (canvas.width !== image.width) canvas.width = image.width;
  if (canvas.height !== image.height) canvas.height = image.height;
  const context = canvas.getContext("2d");
  context?.clearRect(0, 0, canvas.width, canvas.height);
  context?.drawImage(image, 0, 0);
}

/**
 * |one - two| over a whole canvas, twice as bright.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {ImageBitmap} one
 * @param {ImageBitmap} two
 */
export function paintDifference(canvas, one, two) {
  paint(canvas, one);
  const context = canvas.getContext("2d");
  if (!context) return;
  context.globalCompositeOperation = "difference";
  context.drawImage(two, 0, 0, canvas.width, canvas.height);
  context.globalCompositeOperation = "lighter"; // with itself: twice as bright
  context.drawImage(canvas, 0, 0);
  context.globalCompositeOperation = "source-over";
}

/**
 * What calls `draw` with Pictures' ImageBitmaps once all are decoded, unless others were asked for
 * since.
 *
 * @param {(images: ImageBitmap[]) => void} draw
 */
export function together(draw) {
  let asked = 0;
  return async (/** @type {(Picture | null | undefined)[]} */ pictures) => {
    const mine = (asked += 1);
    const images = await Promise.all(pictures.map(bitmap));
    if (mine === asked && images.every((image) => image !== null)) draw(images);
  };
}

/** @type {WeakMap<HTMLCanvasElement, Picture>} which picture a canvas shows, or will */
const wanted = new WeakMap();

/**
 * Draw a Picture on a canvas as soon as it is decoded; what was there stays until then.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {Picture | null | undefined} picture
 */
export async function show(canvas, picture) {
  if (!picture || wanted.get(canvas) === picture) return;
  wanted.set(canvas, picture);
  const image = await bitmap(picture);
  if (wanted.get(canvas) !== picture) return;
  if (image) paint(canvas, image);
  else wanted.delete(canvas);
}

/**
 * Nothing is drawn here, nor will be when it is decoded.
 *
 * @param {HTMLCanvasElement} canvas
 */
export function clear(canvas) {
  wanted.delete(canvas);
  canvas.width = canvas.width;
}

/**
 * What a component returns, so that `rest` is called when it leaves the page.
 *
 * Streamlit calls it then, but also for a message that the next one overtook.
 *
 * @param {Element} element
 * @param {() => void} rest
 */
export function atTheEnd(element, rest) {
  return () => {
    if (!element.isConnected) rest();
  };
}
