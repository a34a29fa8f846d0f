// Pictures in the large: one with its scrubber, or two laid over each other.

import { openDialog } from "../shared/dialog.js";
import { make, radios, stillness, tool } from "../shared/dom.js";
import { bitmap, show } from "../shared/protocol.js";
import { frameAt, levelText, nameOf, timeText } from "./player.js";

/** The scrubber of a dialog, 0 … T, with words for the moment. */
function momentRange(head, moment, oninput) {
  const words = make("output", { class: "quiet" });
  const range = make("input", {
    type: "range", class: "slider", min: 0, max: head.length, "aria-label": "Moment",
  });
  const say = () => {
    const step = Number(range.value);
    const ended = step === head.length;
    words.value = ended ? "the final sample" : `${timeText(head, step)} · ${levelText(head, step)}`;
    range.setAttribute("aria-valuetext", words.value);
    range.style.setProperty("--share", step / head.length);
  };
  range.oninput = () => {
    say();
    oninput(Number(range.value));
  };
  range.value = moment;
  say();
  return { range, words };
}

/** One picture large; the arrows go through `entries`, which are read anew at each step. */
export function enlarge(host, { head, lane, moment, index, entries }) {
  const canvas = make("canvas", { role: "img" });
  const title = make("h2");
  const step = (by) => {
    index = (index + by + entries().length) % entries().length;
    draw();
  };
  const { range, words } = momentRange(head, moment, (chosen) => {
    moment = chosen;
    draw();
  });
  const draw = () => {
    const entry = entries()[index];
    title.textContent = nameOf(entry);
    canvas.setAttribute("aria-label", `${title.textContent}, ${words.value}`);
    show(canvas, frameAt(entry, moment, lane()));
  };
  const stage = make(
    "div",
    { class: "stage" },
    tool("left", "Previous", () => step(-1)),
    make("div", { class: "plate" }, canvas),
    tool("right", "Next", () => step(1)),
  );
  const bar = make("div", { class: "bar-of-dialog" }, range, words);
  const dialog = openDialog(host, "One branch, enlarged", () => {}, title, stage, bar);
  dialog.onkeydown = (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by && event.target !== range) step(by);
  };
  draw();
}

const MODES = { slider: "Wipe", flip: "Flip", difference: "Difference" };

/** Two pictures in one place: a wipe between them, one after the other, or what differs. */
export function compareTwo(host, { head, lane, moment, pair, openPage }) {
  let mode = "slider";
  let front = 0; // of a flip
  let timer = 0;
  const label = `${pair[0].name} and ${pair[1].name}`;
  const canvas = make("canvas", { role: "img", "aria-label": label });
  const wipe = make("input", {
    type: "range", min: 0, max: 100, value: 50, class: "wipe", "aria-label": "Where one ends",
  });
  const plate = make("div", { class: "plate duel" }, canvas, wipe);
  const caption = make("p", { class: "quiet", role: "status" });
  const { range, words } = momentRange(head, moment, (chosen) => {
    moment = chosen;
    draw();
  });

  const draw = async () => {
    const pictures = pair.map((entry) => frameAt(entry, moment, lane()));
    const [first, second] = await Promise.all(pictures.map(bitmap));
    if (!first || !second) return;
    const context = canvas.getContext("2d");
    canvas.width = first.width;
    canvas.height = first.height;
    context.drawImage(mode === "flip" && front ? second : first, 0, 0);
    if (mode === "slider") {
      const edge = (wipe.value / 100) * first.width;
      const rest = first.width - edge;
      if (rest) context.drawImage(second, edge, 0, rest, first.height, edge, 0, rest, first.height);
    } else if (mode === "difference") {
      context.globalCompositeOperation = "difference";
      context.drawImage(second, 0, 0);
      context.globalCompositeOperation = "lighter"; // with itself: twice as bright
      context.drawImage(canvas, 0, 0);
      context.globalCompositeOperation = "source-over";
    }
    caption.textContent = {
      slider: `${pair[0].name} on the left, ${pair[1].name} on the right`,
      flip: pair[front].name,
      difference: "what differs, twice as bright",
    }[mode];
  };
  const choose = (chosen) => {
    mode = chosen;
    plate.dataset.mode = mode;
    wipe.hidden = mode !== "slider";
    clearInterval(timer);
    // Those who asked for stillness flip by clicking.
    if (mode === "flip" && !stillness.matches) timer = setInterval(flip, 700);
    draw();
  };
  const flip = () => {
    front = 1 - front;
    draw();
  };
  canvas.onclick = () => {
    if (mode === "flip") flip();
  };
  wipe.oninput = () => {
    plate.style.setProperty("--edge", `${wipe.value}%`);
    draw();
  };
  const open = make("button", { type: "button", class: "plain" }, "Open in compare");
  const dialog = openDialog(
    host,
    "Two branches compared",
    () => clearInterval(timer),
    make("h2", {}, `${pair[0].name}  /  ${pair[1].name}`),
    radios("How to compare", MODES, mode, choose),
    make("div", { class: "stage" }, plate),
    make("div", { class: "bar-of-dialog" }, range, words),
    make("div", { class: "bar-of-dialog" }, caption, open),
  );
  open.onclick = () => {
    dialog.close();
    openPage();
  };
  choose(mode);
}
