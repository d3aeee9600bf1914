/** Heartbeats: create, read, change and delete them. */

import { known } from "./arguments.js";
import { type Call, segment, wholeNumber, withJson } from "./calls.js";
import type {
  Heartbeat,
  HeartbeatHistory,
  HeartbeatPatch,
  HeartbeatRequest,
} from "./schemas.js";
import { PageStream } from "./streams.js";
import type { RequestSettings } from "./timing.js";
import type { Transport } from "./transport.js";

const PAGE = 100;

/**
 * The heartbeats of jobs that a service watches. A job reports that it has run by a request to the
 * `ping_url` of its heartbeat, without a key.
 */
export class Heartbeats {
  readonly #transport: Transport;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** Return all heartbeats by name, `page` per request. */
  iter(options: { page?: number } = {}, settings?: RequestSettings): PageStream<Heartbeat> {
    const { page = PAGE } = known("option", options, { page: true });
    const limit = String(wholeNumber("page", page, 1));
    const call: Call = { method: "GET", path: "/heartbeats", query: [["limit", limit]] };
    return new PageStream<Heartbeat>(this.#transport, call, settings);
  }

  /**
   * Return a heartbeat.
   *
   * @throws NotFound There is no heartbeat with this name.
   */
  async get(name: string, settings?: RequestSettings): Promise<Heartbeat> {
    return (await this.#transport.ask(of("GET", name), settings)).read<Heartbeat>("name");
  }

  /** Return the last pings of a heartbeat, and the last changes of its state. */
  async history(name: string, settings?: RequestSettings): Promise<HeartbeatHistory> {
    const call = of("GET", name, "/history");
    return (await this.#transport.ask(call, settings)).read<HeartbeatHistory>("pings");
  }

  /**
   * Create or replace a heartbeat; its ping URL and its history stay.
   *
   * @throws Unprocessable The heartbeat is invalid; `errors` has all reasons.
   */
  async put(
    name: string,
    heartbeat: HeartbeatRequest,
    settings?: RequestSettings,
  ): Promise<Heartbeat> {
    const call = withJson("PUT", pathOf(name), heartbeat);
    return (await this.#transport.ask(call, settings)).read<Heartbeat>("name");
  }

  /**
   * Change some fields of a heartbeat; the others stay unchanged, and null removes one.
   *
   * @throws NotFound There is no heartbeat with this name.
   */
  async update(
    name: string,
    changes: HeartbeatPatch,
    settings?: RequestSettings,
  ): Promise<Heartbeat> {
    const call = withJson("PATCH", pathOf(name), changes);
    return (await this.#transport.ask(call, settings)).read<Heartbeat>("name");
  }

  /** Replace the ping URL of a heartbeat; the old one is unknown from then on. */
  async rotate(name: string, settings?: RequestSettings): Promise<Heartbeat> {
    const call = { ...of("POST", name, "/rotate"), isRepeatable: false };
    return (await this.#transport.ask(call, settings)).read<Heartbeat>("name");
  }

  /** Delete a heartbeat with its history. */
  async delete(name: string, settings?: RequestSettings): Promise<void> {
    await this.#transport.ask({ ...of("DELETE", name), isRepeatable: false }, settings);
  }
}

function of(method: string, name: string, what = ""): Call {
  return { method, path: pathOf(name) + what };
}

function pathOf(name: string): string {
  return `/heartbeats/${segment(name)}`;
}
