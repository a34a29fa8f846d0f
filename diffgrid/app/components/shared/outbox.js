// @ts-check
// What a component asks of the server: each act arrives, and is done once (see inbox.py).

const PATIENCE = 2000; // ms to wait for a receipt, twice as long each time

/** Keeps the acts that no message has acknowledged yet, and sends all of them with each new one. */
export class Outbox {
  constructor() {
    this.sender = `${Date.now()} ${Math.random()}`; // an older one's receipts are not for this one
    this.last = 0;
    /** @type {[number, object][]} */
    this.waiting = [];
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
    /** @type {(state: object) => void} */
    this.deliver = () => {};
  }

  /**
   * `deliver` is how the component's state is set now: it changes with each message.
   *
   * @param {(state: object) => void} deliver
   */
  connect(deliver) {
    this.deliver = deliver;
  }

  /** @param {object} act */
  push(act) {
    this.waiting.push([(this.last += 1), act]);
    this.send(PATIENCE);
  }

  /** @param {number} patience ms */
  send(patience) {
    // A value that equals the last one would not be told to the server's callback.
    this.deliver({ sender: this.sender, acts: this.waiting, at: Date.now() });
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.send(2 * patience), patience);
  }

  /**
   * A message says up to which number acts were done.
   *
   * @param {[string, number]} receipt
   */
  acknowledge([sender, number]) {
    if (sender !== this.sender) return;
    this.waiting = this.waiting.filter(([each]) => each > number);
    if (!this.waiting.length) clearTimeout(this.timer);
  }

  close() {
    clearTimeout(this.timer);
  }
}
