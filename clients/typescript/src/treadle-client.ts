/** Pushes records to the source of a token, and follows what becomes of them. */

import { type ClientClock, SYSTEM_CLOCK } from "./client-clock.js";
import { followReceipts, type PushOutcome, type PushReceipt } from "./receipt-follower.js";
import { RecordWriter } from "./record-writer.js";
import type { JsonSchema, TreadleRecord } from "./record-types.js";
import { BatchBuilder, BYTES_MAX, RECORDS_MAX, RecordSequence } from "./request-batch.js";
import { RequestRetry } from "./request-retry.js";
import { sendBatch } from "./request-sender.js";

/** How a client asks, beside the URL and the token. */
export interface ConnectionOptions {
  /** How long one request is repeated; 600 by default. */
  readonly retrySeconds?: number;
  /** Told why a request has to wait, and null when it goes on. */
  readonly onWaiting?: (reason: string | null) => void;
  /** Sends one request, in place of the global `fetch`. */
  readonly fetch?: typeof fetch;
  /** The time, in place of that of the machine. */
  readonly clock?: ClientClock;
  /** From 0 to 1, for the jitter of pauses, in place of `Math.random`. */
  readonly random?: () => number;
}

/** How a `TreadleClient` sends. */
export interface ClientOptions extends ConnectionOptions {
  /** Requests of one push at the same time; 2 by default. */
  readonly connections?: number;
  /** The most records of one request, at most 20,000; 5,000 by default. */
  readonly batchRecords?: number;
  /** The most bytes of the records of one request, at most 4,000,000, which is the default. */
  readonly batchBytes?: number;
}

/** What the records of a push share. */
export interface PushOptions {
  /** Key fields; without, every record is a new row. */
  readonly key?: readonly string[];
  /**
   * A JSON schema that every record fits. Fields that its `properties` do not name are described
   * by their values.
   */
  readonly schema?: JsonSchema;
  /** The field with the sequence, a whole number; without, later records win. */
  readonly sequence?: string;
  /** Ends the push: it throws the reason, and what was acknowledged before is durable. */
  readonly signal?: AbortSignal;
}

/** How a writer sends. */
export interface OpenWriterOptions extends PushOptions {
  /** No record waits longer for others of its request; 1 by default. */
  readonly flushSeconds?: number;
}

/**
 * Pushes records to the source of a token.
 *
 * Every request carries an idempotency key, and is repeated while the server is busy or away, so
 * that a record is stored once.
 */
export class TreadleClient {
  private readonly retry: RequestRetry;
  private readonly connections: number;
  private readonly batchRecords: number;
  private readonly batchBytes: number;
  private readonly counter: RecordSequence;

  /**
   * Make a client; nothing is sent yet.
   *
   * @param url of the server, without a path of the API.
   * @param token an import token of a source.
   * @throws OperatorError the URL is none.
   * @throws RangeError an option is out of its range.
   */
  constructor(url: string, token: string, options: ClientOptions = {}) {
    this.retry = makeRetry(url, token, IMPORT_TOKEN_ADVICE, options);
    this.connections = checkRange("connections", options.connections ?? 2, 100);
    this.batchRecords = checkRange("batchRecords", options.batchRecords ?? 5_000, RECORDS_MAX);
    this.batchBytes = checkRange("batchBytes", options.batchBytes ?? BYTES_MAX, BYTES_MAX);
    // One for all clients of a program, so that their sequences grow, too.
    this.counter = options.clock === undefined ? SHARED_COUNTER : new RecordSequence(options.clock);
  }

  /**
   * Push records, and return when they are durable.
   *
   * Times and decimals keep their types. Memory holds some requests, however many records come.
   *
   * @param table its name.
   * @param records objects of field names and values.
   * @throws RecordValueError a record cannot be sent.
   * @throws PushRefusedError the server refuses a record.
   * @throws OperatorError the token, the URL or the certificate is wrong.
   * @throws RetriableError the server was not there in the time given. What it has acknowledged
   *   before is durable.
   */
  async push(
    table: string,
    records: Iterable<TreadleRecord> | AsyncIterable<TreadleRecord>,
    options: PushOptions = {},
  ): Promise<PushReceipt> {
    const { signal } = options;
    const writer = this.makeWriter(table, options, null);
    const stop = () => writer.abort(signal?.reason);
    signal?.throwIfAborted();
    signal?.addEventListener("abort", stop, { once: true });
    try {
      if (Symbol.asyncIterator in records) {
        for await (const record of records) {
          await writer.add(record);
        }
      } else {
        for (const record of records) {
          if (writer.take(record)) {
            await writer.waitForConnection();
          }
        }
      }
      await writer.flush();
      return writer.receipt;
    } catch (error) {
      writer.abort(error);
      throw error;
    } finally {
      signal?.removeEventListener("abort", stop);
    }
  }

  /**
   * Wait until pushed records are loaded, and return what became of them.
   *
   * @throws TableStoppedError the table is stopped until somebody acts; its records wait.
   * @throws RetriableError the server was not there in the time given.
   */
  async waitUntilLoaded(
    pushed: PushReceipt,
    options: { readonly signal?: AbortSignal } = {},
  ): Promise<PushOutcome> {
    const report = this.retry.options.onWaiting;
    return await followReceipts(this.retry, pushed.requests, report, options.signal);
  }

  /**
   * Return a writer that takes one record at a time. Close it at the end.
   *
   * @param table its name.
   */
  openWriter(table: string, options: OpenWriterOptions = {}): RecordWriter {
    const { signal } = options;
    const writer = this.makeWriter(table, options, options.flushSeconds ?? 1);
    if (signal?.aborted) {
      writer.abort(signal.reason);
    }
    signal?.addEventListener("abort", () => writer.abort(signal.reason), { signal: writer.ended });
    return writer;
  }

  private makeWriter(
    table: string,
    { key, schema, sequence }: PushOptions,
    flushSeconds: number | null,
  ): RecordWriter {
    if (typeof key === "string") {
      throw new TypeError(`key is an array of field names, not a text: [${JSON.stringify(key)}]`);
    }
    const form = { table, key: key ?? [], schema: schema ?? null, sequence: sequence ?? null };
    const builder = new BatchBuilder(form, this.counter, this.batchRecords, this.batchBytes);
    const pushId = makePushId();
    const { clock } = this.retry.options;
    return new RecordWriter(builder, {
      connections: this.connections,
      flushSeconds,
      send: (batch, signal) => sendBatch(this.retry, pushId, batch, signal),
      wait: (milliseconds, signal) => clock.wait(milliseconds, signal),
    });
  }
}

const SHARED_COUNTER = new RecordSequence(SYSTEM_CLOCK);

/** What an answer with the status 401 to a push means, and what to do. */
const IMPORT_TOKEN_ADVICE =
  "the token was revoked or has ended, is of another server, or its source is paused; " +
  "`treadle source list` shows the sources, and `treadle token list SOURCE` their tokens";

/** Make what sends the requests of a client. @internal */
export function makeRetry(
  url: string,
  token: string,
  unauthorizedAdvice: string,
  options: ConnectionOptions,
): RequestRetry {
  return new RequestRetry({
    url,
    token,
    unauthorizedAdvice,
    retrySeconds: options.retrySeconds ?? 600,
    onWaiting: options.onWaiting ?? (() => undefined),
    fetch: options.fetch ?? globalThis.fetch,
    clock: options.clock ?? SYSTEM_CLOCK,
    random: options.random ?? Math.random,
  });
}

function checkRange(name: string, value: number, most: number): number {
  if (!Number.isInteger(value) || value < 1 || value > most) {
    throw new RangeError(`${name} is to be a whole number from 1 to ${most}, and it is ${value}`);
  }
  return value;
}

/** Return 32 digits that no other push has. Nobody has to be unable to guess them. */
function makePushId(): string {
  const bytes = new Uint8Array(16);
  const source = (globalThis as { crypto?: Crypto }).crypto; // Node 18 has none
  if (source === undefined) {
    bytes.forEach((_, at) => (bytes[at] = Math.floor(Math.random() * 256)));
  } else {
    source.getRandomValues(bytes);
  }
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
