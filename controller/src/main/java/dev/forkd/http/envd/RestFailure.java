package dev.forkd.http.envd;

/** A refusal outside Connect, with the status the clients know it by. */
public final class RestFailure extends RuntimeException {
  private static final long serialVersionUID = 1L;

  private final int status;

  public RestFailure(int status, String message) {
    super(message);
    this.status = status;
  }

  public int status() {
    return status;
  }
}
