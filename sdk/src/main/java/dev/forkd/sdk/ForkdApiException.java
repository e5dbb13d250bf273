package dev.forkd.sdk;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** A request that the daemon refused or could not be asked. The message is the daemon's own. */
public final class ForkdApiException extends ForkdException {
  private static final long serialVersionUID = 1L;

  private final int status;
  private final String requestId;

  /**
   * A failure.
   *
   * @param status of the HTTP answer; 0 when there was none
   * @param requestId that the daemon logs it with; empty when unknown
   */
  public ForkdApiException(
      ErrorCode code, int status, String requestId, String message, @Nullable Throwable cause) {
    super(code, message, Map.of(), cause);
    this.status = status;
    this.requestId = requestId;
  }

  /** The HTTP status; 0 when there was no answer. */
  public int status() {
    return status;
  }

  /** Names the request in the daemon's log; empty when there was no answer. */
  public String requestId() {
    return requestId;
  }
}
