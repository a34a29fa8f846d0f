// @ts-check
// What a tab asks of the server: each act arrives, and is done once (see inbox.py).

const PATIENCE = 2000; // ms to wait for a receipt, twice as long each time
const MOST_PATIENCE = 8000;
const LEAVES = ["strip", "compare"]; // acts that always lead to another page; `open` does for some files

const KEPT = "diffgrid.outbox"; // the name in the tab's storage

/**
 * Keeps the acts that no message has acknowledged yet, and sends all of them with each new one.
 *
 * There is one in a tab: what a component could not deliver before its page was left, or loaded
 * anew, the next one does.
 */
export class Outbox {
  /** @param {Storage | null} storage the tab's */
  constructor(storage = null) {
    this.storage = storage;
    const kept = JSON.parse(storage?.getItem(KEPT) ?? "null");
    // An older one's receipts are not for this one.
    this.sender = kept?.sender ?? `${Date.now()} ${Math.random()}`;
    /** @type {[number, object][]} */
    this.waiting = kept?.waiting ?? [];
    this.last = kept?.last ?? 0;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
    /** @type {unknown} the component that delivers */
    this.carrier = null;
    /** @type {(state: object) => void} */
    this.deliver = () => {};
  }

  /**
   * `deliver` is how the carrier's state is set now: it changes with each message. `receipt` is
   * what the message says: up to which number acts were done.
   *
   * @param {unknown} carrier
   * @param {(state: object) => void} deliver
   * @param {[string, number]} receipt
   */
  connect(carrier, deliver, [sender, number]) {
    const another = this.carrier !== carrier;
    this.carrier = carrier;
    this.deliver = deliver;
    if (sender === this.sender) this.keep(this.waiting.filter(([each]) => each > number));
    if (!this.waiting.length) clearTimeout(this.timer);
    else if (another) this.send(PATIENCE);
  }

  /** @param {object} act `{do: …}` */
  push(act) {
    this.keep([...this.waiting, [(this.last += 1), act]]);
    if (leaves(act)) arrival()?.forget();
    this.send(PATIENCE);
  }

  /** @param {number} patience ms */
  send(patience) {
    // A value that equals the last one would not be told to the server's callback.
    this.deliver({ sender: this.sender, acts: this.waiting, at: Date.now() });
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.send(Math.min(2 * patience, MOST_PATIENCE)), patience);
  }

  /**
   * The carrier's page is left, for the one that was asked for last: no receipt comes any more for
   * what led there, and it is not to lead there again.
   *
   * @param {unknown} carrier
   */
  disconnect(carrier) {
    if (this.carrier !== carrier) return;
    this.carrier = null;
    this.deliver = () => {};
    this.keep(this.waiting.filter(([, act]) => !leaves(act)));
    clearTimeout(this.timer);
  }

  /** @param {[number, object][]} waiting */
  keep(waiting) {
    const { sender, last } = this;
    this.waiting = waiting;
    this.storage?.setItem(KEPT, JSON.stringify({ sender, last, waiting }));
  }
}

/** @type {(act: any) => boolean} whether it leads to another page */
const leaves = (act) => (act.do === "open" ? !opensHere(act.recipe) : LEAVES.includes(act.do));

/**
 * Whether what a file was made of is seen where it is opened, on the grid's page; or is refused
 * there. The first version's recipes have no kind, and only those of grids have rows.
 *
 * @param {string} recipe
 */
function opensHere(recipe) {
  try {
    const { kind, rows } = JSON.parse(recipe);
    return kind ? ["grid", "cell"].includes(kind) : Boolean(rows);
  } catch {
    return true;
  }
}

const ours = Symbol.for("diffgrid.outbox"); // each component loads a module of its own

/** @type {Outbox} the tab's */
export const outbox = (/** @type {any} */ (globalThis)[ours] ??= new Outbox(storage()));

/** What waits for a page that a link was to lead to. */
const arrival = () => /** @type {any} */ (globalThis)[Symbol.for("diffgrid.arrival")];

/** None where the browser forbids it. */
function storage() {
  try {
    return globalThis.sessionStorage ?? null;
  } catch {
    return null;
  }
}
