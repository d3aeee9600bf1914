/** Streams of events, which continue after a broken connection. */

import { REQUEST_SETTINGS, settingsOf } from "./arguments.js";
import { type Call, jsonOf } from "./calls.js";
import { EventsMissed, UnexpectedResponse, Unreachable } from "./errors.js";
import type { Incoming } from "./incoming.js";
import { isFinalStatus } from "./results.js";
import type { TaskEvent } from "./schemas.js";
import { type Message, Parser } from "./sse.js";
import { Stream } from "./streams.js";
import { type RequestSettings, sleep } from "./timing.js";
import type { Transport } from "./transport.js";

const RECONNECT_SECONDS = 1;
const DROPPED_RECONNECT_SECONDS = 0.001;
const NO_CONTENT = 204;

/** Events as they happen; a broken connection is opened again. */
export class EventStream extends Stream<TaskEvent> {
  readonly #transport: Transport;
  readonly #call: Call;
  readonly #settings: RequestSettings;
  readonly #isOfTask: boolean;
  // What was read, and the position before each event of it.
  readonly #places: string[] = [];
  #parser: Parser;
  #incoming: Incoming | null = null;
  #isOver = false;

  /**
   * @param after The id of the event after which to continue.
   * @param isOfTask Whether the stream ends when a task is finished.
   */
  constructor(
    transport: Transport,
    call: Call,
    after: string | null,
    isOfTask: boolean,
    settings?: RequestSettings,
  ) {
    super();
    this.#transport = transport;
    this.#call = call;
    this.#settings = settingsOf(settings, REQUEST_SETTINGS);
    this.#isOfTask = isOfTask;
    this.#parser = new Parser(after);
  }

  /**
   * The id after which another stream continues, once all events that this one returned are
   * processed. It is text, because ids can exceed what a number holds exactly.
   */
  get position(): string | null {
    return this.#places[0] ?? this.#parser.position;
  }

  /** Connect: events from here on are received. Iterating connects, too. */
  async connect(): Promise<this> {
    while (!this.ready.length && !this.#isOver && this.position === null) await this.more();
    return this;
  }

  override async next(): Promise<IteratorResult<TaskEvent, undefined>> {
    const item = await super.next();
    if (!item.done) this.#places.shift();
    return item;
  }

  protected override close(): void {
    this.#incoming?.close();
    this.#incoming = null;
  }

  protected async more(): Promise<boolean> {
    if (this.#isOver) return false;
    if (this.#incoming === null) return this.#connect();
    const part = await this.#part(this.#incoming);
    if (part === null) {
      this.close();
      await sleep(this.#parser.retrySeconds ?? RECONNECT_SECONDS, this.#settings.signal);
      return true;
    }
    const hasEnded = this.#parser.feed(part).map((message) => this.#take(message));
    if (hasEnded.some(Boolean)) this.#end();
    return true;
  }

  async #part(incoming: Incoming): Promise<Uint8Array | null> {
    try {
      return await incoming.next();
    } catch (error) {
      if (error instanceof Unreachable) return null;
      throw error;
    }
  }

  async #connect(): Promise<boolean> {
    const { position, retrySeconds } = this.#parser;
    this.#incoming = await this.#transport.open(resuming(this.#call, position), this.#settings);
    this.#parser = new Parser(position);
    this.#parser.retrySeconds = retrySeconds;
    if (this.#incoming.status === NO_CONTENT) this.#end();
    return true;
  }

  #end(): void {
    this.#isOver = true;
    this.close();
  }

  /** Add the event of a message; return whether it is the last one. */
  #take(message: Message): boolean {
    if (message.name === "dropped") {
      this.#parser.retrySeconds = DROPPED_RECONNECT_SECONDS; // the client was too slow
    } else if (message.name === "reset") {
      this.ready.push(new EventsMissed());
    } else if (message.name === "group") {
      return true; // it has finished
    } else if (message.name === "message") {
      const event = eventOf(message.data);
      this.ready.push(event);
      this.#places.push(String(BigInt(message.id ?? event.id) - 1n));
      return this.#isOfTask && isFinalStatus(event.status);
    }
    return false;
  }
}

function resuming(call: Call, position: string | null): Call {
  if (position === null) return call;
  return { ...call, headers: { ...call.headers, "Last-Event-ID": position } };
}

function eventOf(data: string): TaskEvent {
  try {
    const event = JSON.parse(data) as TaskEvent;
    if (typeof event.task_id === "string" && Number.isInteger(event.id)) return event;
  } catch {
    // as for an object that is no event
  }
  throw new UnexpectedResponse(`this is not an event: ${jsonOf(data.slice(0, 100))}`);
}
