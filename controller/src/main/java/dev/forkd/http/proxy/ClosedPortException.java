package dev.forkd.http.proxy;

/** Nothing listens on the port that the request is for. */
final class ClosedPortException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  private final transient Address address;

  ClosedPortException(Address address, Throwable cause) {
    super("nothing listens on port " + address.port() + " of sandbox " + address.id(), cause);
    this.address = address;
  }

  Address address() {
    return address;
  }
}
