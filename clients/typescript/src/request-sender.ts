/** Sends a batch of records, and repeats it until it is answered. */

import { OperatorError, PushRefusedError } from "./errors.js";
import { type AcknowledgedRequest, RECEIPT_HEADER } from "./receipt-follower.js";
import { describePlaces, type RequestBatch } from "./request-batch.js";
import { describeAnswer, type HttpAnswer, type RequestRetry } from "./request-retry.js";

export const BATCH_PATH = "/v2/import/batch";

/** Statuses of an answer that is about the records. */
const REFUSALS = [400, 413, 422];

/** How a refused batch names its record, from 0 (import-api.md 10.3). */
const NAMED_RECORD = /\bRecord (\d+)\b/;

/**
 * Send until the server has the batch.
 *
 * @param retry sends it.
 * @param pushId begins its idempotency key.
 * @param batch to send.
 * @param signal ends the sending.
 * @throws PushRefusedError the server refuses the batch; the text has its answer and the place.
 * @throws OperatorError what answers is no treadle server.
 * @throws RetriableError the batch could not be sent in the time given.
 */
export async function sendBatch(
  retry: RequestRetry,
  pushId: string,
  batch: RequestBatch,
  signal?: AbortSignal,
): Promise<AcknowledgedRequest> {
  const places = describePlaces(batch.first, batch.records);
  const answer = await retry.fetchAnswer(
    {
      method: "POST",
      path: BATCH_PATH,
      body: batch.body,
      // The records before it name it, so that it is the same however often it is sent.
      headers: { "Idempotency-Key": `${pushId}-${batch.first - 1}` },
      signal,
    },
    `${places[0]?.toUpperCase()}${places.slice(1)} could not be sent`,
  );
  if (answer.status < 200 || answer.status >= 300) {
    throw makeRefusalError(batch, answer);
  }
  checkAcknowledged(retry, answer);
  return { receipt: answer.header(RECEIPT_HEADER), records: batch.records };
}

/** Make the error for a refused batch, with the record at fault if it can be found. */
export function makeRefusalError(batch: RequestBatch, answer: HttpAnswer): PushRefusedError {
  let { first, records } = batch;
  const named = REFUSALS.includes(answer.status) ? NAMED_RECORD.exec(answer.text) : null;
  if (named !== null && Number(named[1]) < records) {
    first += Number(named[1]);
    records = 1;
  }
  return new PushRefusedError(
    `The server refuses ${describePlaces(first, records)}: ${describeAnswer(answer)}`,
    answer.status,
    records === 1 ? first : null,
  );
}

/** Check that the answer is one of the Import API (import-api.md 7.4). */
function checkAcknowledged(retry: RequestRetry, answer: HttpAnswer): void {
  let status: unknown;
  try {
    status = (JSON.parse(answer.text) as { status?: unknown } | null)?.status;
  } catch {
    status = undefined;
  }
  if (status !== "OK" && status !== "Accepted") {
    throw new OperatorError(
      `${retry.url}${BATCH_PATH} answers ${answer.status} without acknowledging the records; ` +
        "is it the URL of a treadle server?",
    );
  }
}
