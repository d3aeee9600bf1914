/** The vectors of clients/conformance, and what must be true of a result. */

import { readFileSync } from "node:fs";

/** Return the content of a file of vectors. */
export function fileOf(name) {
  const path = new URL(`../../conformance/${name}.json`, import.meta.url);
  return JSON.parse(readFileSync(path, "utf8"));
}

/** Return a value with what its names stand for. */
export function filled(value, names) {
  if (typeof value === "string") return value.replace(/\$\{(\w+)\}/g, (_, name) => names[name]);
  if (Array.isArray(value)) return value.map((one) => filled(one, names));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, filled(one, names)]));
}

/**
 * Return where a result is not as expected; undefined if it is.
 *
 * An object may have more fields than expected, and a list exactly its elements.
 */
export function difference(expected, found, place = "") {
  const areLists = Array.isArray(expected) && Array.isArray(found);
  if (areLists && expected.length === found.length) {
    return first(expected.map((one, index) => difference(one, found[index], `${place}/${index}`)));
  }
  if (isObject(expected) && isObject(found)) {
    const names = Object.keys(expected);
    return first(names.map((name) => difference(expected[name], found[name], `${place}/${name}`)));
  }
  if (expected === found || (expected === null && found === undefined)) return undefined;
  return `${place}: expected ${JSON.stringify(expected)}, found ${JSON.stringify(found)}`;
}

/** Return how the requests that a scripted server received differ from those of a vector. */
export function faultOfRequests(vector, received) {
  const { requests, same = [], different = [] } = vector;
  if (received.length !== requests.length) {
    return `expected ${requests.length} requests, received ${JSON.stringify(received)}`;
  }
  const values = (name) =>
    new Set(received.map((one) => (name === "body" ? one.body : one.headers[name]))).size;
  const differing = same.find((name) => values(name) !== 1);
  if (differing) return `${differing} differs: ${JSON.stringify(received)}`;
  const repeated = different.find((name) => values(name) !== received.length);
  if (repeated) return `${repeated} is repeated: ${JSON.stringify(received)}`;
  return difference(requests, received, "requests");
}

function first(differences) {
  return differences.find((one) => one !== undefined);
}

function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
