// What the comparison computes: where a zoomed picture stands, and its map of differences.

import assert from "node:assert/strict";
import test from "node:test";

import { colour, differences } from "../../../diffgrid/app/components/comparison/heat.js";
import { WHOLE, moved, zoomed } from "../../../diffgrid/app/components/comparison/look.js";

test("what is under the pointer stays there", () => {
  const at = { x: 0.25, y: 0.8 };
  const look = zoomed(zoomed(WHOLE, 2, at), 3, at);
  assert.equal(look.scale, 6);
  assert.ok(Math.abs((at.x - look.x) / look.scale - 0.25) < 1e-12);
  assert.ok(Math.abs((at.y - look.y) / look.scale - 0.8) < 1e-12);
});

test("a picture never leaves its frame", () => {
  const look = zoomed(WHOLE, 2, { x: 0, y: 0 });
  assert.deepEqual(moved(look, 5, -5), { scale: 2, x: 0, y: -1 });
  assert.deepEqual(moved(WHOLE, 1, 1), WHOLE);
  const corner = zoomed(WHOLE, 4, { x: 1, y: 1 });
  assert.deepEqual(zoomed(corner, 0.5, { x: 0, y: 0 }), { scale: 2, x: -1, y: -1 });
});

test("it is zoomed no further than that its pixels are large, and not below the whole", () => {
  assert.equal(zoomed(WHOLE, 1000, { x: 0.5, y: 0.5 }).scale, 32);
  assert.deepEqual(zoomed(WHOLE, 0.1, { x: 0.3, y: 0.5 }), WHOLE);
});

test("a difference is the mean over red, green and blue", () => {
  const one = new Uint8ClampedArray([10, 20, 30, 255, 0, 0, 0, 255]);
  const two = new Uint8ClampedArray([13, 20, 24, 255, 255, 255, 255, 0]);
  assert.deepEqual([...differences(one, two)], [3, 255]);
});

test("the more heat, the lighter", () => {
  const light = [0, 0.25, 0.5, 0.75, 1].map((share) => {
    const [r, g, b] = colour(share);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  });
  assert.deepEqual(light, light.toSorted((a, b) => a - b));
  assert.deepEqual(colour(7), colour(1));
});
