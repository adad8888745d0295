/** Follows the receipts of a push until all its records are loaded. */

import type { Receipt, ReceiptTable } from "./api-types.js";
import { OperatorError, TableStoppedError } from "./errors.js";
import { describeAnswer, type RequestRetry } from "./request-retry.js";

export const RECEIPT_HEADER = "treadle-receipt";

/** How long the server waits before it first answers that a request is not loaded yet. */
export const ASK_SECONDS_FIRST = 2;

/** How long it waits each time after that. */
export const ASK_SECONDS = 3;

/** A request that the server acknowledged. */
export interface AcknowledgedRequest {
  /** null if the server gives none. */
  readonly receipt: string | null;
  /** How many records the request had. */
  readonly records: number;
}

/** What a server has acknowledged: it is durable. */
export class PushReceipt {
  /** The acknowledged requests, with their receipts. */
  readonly requests: readonly AcknowledgedRequest[];

  constructor(requests: readonly AcknowledgedRequest[] = []) {
    this.requests = requests;
  }

  /** How many records are durable. */
  get records(): number {
    return this.requests.reduce((sum, request) => sum + request.records, 0);
  }

  /** Return both receipts as one. */
  join(other: PushReceipt): PushReceipt {
    return new PushReceipt([...this.requests, ...other.requests]);
  }
}

/** Records that were loaded without a field. */
export interface LeftOutField {
  readonly field: string;
  readonly reason: string;
  readonly records: number;
}

/** A field with values that were rounded. */
export interface RoundedField {
  readonly field: string;
  readonly values: number;
}

/** Counts of what became of pushed records. */
export interface PushOutcome {
  readonly loaded: number;
  readonly superseded: number;
  readonly rejected: number;
  /** Of the first rejection; null without one. */
  readonly reason: string | null;
  /** What the load has to say about the rejected records; null for nothing. */
  readonly trouble: string | null;
  readonly leftOut: readonly LeftOutField[];
  readonly rounded: readonly RoundedField[];
}

export const NO_OUTCOME: PushOutcome = {
  loaded: 0,
  superseded: 0,
  rejected: 0,
  reason: null,
  trouble: null,
  leftOut: [],
  rounded: [],
};

/**
 * Wait until all requests are loaded.
 *
 * @param retry asks the server.
 * @param requests that it acknowledged.
 * @param report told what is waited for, again and again, and null when it is over.
 * @param signal ends the waiting.
 * @throws TableStoppedError the table is stopped.
 * @throws OperatorError the server does not give receipts.
 * @throws RetriableError the server could not be asked in the time given.
 */
export async function followReceipts(
  retry: RequestRetry,
  requests: readonly AcknowledgedRequest[],
  report: (reason: string | null) => void,
  signal?: AbortSignal,
): Promise<PushOutcome> {
  let outcome = NO_OUTCOME;
  let left = requests.reduce((sum, request) => sum + request.records, 0);
  for (const { receipt, records } of requests) {
    if (receipt === null) {
      throw new OperatorError(
        `${retry.url} gives no receipts that could be followed; only a treadle server can be waited for`,
      );
    }
    outcome = joinOutcomes(outcome, await followReceipt(retry, receipt, records, left, report, signal));
    left -= records;
  }
  report(null);
  return outcome;
}

async function followReceipt(
  retry: RequestRetry,
  receipt: string,
  records: number,
  left: number,
  report: (reason: string | null) => void,
  signal: AbortSignal | undefined,
): Promise<PushOutcome> {
  let seconds = ASK_SECONDS_FIRST;
  for (;;) {
    const path = `/v1/receipts/${encodeURIComponent(receipt)}?wait=${seconds}`;
    const answer = await retry.fetchAnswer(
      { method: "GET", path, signal },
      "What became of the records could not be asked",
    );
    if (answer.status === 410) {
      return { ...NO_OUTCOME, loaded: records }; // so long ago that no more is known
    }
    if (answer.status !== 200) {
      throw new OperatorError(`The server does not tell of ${receipt}: ${describeAnswer(answer)}`);
    }
    const found = JSON.parse(answer.text) as Receipt;
    if (found.status === "loaded" || found.status === "rejected") {
      return found.tables.map(makeOutcome).reduce(joinOutcomes, NO_OUTCOME);
    }
    const error = found.tables.find((table) => table.error)?.error ?? null;
    if (found.status === "stopped") {
      throw new TableStoppedError(`The table is stopped: ${error}`);
    }
    report(describeWaiting(left, error));
    seconds = ASK_SECONDS;
  }
}

/** Return what is waited for: "6 wait: warehouse.duckdb is held by python3.11". */
export function describeWaiting(records: number, reason: string | null): string {
  const verb = records === 1 ? "waits" : "wait";
  const count = records.toLocaleString("en-US");
  return reason === null ? `${count} ${verb} to be loaded` : `${count} ${verb}: ${reason}`;
}

/** Return what a receipt says about one table. */
export function makeOutcome(table: ReceiptTable): PushOutcome {
  return {
    loaded: table.loaded,
    superseded: table.superseded,
    rejected: table.rejected.length,
    reason: table.rejected[0]?.reason ?? null,
    trouble: table.trouble ?? null,
    // A server that knows them of its loads alone gives no number.
    leftOut: (table.left_out ?? []).map(({ field, reason, records }) => ({
      field,
      reason,
      records: records ?? 1,
    })),
    rounded: (table.rounded ?? []).map(({ field, values }) => ({ field, values: values ?? 1 })),
  };
}

/** Return the sum of two outcomes. */
export function joinOutcomes(one: PushOutcome, other: PushOutcome): PushOutcome {
  const leftOut = one.leftOut.map((each) => ({ ...each }));
  for (const each of other.leftOut) {
    const same = leftOut.find((has) => has.field === each.field && has.reason === each.reason);
    if (same === undefined) {
      leftOut.push({ ...each });
    } else {
      same.records += each.records;
    }
  }
  const rounded = one.rounded.map((each) => ({ ...each }));
  for (const each of other.rounded) {
    const same = rounded.find((has) => has.field === each.field);
    if (same === undefined) {
      rounded.push({ ...each });
    } else {
      same.values += each.values;
    }
  }
  return {
    loaded: one.loaded + other.loaded,
    superseded: one.superseded + other.superseded,
    rejected: one.rejected + other.rejected,
    reason: one.reason ?? other.reason,
    trouble: one.trouble ?? other.trouble,
    leftOut,
    rounded,
  };
}
