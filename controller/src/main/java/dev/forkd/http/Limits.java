package dev.forkd.http;

import java.time.Duration;

/** What the daemon takes from the network at most. */
public final class Limits {
  /** Body of a JSON request. */
  public static final int JSON_BYTES_MAX = 2 << 20;

  /** Of a larger body so much is read away, so that its sender hears that it is too large. */
  static final int UNWANTED_BYTES_MAX = 32 << 20;

  /** First line of a request: a guest's longest path with each byte percent-encoded, and more. */
  public static final int REQUEST_LINE_BYTES_MAX = 16384;

  /** All header lines of a request. */
  public static final int HEADERS_BYTES_MAX = 16384;

  /** Connections open at once; further ones wait in the kernel's backlog. */
  public static final int CONNECTIONS_MAX = 4608;

  /**
   * Requests served at once; further ones are refused with 503. More than may wait for a core, so
   * that those which need none are still served when that queue is full.
   */
  public static final int REQUESTS_MAX = 4096;

  /** What a client is told to wait when we know nothing better. */
  public static final int RETRY_AFTER_SECONDS = 1;

  /** Streamed commands open at once. */
  public static final int EXEC_STREAMS_MAX = 512;

  /**
   * A client that sends nothing of its request, or takes nothing of its answer, for so long is
   * dropped; so is a connection without a request.
   */
  public static final Duration CLIENT_PATIENCE = Duration.ofSeconds(60);

  /**
   * A connection that has had a request with a secret is kept for so long without another. Longer
   * than clients keep theirs: whoever closes first must not be us, as a request may be on its way.
   */
  public static final Duration KEEP_ALIVE = Duration.ofSeconds(640);

  /** Fewer than so many connections short of the bound, some that rest go. */
  static final int CONNECTIONS_SPARE = 64;

  /** How long requests that run may take to end once the daemon stops. */
  public static final Duration DRAIN_TIMEOUT = Duration.ofSeconds(10);

  /** Time between two signs of life on a stream that has nothing else to say. */
  public static final Duration STREAM_SIGN_INTERVAL = Duration.ofSeconds(2);

  /** Longest path in a guest. */
  public static final int GUEST_PATH_CHARS_MAX = 4095;

  private Limits() {}
}
