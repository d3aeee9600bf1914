/** Errors of `fetch` as errors of the client. */

import { UnexpectedResponse, Unreachable } from "./errors.js";

// With these errors, nothing was sent. Browsers do not tell: there, all may have been sent.
const NOT_SENT = new Set([
  ...["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "EHOSTUNREACH", "ENETUNREACH"],
  ...["UND_ERR_CONNECT_TIMEOUT", "ConnectionRefused", "FailedToOpenSocket"],
]);
const UNTRUSTED = new Set([
  ...["DEPTH_ZERO_SELF_SIGNED_CERT", "SELF_SIGNED_CERT_IN_CHAIN", "CERT_HAS_EXPIRED"],
  ...["UNABLE_TO_VERIFY_LEAF_SIGNATURE", "UNABLE_TO_GET_ISSUER_CERT_LOCALLY"],
  ...["UNABLE_TO_GET_ISSUER_CERT", "ERR_TLS_CERT_ALTNAME_INVALID", "CERT_NOT_YET_VALID"],
]);
// Deno has text in place of codes.
const NOT_CONNECTED = /client error \(Connect\)/;
const UNTRUSTED_TEXT = /invalid peer certificate/;
const HOW_TO_TRUST =
  "; if it has a certificate of a private authority, in Node set NODE_EXTRA_CA_CERTS to the file " +
  "of that authority's certificate";

/** Return the error of the client for an error of `fetch`. */
export function mapped(error: unknown): Error {
  const [codes, reason] = [codesOf(error), reasonOf(error)];
  const isUntrusted = codes.some((code) => UNTRUSTED.has(code)) || UNTRUSTED_TEXT.test(reason);
  const isConnected = !codes.some((code) => NOT_SENT.has(code)) && !NOT_CONNECTED.test(reason);
  const advice = isUntrusted ? HOW_TO_TRUST : "";
  return unreachable(reason + advice, error, isConnected && !isUntrusted, isUntrusted);
}

/** Return the error of a request without a response. */
export function unreachable(
  reason: string,
  cause: unknown,
  isSent: boolean,
  isUntrusted = false,
): Unreachable {
  return new Unreachable(`TaskFlow does not answer: ${reason}`, { cause, isSent, isUntrusted });
}

/** Return the codes of an error and its causes. */
function codesOf(error: unknown): string[] {
  if (!(error instanceof Error)) return [];
  const { code } = error as { code?: unknown };
  const inner = error instanceof AggregateError ? (error.errors as unknown[]) : [];
  const codes = [error.cause, ...inner].flatMap(codesOf);
  return typeof code === "string" ? [code, ...codes] : codes;
}

/** Return the innermost text: `fetch` itself only says that it failed. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const inner = error.cause instanceof Error ? reasonOf(error.cause) : "";
  return inner || error.message || codesOf(error).join(", ") || error.name;
}

/** Return the error of a response that is not one of TaskFlow. */
export function notOfTaskFlow(reason: unknown): UnexpectedResponse {
  const text = reason instanceof Error ? reason.message : String(reason);
  return new UnexpectedResponse(`the response is not one of TaskFlow: ${text}`);
}
