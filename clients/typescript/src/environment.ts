/** The environment of the process, where there is one. */

import { InvalidEnvironment } from "./errors.js";

/** Where the service is, and the key to it, if it wants one. */
export interface Address {
  url: string;
  apiKey: string | undefined;
}

type Environ = Readonly<Record<string, string | undefined>>;

/** Read TASKFLOW_URL and TASKFLOW_API_KEY. */
export function addressOf(environ: Environ = variables()): Address {
  const url = environ["TASKFLOW_URL"]?.trim();
  if (!url) throw new InvalidEnvironment("TASKFLOW_URL is not set: where is TaskFlow to be found?");
  return { url, apiKey: environ["TASKFLOW_API_KEY"]?.trim() || undefined };
}

/** Return the environment: Node, Bun and Deno have it as `process.env`; browsers have none. */
function variables(): Environ {
  const { process } = globalThis as { process?: { env?: Environ } };
  return process?.env ?? {};
}
