// @ts-check
// One press of Back goes back one page, and the page that was asked for comes.
//
// Streamlit enters a page that is gone to in the browser's history without a query, and then once
// more with it (its issues 9279 and 11305); on a busy machine its query comes first, and is entered
// for the page that is left. Here either takes the place of the other, as the query of a page that was
// loaded does, where it says more than the link that led there; and a page whose query is still
// to come has that of the view that was left: whoever loads it anew at once sees what was on view.
//
// A link, or Back, that is pressed while there is no connection, or just before it ends, is lost to
// Streamlit: it is pressed once more.
//
// The entry point brings this, before any link that can be gone to, and says which page is drawn. A
// `<` before a letter would be taken for markup, and all of it be dropped.

const LINKS = '[data-testid=stPageLink-NavLink]:not([href*="?"])'; // to pages
const READY = "[data-test-connection-state=CONNECTED][data-test-script-state=notRunning]";
const NARROW = "(max-width: 768px)";
const SIDEBAR = "[data-testid=stSidebar]";
const CLOSE = "[data-testid=stSidebarCollapseButton] button";
const PATIENCE = 2000; // ms to wait for a page, twice as long each time
const MOST_PATIENCE = 8000;
const SOON = 100; // ms to the next look where nothing can be asked for

const ours = Symbol.for("diffgrid.arrival"); // it is drawn with each page, and then run once more

/** @type {any} */ (globalThis)[ours] ??= watch();

function watch() {
  const { pushState } = history;
  let view = location.search; // when something was touched last
  let gone = location.pathname; // of a page that was gone to since, or loaded
  let queried = false; // whether a query was entered since
  /** @type {string | null} the page that was asked for, until it comes */
  let asked = null;
  let back = false; // whether by Back, or Forward: the address is its own already
  let timer = 0;

  const touched = () => {
    view = location.search;
    gone = "";
    queried = false;
  };
  for (const touch of ["pointerdown", "click", "keydown"]) addEventListener(touch, touched, true);
  const clicked = (/** @type {MouseEvent} */ { target }) => {
    const link = target instanceof Element && target.closest(LINKS);
    if (!link) return;
    ask(page(link), false);
    // On a phone the menu lies over the page: Streamlit takes away its own, and not that of links.
    const close = link.closest(SIDEBAR)?.querySelector(CLOSE);
    if (matchMedia(NARROW).matches && close instanceof HTMLElement) close.click();
  };
  addEventListener("click", clicked, true);
  addEventListener("popstate", () => ask(pageOf(location.pathname), true));

  history.pushState = (state, unused, url) => {
    const next = new URL(url ?? "", location.href);
    const here = next.pathname === location.pathname;
    // The page that was left, run anew with a new connection.
    if (back && asked !== null && drawn() !== asked) return;
    const completes = here ? next.pathname === gone : queried;
    if (!here) next.search ||= queried ? location.search : view;
    if (here) queried = true;
    else gone = next.pathname;
    if (completes) history.replaceState(state, unused, next);
    else pushState.call(history, state, unused, next);
  };

  const ask = (/** @type {string} */ page, /** @type {boolean} */ by) => {
    if (page === asked) return;
    [asked, back] = [page, by];
    wait(PATIENCE, PATIENCE);
  };

  const wait = (/** @type {number} */ ms, /** @type {number} */ patience) => {
    clearTimeout(timer);
    timer = window.setTimeout(() => {
      if (drawn() === asked) asked = null;
      if (asked === null) return;
      if (!document.querySelector(READY)) return wait(SOON, patience);
      if (back) dispatchEvent(new PopStateEvent("popstate"));
      else links().find((link) => page(link) === asked)?.click();
      const next = Math.min(2 * patience, MOST_PATIENCE);
      wait(next, next);
    }, ms);
  };

  return { forget: () => (asked = null) };
}

/** @type {() => HTMLElement[]} */
const links = () => Array.from(document.querySelectorAll(LINKS), (link) => /** @type {any} */ (link));

// A page goes by what its address ends with; the first one by nothing.
const page = (/** @type {Element} */ link) => link.getAttribute("href") ?? "";
const drawn = () => document.querySelector("[data-page]")?.getAttribute("data-page");
const pageOf = (/** @type {string} */ path) =>
  links().map(page).find((each) => each && path.endsWith(`/${each}`)) ?? "";
