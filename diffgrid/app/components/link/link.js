// @ts-check
// An address, with a button that copies it, and one for the share sheet where the browser has one.

import { copyText, icon, make, styled } from "../shared/dom.js";

/** @param {any} component what Streamlit hands over */
export default async function mount({ data, parentElement }) {
  await styled(parentElement);
  const root = parentElement.querySelector(".link");
  const told = JSON.stringify(data);
  if (root.told === told) return; // what was said of a copy stays
  root.told = told;
  root.replaceChildren(...parts(data));
}

/** @param {{address: string, title: string}} data */
function parts({ address, title }) {
  const field = make("input", { type: "text", readonly: true, value: address, "aria-label": "Link" });
  field.onfocus = () => field.select();
  const said = make("span", { class: "quiet", role: "status" });
  const copy = make("button", { type: "button", class: "plain" }, icon("copy"), "Copy");
  copy.onclick = async () => {
    const copied = await copyText(address);
    if (!copied) field.select();
    said.textContent = copied ? "Copied." : "The browser forbids it: copy the selected text.";
  };
  const hidden = !navigator.share;
  const share = make("button", { type: "button", class: "plain", hidden }, icon("share"), "Share …");
  // Whoever closes the sheet again has changed their mind.
  share.onclick = () => navigator.share({ title, url: address }).catch(() => {});
  return [field, make("div", { class: "acts" }, copy, share, said)];
}
