package dev.forkd.api;

/**
 * The closed vocabulary of everything that can go wrong, named as Connect and gRPC name it. This is
 * the only table that maps a failure to an HTTP status, a Connect code and a process exit code.
 *
 * @see <a href="https://connectrpc.com/docs/protocol/#error-codes">Connect error codes</a>
 */
public enum ErrorCode {
  /** The request itself is wrong; sending it again unchanged can never succeed. */
  INVALID_ARGUMENT(400, 1, false),
  /** No credentials, or wrong ones. */
  UNAUTHENTICATED(401, 1, false),
  /** Known caller, but not allowed. */
  PERMISSION_DENIED(403, 1, false),
  /** The named sandbox, snapshot, template or file does not exist. */
  NOT_FOUND(404, 1, false),
  /** The name is taken, or an operation on it is under way. */
  ALREADY_EXISTS(409, 1, false),
  /** The thing exists but is not in a state that allows this. */
  FAILED_PRECONDITION(409, 1, false),
  /** Another operation got in the way; try again. */
  ABORTED(409, 1, true),
  /** A limit of this host or its configuration is reached; try later or free something. */
  RESOURCE_EXHAUSTED(503, 1, true),
  /** The work did not end within its time limit. */
  DEADLINE_EXCEEDED(504, 1, true),
  /** The caller went away or withdrew the request. */
  CANCELLED(499, 1, false),
  /** Cannot be reached or served just now. */
  UNAVAILABLE(503, 1, true),
  /** Known, but not offered here. */
  UNIMPLEMENTED(501, 1, false),
  /** Stored data is missing or damaged. */
  DATA_LOSS(500, 1, false),
  /** A defect of forkd. */
  INTERNAL(500, 1, false);

  private final int httpStatus;
  private final int exitCode;
  private final boolean retryable;

  ErrorCode(int httpStatus, int exitCode, boolean retryable) {
    this.httpStatus = httpStatus;
    this.exitCode = exitCode;
    this.retryable = retryable;
  }

  /** The status a HTTP answer carries for this code. */
  public int httpStatus() {
    return httpStatus;
  }

  /** The exit status of a command line that ends with this code; 2 is kept for usage errors. */
  public int exitCode() {
    return exitCode;
  }

  /** Whether the same request may succeed later without a change. */
  public boolean retryable() {
    return retryable;
  }

  /** The name on the wire: lower case with underscores, as Connect writes it. */
  public String wireName() {
    return name().toLowerCase(java.util.Locale.ROOT);
  }

  /** The code whose {@link #wireName()} is {@code wireName}; {@link #INTERNAL} if there is none. */
  public static ErrorCode fromWireName(String wireName) {
    for (ErrorCode code : values()) {
      if (code.wireName().equals(wireName)) {
        return code;
      }
    }
    return INTERNAL;
  }

  /** The likeliest code behind a HTTP status whose body named none. */
  public static ErrorCode fromHttpStatus(int status) {
    for (ErrorCode code : values()) {
      if (code.httpStatus == status) {
        return code;
      }
    }
    return status >= 400 && status < 500 ? INVALID_ARGUMENT : INTERNAL;
  }
}
