// @ts-check
// What a tab keeps of the tree over a reload: of each grid its query's part, and no picture.

const KEPT = "diffgrid.history"; // the name in the tab's storage

/** @typedef {[number, Record<string, string | null>]} Kept the index above, or -1; what differs */
/** @typedef {{nodes: Kept[], at: number}} Tree `at` is the index of the one on view */

/** @type {() => Tree | null} */
export function recall() {
  try {
    const tree = JSON.parse(sessionStorage.getItem(KEPT) ?? "null");
    return Array.isArray(tree?.nodes) ? tree : null;
  } catch {
    return null; // the browser forbids it, or another app wrote it
  }
}

/** @param {Tree} tree */
export function keep(tree) {
  try {
    sessionStorage.setItem(KEPT, JSON.stringify(tree));
  } catch {
    // Then it is gone with the page.
  }
}
