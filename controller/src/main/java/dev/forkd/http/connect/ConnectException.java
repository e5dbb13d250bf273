package dev.forkd.http.connect;

import org.jspecify.annotations.Nullable;

/** A call ends with this error. */
public final class ConnectException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  private final ConnectCode code;

  public ConnectException(ConnectCode code, String message) {
    this(code, message, null);
  }

  public ConnectException(ConnectCode code, String message, @Nullable Throwable cause) {
    super(message, cause);
    this.code = code;
  }

  public ConnectCode code() {
    return code;
  }

  /** What the client is told. */
  public String message() {
    return String.valueOf(getMessage());
  }
}
