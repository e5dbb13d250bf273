package dev.forkd.api.rest;

import dev.forkd.api.ErrorCode;
import java.util.Optional;

/**
 * What every failed request answers.
 *
 * @param error what was attempted, with which value, and what to do
 * @param code the {@link ErrorCode#wireName()}
 */
public record ErrorBody(String error, Optional<String> code) {
  public ErrorBody {
    error = error == null ? "" : error;
    code = code == null ? Optional.empty() : code;
  }

  public static ErrorBody of(ErrorCode code, String message) {
    return new ErrorBody(message, Optional.of(code.wireName()));
  }
}
