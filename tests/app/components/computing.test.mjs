// What computes in the components, without a page: node --test tests/app/components/*.test.mjs

import assert from "node:assert/strict";
import { mock, test } from "node:test";

import { axis, frameNear } from "../../../diffgrid/app/components/comparison/axis.js";
import { Answers } from "../../../diffgrid/app/components/grid/answers.js";
import { beside, followed, ghosted, reworded } from "../../../diffgrid/app/components/grid/foresight.js";
import { alone, layout, momentsFor } from "../../../diffgrid/app/components/grid/layout.js";
import { frameAt, levelText, noiseText, timeText } from "../../../diffgrid/app/components/grid/player.js";
import { factorState, factorWords } from "../../../diffgrid/app/components/grid/tally.js";
import { partText, placeText, plainName, stepText } from "../../../diffgrid/app/components/grid/words.js";
import { places } from "../../../diffgrid/app/components/history/places.js";
import { nearest } from "../../../diffgrid/app/components/shared/nearest.js";
import { History } from "../../../diffgrid/app/components/page/history.js";
import { pack } from "../../../diffgrid/app/components/page/pack.js";
import { Outbox } from "../../../diffgrid/app/components/shared/outbox.js";
import { together, unpack } from "../../../diffgrid/app/components/shared/protocol.js";
import { sentence } from "../../../diffgrid/app/components/strip/message.js";
import { positions } from "../../../diffgrid/app/components/strip/positions.js";

function packed(header, ...pictures) {
  const text = new TextEncoder().encode(JSON.stringify(header));
  const bytes = new Uint8Array(4 + text.length + pictures.flat().length);
  new DataView(bytes.buffer).setUint32(0, text.length, true);
  bytes.set(text, 4);
  bytes.set(pictures.flat(), 4 + text.length);
  return bytes;
}

test("a message comes apart into its header and its pictures", () => {
  const known = new Map();
  const sent = packed({ path: "5.2", names: ["a", "b"], lengths: [2, 1] }, [1, 2], [3]);
  const { path, pictures, lacking } = unpack(sent, known);
  assert.equal(path, "5.2");
  assert.deepEqual(pictures.map(({ bytes }) => [...bytes]), [[1, 2], [3]]);
  assert.deepEqual(lacking, []);
});

test("a picture that came before is the same again; what never came is lacking", () => {
  const known = new Map();
  const [before] = unpack(packed({ names: ["a"], lengths: [2] }, [1, 2]), known).pictures;
  const again = unpack(packed({ names: ["a", "new"], lengths: [0, 0] }), known);
  assert.equal(again.pictures[0], before);
  assert.equal(again.pictures[1], undefined);
  assert.deepEqual(again.lacking, ["new"]);
});

test("pictures that are decoded late do not take the place of what was asked for since", async () => {
  const drawn = [];
  const draw = together(([image]) => drawn.push(image));
  let arrive;
  const slow = { decoded: new Promise((done) => (arrive = done)) };
  const [first, second] = [draw([slow]), draw([{ decoded: Promise.resolve("new") }])];
  await second;
  arrive("old");
  await first;
  assert.deepEqual(drawn, ["new"]);
});

test("acts are kept, and sent together, until a message acknowledges them", () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  const sent = [];
  const outbox = new Outbox();
  const board = {};
  const receive = (sender, number) =>
    outbox.connect(board, ({ acts }) => sent.push(acts.map(([number]) => number)), [sender, number]);
  receive("", 0);
  outbox.push({ do: "undo" });
  outbox.push({ do: "redo" });
  mock.timers.tick(2000);
  receive("another tab", 2);
  receive(outbox.sender, 1);
  outbox.push({ do: "share" });
  receive(outbox.sender, 3);
  mock.timers.tick(60000);
  assert.deepEqual(sent, [[1], [1, 2], [1, 2], [2, 3]]);
  mock.timers.reset();
});

test("what a page could not deliver the next one does, but for what led to a page itself", () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  const outbox = new Outbox();
  const [left, came] = [[], []];
  const into = (list) => ({ acts }) => list.push(acts.map(([, act]) => act.do).join(" "));
  const [board, film] = [{}, {}];
  outbox.connect(board, into(left), ["", 0]);
  outbox.push({ do: "star" });
  outbox.push({ do: "strip" });
  outbox.disconnect(board);
  mock.timers.tick(60000);
  assert.deepEqual(left, ["star", "star strip"]);
  outbox.connect(film, into(came), ["", 0]);
  outbox.disconnect(board); // it goes after the other came
  outbox.connect(film, into(came), ["", 0]);
  mock.timers.tick(2000);
  assert.deepEqual(came, ["star", "star"]);
  outbox.connect(film, into(came), [outbox.sender, 1]);
  mock.timers.tick(60000);
  assert.equal(came.length, 2);
  mock.timers.reset();
});

test("a file that opened another page opens it once", () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  const outbox = new Outbox();
  const board = {};
  const here = ['{"kind":"grid"}', '{"kind":"cell"}', '{"rows":{"0":[1]}}', "damaged"];
  const elsewhere = ['{"kind":"strip"}', '{"kind":"decisions"}', '{"seed":8}', '{"trunks":2}'];
  outbox.connect(board, () => {}, ["", 0]);
  for (const recipe of [...here, ...elsewhere]) outbox.push({ do: "open", recipe });
  outbox.disconnect(board);
  assert.deepEqual(outbox.waiting.map(([, { recipe }]) => recipe), here);
  mock.timers.reset();
});

test("acts outlive the page that is loaded anew", () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  const stored = new Map();
  const storage = { getItem: (name) => stored.get(name) ?? null, setItem: (name, text) => stored.set(name, text) };
  const before = new Outbox(storage);
  before.push({ do: "undo" });
  before.push({ do: "redo" });
  before.connect({}, () => {}, [before.sender, 1]);
  const sent = [];
  const after = new Outbox(storage);
  after.connect({}, (state) => sent.push(state), ["", 0]);
  assert.deepEqual(sent.map(({ sender, acts }) => [sender, acts]), [[before.sender, [[2, { do: "redo" }]]]]);
  after.push({ do: "share" });
  assert.deepEqual(after.waiting.map(([number]) => number), [2, 3]);
  mock.timers.reset();
});

test("a cell shows the lane's picture, or the newest one, at a moment", () => {
  const entry = { x0: ["a", null, "c"], noisy: ["n", "m", "o"], newest: "c" };
  assert.equal(frameAt(entry, 0, "x0"), "a");
  assert.equal(frameAt(entry, 0, "xt"), "n");
  assert.equal(frameAt(entry, 1, "x0"), "c");
  assert.equal(frameAt(entry, 3, "x0"), "c");
  assert.equal(frameAt({ ...entry, newest: undefined }, 3, "x0"), "c");
});

test("noise is told as shortly as it can be", () => {
  const levels = [{ timestep: 999, alpha_bar: 0.0004 }, { timestep: 12.5, alpha_bar: 0.9999 }];
  const head = { levels };
  assert.equal(noiseText(head, 0), "t = 999 · ᾱ .0004");
  assert.equal(timeText(head, 1), "t = 12.5");
  assert.equal(levelText(head, 1), "ᾱ 1");
  assert.equal(timeText({ levels: null }, 3), "step 3");
});

const entry = (path, branch) => ({ path, branch, name: path });
const head = {
  path: "trunk",
  focus: entry("trunk", null),
  rows: [
    { step: 1, cells: [entry("1.0", 0), entry("1.1", 1)] },
    { step: 5, cells: [entry("5.0", 0)] },
  ],
};

test("a followed cell and the trunk change places, and the rows below are made anew", () => {
  const next = followed(head, 1, 1);
  assert.equal(next.path, "1.1");
  assert.equal(next.focus, head.rows[0].cells[1]);
  assert.deepEqual(next.rows[0].cells[1], { ...head.focus, branch: 1 });
  assert.equal(next.rows[1].cells[0].ghost, true);
  assert.equal(head.rows[1].cells[0].ghost, undefined);
  const far = { ...head, rows: [{ step: 9, cells: [entry("1.1/9.0", 0)] }] };
  assert.deepEqual(followed(far, 9, 0).crumbs, ["trunk", "1.1", "1.1/9.0"]);
});

test("ghosts are those asked for", () => {
  const [first, second] = ghosted(head, (row) => row.step === 5).rows;
  assert.deepEqual(first.cells, head.rows[0].cells);
  assert.equal(second.cells[0].ghost, true);
});

test("cells fit the window: never under the least size while there is room", () => {
  const { size, spare } = layout(900, 900, [4, 4, 4, 4]);
  assert.equal(size(false), 109);
  assert.equal(size(true), 69);
  assert.equal(spare, 900 - 152 - 4 * (109 + 12) - 10);
  for (const height of [500, 650, 768]) assert.ok(layout(908, height, [4, 4, 4]).size(false) >= 104);
  assert.ok(layout(360, 800, [8]).size(false) >= 56);
});

test("prompts are leafed through from end to end, and one's own stands before the first", () => {
  const leaf = (prompt, by) => beside({ prompts: ["a", "b", "c"], prompt }, by);
  assert.deepEqual([leaf("a", 1), leaf("c", 1), leaf("a", -1), leaf("b", -1)], ["b", "a", "c", "a"]);
  assert.deepEqual([leaf("mine", 1), leaf("mine", -1)], ["a", "c"]);
});

test("under another prompt nothing of the old one is known", () => {
  const entry = { path: "1.1/5.2", branch: 2, x0: ["a", null], newest: "b", final: "b", noisy: ["c", "d"], done: true };
  const rows = [{ step: 5, cells: [entry, { ...entry, path: "1.1", branch: 3 }], seen: ["something"] }];
  const head = { path: "1.1", crumbs: ["trunk", "1.1"], focus: entry, rows, back: 0, run: "old", prompt: "old", cost: "1" };
  const next = reworded(head, "new");
  assert.deepEqual([next.path, next.prompt, next.focus.path], ["trunk", "new", "trunk"]);
  assert.deepEqual(next.rows[0].cells.map(({ path }) => path), ["5.2", "5.3"]);
  for (const each of [next.focus, ...next.rows[0].cells]) {
    assert.deepEqual([...each.x0, each.newest, each.final, each.noisy], [null, null, null, null, null]);
    assert.ok(each.ghost && !each.done);
  }
  assert.equal(head.focus, entry);
});

test("an answer about another prompt is an earlier one's", () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  const { answers, done } = asked();
  const under = (prompt) => ({ ...told("trunk"), prompt });
  answers.receive(under("old"));
  answers.guess(under("new"), { do: "prompt" }, true);
  answers.receive(under("old"));
  assert.equal(done.drawn.length, 2);
  answers.receive(under("new"));
  assert.equal(done.drawn.length, 3);
  answers.end();
  mock.timers.reset();
});

test("places are said in plain words, as far as the grid shows them", () => {
  const parts = [0, 2, 5, 10, 15, 24].map((step) => partText({ length: 25 }, step));
  assert.deepEqual(parts, ["very early", "very early", "early", "midway", "late", "very late"]);
  assert.equal(stepText({ length: 25 }, 5), "step 5 of 25");
  const cells = (...branches) => branches.map((branch) => ({ branch }));
  const head = { back: 0, rows: [{ step: 1, cells: cells(0, 7) }, { step: 5, cells: cells(0, 1, 2) }] };
  assert.equal(placeText(head, "1.7"), "row 1, second"); // rerolled: not by its number
  assert.equal(placeText(head, "1.7/5.2"), "row 2, third");
  for (const path of ["trunk", "1.1", "9.0", "5.2~", "5.0-3", "1:prompt=5.2"]) {
    assert.equal(placeText(head, path), null);
  }
  assert.equal(placeText({ ...head, back: 3 }, "5.0-3"), "row 2, first");
  assert.equal(plainName(head, { path: "trunk", name: "trunk" }), "trunk");
  assert.equal(plainName(head, { path: "9.0", name: "9.0" }), "9.0");
});

test("a grid that is alone takes all the room there is, and leaves some for the trunk", () => {
  for (const [width, height, counts] of [
    [1310, 712, [4, 4, 4, 4]], [1864, 1024, [4, 4, 4, 4]], [900, 1200, [8, 8]], [1310, 712, [64]], [700, 500, []],
  ]) {
    const { cell, tree } = alone(width, height, counts);
    const across = Math.round((tree - 36 - 0.72 * cell) / (cell + 12));
    const lines = counts.reduce((sum, count) => sum + Math.ceil(count / across), 0);
    assert.ok(cell > 0 && tree <= 0.71 * width && lines * (cell + 12) <= height);
  }
  assert.equal(alone(1310, 712, [4, 4, 4, 4]).cell, 166); // by the height
});

test("the strip shows the first and last step and every row's", () => {
  const steps = momentsFor(25, 500, [1, 7]);
  assert.equal(steps[0], 0);
  assert.equal(steps.at(-1), 24);
  assert.ok(steps.includes(1) && steps.includes(7));
  assert.deepEqual(steps, [...new Set(steps)].sort((a, b) => a - b));
});

test("a row's finals are counted in words", () => {
  const open = { factor: "eyes", fixed: false, values: [["two eyes", 3], ["one eye", 1]] };
  const settled = { factor: "head", fixed: true, values: [["a hat", 4]] };
  assert.equal(factorState(open), "eyes open: 3 two-eyed, 1 one-eyed");
  assert.equal(factorWords(open), "eyes: 3 two-eyed, 1 one-eyed, with the trunk");
  assert.equal(factorState(settled), "head settled hat, named by the prompt");
});

test("of two as near the first is nearest", () => {
  assert.equal(nearest([1, 3, 5], 4), 1);
  assert.equal(nearest([9], -4), 0);
});

test("runs stand on one axis by their levels, the finished picture at its end", () => {
  const one = { levels: [-4, 0, 4] };
  const other = { levels: [-2, 6] };
  const scale = axis([one, other]);
  assert.deepEqual(scale.levels, [-4, -2, 0, 4, 6]);
  assert.equal(scale.places[0], 0);
  assert.equal(scale.places.at(-1), 1000);
  assert.equal(frameNear(one, scale, 1), 0);
  assert.equal(frameNear(other, scale, 5), 2);
});

test("levels past the farthest stand at the chart's ends", () => {
  const { x, low, high } = positions({ logSnr: [-30, -2, 2, null], farthest: 10 }, 500);
  assert.deepEqual([low, high], [-2, 2]);
  assert.deepEqual(x, [34, 62, 458, 486]);
});

/** Answers, and what they did: the paths drawn, the acts sent, the names asked for. */
function asked() {
  const done = { drawn: [], sent: [], lacking: [] };
  const answers = new Answers(({ path }) => done.drawn.push(path), (act) => done.sent.push(act));
  answers.ask = (names) => done.lacking.push(names);
  return { answers, done };
}

const told = (path, lacking = [], labelling = false) => ({ path, lacking, labelling });

test("what was drawn ahead stays until the answer to it, or until patience ends", () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  const { answers, done } = asked();
  answers.receive(told("trunk"));
  answers.guess(told("5.2"), { do: "follow" }, true);
  answers.receive(told("trunk")); // an earlier request's
  assert.deepEqual(done.drawn, ["trunk", "5.2"]);
  answers.receive(told("5.2"));
  mock.timers.tick(10_000);
  assert.deepEqual(done.drawn, ["trunk", "5.2", "5.2"]);
  answers.guess(told("9.1"), { do: "follow" }, true);
  mock.timers.tick(10_000);
  assert.deepEqual(done.drawn.slice(-2), ["9.1", "5.2"]);
  assert.equal(done.sent.length, 2);
  mock.timers.reset();
});

test("pictures that lack are asked for until they are there, and labels for as long as they come", () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  const { answers, done } = asked();
  answers.receive(told("trunk", ["a", "b"]));
  mock.timers.tick(100);
  mock.timers.tick(2000);
  assert.deepEqual(done.lacking, [["a", "b"], ["a", "b"]]);
  answers.receive(told("trunk", [], true));
  mock.timers.tick(2000);
  assert.deepEqual(done.lacking.at(-1), []);
  answers.receive(told("trunk"));
  mock.timers.tick(10_000);
  assert.equal(done.lacking.length, 3);
  mock.timers.reset();
});

test("a state of the strip is said in figures, and the last one is finished", () => {
  const data = {
    timesteps: [999, 499], alphaBar: [0.0004, 0.25, 1], logSnr: [-7.8, -1.1, null],
    distance: [1, 0.5, 0], moved: [null, 0.25, 0.5],
  };
  const first = "step 0 of 2, timestep 999, ᾱ 4e−4, log-SNR −7.80, from x₀ 1.000, moved –";
  assert.equal(sentence(data, 0), first);
  const last = "step finished, timestep –, ᾱ 1.000, log-SNR ∞, from x₀ 0.000, moved 0.500";
  assert.equal(sentence(data, 2), last);
});

test("a message is put together again as it came apart", () => {
  const pictures = { a: btoa("\x01\x02"), b: btoa("\x03") };
  const sent = pack({ path: "5.2 é", names: ["b", "a"] }, pictures);
  const { path, pictures: there, lacking } = unpack(sent, new Map());
  assert.equal(path, "5.2 é");
  assert.deepEqual(there.map(({ bytes }) => [...bytes]), [[3], [1, 2]]);
  assert.deepEqual(lacking, []);
});

test("the grids of a file are gone through to and fro", () => {
  const history = new History("trunk");
  assert.deepEqual([history.path, history.before, history.after], ["trunk", null, null]);
  history.undo();
  history.redo();
  for (const path of ["5.2", "5.2", "1.1"]) history.go(path);
  assert.deepEqual([history.path, history.before], ["1.1", "5.2"]);
  history.undo();
  history.undo();
  assert.deepEqual([history.path, history.before, history.after], ["trunk", null, "5.2"]);
  history.redo();
  assert.deepEqual([history.path, history.after], ["5.2", "1.1"]);
  history.go("10.0");
  assert.deepEqual([history.before, history.after], ["5.2", null]);
});

test("a tree goes from left to right: a first child in its line, each other in the next free one", () => {
  //  0 ─ 1 ─ 2 ─ 3
  //  │   │   └ 4 ─ 5
  //  │   └ 6
  //  └ 7
  const placed = places([-1, 0, 1, 2, 2, 4, 1, 0]);
  assert.deepEqual(placed.map(({ column }) => column), [0, 1, 2, 3, 3, 4, 2, 1]);
  assert.deepEqual(placed.map(({ line }) => line), [0, 0, 0, 0, 1, 1, 2, 3]);
  assert.deepEqual(places([]), []);
});
