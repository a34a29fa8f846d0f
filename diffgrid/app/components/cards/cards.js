// @ts-check
// Things to try (see cards.py). Its links are real ones: they can be copied, and opened in another tab.

import { make, styled } from "../shared/dom.js";
import { outbox } from "../shared/outbox.js";

/** @typedef {{title: string, sentence: string, links: [string, Record<string, string>][]}} Card */

/** @param {any} component what Streamlit hands over */
export default async function mount({ data, parentElement }) {
  await styled(parentElement);
  const root = parentElement.querySelector(".cards");
  if (root.childElementCount) return; // they never change
  root.append(...data.cards.map(card));
}

/** @param {Card} card */
function card({ title, sentence, links }) {
  const row = make("div", { class: "links" }, ...links.map((each) => link(...each)));
  return make("li", {}, make("h3", {}, title), make("p", {}, sentence), row);
}

/**
 * @param {string} label
 * @param {Record<string, string>} query
 */
function link(label, query) {
  /** @param {MouseEvent} event */
  const onclick = (event) => {
    if (event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    outbox.push({ do: "visit", query });
    document.querySelector("h1")?.scrollIntoView({ block: "center", behavior: "smooth" });
  };
  return make("a", { href: `?${new URLSearchParams(query)}`, onclick }, label);
}
