// @ts-check
// One press of Back goes back one page.
//
// Streamlit enters a page that is gone to in the browser's history without a query, and then once
// more with it (its issues 9279 and 11305); on a busy machine its query comes first, and is entered
// for the page that is left. Here either takes the place of the other, and a page whose query is still
// to come has that of the view that was left: whoever loads it anew at once sees what was on view.

const ours = Symbol.for("diffgrid.arrival"); // each component loads a module of its own

/** @type {any} */ (globalThis)[ours] ??= watch();

function watch() {
  const { history } = globalThis;
  if (!history) return true; // not in a browser
  const { pushState } = history;
  let view = location.search; // when something was touched last
  let gone = ""; // the path of a page that was gone to since
  let queried = false; // whether a query was entered since
  const touched = () => {
    if (!location.pathname.endsWith("/compare")) view = location.search; // that one names runs
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
