package dev.forkd.api.rest;

/** Bytes that are not the JSON message that was expected. */
public final class MalformedJsonException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  /** In which way they are wrong. */
  public enum Fault {
    /** Not JSON at all, or more than one value. */
    SYNTAX,
    /** JSON, but a field is missing or of the wrong type. */
    SHAPE
  }

  private final Fault fault;

  MalformedJsonException(Fault fault, String message, Throwable cause) {
    super(message, cause);
    this.fault = fault;
  }

  public Fault fault() {
    return fault;
  }
}
