/** What the tests put in place of a server and of the time. */

import type { ClientClock } from "../src/client-clock.js";

/** What a server got. */
export interface SeenRequest {
  readonly method: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** An answer: a status with its text and headers, or an error of the connection. */
export type GivenAnswer = Error | { status: number; text?: string; headers?: Record<string, string> };

export const ACCEPTED = '{"status":"OK","message":"Batch Accepted!"}';

/** Answers 201 with a receipt of its own to each request. */
export function acceptAll(_: SeenRequest, number: number): GivenAnswer {
  return { status: 201, text: ACCEPTED, headers: { "Treadle-Receipt": `r${number}` } };
}

/** A server in the place of `fetch`. */
export class ScriptedServer {
  readonly seen: SeenRequest[] = [];
  /** How many requests wait for their answers, and the most that ever did. */
  open = 0;
  openMost = 0;

  /** @param answer gives the answer to each request, which are numbered from 0. */
  constructor(
    private readonly answer: (
      request: SeenRequest,
      number: number,
    ) => GivenAnswer | Promise<GivenAnswer>,
  ) {}

  readonly fetch: typeof fetch = async (input, init) => {
    const request = {
      method: init?.method ?? "GET",
      url: String(input),
      headers: (init?.headers ?? {}) as Record<string, string>,
      body: String(init?.body ?? ""),
    };
    this.seen.push(request);
    this.open += 1;
    this.openMost = Math.max(this.openMost, this.open);
    try {
      const given = await raceAbort(this.answer(request, this.seen.length - 1), init?.signal);
      if (given instanceof Error) {
        throw new TypeError("fetch failed", { cause: given });
      }
      return new Response(given.text ?? "", { status: given.status, headers: given.headers ?? {} });
    } finally {
      this.open -= 1;
    }
  };
}

async function raceAbort<Value>(
  value: Value | Promise<Value>,
  signal: AbortSignal | null | undefined,
): Promise<Value> {
  const aborted = new Promise<never>((_, reject) => {
    signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
  return await Promise.race([value, aborted]);
}

/** An error of Node's sockets. */
export function makeSocketError(code: string, message = code): Error {
  return Object.assign(new Error(message), { code });
}

/** A clock that goes on by itself when somebody waits. */
export class HastyClock implements ClientClock {
  time = 1_800_000_000_000;
  readonly waits: number[] = [];

  now(): number {
    return this.time;
  }

  async wait(milliseconds: number, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    this.waits.push(milliseconds);
    this.time += milliseconds;
  }
}

/** A clock that stands until it is moved. */
export class StandingClock implements ClientClock {
  time = 1_800_000_000_000;
  private sleepers: { until: number; resolve: () => void }[] = [];

  now(): number {
    return this.time;
  }

  wait(milliseconds: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      this.sleepers.push({ until: this.time + milliseconds, resolve });
      signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
    });
  }

  /** Let time pass, and whatever that wakes run. */
  async move(milliseconds: number): Promise<void> {
    this.time += milliseconds;
    const due = this.sleepers.filter((one) => one.until <= this.time);
    this.sleepers = this.sleepers.filter((one) => one.until > this.time);
    due.forEach((one) => one.resolve());
    await settle();
  }
}

/** Let everything run that waits for nothing. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 5; turn += 1) {
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** A promise, and what fulfils it. */
export function makeGate<Value>(): { promise: Promise<Value>; open: (value: Value) => void } {
  let open: (value: Value) => void = () => undefined;
  const promise = new Promise<Value>((resolve) => {
    open = resolve;
  });
  return { promise, open };
}

/** What a body of `/v2/import/batch` says. */
export interface SentBatch {
  table_name: string;
  key_names: string[];
  schema: { properties?: Record<string, unknown> };
  messages: { action: string; sequence: number; data: Record<string, unknown> }[];
}

/** Read the body of a request. */
export function readBatch(request: SeenRequest | undefined): SentBatch {
  return JSON.parse(request?.body ?? "") as SentBatch;
}
