// @ts-check
// One press of Back goes back one page.
//
// Streamlit enters a page that is gone to in the browser's history without a query, and then once
// more with it (its issues 9279 and 11305); on a busy machine its query comes first, and is entered
// for the page that is left. Here either takes the place of the other, as the query of a page that was
// loaded does, where it says more than the link that led there; and a page whose query is still
// to come has that of the view that was left: whoever loads it anew at once sees what was on view.
// The entry point brings it, before any link that can be gone to.

const ours = Symbol.for("diffgrid.arrival"); // it may be drawn anew, and then run once more

/** @type {any} */ (globalThis)[ours] ??= watch();

function watch() {
  const { pushState } = history;
  let view = location.search; // when something was touched last
  let gone = location.pathname; // of a page that was gone to since, or loaded
  let queried = false; // whether a query was entered since
  const touched = () => {
    view = location.search;
    gone = "";
    queried = false;
  };
  for (const touch of ["pointerdown", "click", "keydown"]) addEventListener(touch, touched, true);
  history.pushState = (state, unused, url) => {
    const next = new URL(url ?? "", location.href);
    const here = next.pathname === location.pathname;
    const completes = here ? next.pathname === gone : queried;
    if (!here) next.search ||= queried ? location.search : view;
    if (here) queried = true;
    else gone = next.pathname;
    if (completes) history.replaceState(state, unused, next);
    else pushState.call(history, state, unused, next);
  };
  return true;
}
