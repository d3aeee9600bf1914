/** Changes of several resources, all or nothing. */

import { withJson } from "./calls.js";
import type { AppliedConfiguration, ResourceChange } from "./schemas.js";
import type { RequestSettings } from "./timing.js";
import type { Transport } from "./transport.js";

/** The configuration of a service: what is changed together. */
export class ServiceConfiguration {
  readonly #transport: Transport;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /**
   * Create, change and delete several resources, all or nothing.
   *
   * @throws Unprocessable A change is invalid; `errors` has the places.
   * @throws Rejected With the status 412, a resource is not as `before` says.
   * @throws Forbidden The key may not change resources of one of the kinds.
   */
  async apply(
    changes: Iterable<ResourceChange>,
    settings?: RequestSettings,
  ): Promise<AppliedConfiguration> {
    const call = withJson("POST", "/config", { changes: [...changes] }, false);
    return (await this.#transport.ask(call, settings)).read<AppliedConfiguration>("changes");
  }
}
