// @ts-check
// What somebody has read once is not told at length again, in this browser.
//
// A page says it in two ways, in containers whose keys end in `-long` and `-short`, and styles them by
// `data-read`, which names what was read; components ask `wasRead`. The entry point brings this with every
// page that it draws. A `<` before a letter would be taken for markup, and all of it be dropped.

const KEPT = "diffgrid.read"; // the name in the browser's storage
const LONG = "[class*=st-key-][class*=-long]";

const ours = Symbol.for("diffgrid.read"); // it is drawn with each page, and then run once more

/** @type {any} */ (globalThis)[ours] ??= watch();

function watch() {
  const { dataset } = document.documentElement;
  dataset.read = load();
  const clicked = (/** @type {MouseEvent} */ event) => {
    const button = event.target instanceof Element && event.target.closest(`${LONG} button`);
    const [, name] = /st-key-(\S+)-long/.exec((button && button.closest(LONG)?.className) || "") ?? [];
    if (!name) return;
    event.stopPropagation(); // the server need not know
    markRead(name);
  };
  addEventListener("click", clicked, true);
  return true;
}

function load() {
  try {
    return localStorage.getItem(KEPT) ?? "";
  } catch {
    return ""; // the browser forbids it
  }
}

/** @param {string} read */
function save(read) {
  try {
    localStorage.setItem(KEPT, read);
  } catch {} // for as long as the page stands, then
}

/** @param {string} name */
export function wasRead(name) {
  return (document.documentElement.dataset.read ?? "").split(" ").includes(name);
}

/** @param {string} name */
export function markRead(name) {
  const { dataset } = document.documentElement;
  dataset.read = `${dataset.read} ${name}`;
  save(dataset.read);
}
