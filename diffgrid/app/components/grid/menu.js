// @ts-check
// What can be done with a cell, or with the trunk, as a menu.

import { icon, isBrowsers, make } from "../shared/dom.js";
import { nameOf } from "./player.js";

/**
 * @typedef {object} Item
 * @property {string} label
 * @property {Parameters<typeof icon>[0]} icon
 * @property {string} [key]
 * @property {() => void} run
 */

export function makeMenu() {
  const element = make("div", { class: "menu", role: "menu", popover: "auto" });
  /** @type {HTMLElement} */
  let from = element; // what has the focus again when it closes
  element.onkeydown = (event) => {
    const items = /** @type {HTMLElement[]} */ ([...element.children]);
    const at = items.indexOf(/** @type {HTMLElement} */ (event.target));
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    event.stopPropagation();
    if (event.key === "Tab") element.hidePopover();
    if (event.key === "Tab" || event.key === "Escape") from.focus();
    if (!by || isBrowsers(event)) return;
    event.preventDefault();
    items[(at + by + items.length) % items.length].focus();
  };

  /** @param {Item} item */
  function makeItem({ label, icon: drawn, key, run }) {
    const button = make("button", { type: "button", role: "menuitem", tabindex: -1 });
    button.append(icon(drawn), make("span", {}, label));
    if (key) button.append(make("kbd", {}, key === "Enter" ? "↵" : key));
    button.onclick = () => {
      element.hidePopover();
      run();
    };
    return button;
  }

  return {
    element,

    /**
     * It opens at the corner of `anchor`.
     *
     * @param {import("./cell.js").Holder} holder
     * @param {Item[]} items
     * @param {Element} anchor
     */
    open(holder, items, anchor) {
      element.setAttribute("aria-label", nameOf(holder.entry));
      element.replaceChildren(...items.map(makeItem));
      from = holder.element;
      element.showPopover();
      const at = anchor.getBoundingClientRect();
      const { width, height } = element.getBoundingClientRect();
      const left = Math.min(at.right - 8, window.innerWidth - width - 8);
      const top = Math.min(at.bottom - 8, window.innerHeight - height - 8);
      element.style.left = `${Math.max(8, left)}px`;
      element.style.top = `${Math.max(8, top)}px`;
      element.querySelector("button")?.focus();
    },
  };
}
