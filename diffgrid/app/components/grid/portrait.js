// @ts-check
// The trunk: a large picture, and in words what it is.

import { make, tool } from "../shared/dom.js";
import { beside } from "./foresight.js";
import { HeatMap } from "./heat_map.js";
import { plainName } from "./words.js";

/**
 * @typedef {import("./message.js").GridHead} GridHead
 * @typedef {import("./cell.js").Entry} Entry
 *
 * @typedef {object} OnPortrait
 * @property {(event: MouseEvent) => void} press
 * @property {(anchor: Element) => void} menu
 * @property {(event: KeyboardEvent) => boolean} key
 * @property {(prompt: string) => void} prompt
 */

/** @param {OnPortrait} on */
export function makePortrait(on) {
  const canvas = make("canvas", { "aria-hidden": "true" });
  const element = make("button", { type: "button", class: "portrait" }, canvas);
  const bar = make("span", { class: "bar" });
  const dots = tool("more", "More about this picture", () => on.menu(dots));
  dots.classList.add("dots");
  const frame = make("div", { class: "frame" }, element, bar, dots);
  element.onclick = on.press;
  element.oncontextmenu = (event) => {
    event.preventDefault();
    on.menu(element);
  };
  // A handler that returns false keeps the browser from what the key does: Tab goes on.
  element.onkeydown = (event) => void on.key(event);
  const prompt = make("p", { class: "prompt" });
  const name = make("b");
  const facts = make("span");
  const words = make("p", { class: "quiet" }, name, facts);
  /** @type {GridHead} */
  let drawn;
  const leaf = make(
    "p",
    { class: "leaf quiet" },
    tool("left", "Previous prompt", () => on.prompt(beside(drawn, -1))),
    "other prompts",
    tool("right", "Next prompt", () => on.prompt(beside(drawn, 1))),
  );
  const texts = make("div", { class: "words" }, prompt, words, leaf);
  const none = /** @type {Entry} */ (/** @type {unknown} */ (null)); // until it is rendered
  const holder = { element, canvas, bar, frame, entry: none };
  return {
    trunk: make("div", { class: "trunk" }, frame, texts),
    holder,
    map: new HeatMap(holder, texts),

    /** @param {GridHead} head */
    render(head) {
      drawn = head;
      holder.entry = head.focus;
      leaf.hidden = !head.prompts.length;
      const none = head.change ? "(empty prompt)" : "(no prompt)";
      prompt.textContent = head.prompt ? `“${head.prompt}”` : none;
      prompt.title = head.prompt;
    },

    /**
     * Say whose picture is shown: the trunk's own, or that of a cell which plays.
     *
     * @param {Entry} entry
     * @param {GridHead} head
     * @param {boolean} own
     */
    tell(entry, head, own) {
      const told = own ? head.focus : entry;
      name.textContent = plainName(head, told);
      name.title = told.path;
      facts.textContent = head.recipe.map((word) => ` · ${word}`).join("");
    },
  };
}
