/** Faults of a connection that no repetition cures, and words for the others. Pure. */

/** Codes of Node's errors for a certificate that is not trusted. */
const CERTIFICATE_CODES = new Set([
  "CERT_HAS_EXPIRED",
  "CERT_NOT_YET_VALID",
  "CERT_REVOKED",
  "CERT_UNTRUSTED",
  "DEPTH_ZERO_SELF_SIGNED_CERT",
  "ERR_TLS_CERT_ALTNAME_INVALID",
  "HOSTNAME_MISMATCH",
  "INVALID_CA",
  "SELF_SIGNED_CERT_IN_CHAIN",
  "UNABLE_TO_GET_ISSUER_CERT",
  "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
]);

/** Codes for an answer that is not TLS. */
const PLAIN_CODES = new Set(["ERR_SSL_WRONG_VERSION_NUMBER", "ERR_SSL_PACKET_LENGTH_TOO_LONG"]);

/**
 * Return what is wrong and what to do, if a request failed for what stays as it is.
 *
 * @returns null if the fault may pass by itself. Browsers and Deno say too little to know.
 */
export function findLastingFault(error: unknown, url: string): string | null {
  for (const cause of listCauses(error)) {
    const code = codeOf(cause);
    if (CERTIFICATE_CODES.has(code)) {
      return (
        `the certificate of ${url} cannot be trusted (${messageOf(cause)}); name the file with the ` +
        "certificate of its authority in NODE_EXTRA_CA_CERTS, or use a name that the certificate has"
      );
    }
    if (PLAIN_CODES.has(code)) {
      return `${url} does not speak TLS; begin its URL with http:// instead`;
    }
    if (messageOf(cause) === "bad port") {
      return `fetch connects to no port that other protocols use, such as that of ${url}; have the server listen at another one`;
    }
  }
  return null;
}

/** Return the reason of a failed request in a few words. */
export function describeFault(error: unknown): string {
  const causes = listCauses(error);
  if (causes.some((cause) => codeOf(cause) === "ECONNREFUSED")) {
    return "connection refused";
  }
  const last = causes[causes.length - 1];
  return messageOf(last) || codeOf(last) || "no reason given";
}

/** Return an error and all that led to it. */
function listCauses(error: unknown): unknown[] {
  const causes: unknown[] = [];
  const left: unknown[] = [error];
  while (left.length > 0 && causes.length < 100) {
    const one = left.shift();
    if (one === undefined || one === null || causes.includes(one)) {
      continue;
    }
    causes.push(one);
    if (typeof one === "object") {
      const { cause, errors } = one as { cause?: unknown; errors?: unknown };
      left.push(cause, ...(Array.isArray(errors) ? errors : []));
    }
  }
  return causes;
}

function codeOf(error: unknown): string {
  const code = (error as { code?: unknown } | null | undefined)?.code;
  return typeof code === "string" ? code : "";
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error ?? "");
}
