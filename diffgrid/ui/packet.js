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

/** A Blob's ImageBitmap, decoded once; null where there is none, or it fails: then ask again. */
function bitmap(blob) {
  if (!blob) return Promise.resolve(null);
  const failed = () => {
    decoded.delete(blob);
    return null;
  };
  if (!decoded.has(blob)) decoded.set(blob, createImageBitmap(blob).catch(failed));
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

/** Draw a Blob on a canvas as soon as it is decoded; what was there stays until then. */
async function show(canvas, blob) {
  if (!blob || canvas.wanted === blob) return;
  canvas.wanted = blob;
  const image = await bitmap(blob);
  if (canvas.wanted !== blob) return;
  if (image) paint(canvas, image);
  else canvas.wanted = null;
}

/** Nothing is drawn here, nor will be when it is decoded. */
function clear(canvas) {
  canvas.wanted = null;
  canvas.width = canvas.width;
}

/**
 * What a component returns, so that `rest` is called when it leaves the page.
 *
 * Streamlit calls it then, but also for a message that the next one overtook.
 */
function atTheEnd(element, rest) {
  return () => element.isConnected || rest();
}
