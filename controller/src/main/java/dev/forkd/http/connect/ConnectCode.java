package dev.forkd.http.connect;

import dev.forkd.api.ErrorCode;
import java.util.Locale;

/**
 * How a call failed, and the HTTP status of a unary answer that says so.
 *
 * @see <a href="https://connectrpc.com/docs/protocol/#error-codes">Error codes</a>
 */
public enum ConnectCode {
  CANCELED(499),
  UNKNOWN(500),
  INVALID_ARGUMENT(400),
  DEADLINE_EXCEEDED(504),
  NOT_FOUND(404),
  ALREADY_EXISTS(409),
  PERMISSION_DENIED(403),
  RESOURCE_EXHAUSTED(429),
  FAILED_PRECONDITION(400),
  ABORTED(409),
  OUT_OF_RANGE(400),
  UNIMPLEMENTED(501),
  INTERNAL(500),
  UNAVAILABLE(503),
  DATA_LOSS(500),
  UNAUTHENTICATED(401);

  private final int httpStatus;

  ConnectCode(int httpStatus) {
    this.httpStatus = httpStatus;
  }

  /** The status of a unary answer. */
  public int httpStatus() {
    return httpStatus;
  }

  /** The name on the wire. */
  public String wireName() {
    return name().toLowerCase(Locale.ROOT);
  }

  /** The same in this vocabulary. */
  public static ConnectCode of(ErrorCode code) {
    return code == ErrorCode.CANCELLED ? CANCELED : valueOf(code.name());
  }
}
