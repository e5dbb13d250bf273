package dev.forkd.api;

import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * The one domain exception: a {@link ErrorCode}, a message that says what was attempted, with which
 * value, and what to do, and a few details for programs.
 */
public class ForkdException extends RuntimeException {
  /** In {@link #details()}: whole seconds after which it is worth to try again. */
  public static final String RETRY_AFTER_SECONDS = "retry_after_seconds";

  private static final long serialVersionUID = 1L;

  private final ErrorCode code;
  private final transient Map<String, String> details;

  public ForkdException(ErrorCode code, String message) {
    this(code, message, Map.of(), null);
  }

  public ForkdException(ErrorCode code, String message, @Nullable Throwable cause) {
    this(code, message, Map.of(), cause);
  }

  public ForkdException(
      ErrorCode code, String message, Map<String, String> details, @Nullable Throwable cause) {
    super(message, cause);
    this.code = code;
    this.details = Map.copyOf(details);
  }

  public ErrorCode code() {
    return code;
  }

  /** Machine-readable particulars; may be empty. */
  public Map<String, String> details() {
    return details;
  }

  /** The message of this failure; an exception of ours always has one. */
  public String message() {
    return String.valueOf(getMessage());
  }
}
