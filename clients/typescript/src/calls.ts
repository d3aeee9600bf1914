/** Requests, without the connection that they are sent on. */

import { InvalidArgument } from "./errors.js";

/** The longest time that the service lets a response wait, in seconds. */
export const MAX_WAIT_SECONDS = 60;

/** A parameter of a query. */
export type Parameter = readonly [name: string, value: string];

/** A request. */
export interface Call {
  readonly method: string;
  /** The path below the address of the service. */
  readonly path: string;
  readonly query?: readonly Parameter[];
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Whether it may be sent again although it may have been processed. Default: true. */
  readonly isRepeatable?: boolean;
  /** How long the service may delay the response. */
  readonly waitSeconds?: number;
}

const JSON_TYPE = { "Content-Type": "application/json" };
const PRINTABLE = /^[ -~]+$/;
const UUID = /^[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}$/i;
const MAX_SHOWN_CHARACTERS = 80;

/** Return the address of the service, without a slash at its end. */
export function baseUrlOf(url: string | URL): string {
  const text = String(url);
  let parsed: URL;
  try {
    parsed = new URL(text);
  } catch {
    throw notAnAddress(text);
  }
  const isAddress =
    /^https?:\/\/[^\s\\]+$/i.test(text) && !parsed.search && !parsed.hash && !/[?#]/.test(text);
  if (!isAddress) throw notAnAddress(text);
  if (parsed.username || parsed.password) throw withPassword(text);
  return text.replace(/\/+$/, "");
}

function notAnAddress(text: string): InvalidArgument {
  return new InvalidArgument(
    `${shownAddress(text)} is not the address of a service, such as http://127.0.0.1:8080`,
  );
}

function withPassword(text: string): InvalidArgument {
  return new InvalidArgument(
    `the address ${shownAddress(text)} must not have a user or a password, which fetch rejects: ` +
      "pass an API key as apiKey; for a proxy that requires a password, pass a fetch of your own",
  );
}

/** Return an address as errors show it: without a password. */
function shownAddress(text: string): string {
  return shown(text.replace(/\/\/[^/?#]*@/, "//"));
}

/** Return the headers with an API key. */
export function credentialsOf(apiKey: string | undefined): Record<string, string> {
  if (apiKey === undefined) return {};
  if (typeof apiKey !== "string" || !/^[!-~]+$/.test(apiKey)) {
    throw new InvalidArgument("apiKey must be printable ASCII without spaces");
  }
  return { Authorization: `Bearer ${apiKey}` };
}

/** Return a request with a JSON body. */
export function withJson(method: string, path: string, body: unknown, isRepeatable = true): Call {
  return { method, path, headers: JSON_TYPE, body: jsonOf(body), isRepeatable };
}

/** Return a submission; it has an idempotency key, so it can be repeated. */
export function submission(path: string, body: string, key?: string, waitSeconds?: number): Call {
  const wait = waitSeconds === undefined ? 0 : wholeWait(waitSeconds);
  const call = {
    method: "POST",
    path,
    headers: { ...JSON_TYPE, "Idempotency-Key": quoted(key ?? crypto.randomUUID()) },
    body,
  };
  return wait ? waiting(call, wait) : call;
}

/** Return the same request with a wait. */
export function waiting(call: Call, seconds: number): Call {
  return { ...call, query: [["wait", String(seconds)]], waitSeconds: seconds };
}

/** Return how long the service should wait: whole seconds, at most its maximum. */
export function wholeWait(seconds: number): number {
  return Math.ceil(Math.min(MAX_WAIT_SECONDS, secondsOf("waitSeconds", seconds)));
}

/** Return a request for a task or a group. */
export function withId(
  method: string,
  kind: "task" | "group",
  id: string,
  what = "",
  isRepeatable = true,
): Call {
  if (typeof id !== "string" || !UUID.test(id)) {
    throw new InvalidArgument(`${shown(id)} is not the id of a ${kind}`);
  }
  return { method, path: `/${kind}s/${id.toLowerCase()}${what}`, isRepeatable };
}

/** Return a name as a segment of a path; only dots would lead elsewhere. */
export function segment(name: string): string {
  if (typeof name !== "string" || /^\.*$/.test(name)) {
    throw new InvalidArgument(`${shown(name)} is no name`);
  }
  try {
    return encodeURIComponent(name);
  } catch {
    throw new InvalidArgument(`${shown(name)} is no name: it has half of a surrogate pair`);
  }
}

/** Return the path and query of a request. */
export function targetOf(call: Call): string {
  const query = new URLSearchParams((call.query ?? []).map(([name, value]) => [name, value]));
  return call.path + (call.query?.length ? `?${query}` : "");
}

/** Return the query of the next page, if `Link` names one. */
export function nextPageOf(link: string | null): Parameter[] | null {
  const found = /<([^>]*)>\s*;\s*rel="?next"?/.exec(link ?? "");
  if (!found?.[1]) return null;
  return [...new URL(found[1], "http://localhost").searchParams];
}

/** Write a value as JSON. */
export function jsonOf(value: unknown): string {
  try {
    const text: string | undefined = JSON.stringify(value, exact);
    if (text === undefined) throw new TypeError(`a ${typeof value} cannot be written as JSON`);
    return text;
  } catch (error) {
    if (error instanceof InvalidArgument) throw error;
    throw new InvalidArgument(error instanceof Error ? error.message : String(error));
  }
}

/** Return a value unchanged; an error if JSON would have null in its place. */
function exact(this: unknown, name: string, value: unknown): unknown {
  const isNumber = typeof value === "number" || value instanceof Number;
  if (isNumber && !Number.isFinite(Number(value))) {
    throw new InvalidArgument("NaN and infinity cannot be written as JSON");
  }
  // The value itself is what toJSON() of a Date returned: null if it is invalid.
  if (value === null) checkDate(name, (this as Record<string, unknown>)[name]);
  return value;
}

/** Check that a value is not an invalid Date, such as `new Date("tomorrow")`. */
export function checkDate(name: string, value: unknown): void {
  if (!(value instanceof Date) || !Number.isNaN(value.getTime())) return;
  throw new InvalidArgument(name ? `${name} is an invalid Date` : "an invalid Date has no text");
}

/** Return a time in seconds; infinity is one. */
export function secondsOf(name: string, value: number, canBeZero = true): number {
  if (typeof value === "number" && (value > 0 || (value === 0 && canBeZero))) return value;
  const bound = canBeZero ? "0 or more" : "more than 0";
  throw new InvalidArgument(`${name} must be ${bound} seconds, not ${shown(value)}`);
}

/** Return a whole number. */
export function wholeNumber(name: string, value: number, minimum: number): number {
  if (Number.isSafeInteger(value) && value >= minimum) return value;
  throw new InvalidArgument(
    `${name} must be a whole number from ${minimum} on, not ${shown(value)}`,
  );
}

/** Return a value as errors show it, in one short line. */
export function shown(value: unknown): string {
  const text = typeof value === "string" ? JSON.stringify(value) : String(value);
  return text.length <= MAX_SHOWN_CHARACTERS ? text : `${text.slice(0, MAX_SHOWN_CHARACTERS)}...`;
}

/** Return a key as a string of RFC 9651, as the draft of Idempotency-Key requires. */
function quoted(key: string): string {
  if (typeof key !== "string" || !PRINTABLE.test(key)) {
    throw new InvalidArgument("idempotencyKey must be printable ASCII, such as a UUID");
  }
  return `"${key.replace(/[\\"]/g, "\\$&")}"`;
}
