/** The time, and how to let it pass. A test brings its own. */
export interface ClientClock {
  /** Milliseconds since 1970. */
  now(): number;
  /**
   * Let time pass.
   *
   * @throws the reason of `signal` when that is aborted first.
   */
  wait(milliseconds: number, signal?: AbortSignal): Promise<void>;
}

/** The clock of this machine. */
export const SYSTEM_CLOCK: ClientClock = {
  now: () => Date.now(),
  wait: (milliseconds, signal) =>
    new Promise((resolve, reject) => {
      if (signal?.aborted) {
        reject(signal.reason);
        return;
      }
      const stop = () => {
        clearTimeout(timer);
        reject(signal?.reason);
      };
      const timer = setTimeout(() => {
        signal?.removeEventListener("abort", stop);
        resolve();
      }, milliseconds);
      signal?.addEventListener("abort", stop, { once: true });
    }),
};
