/** Alerts: create, change, test, silence and delete them. */

import { segment, withJson } from "./calls.js";
import type { Alert, AlertNotification, AlertPatch, AlertRequest } from "./schemas.js";
import type { RequestSettings } from "./timing.js";
import type { Transport } from "./transport.js";

/** The alerts of a service. */
export class Alerts {
  readonly #transport: Transport;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** Return the alerts by name. */
  async all(settings?: RequestSettings): Promise<Alert[]> {
    const answer = await this.#transport.ask({ method: "GET", path: "/alerts" }, settings);
    return answer.readAll<Alert>();
  }

  /** Return an alert. */
  async get(name: string, settings?: RequestSettings): Promise<Alert> {
    const call = { method: "GET", path: pathOf(name) };
    return (await this.#transport.ask(call, settings)).read<Alert>("name");
  }

  /**
   * Create or replace an alert.
   *
   * @throws Unprocessable It is invalid, or the service cannot notify a destination.
   */
  async put(name: string, alert: AlertRequest, settings?: RequestSettings): Promise<Alert> {
    const call = withJson("PUT", pathOf(name), alert);
    return (await this.#transport.ask(call, settings)).read<Alert>("name");
  }

  /** Change some fields of an alert; `null` resets one to its default. */
  async update(name: string, change: AlertPatch, settings?: RequestSettings): Promise<Alert> {
    const call = withJson("PATCH", pathOf(name), change);
    return (await this.#transport.ask(call, settings)).read<Alert>("name");
  }

  /** Delete an alert. */
  async delete(name: string, settings?: RequestSettings): Promise<void> {
    await this.#transport.ask({ method: "DELETE", path: pathOf(name), isRepeatable: false }, settings);
  }

  /** Send a test to the destinations of an alert; its `tasks` deliver it. */
  async test(name: string, settings?: RequestSettings): Promise<AlertNotification> {
    const call = { method: "POST", path: `${pathOf(name)}/test`, isRepeatable: false };
    return (await this.#transport.ask(call, settings)).read<AlertNotification>("id");
  }

  /** Let an alert notify nothing for this time; `null` ends that. */
  async silence(name: string, seconds: number | null, settings?: RequestSettings): Promise<Alert> {
    const call = { ...withJson("POST", `${pathOf(name)}/silence`, { seconds }), isRepeatable: false };
    return (await this.#transport.ask(call, settings)).read<Alert>("name");
  }

  /** Return the last notifications of an alert, the newest first. */
  async notifications(name: string, settings?: RequestSettings): Promise<AlertNotification[]> {
    const call = { method: "GET", path: `${pathOf(name)}/notifications` };
    return (await this.#transport.ask(call, settings)).readAll<AlertNotification>();
  }
}

function pathOf(name: string): string {
  return `/alerts/${segment(name)}`;
}
