// @ts-check
// A message put together again, as `ImagePool.pack` does it (see protocol.py).

/**
 * @param {{names: string[]} & Record<string, unknown>} header
 * @param {Record<string, string>} pictures in base64, by name
 */
export function pack(header, pictures) {
  const parts = header.names.map((name) => bytesOf(pictures[name]));
  const lengths = parts.map((part) => part.length);
  const text = new TextEncoder().encode(JSON.stringify({ ...header, lengths }));
  const size = lengths.reduce((sum, length) => sum + length, 4 + text.length);
  const bytes = new Uint8Array(size);
  new DataView(bytes.buffer).setUint32(0, text.length, true);
  let offset = 4;
  for (const part of [text, ...parts]) {
    bytes.set(part, offset);
    offset += part.length;
  }
  return bytes;
}

/** @param {string} base64 */
function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}
