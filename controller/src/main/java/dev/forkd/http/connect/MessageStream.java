package dev.forkd.http.connect;

import dev.forkd.http.ClientGoneException;
import dev.forkd.http.CutOffException;
import dev.forkd.http.Exchange;
import java.io.IOException;
import java.io.OutputStream;
import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.locks.ReentrantLock;

/**
 * The answer to a call, message by message. Any thread may send; a message has left when the call
 * returns, so a slow client slows the sender and nothing piles up here.
 */
public final class MessageStream {
  private final Exchange exchange;
  private final OutputStream out;
  private final Optional<Long> deadlineNanos;
  private final ReentrantLock lock = new ReentrantLock();
  private boolean ended;
  private volatile long lastNanos = System.nanoTime();

  MessageStream(Exchange exchange, OutputStream out, Optional<Long> deadlineNanos) {
    this.exchange = exchange;
    this.out = out;
    this.deadlineNanos = deadlineNanos;
  }

  /**
   * Sends a message.
   *
   * @throws ClientGoneException when nobody hears it
   * @throws CutOffException when the exchange was cut
   */
  public void send(Object message) {
    send(new Envelope(0, ConnectMessages.write(message)), false);
  }

  private void send(Envelope envelope, boolean last) {
    lock.lock();
    try {
      if (ended) {
        throw new ClientGoneException(new IOException("the stream has ended"));
      }
      ended = last;
      out.write(envelope.toBytes());
      out.flush();
      lastNanos = System.nanoTime();
      if (last) {
        out.close();
      }
    } catch (IOException e) {
      ended = true;
      throw new ClientGoneException(e);
    } catch (CutOffException | ClientGoneException e) {
      ended = true;
      throw e;
    } finally {
      lock.unlock();
    }
  }

  /** Ends it well. */
  void end() {
    send(new Envelope(Envelope.END_OF_STREAM, ConnectMessages.write(ConnectServer.GOOD_END)), true);
  }

  /** Ends it with an error. */
  void end(ConnectException failure) {
    send(
        new Envelope(
            Envelope.END_OF_STREAM, ConnectMessages.write(ConnectServer.EndOfStream.of(failure))),
        true);
  }

  /** Lets nobody send any more; the answer stays without an end. */
  void abandon() {
    lock.lock();
    try {
      ended = true;
    } finally {
      lock.unlock();
    }
  }

  /**
   * Waits, on the request's thread, for what ends the call.
   *
   * @param end may be completed by whoever sends, with a failure too; a failure is thrown here
   * @param silence after which {@code sign} is sent, again and again
   * @throws ConnectException DEADLINE_EXCEEDED when the client's time is over
   */
  public <T> T until(CompletableFuture<T> end, Duration silence, Object sign) {
    long everyNanos = silence.toNanos();
    return Waiting.until(
        end,
        exchange,
        deadlineNanos,
        () -> {
          long left = lastNanos + everyNanos - System.nanoTime();
          if (left > 0) {
            return left;
          }
          send(sign);
          return everyNanos;
        });
  }
}
