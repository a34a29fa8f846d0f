// @ts-check
// What the server said last, and what is drawn ahead of its answer.

/** @typedef {import("./message.js").GridHead} GridHead */

const PATIENCE = 4000; // ms to wait for an answer before what was drawn ahead of it is taken back
const SETTLE = 100; // ms after a message, when what it shows is painted
const ASK_AGAIN = 2000; // ms before what is still lacking, or labels, are asked for again

export class Answers {
  /**
   * @param {(head: GridHead) => void} render
   * @param {(act: object) => void} send
   */
  constructor(render, send) {
    this.render = render;
    this.send = send;
    /** @type {(names: string[]) => void} have pictures of these names sent */
    this.ask = () => {};
    /** @type {GridHead | null} the last message */
    this.told = null;
    /** @type {GridHead | null} what was drawn ahead, where the server should answer with its path and prompt */
    this.expected = null;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.guessTimer = undefined;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.lackTimer = undefined;
  }

  /** @param {GridHead} head */
  receive(head) {
    this.told = head;
    clearTimeout(this.lackTimer);
    // Again and again until all is here: a question can be lost where a page is run anew.
    const ask = () => {
      this.ask(head.lacking);
      this.lackTimer = setTimeout(ask, ASK_AGAIN);
    };
    if (head.lacking.length) this.lackTimer = setTimeout(ask, SETTLE);
    else if (head.labelling) this.lackTimer = setTimeout(ask, ASK_AGAIN);
    // An answer to an earlier request would take back for a moment what was just done.
    const { path, prompt } = this.expected ?? head;
    if (path !== head.path || prompt !== head.prompt) return;
    this.takeBack();
  }

  /**
   * Ask for something that nothing is drawn ahead of.
   *
   * @param {object} act
   */
  request(act) {
    this.expected = null;
    this.send(act);
  }

  /**
   * Draw what the server will say, and ask it.
   *
   * @param {GridHead} head
   * @param {object} act
   * @param {boolean} answered whether an answer is known by its path and prompt
   */
  guess(head, act, answered = false) {
    this.expected = answered ? head : null;
    this.render(head);
    this.send(act);
    clearTimeout(this.guessTimer);
    this.guessTimer = setTimeout(() => this.takeBack(), PATIENCE);
  }

  /** Draw what the server said, whatever was expected of it. */
  takeBack() {
    this.expected = null;
    clearTimeout(this.guessTimer);
    if (this.told) this.render(this.told);
  }

  end() {
    clearTimeout(this.guessTimer);
    clearTimeout(this.lackTimer);
  }
}
