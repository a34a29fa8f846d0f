// What a picture says of itself, in the browser: against what Python wrote, and what it reads.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { deflateSync } from "node:zlib";

import { crc32, finished, recipeIn, withTexts } from "../../../diffgrid/app/components/shared/png.js";

const SIGNATURE = 8;
const fixture = async (name) =>
  new Uint8Array(await readFile(new URL(`../../fixtures/${name}.png`, import.meta.url)));
const latin = (text) => Buffer.from(text, "latin1");

/** The chunks of a PNG, whole. */
function chunks(png) {
  const view = new DataView(png.buffer, png.byteOffset);
  const found = [];
  for (let start = SIGNATURE; start < png.length; ) {
    const end = start + 12 + view.getUint32(start);
    found.push(Buffer.from(png.subarray(start, end)));
    start = end;
  }
  return found;
}

const textOf = (chunk, keyword) => chunk.subarray(8 + keyword.length, -4).toString();

function chunk(kind, ...parts) {
  const content = Buffer.concat([latin(kind), ...parts]);
  const [length, checksum] = [Buffer.alloc(4), Buffer.alloc(4)];
  length.writeUInt32BE(content.length - 4);
  checksum.writeUInt32BE(crc32(content));
  return Buffer.concat([length, content, checksum]);
}

/** A picture with one more chunk before its end. */
async function picture(...more) {
  const png = await fixture("recipe-of-1");
  const [header, , , ...pixels] = chunks(png);
  return new Blob([png.subarray(0, SIGNATURE), header, ...pixels.slice(0, -1), ...more, pixels.at(-1)]);
}

test("the checksum is PNG's", () => assert.equal(crc32(latin("IEND")), 0xae426082));

test("what is written beside the pixels is what Python writes, to the byte", async () => {
  const png = await fixture("recipe-of-1");
  const [header, recipe, parameters, ...pixels] = chunks(png);
  const plain = Buffer.concat([png.subarray(0, SIGNATURE), header, ...pixels]);
  const texts = {
    recipe: textOf(recipe, "diffgrid\0\0\0\0\0"),
    parameters: textOf(parameters, "parameters\0"),
  };
  assert.deepEqual(Buffer.from(withTexts(plain, texts)), Buffer.from(png));
  const { path } = JSON.parse(texts.recipe);
  const parts = {
    recipe: { ...JSON.parse(texts.recipe), path: "" },
    parameters: texts.parameters.slice(0, -JSON.stringify(path).length),
  };
  assert.deepEqual(finished(parts, path), texts);
});

test("text of any script is written", async () => {
  const prompt = "é 怪 👩‍🚀 \u202e\0\x7f<";
  const { recipe, parameters } = finished({ recipe: { path: "", prompt }, parameters: "怪: " }, "5.2");
  assert.equal(
    recipe,
    '{"path":"5.2","prompt":"\\u00e9 \\u602a \\ud83d\\udc69\\u200d\\ud83d\\ude80 \\u202e\\u0000\\u007f<"}',
  );
  const png = withTexts(await fixture("recipe-of-1"), { recipe, parameters });
  const [, first, second] = chunks(png);
  assert.equal(textOf(second, "parameters\0\0\0\0\0"), '怪: "5.2"');
  assert.equal(second.subarray(4, 8).toString(), "iTXt");
  assert.equal(first.readUInt32BE(first.length - 4), crc32(first.subarray(4, -4)));
  assert.equal(await recipeIn(new Blob([png])), recipe);
});

test("a recipe is found in a picture of now, of before, and in a page", async () => {
  const [before, now] = await Promise.all(["recipe-of-0", "recipe-of-1"].map(fixture));
  assert.equal(JSON.parse(await recipeIn(new Blob([before]))).num_inference_steps, 4);
  assert.equal(JSON.parse(await recipeIn(new Blob([now]))).schema, 1);
  const element = '<script type="application/json" id="diffgrid-recipe">{"a": "怪"}</script>';
  assert.equal(await recipeIn(new Blob([`<p>${element}<p>${element}`])), '{"a": "怪"}');
});

test("a recipe is found wherever another tool moved it", async () => {
  const text = Buffer.from('{"a": "怪"}');
  const [keyword, pressed] = [latin("diffgrid\0"), deflateSync(text)];
  for (const [kind, ...parts] of [
    ["iTXt", latin("\0\0en\0recipe\0"), text],
    ["iTXt", latin("\x01\0\0\0"), pressed],
    ["zTXt", latin("\0"), deflateSync(latin('{"a": 1}'))],
    ["tEXt", latin('{"a": 1}')],
  ]) {
    const found = await recipeIn(await picture(chunk("tEXt", latin("a\0b")), chunk(kind, keyword, ...parts)));
    assert.ok([text.toString(), '{"a": 1}'].includes(found), `${kind}: ${found}`);
  }
});

test("what carries none, or a damaged or endless one, has none", async () => {
  const keyword = latin("diffgrid\0");
  const bomb = deflateSync(Buffer.alloc(30_000_000, "["));
  const damaged = chunk("tEXt", keyword, latin("{}"));
  damaged[damaged.length - 1] ^= 1;
  const whole = await fixture("recipe-of-1");
  const all = [
    new Blob([]),
    new Blob(["GIF89a"]),
    new Blob(['<script type="application/json" id="diffgrid-recipe">{']),
    new Blob(['<script type="application/json" id="diffgrid-recipe">'.repeat(10_000)]),
    new Blob([whole.subarray(0, 8)]),
    new Blob([whole.subarray(0, 200)]),
    new Blob([new Uint8Array(64_000_001)]),
    await picture(),
    await picture(damaged),
    await picture(chunk("zTXt", keyword, latin("\0"), bomb)),
    await picture(chunk("iTXt", keyword, latin("\x01\0\0\0"), bomb)),
    await picture(chunk("zTXt", keyword, latin("\0x"))),
    await picture(chunk("tEXt", keyword, Buffer.alloc(100_001))),
    await picture(chunk("iTXt", keyword, latin("\0\0\0\0{\xe9}"))),
    new Blob(['<script type="application/json" id="diffgrid-recipe">{', latin("\xe9"), "}</script>"]),
    await picture(Buffer.concat(Array(10_000).fill(chunk("tEXt", latin("a\0b")))), chunk("tEXt", keyword)),
  ];
  for (const [i, file] of all.entries()) assert.equal(await recipeIn(file), null, `the ${i}th`);
});
