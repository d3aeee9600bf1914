/** Checks of the objects that calls accept: a misspelled name must not be ignored. */

import { shown } from "./calls.js";
import { InvalidArgument } from "./errors.js";
import type { RequestSettings } from "./timing.js";

/** The names of the members of an object; the compiler holds them to its type. */
export type Names<T> = Readonly<Record<keyof T, true>>;

/** What an object is called in errors, and one of its members. */
export type Kind = "filter" | "option" | "setting";

/** The settings of every call. */
export const REQUEST_SETTINGS: Names<RequestSettings> = { signal: true };

/**
 * Return an object if all of its names are known.
 *
 * @param next The names of the next argument, which are easily given in this one.
 */
export function known<T extends object>(
  kind: Kind,
  given: T,
  names: Names<T>,
  next: readonly string[] = [],
): T {
  asObject(`${kind}s`, given);
  // Inherited ones, too: an AbortSignal in place of settings has no names of its own.
  for (const name in given) {
    if (!Object.hasOwn(names, name)) throw unknownName(kind, name, Object.keys(names), next);
  }
  return given;
}

/** Return the settings of a request; `names` are all settings that the call has. */
export function settingsOf<T extends RequestSettings>(
  settings: T | undefined,
  names: Names<T>,
): RequestSettings {
  const { signal } = known("setting", settings === undefined ? ({} as T) : settings, names);
  if (signal === undefined) return {};
  if (typeof (signal as Partial<AbortSignal> | null)?.throwIfAborted === "function") return { signal };
  throw new InvalidArgument(`signal must be an AbortSignal, not ${shown(signal)}`);
}

/** Return an argument if it is an object with names. */
export function asObject<T extends object>(name: string, given: T): T {
  if (typeof given === "object" && given !== null && !Array.isArray(given)) return given;
  throw new InvalidArgument(`${name} must be an object, not ${shown(given)}`);
}

/** Return the error of a setting that is given elsewhere. */
export function misplaced(name: string): InvalidArgument {
  const message = `${name} is no option of a task: it belongs to the last argument of the call`;
  return new InvalidArgument(message);
}

function unknownName(
  kind: Kind,
  name: string,
  names: readonly string[],
  next: readonly string[],
): InvalidArgument {
  const message = `there is no ${kind} ${shown(name)}`;
  const isSetting = kind !== "setting" && Object.hasOwn(REQUEST_SETTINGS, name);
  if (isSetting) return new InvalidArgument(`${message}: it belongs to the last argument`);
  if (next.includes(name)) return new InvalidArgument(`${message}: it belongs to the next argument`);
  return new InvalidArgument(`${message}; known: ${[...names].sort().join(", ")}`);
}
