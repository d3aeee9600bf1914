/** Verifies that callbacks, deliveries and signed requests come from a TaskFlow service. */

import { known, type Names } from "./arguments.js";
import { InvalidArgument, InvalidSignature } from "./errors.js";
import type { Task } from "./schemas.js";

/** The headers of a request: of the Fetch API, or as Node and its frameworks have them. */
export type RequestHeaders = Headers | Readonly<Record<string, string | string[] | undefined>>;

/** Settings of a verification. */
export interface VerificationSettings {
  /** How old a request may be, and how far ahead its clock, in seconds. Default: 300. */
  toleranceSeconds?: number;
  /** The current time. Default: of this machine. */
  now?: Date;
}

const SETTINGS: Names<VerificationSettings> = { toleranceSeconds: true, now: true };
const PREFIX = "whsec_";
const MIN_SECRET_BYTES = 24;
const MAX_SECRET_BYTES = 64;
const TOLERANCE_SECONDS = 300;
const VERSION = "v1,";

/**
 * Verify a request as the Standard Webhooks specify, and return the JSON of its body. The body of a
 * callback is the finished task.
 *
 * @param secrets The secret, `whsec_...`; several while one is being replaced.
 * @param body The body as it arrived, before a parser changed it.
 * @throws InvalidSignature No signature is valid, or the request is too old.
 */
export async function verifyWebhook<T = Task>(
  secrets: string | readonly string[],
  headers: RequestHeaders,
  body: string | Uint8Array<ArrayBuffer> | ArrayBuffer,
  settings: VerificationSettings = {},
): Promise<T> {
  known("setting", settings, SETTINGS);
  const [id, timestamp, signature] = ["webhook-id", "webhook-timestamp", "webhook-signature"].map(
    (name) => header(headers, name),
  );
  if (!id || !timestamp || !signature) {
    throw new InvalidSignature("a header is missing: webhook-id, webhook-timestamp or webhook-signature");
  }
  checkTime(timestamp, settings);
  const bytes = bytesOfBody(body);
  const content = joined(new TextEncoder().encode(`${id}.${timestamp}.`), bytes);
  if (!(await isSigned([secrets].flat(), signature, content))) {
    throw new InvalidSignature("no signature is of one of the secrets");
  }
  return JSON.parse(new TextDecoder().decode(bytes)) as T;
}

function header(headers: RequestHeaders, name: string): string | undefined {
  if (headers instanceof Headers) return headers.get(name) ?? undefined;
  const found = Object.entries(headers).find(([key]) => key.toLowerCase() === name)?.[1];
  return Array.isArray(found) ? found[0] : found;
}

function checkTime(timestamp: string, settings: VerificationSettings): void {
  const now = (settings.now ?? new Date()).getTime() / 1000;
  const tolerance = settings.toleranceSeconds ?? TOLERANCE_SECONDS;
  if (!/^[0-9]{1,15}$/.test(timestamp) || Math.abs(now - Number(timestamp)) > tolerance) {
    throw new InvalidSignature("webhook-timestamp is too old, too far ahead, or no time");
  }
}

/** Return whether one of the signatures is valid. Web Crypto compares in constant time. */
async function isSigned(
  secrets: readonly string[],
  signature: string,
  content: Uint8Array<ArrayBuffer>,
): Promise<boolean> {
  const signatures = signature.split(" ").flatMap((one) => {
    const bytes = one.startsWith(VERSION) ? bytesOfBase64(one.slice(VERSION.length)) : null;
    return bytes ? [bytes] : [];
  });
  let isValid = false;
  for (const secret of secrets) {
    const key = await keyOf(secret);
    for (const one of signatures) {
      isValid = (await crypto.subtle.verify("HMAC", key, one, content)) || isValid;
    }
  }
  return isValid;
}

async function keyOf(secret: string): Promise<CryptoKey> {
  const bytes = secret.startsWith(PREFIX) ? bytesOfBase64(secret.slice(PREFIX.length)) : null;
  if (!bytes || bytes.length < MIN_SECRET_BYTES || bytes.length > MAX_SECRET_BYTES) {
    throw new InvalidArgument(
      `a secret must be ${PREFIX} followed by ${MIN_SECRET_BYTES} to ${MAX_SECRET_BYTES} bytes in ` +
        "base64, as created by `taskflow secret new`",
    );
  }
  return crypto.subtle.importKey("raw", bytes, { name: "HMAC", hash: "SHA-256" }, false, ["verify"]);
}

function bytesOfBody(body: string | Uint8Array<ArrayBuffer> | ArrayBuffer): Uint8Array<ArrayBuffer> {
  if (typeof body === "string") return new TextEncoder().encode(body);
  return body instanceof Uint8Array ? body : new Uint8Array(body);
}

/** Return what text in base64 stands for; null if it is not in base64. */
function bytesOfBase64(text: string): Uint8Array<ArrayBuffer> | null {
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(text) || text.length % 4 !== 0) return null;
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

function joined(start: Uint8Array, end: Uint8Array): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(start.length + end.length);
  whole.set(start);
  whole.set(end, start.length);
  return whole;
}
