/** Credentials: create, list and delete them. The service never returns their values. */

import { known } from "./arguments.js";
import { segment, withJson } from "./calls.js";
import type { AwsSigV4, Basic, Bearer, CredentialSummary, Header, Mtls, OAuth2, Oidc } from "./schemas.js";
import type { RequestSettings } from "./timing.js";
import type { Transport } from "./transport.js";

/** A credential of any kind. */
export type Credential = AwsSigV4 | Basic | Bearer | Header | Mtls | OAuth2 | Oidc;

/** The credentials of a service, for keys with the role `admin`. */
export class Credentials {
  readonly #transport: Transport;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** Return the credentials by name, without their values. */
  async all(settings?: RequestSettings): Promise<CredentialSummary[]> {
    const answer = await this.#transport.ask({ method: "GET", path: "/credentials" }, settings);
    return answer.readAll<CredentialSummary>();
  }

  /** Return a credential without its values. */
  async get(name: string, settings?: RequestSettings): Promise<CredentialSummary> {
    const call = { method: "GET", path: pathOf(name) };
    return (await this.#transport.ask(call, settings)).read<CredentialSummary>("name");
  }

  /**
   * Create or replace a credential.
   *
   * @throws Unprocessable It is invalid, or the service has no encryption keys.
   */
  async put(
    name: string,
    credential: Credential,
    settings?: RequestSettings,
  ): Promise<CredentialSummary> {
    const call = withJson("PUT", pathOf(name), credential);
    return (await this.#transport.ask(call, settings)).read<CredentialSummary>("name");
  }

  /**
   * Delete a credential.
   *
   * @param options `force` deletes it although a queue, schedule or endpoint uses it.
   * @throws Conflict A queue, schedule or endpoint uses it.
   */
  async delete(
    name: string,
    options: { force?: boolean } = {},
    settings?: RequestSettings,
  ): Promise<void> {
    const query: [string, string][] = known("option", options, { force: true }).force ? [["force", "true"]] : [];
    const call = { method: "DELETE", path: pathOf(name), query, isRepeatable: false };
    await this.#transport.ask(call, settings);
  }
}

function pathOf(name: string): string {
  return `/credentials/${segment(name)}`;
}
