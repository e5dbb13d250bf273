package dev.forkd.http;

/** The request was {@link Cut}: its answer ends here, and nobody may take it for whole. */
public final class CutOffException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  public CutOffException() {
    super("the sandbox has stopped");
  }
}
