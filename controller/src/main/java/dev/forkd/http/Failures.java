package dev.forkd.http;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.rest.ErrorBody;
import dev.forkd.api.rest.MalformedJsonException;
import java.util.OptionalInt;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** The one place that turns a failure into a status and a body. */
public final class Failures {
  private static final Logger LOG = LoggerFactory.getLogger(Failures.class);

  private Failures() {}

  /** A failure as the client sees it. */
  public record Rendered(
      int status, ErrorCode code, String message, OptionalInt retryAfterSeconds) {
    private Rendered(int status, ErrorCode code, String message) {
      this(status, code, message, OptionalInt.empty());
    }

    public ErrorBody body() {
      return ErrorBody.of(code, message);
    }
  }

  /**
   * Renders a failure. What we did not foresee is a defect: it is logged with its stack, and the
   * client gets the request id instead of the innards.
   */
  public static Rendered render(Throwable failure, String requestId) {
    return switch (failure) {
      case ForkdException e -> {
        if (e.code().httpStatus() == 500) {
          LOG.error("request {} failed: {}", requestId, e.message(), e);
        }
        yield new Rendered(e.code().httpStatus(), e.code(), e.message(), retryAfter(e));
      }
      case HttpFailure e -> new Rendered(e.status(), e.code(), String.valueOf(e.getMessage()));
      case MalformedJsonException e ->
          new Rendered(
              e.fault() == MalformedJsonException.Fault.SYNTAX ? 400 : 422,
              ErrorCode.INVALID_ARGUMENT,
              "request body: " + e.getMessage());
      case ClientGoneException e ->
          new Rendered(
              ErrorCode.CANCELLED.httpStatus(),
              ErrorCode.CANCELLED,
              String.valueOf(e.getMessage()));
      case CutOffException e ->
          new Rendered(
              ErrorCode.UNAVAILABLE.httpStatus(),
              ErrorCode.UNAVAILABLE,
              String.valueOf(e.getMessage()));
      default -> {
        LOG.error("request {} met a defect", requestId, failure);
        yield new Rendered(
            500,
            ErrorCode.INTERNAL,
            "a defect of forkd ("
                + failure.getClass().getSimpleName()
                + "); its log names request "
                + requestId);
      }
    };
  }

  /** Only for a full house: whatever else is unavailable does not come back by waiting alone. */
  private static OptionalInt retryAfter(ForkdException e) {
    if (e.code() != ErrorCode.RESOURCE_EXHAUSTED) {
      return OptionalInt.empty();
    }
    String told = e.details().get(ForkdException.RETRY_AFTER_SECONDS);
    return OptionalInt.of(told == null ? Limits.RETRY_AFTER_SECONDS : Integer.parseInt(told));
  }
}
