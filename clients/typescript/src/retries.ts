/** Decides whether a failed request is sent again, and when. */

import type { Call } from "./calls.js";
import { Problem, TooManyRequests, Unavailable, Unreachable } from "./errors.js";

const FIRST_PAUSE_SECONDS = 0.1;
const MAX_PAUSE_SECONDS = 3;

/**
 * Return how long to wait before a request is sent again; null if that makes no sense, or is not
 * safe.
 *
 * @param error Why it failed.
 * @param attempt How often it was sent, from 1.
 * @param chance From 0 to 1, drawn anew each time.
 */
export function pauseSeconds(
  call: Pick<Call, "isRepeatable">,
  error: unknown,
  attempt: number,
  chance: number,
): number | null {
  if (!isTemporary(call.isRepeatable ?? true, error)) return null;
  const grown = Math.min(FIRST_PAUSE_SECONDS * 2 ** (attempt - 1), MAX_PAUSE_SECONDS);
  const requested = error instanceof Problem ? error.retryAfterSeconds : null;
  return Math.max(requested ?? 0, grown * (0.5 + chance / 2));
}

/** Return whether the same may succeed later, and nothing is done twice by it. */
function isTemporary(isRepeatable: boolean, error: unknown): boolean {
  if (error instanceof TooManyRequests) return true; // nothing was done
  if (error instanceof Unreachable) {
    return !error.isUntrusted && (isRepeatable || !error.isSent);
  }
  return error instanceof Unavailable && isRepeatable;
}
