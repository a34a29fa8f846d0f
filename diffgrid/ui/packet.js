// What all components share: taking a message apart (see packet.py), and drawing its pictures.

/** Uint8Array -> {...header, pictures}; pictures[i] is a Blob. */
function unpack(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const size = view.getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + size)));
  let offset = 4 + size;
  header.pictures = header.lengths.map((length) => {
    const part = bytes.subarray(offset, (offset += length));
    return new Blob([part], { type: part[0] === 0x89 ? "image/png" : "image/webp" });
  });
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
