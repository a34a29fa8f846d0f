// @ts-check
// What the grid is sent (see `GridState` in message.py), its pictures in place of their indices.

import { unpack } from "../shared/protocol.js";

/**
 * @typedef {import("../shared/protocol.js").Picture} Picture
 * @typedef {import("./cell.js").Entry} Entry
 *
 * @typedef {{swatch?: number[], lines?: string, fills?: string}} Sign a colour, or SVG paths of 16 px
 *
 * @typedef {object} Seen what the finals of a row show
 * @property {string} factor
 * @property {boolean} fixed whether the prompt names a value
 * @property {[string, number, Sign | null][]} values the most frequent first
 *
 * @typedef {object} GridHead
 * @property {[string, number]} acted the receipt of the acts that were done
 * @property {number} length T
 * @property {string} path of the focus, the trunk on view
 * @property {string[]} crumbs its ancestors and itself
 * @property {Record<string, string>} words how a fork is read, where that is not as it is written
 * @property {number} back steps that a fork goes back
 * @property {number[]} row_steps where a row can be
 * @property {boolean} labelling
 * @property {{steps: number[], prompt: string, guidance: number} | null} change
 * @property {string} run the key of its specification: another run has other pictures
 * @property {string} prompt
 * @property {string[]} prompts others to leaf through
 * @property {string[]} recipe
 * @property {{timestep: number, alpha_bar: number | null}[] | null} levels T of them
 * @property {"x0" | "xt"} lane
 * @property {boolean} running
 * @property {boolean} stopped
 * @property {string} status
 * @property {number} fraction 0 … 1
 * @property {string} cost
 * @property {{recipe: {path: string}, parameters: string}} texts of any picture, but for its path
 * @property {string} note what is said of pictures that are approximate
 * @property {Record<string, string> | null} before the query of the view that Undo leads to
 * @property {boolean} can_redo
 * @property {number} max_columns
 * @property {{paths: string[], link: string} | null} file without a server: the paths whose grids the
 *   file holds, and an app's address up to a path, or nothing
 * @property {Entry} focus
 * @property {{step: number, cells: Entry[], seen: Seen[]}[]} rows
 * @property {string[]} lacking names of pictures that are to be asked for
 */

/**
 * @param {Uint8Array} bytes
 * @param {Map<string, Picture>} known
 * @returns {GridHead}
 */
export function read(bytes, known) {
  const head = unpack(bytes, known);
  /** @param {number | null} index */
  const picture = (index) => (index == null ? null : head.pictures[index]);
  /** @param {any} entry */
  const resolve = (entry) => ({
    ...entry,
    x0: entry.x0.map(picture),
    noisy: entry.noisy?.map(picture),
    final: picture(entry.final),
    newest: picture(entry.newest),
  });
  head.focus = resolve(head.focus);
  for (const row of head.rows) row.cells = row.cells.map(resolve);
  return head;
}
