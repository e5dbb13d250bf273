package dev.forkd.http;

import dev.forkd.api.ErrorCode;

/** A refusal that HTTP has a word of its own for, such as 405 or 415. */
public final class HttpFailure extends RuntimeException {
  private static final long serialVersionUID = 1L;

  private final int status;
  private final ErrorCode code;

  public HttpFailure(int status, ErrorCode code, String message) {
    super(message);
    this.status = status;
    this.code = code;
  }

  public int status() {
    return status;
  }

  public ErrorCode code() {
    return code;
  }

  /** The body is no JSON message that this route takes. */
  public static HttpFailure shape(String message) {
    return new HttpFailure(422, ErrorCode.INVALID_ARGUMENT, message);
  }
}
