/** Time: waiting, timeouts, and what the caller aborts. */

/** Settings of one call. */
export interface RequestSettings {
  /** Aborts the call, including its retries and its waits. */
  signal?: AbortSignal;
}

/** Return a monotonic time in seconds. */
export function now(): number {
  return performance.now() / 1000;
}

/** Wait for some seconds, or until the signal is aborted. */
export async function sleep(seconds: number, signal?: AbortSignal): Promise<void> {
  signal?.throwIfAborted();
  await new Promise<void>((resolve, reject) => {
    const over = (): void => {
      signal?.removeEventListener("abort", aborted);
      resolve();
    };
    const timer = setTimeout(over, seconds * 1000);
    const aborted = (): void => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    signal?.addEventListener("abort", aborted, { once: true });
  });
}
