/** Collects records, and sends them in requests: some at the same time, and no more than that. */

import { OperatorError } from "./errors.js";
import { PushReceipt, type AcknowledgedRequest } from "./receipt-follower.js";
import type { BatchBuilder, RequestBatch } from "./request-batch.js";
import type { TreadleRecord } from "./record-types.js";

/** What a writer sends with. */
export interface WriterOptions {
  /** Requests at the same time. */
  readonly connections: number;
  /** No record waits longer for others of its request; null for as long as it takes. */
  readonly flushSeconds: number | null;
  /** Sends one request until the server has it. */
  readonly send: (batch: RequestBatch, signal: AbortSignal) => Promise<AcknowledgedRequest>;
  /** Lets time pass. */
  readonly wait: (milliseconds: number, signal: AbortSignal) => Promise<void>;
}

/**
 * Collects records, and sends them when they fill a request or have waited long enough.
 *
 * Memory holds the records of one request, and those of the requests under way, as long as the
 * promise of each `add` is waited for. A record is not to be changed until it is sent.
 */
export class RecordWriter {
  private readonly acknowledged: AcknowledgedRequest[] = [];
  private readonly full: RequestBatch[] = [];
  private readonly stopped = new AbortController();
  private underWay = 0;
  private fault: unknown = null;
  private failed = false;
  private timer: AbortController | null = null;
  private waiting: (() => void)[] = [];

  /** @internal `TreadleClient.openWriter` makes one. */
  constructor(
    private readonly builder: BatchBuilder,
    private readonly options: WriterOptions,
  ) {}

  /** Of the records that are durable so far. */
  get receipt(): PushReceipt {
    return new PushReceipt([...this.acknowledged]);
  }

  /** Aborted when the writer takes no further record. @internal */
  get ended(): AbortSignal {
    return this.stopped.signal;
  }

  /**
   * Take a record, and wait while all connections are busy.
   *
   * @throws RecordValueError the record cannot be sent; it is not taken, and the writer goes on.
   * @throws TreadleError what `push` throws, of a request before. Nothing is sent any more then.
   */
  async add(record: TreadleRecord): Promise<void> {
    const waits = this.take(record);
    if (waits) {
      await this.waitFor(() => this.full.length === 0);
    }
  }

  /**
   * Take a record without waiting.
   *
   * @internal
   * @returns whether to wait before the next one: all connections are busy.
   */
  take(record: TreadleRecord): boolean {
    this.throwFault();
    this.full.push(...this.builder.add(record));
    this.pump();
    if (this.builder.length === 0) {
      this.stopTimer();
    } else if (this.timer === null && this.options.flushSeconds !== null) {
      this.startTimer(this.options.flushSeconds * 1000);
    }
    return this.full.length > 0;
  }

  /** Wait until a further request can be sent. @internal */
  async waitForConnection(): Promise<void> {
    await this.waitFor(() => this.full.length === 0);
  }

  /**
   * Return when every record so far is durable.
   *
   * @throws TreadleError what `push` throws.
   */
  async flush(): Promise<void> {
    this.throwFault();
    this.sendKept();
    await this.waitFor(() => this.full.length === 0 && this.underWay === 0);
  }

  /**
   * Flush, and take no further record.
   *
   * @throws TreadleError what `push` throws.
   */
  async close(): Promise<void> {
    await this.flush();
    this.fail(new OperatorError("The writer is closed and takes no further record."));
  }

  /**
   * Give up: what is not sent yet is forgotten, and requests under way are cancelled.
   *
   * Of those nobody knows whether the server has them. What `receipt` says is durable.
   */
  abort(reason: unknown = new OperatorError("The writer was given up.")): void {
    this.fail(reason);
  }

  private sendKept(): void {
    this.stopTimer();
    this.full.push(...this.builder.cut());
    this.pump();
  }

  /** Send while there are connections for it. */
  private pump(): void {
    while (!this.failed && this.full.length > 0 && this.underWay < this.options.connections) {
      const batch = this.full.shift() as RequestBatch;
      this.underWay += 1;
      void this.send(batch);
    }
  }

  private async send(batch: RequestBatch): Promise<void> {
    try {
      this.acknowledged.push(await this.options.send(batch, this.stopped.signal));
    } catch (error) {
      this.fail(error);
    }
    this.underWay -= 1;
    this.pump();
    this.wake();
  }

  private fail(fault: unknown): void {
    if (!this.failed) {
      this.failed = true;
      this.fault = fault;
      this.full.length = 0;
      this.stopTimer();
      this.stopped.abort(fault);
    }
    this.wake();
  }

  private throwFault(): void {
    if (this.failed) {
      throw this.fault;
    }
  }

  /** Wait until a condition holds, or a request failed. */
  private async waitFor(holds: () => boolean): Promise<void> {
    while (!this.failed && !holds()) {
      await new Promise<void>((resolve) => this.waiting.push(resolve));
    }
    this.throwFault();
  }

  private wake(): void {
    const waiting = this.waiting;
    this.waiting = [];
    waiting.forEach((resolve) => resolve());
  }

  private startTimer(milliseconds: number): void {
    const timer = new AbortController();
    this.timer = timer;
    this.options.wait(milliseconds, timer.signal).then(
      () => {
        if (this.timer === timer && !this.failed) {
          try {
            this.sendKept();
          } catch (error) {
            this.fail(error); // a record was changed meanwhile
          }
        }
      },
      () => undefined, // it was stopped
    );
  }

  private stopTimer(): void {
    this.timer?.abort();
    this.timer = null;
  }
}
