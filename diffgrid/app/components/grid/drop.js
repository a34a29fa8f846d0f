// @ts-check
// A picture or a page that is dropped on the window, or pasted, opens the view that it was made of.
// Its recipe alone is sent: what else is in the file stays in the browser.

import { make } from "../shared/dom.js";
import { recipeIn } from "../shared/png.js";

const NONE = "That file carries no recipe: drop a PNG or a page that diffgrid wrote.";
const TYPED = "input, textarea, [contenteditable]";
// Where a file goes elsewhere. That somebody has prevented the browser's own does not say it: as long
// as there is a field for files, Streamlit does so wherever one is dropped.
const FIELD = "input[type=file], [data-testid=stFileUploaderDropzone]";

/**
 * @param {object} on
 * @param {() => boolean} on.can whether there is a server that opens it
 * @param {(recipe: string) => void} on.open
 * @param {(sentence: string) => void} on.say
 * @param {AbortSignal} signal ends it
 * @returns {HTMLElement} the hint that lies over the window while a file is dragged
 */
export function takeFiles({ can, open, say }, signal) {
  const words = "Drop it, and the view that it was made of opens again";
  // Among what lies over all of the page, whatever the component is in.
  const hint = make("div", { class: "drop", popover: "manual" }, make("p", {}, words));
  const hide = () => hint.matches(":popover-open") && hint.hidePopover();

  const take = async (/** @type {File} */ file) => {
    const recipe = await recipeIn(file).catch(() => null);
    if (signal.aborted) return;
    if (recipe === null) return say(NONE);
    say("The view of that file was asked for.");
    open(recipe);
  };
  /** @type {(name: string, listener: (event: any) => void) => void} */
  const listen = (name, listener) => window.addEventListener(name, listener, { signal });
  const over = (/** @type {DragEvent} */ event) => {
    if (elsewhere(event)) return hide();
    if (!can() || !event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault(); // or the browser goes to the file
    event.dataTransfer.dropEffect = "copy";
    if (!hint.matches(":popover-open")) hint.showPopover();
  };
  listen("dragenter", over);
  listen("dragover", over);
  listen("dragleave", ({ relatedTarget }) => {
    if (!relatedTarget) hide(); // the window is left
  });
  listen("drop", (/** @type {DragEvent} */ event) => {
    hide();
    const [file] = event.dataTransfer?.files ?? [];
    if (!file || !can() || elsewhere(event)) return;
    event.preventDefault();
    take(file);
  });
  listen("paste", (/** @type {ClipboardEvent} */ event) => {
    const [target] = /** @type {Element[]} */ (event.composedPath());
    const [file] = event.clipboardData?.files ?? [];
    if (!file || !can() || target.matches?.(TYPED) || elsewhere(event)) return;
    event.preventDefault();
    take(file);
  });
  return hint;
}

/** @type {(event: Event) => boolean} whether a field for files takes it */
const elsewhere = (event) =>
  event.composedPath().some((each) => each instanceof Element && each.matches(FIELD));
