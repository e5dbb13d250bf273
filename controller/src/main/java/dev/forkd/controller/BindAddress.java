package dev.forkd.controller;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.UnknownHostException;

/** Reads {@code HOST:PORT}, {@code [IPV6]:PORT}. */
final class BindAddress {
  private BindAddress() {}

  static InetSocketAddress parse(String text) {
    int colon = text.lastIndexOf(':');
    String host = colon < 0 ? "" : text.substring(0, colon);
    boolean bracketed = host.startsWith("[") && host.endsWith("]") && host.length() > 2;
    if (bracketed) {
      host = host.substring(1, host.length() - 1);
    }
    if (host.isEmpty() || (host.contains(":") && !bracketed)) {
      throw wrong(text, "expected HOST:PORT, such as 127.0.0.1:8889 or [::1]:8889");
    }
    try {
      int port = Integer.parseInt(text.substring(colon + 1));
      if (port < 0 || port > 65535) {
        throw wrong(text, "the port must be 0 to 65535");
      }
      return new InetSocketAddress(InetAddress.getByName(host), port);
    } catch (NumberFormatException e) {
      throw wrong(text, "the port is not a number");
    } catch (UnknownHostException e) {
      throw wrong(text, "the host is not known");
    }
  }

  private static ForkdException wrong(String text, String reason) {
    return new ForkdException(
        ErrorCode.INVALID_ARGUMENT, "cannot bind to '" + text + "': " + reason);
  }
}
