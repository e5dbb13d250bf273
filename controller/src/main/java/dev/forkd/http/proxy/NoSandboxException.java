package dev.forkd.http.proxy;

/** The request is for a sandbox that does not run. */
final class NoSandboxException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  private final String id;

  NoSandboxException(String id) {
    super("sandbox " + id + " was not found");
    this.id = id;
  }

  String id() {
    return id;
  }
}
