// @ts-check
// Making elements: text goes in as text nodes only, icons are drawn here.

/** @typedef {Record<string, unknown>} Attributes */

/**
 * An element with attributes; functions become handlers, false and null are left out.
 *
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Attributes} attributes
 * @param {...(Node | string)} children
 */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") Object.assign(element, { [name]: value });
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, String(value));
  }
  element.append(...children);
  return element;
}

/**
 * An SVG element with attributes.
 *
 * @template {keyof SVGElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Attributes} attributes
 * @param {...(Node | string)} children
 */
export function svg(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}

/**
 * Whether a key is pressed with another one held: such are the browser's, as Alt and an arrow is.
 *
 * @param {KeyboardEvent} event
 */
export const isBrowsers = (event) => event.altKey || event.ctrlKey || event.metaKey;

const ICONS = {
  undo: "M9 5 4 10l5 5M4 10h10a6 6 0 0 1 0 12h-3",
  redo: "m15 5 5 5-5 5M20 10H10a6 6 0 0 0 0 12h3",
  minus: "M5 12h14",
  plus: "M5 12h14M12 5v14",
  share: "M12 15V3m-5 5 5-5 5 5M5 13v6a2 2 0 0 0 2 2h10a2 2 0 0 0 2-2v-6",
  dice:
    "M6 3h12a3 3 0 0 1 3 3v12a3 3 0 0 1-3 3H6a3 3 0 0 1-3-3V6a3 3 0 0 1 3-3" +
    "M8 8h.01M16 8h.01M12 12h.01M8 16h.01M16 16h.01",
  close: "m6 6 12 12M18 6 6 18",
  more: "M5 12h.01M12 12h.01M19 12h.01",
  play: "M8 5v14l11-7z",
  pause: "M8 5v14M16 5v14",
  left: "m15 5-7 7 7 7",
  right: "m9 5 7 7-7 7",
  follow: "M6 3v6a6 6 0 0 0 6 6h8m-5-5 5 5-5 5",
  enlarge: "M14 4h6v6m0-6-7 7M10 20H4v-6m0 6 7-7",
  compare: "M12 3v18M5 6h4v12H5zM15 6h4v12h-4z",
  star: "m12 3 2.8 5.8 6.2.8-4.5 4.4 1.1 6.3L12 17.3l-5.6 3 1.1-6.3L3 9.6l6.2-.8z",
  strip: "M3 7h18v10H3zM9 7v10M15 7v10",
  change: "M4 20h4L19 9l-4-4L4 16zM13 7l4 4",
  download: "M12 3v12m-5-5 5 5 5-5M4 20h16",
  map: "M3 20c2-9 5-13 9-13s7 4 9 13M8 20c.8-5 2-7 4-7s3.2 2 4 7",
  pin: "M12 15v6M8 3h8l-1 6 3 4v2H6v-2l3-4z",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
};

/**
 * An icon that takes the colour of the text around it.
 *
 * @param {keyof typeof ICONS} name
 */
export function icon(name) {
  const names = { viewBox: "0 0 24 24", "aria-hidden": "true", class: `icon icon-${name}` };
  return svg("svg", names, svg("path", { d: ICONS[name] }));
}

/**
 * A button that shows an icon only.
 *
 * @param {keyof typeof ICONS} name
 * @param {string} label
 * @param {(event: MouseEvent) => void} onclick
 */
export function tool(name, label, onclick, attributes = {}) {
  const names = { type: "button", class: "tool", "aria-label": label, title: label };
  return make("button", { ...names, onclick, ...attributes }, icon(name));
}

/**
 * One of several as radio buttons, `options` {name: title}.
 *
 * @param {string} label
 * @param {Record<string, string>} options
 * @param {string} chosen
 * @param {(name: string) => void} choose
 */
export function radios(label, options, chosen, choose) {
  const labels = Object.entries(options).map(([name, title]) => {
    const state = { checked: name === chosen, onchange: () => choose(name) };
    const radio = make("input", { type: "radio", name: "choice", value: name, ...state });
    return make("label", {}, radio, make("span", {}, title));
  });
  const names = { class: "segments modes", role: "radiogroup", "aria-label": label };
  return make("div", names, ...labels);
}

export const stillness = matchMedia("(prefers-reduced-motion: reduce)");

/** @type {WeakMap<Element, Promise<unknown>>} */
const loading = new WeakMap();

/**
 * Once the component's stylesheet is there: what is built before it is seen bare, and measured.
 *
 * @param {ParentNode} parent
 */
export async function styled(parent) {
  const link = parent.querySelector("link");
  if (!link) return;
  // For as long as what it imports is on its way `sheet` is there already, to another message.
  const wait = () => new Promise((done) => (link.onload = link.onerror = done));
  if (!link.sheet && !loading.has(link)) loading.set(link, wait());
  await loading.get(link);
}

/**
 * Put text on the clipboard, also where the page has no https; false where that is forbidden.
 *
 * @param {string} text
 */
export async function copyText(text) {
  const { clipboard } = navigator;
  if (clipboard) return clipboard.writeText(text).then(() => true, () => false);
  const area = make("textarea", { style: "position: fixed; opacity: 0" }, text);
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  return copied;
}

/**
 * Hand a Blob to the browser's downloads.
 *
 * @param {Blob} blob
 * @param {string} name
 */
export function saveFile(blob, name) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
