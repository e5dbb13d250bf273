package dev.forkd.http;

/** The client went away while it was answered or heard; nobody is left to tell. */
public final class ClientGoneException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  public ClientGoneException(Throwable cause) {
    super("the client went away", cause);
  }
}
