/** Streams: pages, lines and submissions. */

import { REQUEST_SETTINGS, settingsOf } from "./arguments.js";
import { askForBatch, Batch, MAX_BATCH_TASKS, type Submitted } from "./batches.js";
import type { Call } from "./calls.js";
import { ClientError, problemWith, Rejected } from "./errors.js";
import type { Incoming } from "./incoming.js";
import type { Item } from "./options.js";
import type { Task } from "./schemas.js";
import type { RequestSettings } from "./timing.js";
import type { Transport } from "./transport.js";

/**
 * An async iterator. After an error, iterating again continues where it stopped; a `for await` loop
 * that is left closes it.
 */
export abstract class Stream<T> implements AsyncIterableIterator<T> {
  protected readonly ready: (T | ClientError)[] = [];
  #isClosed = false;

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** Return the next item. */
  async next(): Promise<IteratorResult<T, undefined>> {
    while (!this.#isClosed) {
      const one = this.ready.shift();
      if (one instanceof ClientError) throw one;
      if (one !== undefined) return { done: false, value: one };
      if (!(await this.more())) break;
    }
    return { done: true, value: undefined };
  }

  /** Release its resources; a `for await` loop does that. */
  async return(): Promise<IteratorResult<T, undefined>> {
    this.#isClosed = true;
    await this.close();
    return { done: true, value: undefined };
  }

  /** Load more items, if there are any now; return false at the end. */
  protected abstract more(): Promise<boolean>;

  protected close(): void | Promise<void> {}
}

/** Items that are loaded page by page. */
export class PageStream<T extends object> extends Stream<T> {
  readonly #transport: Transport;
  readonly #settings: RequestSettings;
  #next: Call | null;

  constructor(transport: Transport, call: Call, settings?: RequestSettings) {
    super();
    this.#transport = transport;
    this.#settings = settingsOf(settings, REQUEST_SETTINGS);
    this.#next = call;
  }

  protected async more(): Promise<boolean> {
    if (this.#next === null) return false;
    const answer = await this.#transport.ask(this.#next, this.#settings);
    this.ready.push(...answer.readAll<T>());
    const query = answer.nextPage;
    this.#next = query && { ...this.#next, query };
    return true;
  }
}

/** The lines of one long response, each JSON without a line end. */
export class LineStream extends Stream<string> {
  readonly #transport: Transport;
  readonly #call: Call;
  readonly #settings: RequestSettings;
  readonly #decoder = new TextDecoder();
  #incoming: Incoming | null = null;
  #rest = "";
  #isOver = false;

  constructor(transport: Transport, call: Call, settings?: RequestSettings) {
    super();
    this.#transport = transport;
    this.#call = call;
    this.#settings = settingsOf(settings, REQUEST_SETTINGS);
  }

  protected override close(): void {
    this.#isOver = true;
    this.#incoming?.close();
    this.#incoming = null;
  }

  protected async more(): Promise<boolean> {
    if (this.#isOver) return false;
    this.#incoming ??= await this.#transport.open(this.#call, this.#settings);
    const part = await this.#incoming.next();
    if (part === null) {
      this.close();
      return false;
    }
    const lines = (this.#rest + this.#decoder.decode(part, { stream: true })).split("\n");
    this.#rest = lines.pop() ?? "";
    for (const line of lines) this.ready.push(brokenOff(line) ?? line);
    return true;
  }
}

/** Return the error in the last line of a stream; null if the line is a task. */
function brokenOff(line: string): ClientError | null {
  if (!line.startsWith('{"error":{')) return null; // of a task that is text
  const { error } = JSON.parse(line) as { error: { status: number; detail: string; type?: string } };
  return problemWith(error);
}

/** The results of many submissions, in order; tasks are submitted as results are consumed. */
export class SubmittedStream extends Stream<Submitted> {
  readonly #transport: Transport;
  readonly #settings: RequestSettings;
  readonly #items: AsyncIterator<Item> | Iterator<Item>;
  readonly #atOnce: number;
  #index = 0;
  #gathered = new Batch();
  // The current batch: results that are known, and tasks that are still to be sent.
  #submitted: Submitted[] = [];
  #unsent: Batch[] = [];

  constructor(
    transport: Transport,
    items: AsyncIterable<Item> | Iterable<Item>,
    atOnce: number,
    settings?: RequestSettings,
  ) {
    super();
    this.#transport = transport;
    this.#settings = settingsOf(settings, REQUEST_SETTINGS);
    this.#items = Symbol.asyncIterator in items ? items[Symbol.asyncIterator]() : items[Symbol.iterator]();
    this.#atOnce = Math.min(atOnce, MAX_BATCH_TASKS);
  }

  protected override async close(): Promise<void> {
    await this.#items.return?.();
  }

  protected async more(): Promise<boolean> {
    if (!this.#unsent.length && !(await this.#gather())) return false;
    for (let batch = this.#unsent[0]; batch; batch = this.#unsent[0]) {
      const [submitted, rest] = await this.#send(batch);
      this.#submitted.push(...submitted);
      this.#unsent.splice(0, 1, ...rest);
    }
    this.ready.push(...this.#submitted.sort((one, other) => one.index - other.index));
    this.#submitted = [];
    return true;
  }

  async #send(batch: Batch): Promise<[Submitted[], Batch[]]> {
    try {
      const answer = await askForBatch(this.#transport, batch.call(), this.#settings);
      return [batch.submitted(answer.readAll<Task>()), []];
    } catch (error) {
      if (error instanceof Rejected) return batch.sortedOut(error);
      throw error;
    }
  }

  /** Return whether there are more items. */
  async #gather(): Promise<boolean> {
    while (!this.#gathered.isFull(this.#atOnce)) {
      const item = await this.#items.next();
      if (item.done) break;
      this.#gathered.add(this.#index, item.value);
      this.#index += 1;
    }
    if (!this.#gathered.length) return false;
    this.#unsent = [this.#gathered];
    this.#gathered = new Batch();
    return true;
  }
}
