package dev.forkd.http.connect;

import dev.forkd.http.ClientGoneException;
import dev.forkd.http.Exchange;
import dev.forkd.http.HeapBudget;
import java.io.IOException;
import java.io.InputStream;
import java.util.Optional;

/** The messages of a client, each of which counts as held until the next is asked for. */
final class Incoming<Q> implements Method.ClientStream.Messages<Q>, AutoCloseable {
  private final Exchange exchange;
  private final InputStream body;
  private final Class<Q> type;
  private final Optional<Long> deadlineNanos;
  private HeapBudget.Share held;

  /**
   * @param deadlineNanos by {@link System#nanoTime}, for the last message
   */
  Incoming(Exchange exchange, InputStream body, Class<Q> type, Optional<Long> deadlineNanos) {
    this.exchange = exchange;
    this.body = body;
    this.type = type;
    this.deadlineNanos = deadlineNanos;
    this.held = exchange.holding();
  }

  static ConnectException timeIsUp() {
    return new ConnectException(
        ConnectCode.DEADLINE_EXCEEDED, "the call's time was up before its last message");
  }

  @Override
  public Optional<Q> next() {
    held.close();
    held = exchange.holding();
    Optional<Envelope> envelope;
    try {
      envelope = Envelope.read(held.counted(body), ConnectServer.MESSAGE_BYTES_MAX);
    } catch (IOException e) {
      throw new ClientGoneException(e);
    }
    if (deadlineNanos.isPresent() && System.nanoTime() - deadlineNanos.get() > 0) {
      throw timeIsUp();
    }
    return envelope.map(one -> ConnectMessages.read(one.plain().message(), type, held));
  }

  @Override
  public void close() {
    held.close();
  }
}
