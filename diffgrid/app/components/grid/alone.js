// @ts-check
// The grid alone, as large as the window: by `p`, or from the start where the page is embedded.

import { isBrowsers } from "../shared/dom.js";

const TYPED = "input:not([type=range]), textarea, select, [role=dialog], dialog, .menu";

/**
 * @param {HTMLElement} root the grid's element, on the page
 * @param {() => void} changed
 */
export function makeAlone(root, changed) {
  /** @param {boolean} on */
  function show(on) {
    if (!on) root.hidePopover();
    root.popover = on ? "manual" : null; // above the page, whatever that is made of
    if (on) root.showPopover();
    root.classList.toggle("alone", on);
    root.tabIndex = -1;
    if (on && !root.matches(":focus-within")) root.focus(); // what Tab reaches next is on view
    if (!on) root.removeAttribute("tabindex");
    changed();
  }

  return {
    get on() {
      return root.classList.contains("alone");
    },

    toggle() {
      show(!this.on);
    },

    /** Around the grid, px. */
    get edge() {
      return parseFloat(getComputedStyle(root).paddingLeft);
    },

    /** As an address with `embed=true` wants it. */
    begin() {
      const embedded = new URLSearchParams(location.search).get("embed") === "true";
      root.classList.toggle("embedded", embedded);
      if (embedded) show(true);
    },

    /**
     * `p`, and Escape where nothing else wants it; whether it was one of them.
     *
     * @param {KeyboardEvent} event
     * @param {boolean} wanted
     */
    key(event, wanted) {
      const [target] = /** @type {Element[]} */ (event.composedPath());
      const leaves = event.key === "Escape" && this.on && !wanted;
      if ((event.key !== "p" && !leaves) || isBrowsers(event) || target.closest?.(TYPED)) return false;
      this.toggle();
      event.preventDefault();
      event.stopPropagation();
      return true;
    },
  };
}
