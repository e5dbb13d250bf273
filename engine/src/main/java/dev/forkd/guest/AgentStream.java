package dev.forkd.guest;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import java.io.ByteArrayOutputStream;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.Optional;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.JsonNodeFactory;

/**
 * One request to the agent. The channel's reader puts in what arrives; one consumer takes it out;
 * flow control bounds what is between them.
 */
final class AgentStream {
  /** Most bytes of a request's JSON result that are accepted from a guest. */
  private static final int MAX_RESULT_BYTES = 8 << 20;

  /** Notes and ends of directions that one request may have: they use up no credit. */
  private static final int REMARKS_MAX = 16;

  /** What the consumer sees. */
  sealed interface Item {
    record Data(int channel, byte[] bytes) implements Item {}

    /** Something about the request before its end. */
    record Note(JsonNode said) implements Item {}

    /** No more data comes, though the request goes on. */
    record Eof() implements Item {}

    record Ended(JsonNode result) implements Item {}

    record Failed(ForkdException why) implements Item {}
  }

  private final AgentChannel channel;
  private final int id;
  private final ReentrantLock lock = new ReentrantLock();
  private final Condition changed = lock.newCondition();
  private final ArrayDeque<Item> items = new ArrayDeque<>();
  private final ByteArrayOutputStream result = new ByteArrayOutputStream();
  private final long[] receivedUnacknowledged = new long[Frame.CHANNELS];
  private final long[] receiveCredit = new long[Frame.CHANNELS];
  private long sendCredit = Frame.INITIAL_CREDIT_BYTES;
  private int remarks;
  private boolean over;
  private boolean ended;

  AgentStream(AgentChannel channel, int id) {
    this.channel = channel;
    this.id = id;
    java.util.Arrays.fill(receiveCredit, Frame.INITIAL_CREDIT_BYTES);
  }

  int id() {
    return id;
  }

  /** On the reader's thread. True when the guest has ended the stream. */
  boolean arrived(Frame frame) {
    lock.lock();
    try {
      switch (frame.type()) {
        case Frame.DATA -> data(frame);
        case Frame.NOTE -> note(frame);
        case Frame.EOF -> items.add(new Item.Eof());
        case Frame.WINDOW -> window(frame);
        case Frame.END, Frame.ERROR -> ending(frame);
        default -> throw FrameDecoder.broken("a frame of type " + frame.type() + " on a stream");
      }
      if ((frame.type() == Frame.NOTE || frame.type() == Frame.EOF) && ++remarks > REMARKS_MAX) {
        throw FrameDecoder.broken("more than " + REMARKS_MAX + " notes about one request");
      }
      changed.signalAll();
      // One that was given up here and goes on there is not over: the guest has yet to be told.
      return ended;
    } finally {
      lock.unlock();
    }
  }

  private void data(Frame frame) {
    int on = frame.flags();
    if (on != Frame.CHANNEL_OUTPUT && on != Frame.CHANNEL_ERROR) {
      throw FrameDecoder.broken("data on channel " + on);
    }
    receiveCredit[on] -= frame.payload().length;
    if (receiveCredit[on] < 0) {
      throw FrameDecoder.broken("more data than it was allowed to");
    }
    items.add(new Item.Data(on, frame.payload()));
  }

  private void note(Frame frame) {
    items.add(new Item.Note(GuestJson.read(frame.payload(), "a note")));
  }

  private void window(Frame frame) {
    if (frame.payload().length != 4 || frame.flags() != Frame.CHANNEL_INPUT) {
      throw FrameDecoder.broken("a malformed window");
    }
    sendCredit +=
        Integer.toUnsignedLong(
            java.nio.ByteBuffer.wrap(frame.payload())
                .order(java.nio.ByteOrder.LITTLE_ENDIAN)
                .getInt());
    if (sendCredit > Integer.MAX_VALUE) {
      throw FrameDecoder.broken("a window of " + sendCredit + " bytes");
    }
  }

  private void ending(Frame frame) {
    result.writeBytes(frame.payload());
    if (result.size() > MAX_RESULT_BYTES) {
      throw FrameDecoder.broken("a result of more than " + MAX_RESULT_BYTES + " bytes");
    }
    if ((frame.flags() & Frame.MORE) != 0) {
      return;
    }
    JsonNode json;
    try {
      json =
          result.size() == 0
              ? JsonNodeFactory.instance.objectNode()
              : GuestJson.read(result.toByteArray(), "a result");
    } catch (ForkdException e) {
      if (e.code() != ErrorCode.RESOURCE_EXHAUSTED) {
        throw e;
      }
      over = true;
      ended = true;
      items.add(new Item.Failed(e));
      return;
    }
    over = true;
    ended = true;
    if (frame.type() == Frame.END) {
      channel.heardIdle(json);
      items.add(new Item.Ended(json));
    } else {
      items.add(
          new Item.Failed(
              new ForkdException(
                  ErrorCode.fromWireName(json.path("code").asString("")),
                  json.path("message").asString("the guest agent gave no reason"))));
    }
  }

  /** Ends the stream from this side's failure. */
  void fail(ForkdException why) {
    lock.lock();
    try {
      over = true;
      items.add(new Item.Failed(why));
      changed.signalAll();
    } finally {
      lock.unlock();
    }
  }

  /** The next thing that arrived; empty when {@code timeout} passed first. */
  Optional<Item> next(Duration timeout) {
    long left = timeout.toNanos();
    int acknowledge = -1;
    long credit = 0;
    Item item;
    lock.lock();
    try {
      while (items.isEmpty()) {
        if (left <= 0) {
          return Optional.empty();
        }
        left = changed.awaitNanos(left);
      }
      item = items.remove();
      if (item instanceof Item.Data(int on, byte[] bytes) && !over) {
        receivedUnacknowledged[on] += bytes.length;
        if (receivedUnacknowledged[on] >= Frame.INITIAL_CREDIT_BYTES / 2) {
          acknowledge = on;
          credit = receivedUnacknowledged[on];
          receivedUnacknowledged[on] = 0;
          receiveCredit[on] += credit;
        }
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      String why = "interrupted while waiting for the guest";
      channel.cancel(this, why);
      throw new ForkdException(ErrorCode.CANCELLED, why, e);
    } finally {
      lock.unlock();
    }
    if (acknowledge >= 0) {
      channel.sendWindow(id, acknowledge, (int) credit);
    }
    return Optional.of(item);
  }

  /**
   * Sends input; waits while the guest does not take it.
   *
   * @throws ForkdException FAILED_PRECONDITION when the stream is over, DEADLINE_EXCEEDED
   */
  void sendInput(byte[] bytes, int offset, int length, Duration timeout) {
    int sent = 0;
    while (sent < length) {
      int piece = claim(Math.min(length - sent, Frame.MAX_PAYLOAD_BYTES), timeout);
      byte[] payload = java.util.Arrays.copyOfRange(bytes, offset + sent, offset + sent + piece);
      channel.send(new Frame(id, Frame.DATA, Frame.CHANNEL_INPUT, payload));
      sent += piece;
    }
  }

  private int claim(int wanted, Duration timeout) {
    lock.lock();
    try {
      long left = timeout.toNanos();
      while (sendCredit <= 0 && !over) {
        if (left <= 0) {
          throw new ForkdException(
              ErrorCode.DEADLINE_EXCEEDED,
              "the guest did not read its input for " + timeout.toMillis() + " ms");
        }
        left = changed.awaitNanos(left);
      }
      if (over) {
        throw new ForkdException(
            ErrorCode.FAILED_PRECONDITION, "the guest ended the request before its input did");
      }
      int piece = (int) Math.min(wanted, sendCredit);
      sendCredit -= piece;
      return piece;
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new ForkdException(ErrorCode.CANCELLED, "interrupted while sending input", e);
    } finally {
      lock.unlock();
    }
  }

  /** Whether the guest has ended it. */
  boolean ended() {
    lock.lock();
    try {
      return ended;
    } finally {
      lock.unlock();
    }
  }

  /** Whether it has ended, from whichever side. */
  boolean over() {
    lock.lock();
    try {
      return over;
    } finally {
      lock.unlock();
    }
  }
}
