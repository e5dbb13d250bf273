package dev.forkd.http.proxy;

import dev.forkd.api.ForkdException;
import dev.forkd.http.envd.RestFailure;
import java.util.LinkedHashMap;
import java.util.Map;

/** What a request gets that does not reach its sandbox; clients look for these very words. */
final class Refusals {
  /** As a client of a sandbox that is not there, or no longer, is told. */
  static final int GONE = 502;

  private Refusals() {}

  static Map<String, Object> noSandbox(String id) {
    Map<String, Object> body = new LinkedHashMap<>();
    body.put("sandboxId", id);
    body.put("message", "The sandbox was not found");
    body.put("code", GONE);
    return body;
  }

  static Map<String, Object> closedPort(Address address) {
    Map<String, Object> body = new LinkedHashMap<>();
    body.put("sandboxId", address.id());
    body.put("message", "The sandbox is running but port is not open");
    body.put("port", address.port());
    body.put("code", GONE);
    return body;
  }

  static Map<String, Object> body(int status, String message) {
    Map<String, Object> body = new LinkedHashMap<>();
    body.put("code", status);
    body.put("message", message);
    return body;
  }

  static int status(ForkdException failure) {
    return switch (failure.code()) {
      case FAILED_PRECONDITION, INVALID_ARGUMENT -> 400;
      case RESOURCE_EXHAUSTED -> 429;
      default -> failure.code().httpStatus();
    };
  }

  static Map<String, Object> body(RestFailure failure) {
    return body(failure.status(), String.valueOf(failure.getMessage()));
  }
}
