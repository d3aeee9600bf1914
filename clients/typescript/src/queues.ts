/** Queues: their state and their settings. */

import { segment, withJson } from "./calls.js";
import type { BulkResult, Queue, QueuePatch, QueueRequest } from "./schemas.js";
import type { RequestSettings } from "./timing.js";
import type { Transport } from "./transport.js";

/** The queues of a service. */
export class Queues {
  readonly #transport: Transport;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** Return the queues that have tasks or settings, by name; at most 1000. */
  async all(settings?: RequestSettings): Promise<Queue[]> {
    const answer = await this.#transport.ask({ method: "GET", path: "/queues" }, settings);
    return answer.readAll<Queue>();
  }

  /**
   * Return a queue.
   *
   * @throws NotFound It has no tasks and no settings.
   */
  async get(name: string, settings?: RequestSettings): Promise<Queue> {
    const call = { method: "GET", path: `/queues/${segment(name)}` };
    return (await this.#transport.ask(call, settings)).read<Queue>("name");
  }

  /**
   * Replace the settings of a queue; settings that are not given are removed, except `paused` and
   * `egress_proxy`, which stay unchanged.
   *
   * @throws Forbidden The key may not change the proxy.
   * @throws Unprocessable The settings are invalid.
   */
  async put(name: string, queue: QueueRequest, settings?: RequestSettings): Promise<Queue> {
    const call = withJson("PUT", `/queues/${segment(name)}`, queue);
    return (await this.#transport.ask(call, settings)).read<Queue>("name");
  }

  /** Change some settings of a queue; null removes one, and the others stay unchanged. */
  async update(name: string, changes: QueuePatch, settings?: RequestSettings): Promise<Queue> {
    const call = withJson("PATCH", `/queues/${segment(name)}`, changes);
    return (await this.#transport.ask(call, settings)).read<Queue>("name");
  }

  /** Pause a queue: none of its tasks starts. */
  async pause(name: string, settings?: RequestSettings): Promise<Queue> {
    return this.#act<Queue>(name, "pause", settings);
  }

  /** Resume a queue. */
  async resume(name: string, settings?: RequestSettings): Promise<Queue> {
    return this.#act<Queue>(name, "resume", settings);
  }

  /** Cancel all PENDING tasks of a queue. */
  async purge(name: string, settings?: RequestSettings): Promise<BulkResult> {
    return this.#act<BulkResult>(name, "purge", settings);
  }

  async #act<T extends object>(name: string, action: string, settings?: RequestSettings): Promise<T> {
    const call = { method: "POST", path: `/queues/${segment(name)}/${action}` };
    return (await this.#transport.ask(call, settings)).read<T>();
  }
}
