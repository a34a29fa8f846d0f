// What all components share: taking a message apart (see packet.py), and drawing its pictures.

/**
 * Uint8Array -> {...header, pictures}; pictures[i] is a Blob.
 *
 * `known` is a Map of the component's own: a picture that came before is the same Blob again, and
 * so needs no decoding; those that did not come again are forgotten.
 */
function unpack(bytes, known) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const size = view.getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + size)));
  let offset = 4 + size;
  header.pictures = header.lengths.map((length, i) => {
    const part = bytes.subarray(offset, (offset += length));
    const type = part[0] === 0x89 ? "image/png" : "image/webp";
    return known.get(header.names[i]) ?? new Blob([part], { type });
  });
  known.clear();
  header.names.forEach((name, i) => known.set(name, header.pictures[i]));
  return header;
}

const decoded = new WeakMap(); // Blob -> Promise<ImageBitmap>; forgotten with its Blob

/** A Blob's ImageBitmap, decoded at most once; null where there is no picture. */
function bitmap(blob) {
  if (!blob) return Promise.resolve(null);
  if (!decoded.has(blob)) decoded.set(blob, createImageBitmap(blob));
  return decoded.get(blob);
}

/** Draw an ImageBitmap over a whole canvas, which takes its size. */
function paint(canvas, image) {
  if (canvas.width !== image.width) canvas.width = image.width;
  if (canvas.height !== image.height) canvas.height = image.height;
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.drawImage(image, 0, 0);
}
