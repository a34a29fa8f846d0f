// @ts-check
// What is written beside a PNG's pixels, which stay as they are (png.py does the same), and where a
// file holds its recipe (foreign.py reads the same). No pixel is looked at, and nothing is uploaded.

const LARGEST_FILE = 64_000_000; // bytes
const LARGEST = 100_000; // bytes of a recipe
const MOST_CHUNKS = 10_000;
const ELEMENT = '<script type="application/json" id="diffgrid-recipe">';
const END = "</script>";
const SIGNATURE = "\x89PNG\r\n\x1a\n";
const HEADER = SIGNATURE.length + 25; // bytes before any chunk of text: the signature, and IHDR

/** @typedef {{recipe: string, parameters: string}} Texts what a picture says of itself */

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  for (let bit = 0; bit < 8; bit += 1) byte = byte & 1 ? 0xedb88320 ^ (byte >>> 1) : byte >>> 1;
  return byte;
});

/** @param {Uint8Array} bytes */
export function crc32(bytes) {
  let crc = ~0;
  for (const byte of bytes) crc = TABLE[(crc ^ byte) & 255] ^ (crc >>> 8);
  return ~crc >>> 0;
}

/**
 * The same picture, which says this of itself.
 *
 * @param {Uint8Array} png
 * @param {Texts} texts
 */
export function withTexts(png, { recipe, parameters }) {
  const latin = /^[\0-\xff]*$/.test(parameters);
  const chunks = [
    international("diffgrid", recipe),
    latin ? chunk(bytesOf(`tEXtparameters\0${parameters}`)) : international("parameters", parameters),
  ];
  return joined([png.subarray(0, HEADER), ...chunks, png.subarray(HEADER)]);
}

/**
 * The texts of any path's picture, where all but the path is there: as recipe.py writes them.
 *
 * @param {{recipe: {path: string}, parameters: string}} texts
 * @param {string} path
 */
export function finished({ recipe, parameters }, path) {
  const escaped = (/** @type {string} */ character) =>
    `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
  return {
    recipe: JSON.stringify({ ...recipe, path }).replace(/[\x7f-\uffff]/g, escaped),
    parameters: parameters + JSON.stringify(path),
  };
}

/** @type {(keyword: string, text: string) => Uint8Array<ArrayBuffer>} */
const international = (keyword, text) =>
  // Not compressed, in no language, and no keyword in translation.
  chunk(joined([bytesOf(`iTXt${keyword}\0\0\0\0\0`), new TextEncoder().encode(text)]));

/** @param {Uint8Array} content its kind, and what it holds */
function chunk(content) {
  const whole = new Uint8Array(content.length + 8);
  const view = new DataView(whole.buffer);
  view.setUint32(0, content.length - 4);
  whole.set(content, 4);
  view.setUint32(content.length + 4, crc32(content));
  return whole;
}

/** @type {(text: string) => Uint8Array<ArrayBuffer>} of Latin-1 */
const bytesOf = (text) => Uint8Array.from(text, (character) => character.charCodeAt(0));

/** @param {Uint8Array[]} parts */
function joined(parts) {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let start = 0;
  for (const part of parts) {
    whole.set(part, start);
    start += part.length;
  }
  return whole;
}

/**
 * The recipe in a PNG or a page; null where there is none that could be read.
 *
 * @param {Blob} file
 * @returns {Promise<string | null>}
 */
export async function recipeIn(file) {
  if (file.size > LARGEST_FILE) return null;
  const bytes = new Uint8Array(await file.arrayBuffer());
  if (latin(bytes.subarray(0, SIGNATURE.length)) === SIGNATURE) return inPng(bytes);
  const page = new TextDecoder().decode(bytes);
  const begin = page.indexOf(ELEMENT) + ELEMENT.length;
  if (begin < ELEMENT.length) return null;
  const [text, ...rest] = page.slice(begin, begin + LARGEST + END.length).split(END, 2);
  const whole = rest.length && !text.includes("\ufffd"); // which stands for what is no UTF-8
  return whole ? text : null;
}

/** @param {Uint8Array<ArrayBuffer>} bytes */
async function inPng(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let start = SIGNATURE.length;
  for (let i = 0; i < MOST_CHUNKS && start + 12 <= bytes.length; i += 1) {
    const end = start + 8 + view.getUint32(start);
    if (end + 4 > bytes.length) return null;
    const kind = latin(bytes.subarray(start + 4, start + 8));
    if (kind === "IEND") return null;
    const content = bytes.subarray(start + 8, end);
    if (/^(tEXt|zTXt|iTXt)$/.test(kind) && latin(content.subarray(0, 9)) === "diffgrid\0") {
      const whole = crc32(bytes.subarray(start + 4, end)) === view.getUint32(end);
      return whole ? textOf(kind, content.subarray(9)) : null;
    }
    start = end + 4;
  }
  return null;
}

/**
 * @param {string} kind
 * @param {Uint8Array<ArrayBuffer>} content behind its keyword
 */
async function textOf(kind, content) {
  if (kind === "tEXt") return content.length > LARGEST ? null : latin(content);
  const utf = kind === "iTXt";
  const pressed = !utf || content[0] === 1;
  // Behind the compression's kind; then a language, and the keyword in that, each to a zero.
  let start = utf ? 2 : 1;
  for (let i = 0; utf && i < 2; i += 1) start = content.indexOf(0, start) + 1 || content.length;
  const packed = content.subarray(start);
  const bytes = pressed ? await inflated(packed) : packed;
  if (!bytes || bytes.length > LARGEST) return null;
  return utf ? utf8(bytes) : latin(bytes);
}

/**
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @returns {Promise<Uint8Array | null>} no more than a recipe may have, and a part
 */
async function inflated(bytes) {
  const reader = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate")).getReader();
  const parts = [];
  try {
    for (let length = 0; length <= LARGEST; ) {
      const { value, done } = await reader.read();
      if (done) break;
      parts.push(value);
      length += value.length;
    }
    reader.cancel().catch(() => {});
    return joined(parts);
  } catch {
    return null; // damaged
  }
}

/** @param {Uint8Array} bytes */
function utf8(bytes) {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return null; // damaged
  }
}

/** @type {(bytes: Uint8Array) => string} one character a byte, which TextDecoder's "latin1" is not */
function latin(bytes) {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}
