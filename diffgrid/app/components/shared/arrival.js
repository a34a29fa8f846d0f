// @ts-check
// One press of Back goes back one page.
//
// Streamlit enters a page that is gone to in the browser's history, and then once more with its
// query (its issues 9279 and 11305). Here the second entry takes the place of the first.

const ours = Symbol.for("diffgrid.arrival"); // each component loads a module of its own

/** @type {{path: string | null}} of a page that was gone to, until it is drawn */
const arrival = (/** @type {any} */ (globalThis)[ours] ??= watch());

/** The page that was gone to is drawn: what comes now has an entry of its own. */
export function arrived() {
  arrival.path = null;
}

function watch() {
  const arrival = { path: /** @type {string | null} */ (null) };
  const { history } = globalThis;
  if (!history) return arrival; // not in a browser
  const { pushState } = history;
  history.pushState = (state, unused, url) => {
    const { pathname } = new URL(url ?? "", location.href);
    const here = pathname === location.pathname;
    if (here && pathname === arrival.path) return history.replaceState(state, unused, url);
    if (!here) arrival.path = pathname;
    pushState.call(history, state, unused, url);
  };
  return arrival;
}
